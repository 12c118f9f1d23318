/// A bounds-checked cursor over octets; a short read is a value, never a panic.
#[derive(Clone, Debug)]
pub struct Reader<'a> { octets: &'a [u8] }
/// Fewer octets were left than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;
impl<'a> Reader<'a> {
    /// Starts at the first octet.
    pub fn new(octets: &'a [u8]) -> Self { Self { octets } }
    /// What is left.
    pub fn rest(&self) -> &'a [u8] { self.octets }
}
