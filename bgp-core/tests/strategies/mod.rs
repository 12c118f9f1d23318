//! Everything that a session of a given context can say.

use std::net::{Ipv4Addr, Ipv6Addr};

use bgp_core::attribute::{
    Aggregator, AsPath, Attributes, Community, ExtendedCommunity, LargeCommunity, MpReach,
    MpUnreach, NextHop, NlriList, Origin, Segment, SegmentKind, UnknownAttribute,
};
use bgp_core::capability::{AddPathMode, Capability, GracefulRestart, Role};
use bgp_core::message::{
    Message, Notification, Open, RefreshKind, RouteRefresh, Update, WireContext,
};
use bgp_core::types::{Afi, Asn, Family, HoldTime, Nlri, PathId, Prefix, Reason, RouterId, Safi};
use bytes::Bytes;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;

const VPN: Family = Family {
    afi: Afi::IPV4,
    safi: Safi(128),
};
const ALL: [Family; 3] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST, VPN];

/// Any combination of what two peers can negotiate.
pub(crate) fn context() -> impl Strategy<Value = WireContext> {
    let some = || subsequence(ALL.to_vec(), 0..=3);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, some(), some(), some()).prop_map(
        |((four_octet_as, external, extended), mut families, add_path, extended_next_hop)| {
            if families.is_empty() {
                families.push(Family::IPV4_UNICAST);
            }
            let max_message = if extended {
                Message::MAX_EXTENDED
            } else {
                Message::MAX
            };
            WireContext {
                four_octet_as,
                external,
                families,
                add_path,
                extended_next_hop,
                max_message,
            }
        },
    )
}

/// A whole message with a good header.
pub(crate) fn octets_of_a_message(kind: u8, body: &[u8]) -> Bytes {
    let length = u16::try_from(19 + body.len()).unwrap();
    [&[0xFF; 16], length.to_be_bytes().as_slice(), &[kind], body]
        .concat()
        .into()
}

pub(crate) fn message_in(context: &WireContext) -> BoxedStrategy<Message> {
    prop_oneof![
        1 => open().prop_map(Message::Open),
        6 => update_in(context).prop_map(Message::Update),
        1 => notification().prop_map(Message::Notification),
        1 => Just(Message::Keepalive),
        1 => (family(), refresh_kind())
            .prop_map(|(family, kind)| Message::RouteRefresh(RouteRefresh { family, kind })),
    ]
    .boxed()
}

pub(crate) fn update_in(context: &WireContext) -> BoxedStrategy<Update> {
    let v4 = if context.speaks(Family::IPV4_UNICAST) {
        0..8
    } else {
        0..1
    };
    let add_path = context.has_path_ids(Family::IPV4_UNICAST);
    let lists = (
        list(Family::IPV4_UNICAST, add_path, v4.clone()),
        list(Family::IPV4_UNICAST, add_path, v4),
    );
    let multiprotocol = (
        option::of(mp_reach(context)),
        option::of(mp_unreach(context)),
    );
    (
        lists,
        multiprotocol,
        option::of(attributes(context)),
        usable_v4(),
    )
        .prop_map(
            |((withdrawn, announced), (mp_reach, mp_unreach), attributes, next_hop)| {
                let announces = !announced.is_empty() || mp_reach.is_some();
                Update {
                    withdrawn,
                    mp_unreach: mp_unreach.into_iter().collect(),
                    attributes: attributes.or_else(|| announces.then(Attributes::default)),
                    next_hop: (!announced.is_empty()).then_some(next_hop),
                    announced,
                    mp_reach,
                    faults: vec![],
                }
            },
        )
        .boxed()
}

pub(crate) fn attributes(context: &WireContext) -> impl Strategy<Value = Attributes> + use<> {
    let internal = !context.external;
    let path = (
        prop_oneof![
            Just(Origin::Igp),
            Just(Origin::Egp),
            Just(Origin::Incomplete)
        ],
        as_path(context.four_octet_as),
        option::of(any::<u32>()),
        option::of(any::<u32>()).prop_map(move |value| value.filter(|_| internal)),
    );
    let aggregation = (any::<bool>(), option::of(aggregator()));
    let communities = (
        vec(any::<u32>().prop_map(Community), 0..70),
        vec(any::<[u8; 8]>().prop_map(ExtendedCommunity), 0..4),
        vec(large_community(), 0..4),
    );
    let reflection = (option::of(router_id()), vec(any::<u32>(), 0..4))
        .prop_map(move |reflection| if internal { reflection } else { (None, vec![]) });
    let rest = (option::of(any::<u32>().prop_map(Asn)), unknown());
    (path, aggregation, communities, reflection, rest).prop_map(
        |(path, aggregation, communities, reflection, rest)| Attributes {
            origin: path.0,
            as_path: path.1,
            med: path.2,
            local_pref: path.3,
            atomic_aggregate: aggregation.0,
            aggregator: aggregation.1,
            communities: communities.0,
            extended_communities: communities.1,
            large_communities: communities.2,
            originator_id: reflection.0,
            cluster_list: reflection.1,
            only_to_customer: rest.0,
            unknown: rest.1,
        },
    )
}

