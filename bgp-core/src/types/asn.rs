use std::fmt;

/// An autonomous system number of four octets (RFC 6793).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS, which stands for a number that does not fit two octets (RFC 6793 section 9).
    pub const TRANS: Self = Self(23456);

    /// Whether the number fits the two octets of the OPEN message and of an old peer's AS_PATH.
    pub const fn is_two_octet(self) -> bool {
        self.0 <= 0xFFFF
    }

    /// Whether the number is for private use (RFC 6996).
    pub const fn is_private(self) -> bool {
        matches!(self.0, 64512..=65534 | 4_200_000_000..=4_294_967_294)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u32> for Asn {
    fn from(number: u32) -> Self {
        Self(number)
    }
}
