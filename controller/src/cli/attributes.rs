//! Path attributes as one line of text, in the form that GoBGP made familiar:
//! `[{Origin: i} {AsPath: 65001} {Nexthop: 10.0.0.2}]`, in the order in which they came.
//!
//! bgp-core decodes them. Each is put into an UPDATE of its own, so that one that cannot be read hides no other; that one
//! is shown by its octets.

use std::fmt::Display;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bgp_core::attribute::{
    Attributes, Community, ExtendedCommunity, LargeCommunity, MpReach, NextHop, Origin,
};
use bgp_core::message::{Update, WireContext};
use bgp_core::{Family, Message};
use bytes::Bytes;

use crate::observe::shapes::Path;

/// Attribute types that are treated apart.
const ORIGIN: u8 = 1;
const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const LOCAL_PREF: u8 = 5;
const MP_REACH_NLRI: u8 = 14;
/// The flag of a length in two octets.
const EXTENDED_LENGTH: u8 = 0x10;

/// What a path's attributes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The bracketed list.
    pub(crate) list: String,
    /// The next hop among them.
    pub(crate) next_hop: Option<String>,
}

impl Rendered {
    /// Of all attributes of a path.
    pub(crate) fn of(path: &Path) -> Self {
        let mut items = vec![];
        let mut next_hop = None;
        for attribute in &path.path_attributes {
            let Ok(octets) = STANDARD.decode(&attribute.base64) else {
                items.push(format!("{{not base64: {}}}", attribute.base64));
                continue;
            };
            let (item, hop) = render(&octets).unwrap_or_else(|| (by_octets(&octets), None));
            items.push(item);
            next_hop = next_hop.or(hop);
        }
        Self {
            list: format!("[{}]", items.join(" ")),
            next_hop,
        }
    }
}

/// One attribute, and the next hop if it is there.
fn render(octets: &[u8]) -> Option<(String, Option<String>)> {
    let (kind, value) = split(octets)?;
    if kind == NEXT_HOP {
        // By hand: a local route's is 0.0.0.0, which no peer may send.
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?);
        return Some((format!("{{Nexthop: {address}}}"), Some(address.to_string())));
    }
    if kind == MP_REACH_NLRI {
        let (octets, unspecified) = with_usable_next_hop(octets);
        let reach = decode_alone(kind, &octets)?.mp_reach?;
        let address = if unspecified {
            "::".to_owned()
        } else {
            next_hop(&reach.next_hop)
        };
        return Some((mp_reach(&reach, &address), Some(address)));
    }
    Some((known(kind, &decode_alone(kind, octets)?.attributes?)?, None))
}

/// A local IPv6 route's next hop is `::`, which no peer may send: it is decoded with another one in its place. Also says
/// whether it was so.
fn with_usable_next_hop(octets: &[u8]) -> (Vec<u8>, bool) {
    const DOCUMENTATION: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut octets = octets.to_vec();
    // AFI, SAFI and the length come before it, flags, type and the attribute's own length before those.
    let header = if octets
        .first()
        .is_some_and(|flags| flags & EXTENDED_LENGTH != 0)
    {
        4
    } else {
        3
    };
    let unspecified = match octets.get_mut(header..) {
        Some([0, 2, _, 16, next_hop @ ..]) if next_hop.starts_with(&[0; 16]) => {
            next_hop
                .iter_mut()
                .zip(DOCUMENTATION)
                .for_each(|(octet, with)| *octet = with);
            true
        }
        _ => false,
    };
    (octets, unspecified)
}

/// Type and value.
fn split(octets: &[u8]) -> Option<(u8, &[u8])> {
    match octets {
        [flags, kind, high, low, value @ ..] if flags & EXTENDED_LENGTH != 0 => {
            (usize::from(u16::from_be_bytes([*high, *low])) == value.len())
                .then_some((*kind, value))
        }
        [flags, kind, length, value @ ..] if flags & EXTENDED_LENGTH == 0 => {
            (usize::from(*length) == value.len()).then_some((*kind, value))
        }
        _ => None,
    }
}

