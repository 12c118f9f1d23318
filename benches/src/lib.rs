//! Inputs that the benchmarks share.

use std::net::{Ipv4Addr, Ipv6Addr};

use bgp_core::attribute::{AsPath, Attributes, Community, MpReach, NextHop, NlriList};
use bgp_core::message::{Message, Update, WireContext};
use bgp_core::types::{Asn, Family, Nlri, Prefix};
use bytes::Bytes;

/// How many prefixes one UPDATE of the benchmarks announces.
pub const PREFIXES: u32 = 500;

/// An external session of today: four-octet AS numbers, both unicast families, long messages.
pub fn context() -> WireContext {
    WireContext {
        four_octet_as: true,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        max_message: Message::MAX_EXTENDED,
        ..WireContext::initial()
    }
}

/// What a route of the internet carries: a path of four, three communities.
pub fn attributes() -> Attributes {
    Attributes {
        as_path: AsPath::sequence([64512, 65010, 4_200_000_001, 65020].map(Asn)),
        communities: vec![
            Community(0xFDE8_0001),
            Community(0xFDE8_0002),
            Community(0xFDE8_0003),
        ],
        ..Attributes::default()
    }
}

/// Host routes, as a load balancer announces them.
pub fn v4_hosts() -> Vec<Nlri> {
    (0..PREFIXES)
        .map(|n| Prefix::host(Ipv4Addr::from(0x0A00_0000 + n * 7).into()).into())
        .collect()
}

/// Prefixes of 16 to 24 bits, mixed as a routing table has them.
pub fn v4_table() -> Vec<Nlri> {
    let length = |n: u32| 16 + (n * 5 % 9);
    let text = |n: u32| format!("{}/{}", Ipv4Addr::from(0x1400_0000 + (n << 12)), length(n));
    (0..PREFIXES)
        .filter_map(|n| text(n).parse::<Prefix>().ok())
        .map(Nlri::from)
        .collect()
}

/// Host routes of IPv6.
pub fn v6_hosts() -> Vec<Nlri> {
    let address = |n: u32| Ipv6Addr::from(0x2001_0DB8 << 96 | u128::from(n));
    (0..PREFIXES)
        .map(|n| Prefix::host(address(n).into()).into())
        .collect()
}

/// One UPDATE that announces all of these.
pub fn update(entries: &[Nlri]) -> Update {
    let mut update = Update::empty();
    update.attributes = Some(attributes());
    match entries.first().map(|entry| entry.prefix.family()) {
        Some(Family::IPV6_UNICAST) => {
            update.mp_reach = Some(MpReach {
                next_hop: NextHop::V6(Ipv6Addr::LOCALHOST),
                nlri: list(Family::IPV6_UNICAST, entries),
            });
        }
        _ => {
            update.next_hop = Some(Ipv4Addr::new(192, 0, 2, 1));
            update.announced = list(Family::IPV4_UNICAST, entries);
        }
    }
    update
}

/// Its octets.
///
/// # Panics
/// Not for the inputs of this file: none needs more than 65,535 octets.
pub fn octets(update: Update) -> Bytes {
    Message::Update(update)
        .encode(&context())
        .expect("the inputs fit an extended message")
}

/// The entries in wire form.
pub fn list(family: Family, entries: &[Nlri]) -> NlriList {
    NlriList::build(family, false, entries.iter().copied())
}
