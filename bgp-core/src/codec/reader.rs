/// A bounds-checked cursor over octets; a short read is a value, never a panic.
///
/// A read that fails takes nothing.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    octets: &'a [u8],
}

/// Fewer octets were left than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fewer octets than the field needs")]
pub struct Truncated;

impl<'a> Reader<'a> {
    /// Starts at the first octet.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.octets
    }

    /// How many octets are left.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The next octet without taking it.
    pub fn peek(&self) -> Option<u8> {
        self.octets.first().copied()
    }

    /// Takes one octet.
    ///
    /// # Errors
    /// None is left.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_be_bytes)
    }

    /// Takes two octets, big-endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes four octets, big-endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes `N` octets.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.octets.split_first_chunk().ok_or(Truncated)?;
        self.octets = rest;
        Ok(*taken)
    }

    /// Takes that many octets.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn slice(&mut self, length: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.octets.split_at_checked(length).ok_or(Truncated)?;
        self.octets = rest;
        Ok(taken)
    }

    /// Takes a field that says its own length in one octet.
    ///
    /// # Errors
    /// The length octet is missing, or more than is left.
    pub fn counted_u8(&mut self) -> Result<&'a [u8], Truncated> {
        let mut ahead = self.clone();
        let length = ahead.u8()?;
        let taken = ahead.slice(usize::from(length))?;
        *self = ahead;
        Ok(taken)
    }

    /// Takes a field that says its own length in two octets.
    ///
    /// # Errors
    /// The length octets are missing, or more than is left.
    pub fn counted_u16(&mut self) -> Result<&'a [u8], Truncated> {
        let mut ahead = self.clone();
        let length = ahead.u16()?;
        let taken = ahead.slice(usize::from(length))?;
        *self = ahead;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert!(reader.is_empty());
    }

    #[test]
    fn a_short_read_is_a_value_and_takes_nothing() {
        let mut reader = Reader::new(&[5, 1, 2]);
        assert_eq!(reader.u32(), Err(Truncated));
        assert_eq!(reader.slice(4), Err(Truncated));
        assert_eq!(reader.counted_u8(), Err(Truncated));
        assert_eq!(reader.counted_u16(), Err(Truncated));
        assert_eq!(reader.rest(), [5, 1, 2]);
    }

    #[test]
    fn counted_fields_end_where_they_say() {
        let mut reader = Reader::new(&[2, 7, 8, 0, 1, 9, 4]);
        assert_eq!(reader.counted_u8(), Ok(&[7, 8][..]));
        assert_eq!(reader.counted_u16(), Ok(&[9][..]));
        assert_eq!(reader.peek(), Some(4));
    }
}