/// The attribute as an UPDATE has it that carries it beside what is mandatory.
fn decode_alone(kind: u8, octets: &[u8]) -> Option<Update> {
    const MANDATORY: [(u8, &[u8]); 4] = [
        (ORIGIN, &[0x40, ORIGIN, 1, 0]),
        (AS_PATH, &[0x40, AS_PATH, 0]),
        (NEXT_HOP, &[0x40, NEXT_HOP, 4, 192, 0, 2, 1]),
        (LOCAL_PREF, &[0x40, LOCAL_PREF, 4, 0, 0, 0, 100]),
    ];
    let multiprotocol = kind == MP_REACH_NLRI;
    let mut attributes = if multiprotocol {
        octets.to_vec()
    } else {
        vec![]
    };
    for (mandatory, with) in MANDATORY {
        if mandatory == kind {
            attributes.extend_from_slice(octets);
        } else if !(multiprotocol && mandatory == NEXT_HOP) {
            attributes.extend_from_slice(with);
        }
    }
    if !multiprotocol && !MANDATORY.iter().any(|&(mandatory, _)| mandatory == kind) {
        attributes.extend_from_slice(octets);
    }
    // 0.0.0.0/0, so that the attributes belong to something.
    let announced: &[u8] = if multiprotocol { &[] } else { &[0] };
    let length = 19 + 2 + 2 + attributes.len() + announced.len();
    let mut message = vec![0xff; 16];
    message.extend(u16::try_from(length).ok()?.to_be_bytes());
    message.extend([2, 0, 0]);
    message.extend(u16::try_from(attributes.len()).ok()?.to_be_bytes());
    message.extend(attributes);
    message.extend(announced);
    let context = WireContext {
        four_octet_as: true,
        external: false,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        max_message: usize::from(u16::MAX),
        ..WireContext::initial()
    };
    match Message::decode(Bytes::from(message), &context) {
        Ok(Message::Update(update)) if update.faults.is_empty() => Some(update),
        _ => None,
    }
}

/// The attributes that have a name; `None` for the others.
fn known(kind: u8, attributes: &Attributes) -> Option<String> {
    Some(match kind {
        ORIGIN => format!("{{Origin: {}}}", origin(attributes.origin)),
        AS_PATH => format!("{{AsPath: {}}}", attributes.as_path),
        4 => format!("{{Med: {}}}", attributes.med?),
        LOCAL_PREF => format!("{{LocalPref: {}}}", attributes.local_pref?),
        6 => "{AtomicAggregate}".to_owned(),
        7 => {
            let aggregator = attributes.aggregator?;
            let address = aggregator
                .router_id
                .map_or_else(|| "0.0.0.0".to_owned(), |id| id.to_string());
            format!(
                "{{Aggregate: {{AS: {}, Address: {address}}}}}",
                aggregator.asn
            )
        }
        8 => format!(
            "{{Communities: {}}}",
            joined(attributes.communities.iter().map(|&value| community(value)))
        ),
        9 => format!("{{Originator: {}}}", attributes.originator_id?),
        10 => format!(
            "{{ClusterList: [{}]}}",
            attributes
                .cluster_list
                .iter()
                .map(|&id| Ipv4Addr::from(id).to_string())
                .collect::<Vec<_>>()
                .join(" ")
        ),
        16 => format!(
            "{{Extcomms: {}}}",
            joined(
                attributes
                    .extended_communities
                    .iter()
                    .map(|value| format!("[{}]", extended(*value)))
            )
        ),
        32 => format!(
            "{{LargeCommunity: [ {}]}}",
            joined(
                attributes
                    .large_communities
                    .iter()
                    .map(|value| large(*value))
            )
        ),
        35 => format!("{{OnlyToCustomer: {}}}", attributes.only_to_customer?),
        _ => return None,
    })
}

fn joined(items: impl Iterator<Item = impl Display>) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn origin(origin: Origin) -> char {
    match origin {
        Origin::Igp => 'i',
        Origin::Egp => 'e',
        Origin::Incomplete => '?',
    }
}

/// Well-known communities by the names that GoBGP prints.
fn community(Community(value): Community) -> String {
    let name = match value {
        0 => "internet",
        0xffff_0000 => "planned-shut",
        0xffff_0001 => "accept-own",
        0xffff_0002 => "route-filter-translated-v4",
        0xffff_0003 => "route-filter-v4",
        0xffff_0004 => "route-filter-translated-v6",
        0xffff_0005 => "route-filter-v6",
        0xffff_0006 => "llgr-stale",
        0xffff_0007 => "no-llgr",
        0xffff_029a => "blackhole",
        0xffff_ff01 => "no-export",
        0xffff_ff02 => "no-advertise",
        0xffff_ff03 => "no-export-subconfed",
        0xffff_ff04 => "no-peer",
        _ => return format!("{}:{}", value >> 16, value & 0xffff),
    };
    name.to_owned()
}

/// Route targets as `AS:number`, the others by their octets.
fn extended(ExtendedCommunity(octets): ExtendedCommunity) -> String {
    match octets {
        [0x00, 0x02, a, b, c, d, e, f] => {
            format!(
                "{}:{}",
                u16::from_be_bytes([a, b]),
                u32::from_be_bytes([c, d, e, f])
            )
        }
        [0x02, 0x02, a, b, c, d, e, f] => {
            format!(
                "{}:{}",
                u32::from_be_bytes([a, b, c, d]),
                u16::from_be_bytes([e, f])
            )
        }
        _ => hex(&octets),
    }
}

fn large(
    LargeCommunity {
        global,
        local1,
        local2,
    }: LargeCommunity,
) -> String {
    format!("{global}:{local1}:{local2}")
}