/// What RFC 9774 still allows. Confederation segments cannot travel with AS4_PATH, so an old session has none.
fn as_path(four_octet_as: bool) -> impl Strategy<Value = AsPath> {
    let kind = any::<bool>().prop_map(move |confederation| {
        if confederation && four_octet_as {
            SegmentKind::ConfederationSequence
        } else {
            SegmentKind::Sequence
        }
    });
    let segment = (kind, vec(asn(), 1..5)).prop_map(|(kind, asns)| Segment { kind, asns });
    let long = vec(asn(), 250..300).prop_map(AsPath::sequence);
    prop_oneof![
        9 => vec(segment, 0..4).prop_map(AsPath::from_segments),
        1 => long,
    ]
}

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65535u32, Just(Asn::TRANS.0), 1..=u32::MAX].prop_map(Asn)
}

fn router_id() -> impl Strategy<Value = RouterId> {
    (1..=u32::MAX).prop_filter_map("zero", |number| RouterId::new(number.into()))
}

fn aggregator() -> impl Strategy<Value = Aggregator> {
    (asn(), option::of(router_id())).prop_map(|(asn, router_id)| Aggregator { asn, router_id })
}

fn large_community() -> impl Strategy<Value = LargeCommunity> {
    any::<(u32, u32, u32)>().prop_map(|(global, local1, local2)| LargeCommunity {
        global,
        local1,
        local2,
    })
}

/// Of types that have no field of their own; 25 is known by its length rule.
fn unknown() -> impl Strategy<Value = Vec<UnknownAttribute>> {
    let one = |kind: u8| {
        let value = vec(any::<u8>(), 0..300);
        (value, any::<bool>()).prop_map(move |(mut value, partial)| {
            let mut flags = 0xE0;
            if kind == 25 {
                value.resize(value.len().next_multiple_of(20).max(20), 0);
                flags = if partial { 0xE0 } else { 0xC0 };
            }
            UnknownAttribute {
                flags,
                kind,
                value: value.into(),
            }
        })
    };
    subsequence(vec![0u8, 11, 20, 22, 25, 31, 40, 128, 255], 0..3)
        .prop_flat_map(move |kinds| kinds.into_iter().map(one).collect::<Vec<_>>())
}

fn mp_reach(context: &WireContext) -> impl Strategy<Value = MpReach> + use<> {
    let context = context.clone();
    spoken(&context).prop_flat_map(move |family| {
        let either = context.has_extended_next_hop(family);
        let next_hop = match family {
            Family::IPV4_UNICAST if !either => usable_v4().prop_map(NextHop::V4).boxed(),
            Family::IPV6_UNICAST if !either => v6_next_hop().boxed(),
            family if family.is_unicast_ip() => {
                prop_oneof![usable_v4().prop_map(NextHop::V4), v6_next_hop()].boxed()
            }
            _ => vec(any::<u8>(), 0..30)
                .prop_map(|octets| NextHop::Opaque(octets.into()))
                .boxed(),
        };
        (next_hop, entries_of(family, &context, 1..8))
            .prop_map(|(next_hop, nlri)| MpReach { next_hop, nlri })
    })
}

fn mp_unreach(context: &WireContext) -> impl Strategy<Value = MpUnreach> + use<> {
    let context = context.clone();
    spoken(&context).prop_flat_map(move |family| {
        entries_of(family, &context, 0..8).prop_map(|nlri| MpUnreach { nlri })
    })
}

fn spoken(context: &WireContext) -> impl Strategy<Value = Family> + use<> {
    prop::sample::select(context.families.clone())
}

fn entries_of(
    family: Family,
    context: &WireContext,
    count: std::ops::Range<usize>,
) -> BoxedStrategy<NlriList> {
    let add_path = context.has_path_ids(family);
    if family.is_unicast_ip() {
        return list(family, add_path, count).boxed();
    }
    vec(any::<u8>(), count)
        .prop_map(move |octets| NlriList::from_wire(family, add_path, octets.into()).unwrap())
        .boxed()
}

