use bytes::{BufMut, Bytes, BytesMut};

/// Appends octets, with length fields that are filled in afterwards.
///
/// Nothing here fails: what grew too long for its length field is a message that is too long as a whole, and the one
/// place that knows the session's limit refuses it there.
#[derive(Debug, Default)]
pub struct Writer {
    octets: BytesMut,
}

/// A two-octet length field that still has to be filled in.
#[derive(Debug)]
#[must_use = "a length field that is not filled in says zero"]
pub struct LengthField {
    at: usize,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer with room for that many octets.
    pub fn with_capacity(octets: usize) -> Self {
        Self {
            octets: BytesMut::with_capacity(octets),
        }
    }

    /// Octets written so far.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Appends one octet.
    pub fn u8(&mut self, value: u8) {
        self.octets.put_u8(value);
    }

    /// Appends two octets, big-endian.
    pub fn u16(&mut self, value: u16) {
        self.octets.put_u16(value);
    }

    /// Appends four octets, big-endian.
    pub fn u32(&mut self, value: u32) {
        self.octets.put_u32(value);
    }

    /// Appends octets as they are.
    pub fn slice(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Appends the first octets of an array. One write of known size is cheaper than one of the size that is needed.
    #[inline]
    pub(crate) fn leading<const N: usize>(&mut self, octets: [u8; N], count: usize) {
        let end = self.len() + count.min(N);
        self.octets.extend_from_slice(&octets);
        self.octets.truncate(end);
    }

    /// Appends one octet that says a length; at most 255 can be said.
    pub fn length_u8(&mut self, length: usize) {
        self.u8(u8::try_from(length).unwrap_or(u8::MAX));
    }

    /// Appends two octets that say a length; at most 65535 can be said.
    pub fn length_u16(&mut self, length: usize) {
        self.u16(u16::try_from(length).unwrap_or(u16::MAX));
    }

    /// Makes room for a two-octet length field. [`Self::fill`] writes how many octets followed it.
    pub fn reserve_length(&mut self) -> LengthField {
        let at = self.len();
        self.u16(0);
        LengthField { at }
    }

    /// Fills in a length field: the octets written since.
    pub fn fill(&mut self, field: LengthField) {
        let followed = self.len().saturating_sub(field.at + 2);
        self.put_length(field.at, followed);
    }

    /// Fills in the length field at the offset with the octets of the whole buffer.
    pub(crate) fn fill_total(&mut self, at: usize) {
        self.put_length(at, self.len());
    }

    /// The finished octets.
    pub fn finish(self) -> Bytes {
        self.octets.freeze()
    }

    fn put_length(&mut self, at: usize, length: usize) {
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(room) = self.octets.get_mut(at..at + 2) {
            room.copy_from_slice(&length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_field_counts_what_followed_it() {
        let mut writer = Writer::new();
        writer.u8(9);
        let field = writer.reserve_length();
        writer.slice(&[1, 2, 3]);
        writer.fill(field);
        assert_eq!(writer.finish(), [9, 0, 3, 1, 2, 3].as_slice());
    }

    #[test]
    fn a_length_beyond_its_field_stops_at_the_greatest() {
        let mut writer = Writer::new();
        let field = writer.reserve_length();
        writer.slice(&vec![0; 70_000]);
        writer.fill(field);
        writer.length_u8(256);
        assert_eq!(writer.len(), 70_003);
        let octets = writer.finish();
        assert!(octets.starts_with(&[0xFF, 0xFF]) && octets.ends_with(&[0xFF]));
    }
}
