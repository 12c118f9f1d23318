use bytes::Bytes;

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
