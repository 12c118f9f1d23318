use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

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

    /// The network address.
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// The length in bits.
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    /// IPv4 unicast or IPv6 unicast.
    pub fn family(self) -> Family {
        match self.0 {
            IpNet::V4(_) => Family::IPV4_UNICAST,
            IpNet::V6(_) => Family::IPV6_UNICAST,
        }
    }

    /// Octets of the prefix as NLRI: the length octet and what is significant of the address; no path identifier.
    pub fn wire_length(&self) -> usize {
        1 + usize::from(self.0.prefix_len()).div_ceil(8)
    }

    /// The first `length` bits of an IPv4 address; `None` above 32.
    #[inline]
    pub(crate) fn from_v4_bits(bits: u32, length: u8) -> Option<Self> {
        let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
        let net = Ipv4Net::new(Ipv4Addr::from(bits & !host), length).ok()?;
        Some(Self(IpNet::V4(net)))
    }

    /// The first `length` bits of an IPv6 address; `None` above 128.
    #[inline]
    pub(crate) fn from_v6_bits(bits: u128, length: u8) -> Option<Self> {
        let host = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
        let net = Ipv6Net::new(Ipv6Addr::from(bits & !host), length).ok()?;
        Some(Self(IpNet::V6(net)))
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

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    /// Reads `10.0.0.0/8` or `2001:db8::/32`; a bare address is its host route. Host bits are cleared.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpNet>()
            .map(Self::new)
            .or_else(|_| text.parse().map(Self::host))
            .map_err(|_| ParsePrefixError {
                text: text.to_owned(),
            })
    }
}

/// The text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a prefix (write ADDRESS/LENGTH, as in 192.0.2.0/24 or 2001:db8::/32)")]
pub struct ParsePrefixError {
    text: String,
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
        Self {
            prefix,
            path_id: None,
        }
    }
}

impl fmt::Display for Nlri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path_id {
            None => self.prefix.fmt(f),
            Some(PathId(id)) => write!(f, "{} path {id}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_at_the_door() {
        assert_eq!(
            "10.1.2.3/8".parse::<Prefix>().unwrap().to_string(),
            "10.0.0.0/8"
        );
        assert_eq!(
            Prefix::from_v4_bits(0x0A01_0203, 8),
            "10.0.0.0/8".parse().ok()
        );
        assert_eq!(Prefix::from_v6_bits(1, 0), "::/0".parse().ok());
        assert_eq!(Prefix::from_v4_bits(7, 33), None);
        assert_eq!(Prefix::from_v6_bits(7, 129), None);
    }

    #[test]
    fn a_bare_address_is_its_host_route() {
        assert_eq!(
            "10.1.2.3".parse::<Prefix>().unwrap().to_string(),
            "10.1.2.3/32"
        );
        assert_eq!("::1".parse::<Prefix>().unwrap().to_string(), "::1/128");
        assert!("10.1.2.3/33".parse::<Prefix>().is_err());
    }

    #[test]
    fn wire_length_counts_the_significant_octets() {
        let octets = |text: &str| text.parse::<Prefix>().unwrap().wire_length();
        assert_eq!(octets("0.0.0.0/0"), 1);
        assert_eq!(octets("10.0.0.0/8"), 2);
        assert_eq!(octets("10.0.0.0/9"), 3);
        assert_eq!(octets("10.0.0.1/32"), 5);
        assert_eq!(octets("2001:db8::1/128"), 17);
    }
}