fn list(
    family: Family,
    add_path: bool,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = NlriList> {
    vec(entry(family, add_path), count)
        .prop_map(move |entries| NlriList::build(family, add_path, entries))
}

/// A family, whether its entries have path identifiers, and entries.
pub(crate) fn nlri_entries() -> impl Strategy<Value = (Family, bool, Vec<Nlri>)> {
    let family = prop_oneof![Just(Family::IPV4_UNICAST), Just(Family::IPV6_UNICAST)];
    (family, any::<bool>()).prop_flat_map(|(family, add_path)| {
        (
            Just(family),
            Just(add_path),
            vec(entry(family, add_path), 0..20),
        )
    })
}

fn entry(family: Family, add_path: bool) -> impl Strategy<Value = Nlri> {
    let v4 = (any::<u32>(), 0..=32u8)
        .prop_map(|(bits, length)| IpNet::V4(Ipv4Net::new(bits.into(), length).unwrap()));
    let v6 = (any::<u128>(), 0..=128u8)
        .prop_map(|(bits, length)| IpNet::V6(Ipv6Net::new(bits.into(), length).unwrap()));
    let net = if family == Family::IPV4_UNICAST {
        v4.boxed()
    } else {
        v6.boxed()
    };
    (net, any::<u32>()).prop_map(move |(net, id)| Nlri {
        prefix: Prefix::new(net),
        path_id: add_path.then_some(PathId(id)),
    })
}

fn usable_v4() -> impl Strategy<Value = Ipv4Addr> {
    (1..224u8, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d))
}

fn v6_next_hop() -> impl Strategy<Value = NextHop> {
    let global = || any::<u64>().prop_map(|low| address(0x2001_0DB8, low));
    let link_local = || any::<u64>().prop_map(|low| address(0xFE80_0000, low));
    prop_oneof![
        global().prop_map(NextHop::V6),
        link_local().prop_map(NextHop::V6),
        (
            prop_oneof![global(), Just(Ipv6Addr::UNSPECIFIED)],
            link_local()
        )
            .prop_map(|(global, link_local)| NextHop::V6LinkLocal { global, link_local }),
    ]
}

fn address(high: u32, low: u64) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(high) << 96 | u128::from(low))
}

fn open() -> impl Strategy<Value = Open> {
    let hold_time = any::<u16>().prop_filter_map("one or two seconds", HoldTime::new);
    (asn(), hold_time, router_id(), vec(capability(), 0..12)).prop_map(
        |(asn, hold_time, router_id, capabilities)| {
            Open::new(asn, hold_time, router_id, capabilities)
        },
    )
}

pub(crate) fn capability() -> impl Strategy<Value = Capability> {
    let mode = prop::sample::select(vec![
        AddPathMode::Receive,
        AddPathMode::Send,
        AddPathMode::Both,
    ]);
    let long_lived = (family(), any::<bool>(), 0..=0x00FF_FFFFu32);
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        vec((family(), any::<u16>().prop_map(Afi)), 0..5).prop_map(Capability::ExtendedNextHop),
        Just(Capability::ExtendedMessage),
        role().prop_map(Capability::Role),
        graceful_restart().prop_map(Capability::GracefulRestart),
        asn().prop_map(Capability::FourOctetAs),
        vec((family(), mode), 0..5).prop_map(Capability::AddPath),
        Just(Capability::EnhancedRouteRefresh),
        vec(long_lived, 0..5).prop_map(Capability::LongLivedGracefulRestart),
        (".{0,20}", ".{0,20}").prop_map(|(host, domain)| Capability::Fqdn { host, domain }),
        ".{0,40}".prop_map(Capability::SoftwareVersion),
        (80..=255u8, vec(any::<u8>(), 0..=255)).prop_map(|(code, value)| Capability::Unknown {
            code,
            value: value.into()
        }),
    ]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::Provider),
        Just(Role::RouteServer),
        Just(Role::RouteServerClient),
        Just(Role::Customer),
        Just(Role::Peer),
        (5..=255u8).prop_map(Role::Unknown),
    ]
}

fn graceful_restart() -> impl Strategy<Value = GracefulRestart> {
    (
        any::<bool>(),
        any::<bool>(),
        0..4096u16,
        vec((family(), any::<bool>()), 0..5),
    )
        .prop_map(
            |(restarting, notification, restart_time, families)| GracefulRestart {
                restarting,
                notification,
                restart_time,
                families,
            },
        )
}

fn family() -> impl Strategy<Value = Family> {
    let any_family = any::<(u16, u8)>().prop_map(|(afi, safi)| Family {
        afi: Afi(afi),
        safi: Safi(safi),
    });
    prop_oneof![prop::sample::select(ALL.to_vec()), any_family]
}

fn refresh_kind() -> impl Strategy<Value = RefreshKind> {
    prop_oneof![
        Just(RefreshKind::Request),
        Just(RefreshKind::Begin),
        Just(RefreshKind::End),
        (3..=255u8).prop_map(RefreshKind::Unknown),
    ]
}

fn notification() -> impl Strategy<Value = Notification> {
    (any::<(u8, u8)>(), vec(any::<u8>(), 0..100)).prop_map(|((code, subcode), data)| Notification {
        reason: Reason::from_code(code, subcode),
        data: data.into(),
    })
}
