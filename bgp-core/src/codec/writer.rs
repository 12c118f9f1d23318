/// Appends octets, with length fields that are filled in afterwards.
#[derive(Debug, Default)]
pub struct Writer { octets: bytes::BytesMut }
impl Writer {
    /// The finished octets.
    pub fn finish(self) -> bytes::Bytes { self.octets.freeze() }
}
