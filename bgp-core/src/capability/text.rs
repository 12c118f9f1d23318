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
