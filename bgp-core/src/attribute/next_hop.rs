use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use crate::codec::{Reader, WireContext, Writer};
use crate::types::Family;

/// Where traffic for a route is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// The NEXT_HOP attribute, or four octets in MP_REACH_NLRI.
    V4(Ipv4Addr),
    /// A global IPv6 address, or a link-local one alone.
    V6(Ipv6Addr),
    /// A global and a link-local address (RFC 2545).
    V6LinkLocal {
        /// Global address.
        global: Ipv6Addr,
        /// Link-local address.
        link_local: Ipv6Addr,
    },
    /// The next hop of a family that we parse past.
    Opaque(Bytes),
}

impl NextHop {
    /// Whether a packet can be sent there at all: neither unspecified nor multicast (RFC 4271 section 6.3). Whether it
    /// is *reachable* is the decision process's question. IPv4's reserved top passes: some networks use it inside.
    pub fn is_usable(&self) -> bool {
        match self {
            Self::V4(address) => is_usable_v4(*address),
            Self::V6(address) => is_usable_v6(*address),
            // A sender without a global address fills its half with zeros.
            Self::V6LinkLocal { global, link_local } => {
                !global.is_multicast() && (is_usable_v6(*global) || is_usable_v6(*link_local))
            }
            Self::Opaque(_) => true,
        }
    }

    /// Reads the next hop of MP_REACH_NLRI; `None` where the length is not one of the family's.
    pub(super) fn decode(octets: &[u8], family: Family, context: &WireContext) -> Option<Self> {
        if !family.is_unicast_ip() {
            return Some(Self::Opaque(Bytes::copy_from_slice(octets)));
        }
        let either = context.has_extended_next_hop(family);
        let v4 = either || family == Family::IPV4_UNICAST;
        let v6 = either || family == Family::IPV6_UNICAST;
        let mut reader = Reader::new(octets);
        match octets.len() {
            4 if v4 => Some(Self::V4(Ipv4Addr::from(reader.array::<4>().ok()?))),
            16 if v6 => Some(Self::V6(Ipv6Addr::from(reader.array::<16>().ok()?))),
            32 if v6 => Some(Self::V6LinkLocal {
                global: Ipv6Addr::from(reader.array::<16>().ok()?),
                link_local: Ipv6Addr::from(reader.array::<16>().ok()?),
            }),
            _ => None,
        }
    }

    /// Appends the length octet and the addresses, as MP_REACH_NLRI has them.
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.length_u8(self.wire_length());
        match self {
            Self::V4(address) => writer.slice(&address.octets()),
            Self::V6(address) => writer.slice(&address.octets()),
            Self::V6LinkLocal { global, link_local } => {
                writer.slice(&global.octets());
                writer.slice(&link_local.octets());
            }
            Self::Opaque(octets) => writer.slice(octets.get(..255).unwrap_or(octets)),
        }
    }

    /// Octets of the addresses.
    pub(super) fn wire_length(&self) -> usize {
        match self {
            Self::V4(_) => 4,
            Self::V6(_) => 16,
            Self::V6LinkLocal { .. } => 32,
            Self::Opaque(octets) => octets.len().min(255),
        }
    }
}

fn is_usable_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && !address.is_multicast()
}

fn is_usable_v6(address: Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
            Self::V6LinkLocal { global, link_local } => write!(f, "{global} ({link_local})"),
            Self::Opaque(octets) => octets.iter().try_for_each(|octet| write!(f, "{octet:02x}")),
        }
    }
}

impl From<std::net::IpAddr> for NextHop {
    fn from(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(address) => Self::V4(address),
            std::net::IpAddr::V6(address) => Self::V6(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_decides_which_lengths_are_allowed() {
        let mut context = WireContext::initial();
        let lengths = |family, context: &WireContext| -> Vec<usize> {
            (0..=48)
                .filter(|n| NextHop::decode(&vec![1; *n], family, context).is_some())
                .collect()
        };
        assert_eq!(lengths(Family::IPV4_UNICAST, &context), [4]);
        assert_eq!(lengths(Family::IPV6_UNICAST, &context), [16, 32]);
        for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
            context.extended_next_hop.push(family);
            assert_eq!(lengths(family, &context), [4, 16, 32]);
        }
    }

    #[test]
    fn addresses_that_no_packet_can_go_to_are_not_usable() {
        let v4 = |text: &str| NextHop::V4(text.parse().unwrap()).is_usable();
        assert!(v4("192.0.2.1") && v4("127.0.0.2") && v4("240.0.0.1"));
        assert!(!v4("0.0.0.0") && !v4("0.1.2.3") && !v4("224.0.0.1"));
        let v6 = |text: &str| NextHop::V6(text.parse().unwrap()).is_usable();
        assert!(v6("2001:db8::1") && v6("fe80::1") && v6("::1") && v6("::ffff:10.0.0.1"));
        assert!(!v6("::") && !v6("ff02::1"));
        let pair = |global: &str, link_local: &str| {
            let (global, link_local) = (global.parse().unwrap(), link_local.parse().unwrap());
            NextHop::V6LinkLocal { global, link_local }.is_usable()
        };
        assert!(pair("::", "fe80::1") && !pair("::", "::"));
    }
}
