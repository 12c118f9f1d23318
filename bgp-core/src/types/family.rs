use std::fmt;

/// An address family identifier (RFC 4760, IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Afi(pub u16);

/// A subsequent address family identifier (RFC 4760, IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Safi(pub u8);

impl Afi {
    /// IPv4.
    pub const IPV4: Self = Self(1);
    /// IPv6.
    pub const IPV6: Self = Self(2);
}

impl Safi {
    /// Unicast forwarding.
    pub const UNICAST: Self = Self(1);
    /// Multicast forwarding.
    pub const MULTICAST: Self = Self(2);
}

/// A pair of AFI and SAFI, known to us or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    /// Address family.
    pub afi: Afi,
    /// Subsequent address family.
    pub safi: Safi,
}

impl Family {
    /// IPv4 unicast, `1/1`.
    pub const IPV4_UNICAST: Self = Self {
        afi: Afi::IPV4,
        safi: Safi::UNICAST,
    };
    /// IPv6 unicast, `2/1`.
    pub const IPV6_UNICAST: Self = Self {
        afi: Afi::IPV6,
        safi: Safi::UNICAST,
    };

    /// Whether the entries of this family are prefixes that we read; others are carried as octets.
    pub const fn is_unicast_ip(self) -> bool {
        matches!((self.afi.0, self.safi.0), (1 | 2, 1))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4_UNICAST => f.write_str("ipv4/unicast"),
            Self::IPV6_UNICAST => f.write_str("ipv6/unicast"),
            Self { afi, safi } => write!(f, "afi {}/safi {}", afi.0, safi.0),
        }
    }
}
