use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;

/// A BGP Identifier: four octets, never zero, compared as an unsigned number (RFC 6286).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(NonZeroU32);

impl RouterId {
    /// Refuses `0.0.0.0`.
    pub fn new(octets: Ipv4Addr) -> Option<Self> {
        NonZeroU32::new(u32::from(octets)).map(Self)
    }

    /// In the dotted form that routers print.
    pub fn as_ipv4(self) -> Ipv4Addr {
        Ipv4Addr::from(self.0.get())
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ipv4().fmt(f)
    }
}
