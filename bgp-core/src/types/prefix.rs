use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Family;

/// An IPv4 or IPv6 prefix whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl Prefix {
    /// Clears the host bits.
    pub fn new(net: IpNet) -> Self {
        Self(net.trunc())
    }

    /// The host route of an address: /32 or /128.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The prefix in ipnet's type.
    pub fn net(self) -> IpNet {
        self.0
    }

    /// IPv4 unicast or IPv6 unicast.
    pub fn family(self) -> Family {
        match self.0 {
            IpNet::V4(_) => Family::IPV4_UNICAST,
            IpNet::V6(_) => Family::IPV6_UNICAST,
        }
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Self {
        Self::new(net)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An add-path identifier; meaningful between two peers only (RFC 7911).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

/// One entry of network layer reachability information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    /// The prefix.
    pub prefix: Prefix,
    /// Present exactly where add-path was negotiated for the direction.
    pub path_id: Option<PathId>,
}

impl From<Prefix> for Nlri {
    fn from(prefix: Prefix) -> Self {
        Self { prefix, path_id: None }
    }
}
