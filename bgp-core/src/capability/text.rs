//! Texts in capabilities (host and domain name, software version): a length octet and UTF-8.

use crate::codec::{Reader, Writer};

pub(super) fn decode(reader: &mut Reader<'_>) -> Option<String> {
    let octets = reader.counted_u8().ok()?;
    std::str::from_utf8(octets).ok().map(str::to_owned)
}

pub(super) fn encode(text: &str, writer: &mut Writer) {
    writer.length_u8(text.len());
    writer.slice(text.as_bytes());
}

/// As many whole characters as fit that many octets.
pub(crate) fn cut(text: &str, octets: usize) -> &str {
    text.get(..text.floor_char_boundary(octets)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("ab", 9), "ab");
    }
}
