use bytes::Bytes;

use super::encode::header;
use super::table::EXTENDED;
use crate::codec::Writer;

/// An attribute that we carry along.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnknownAttribute {
    /// The flag octet as it goes out: Partial set, Extended Length cleared (RFC 4271 section 5).
    pub flags: u8,
    /// Attribute type.
    pub kind: u8,
    /// The value.
    pub value: Bytes,
}

impl UnknownAttribute {
    /// Keeps what a peer sent, in a copy: a slice would hold on to the whole receive buffer for as long as the route
    /// lives.
    pub(super) fn received(flags: u8, kind: u8, value: &[u8]) -> Self {
        Self {
            flags: flags & 0xF0 & !EXTENDED,
            kind,
            value: Bytes::copy_from_slice(value),
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        header(self.flags, self.kind, self.value.len(), writer);
        writer.slice(&self.value);
    }
}