fn mp_reach(reach: &MpReach, next_hop: &str) -> String {
    let family = match reach.nlri.family() {
        Family::IPV4_UNICAST => "ipv4-unicast".to_owned(),
        Family::IPV6_UNICAST => "ipv6-unicast".to_owned(),
        other => other.to_string(),
    };
    let prefixes: Vec<String> = reach
        .nlri
        .iter()
        .map(|nlri| nlri.prefix.to_string())
        .collect();
    format!(
        "{{MpReach({family}): {{Nexthop: {next_hop}, NLRIs: [{}]}}}}",
        prefixes.join(" ")
    )
}

fn next_hop(next_hop: &NextHop) -> String {
    match next_hop {
        NextHop::V4(address) => address.to_string(),
        NextHop::V6(address)
        | NextHop::V6LinkLocal {
            global: address, ..
        } => address.to_string(),
        NextHop::Opaque(octets) => hex(octets),
    }
}

fn by_octets(octets: &[u8]) -> String {
    match split(octets) {
        Some((kind, value)) => format!("{{Type {kind}: {}}}", hex(value)),
        None => format!("{{malformed: {}}}", hex(octets)),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold("0x".to_owned(), |text, octet| {
        text + &format!("{octet:02x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::shapes::Base64;

    fn rendered(attributes: &[&[u8]]) -> Rendered {
        let path_attributes = attributes
            .iter()
            .map(|octets| Base64 {
                base64: STANDARD.encode(octets),
            })
            .collect();
        Rendered::of(&Path {
            path_attributes,
            ..Path::default()
        })
    }

    #[test]
    fn an_advertised_route_reads_as_cilium_prints_it() {
        let rendered = rendered(&[
            &[0x40, 1, 1, 0],
            &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9],
            &[0x40, 3, 4, 10, 0, 0, 2],
            &[0x40, 5, 4, 0, 0, 0, 100],
            &[0xc0, 8, 4, 0xfd, 0xe8, 0, 99],
        ]);
        assert_eq!(
            rendered.list,
            "[{Origin: i} {AsPath: 65001} {Nexthop: 10.0.0.2} {LocalPref: 100} {Communities: 65000:99}]"
        );
        assert_eq!(rendered.next_hop.as_deref(), Some("10.0.0.2"));
    }

    #[test]
    fn a_local_route_shows_its_empty_next_hop() {
        let rendered = rendered(&[&[0x40, 1, 1, 0], &[0x40, 3, 4, 0, 0, 0, 0]]);
        assert_eq!(rendered.list, "[{Origin: i} {Nexthop: 0.0.0.0}]");
        assert_eq!(rendered.next_hop.as_deref(), Some("0.0.0.0"));
    }

    #[test]
    fn ipv6_stands_in_mp_reach() {
        let mut octets = vec![0x80, 14, 38, 0, 2, 1, 16];
        octets.extend([0; 16]);
        octets.extend([0, 128, 0xfd]);
        octets.extend([0; 14]);
        octets.push(1);
        let rendered = rendered(&[&octets]);
        assert_eq!(
            rendered.list,
            "[{MpReach(ipv6-unicast): {Nexthop: ::, NLRIs: [fd00::1/128]}}]"
        );
        assert_eq!(rendered.next_hop.as_deref(), Some("::"));
    }

    #[test]
    fn every_kind_that_gobgp_names_is_named() {
        let rendered = rendered(&[
            &[0x40, 1, 1, 2],
            &[0x80, 4, 4, 0, 0, 0, 10],
            &[0x40, 6, 0],
            &[0xc0, 7, 8, 0, 0, 0xfd, 0xe8, 1, 2, 3, 4],
            &[0xc0, 8, 8, 0xfd, 0xe8, 0, 99, 0xff, 0xff, 0xff, 1],
            &[0xc0, 16, 8, 0, 2, 0xfd, 0xe8, 0, 0, 0, 100],
            &[
                0xc0, 32, 24, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0,
                6,
            ],
        ]);
        assert_eq!(
            rendered.list,
            "[{Origin: ?} {Med: 10} {AtomicAggregate} {Aggregate: {AS: 65000, Address: 1.2.3.4}} \
             {Communities: 65000:99, no-export} {Extcomms: [65000:100]} {LargeCommunity: [ 1:2:3, 4:5:6]}]"
        );
    }

    #[test]
    fn what_cannot_be_read_is_shown_by_its_octets_and_hides_nothing() {
        let rendered = rendered(&[
            &[0x40, 1, 1, 9],
            &[0xc0, 99, 2, 1, 2],
            &[0xc0],
            &[0x80, 4, 4, 0, 0, 0, 10],
        ]);
        assert_eq!(
            rendered.list,
            "[{Type 1: 0x09} {Type 99: 0x0102} {malformed: 0xc0} {Med: 10}]"
        );
    }
}
