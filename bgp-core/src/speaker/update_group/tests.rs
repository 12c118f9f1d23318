//! What peers are told, read from the octets that they get.

mod model;
mod random;

use crate::attribute::{AsPath, Attributes, Community, NextHop};
use crate::rib::testing::{learned, local, prefix};
use crate::rib::{Action, Match, PrefixMatch, Statement, Verdict};

use super::*;
use model::{Receiver, V4, V6, export, session};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const EVERYTHING: usize = usize::MAX;

fn accept_all() -> Arc<Policy> {
    Arc::new(Policy::accept_all())
}

fn join(groups: &mut UpdateGroups, peer: PeerId, routes: &[Route]) -> Receiver {
    let session = session("192.0.2.1");
    groups.join(
        peer,
        &session,
        export(accept_all(), false),
        routes.iter().cloned(),
    );
    Receiver::new(peer, &session)
}

fn hosts(count: u32) -> Vec<Route> {
    (0..count)
        .map(|n| local(&format!("10.{}.{}.{}/32", n >> 16, (n >> 8) & 255, n & 255)))
        .collect()
}

#[test]
fn a_new_peer_gets_the_table_and_then_end_of_rib() {
    let mut groups = UpdateGroups::default();
    let mut a = join(
        &mut groups,
        A,
        &[local("10.0.0.1/32"), local("10.0.0.2/32")],
    );
    assert!(groups.is_dirty(A));
    a.drain(&mut groups);
    assert!(!groups.is_dirty(A));
    assert_eq!(a.updates, 1);
    assert_eq!(a.ends_of_rib, [V4, V6]);
    assert_eq!(groups.advertised_count(A, V4), 2);
    let (attributes, next_hop) = &a.table[&prefix("10.0.0.1/32")];
    assert_eq!(attributes.as_path, AsPath::sequence([model::US]));
    assert_eq!((attributes.local_pref, attributes.med), (None, None));
    assert_eq!(*next_hop, NextHop::V4([192, 0, 2, 1].into()));
}

#[test]
fn end_of_rib_comes_also_where_there_is_no_route() {
    let mut groups = UpdateGroups::default();
    let mut a = join(&mut groups, A, &[]);
    a.drain(&mut groups);
    assert_eq!((a.ends_of_rib.as_slice(), a.updates), (&[V4, V6][..], 0));
}

#[test]
fn an_internal_peer_gets_local_pref_and_an_empty_path() {
    let mut groups = UpdateGroups::default();
    let mut internal = session("192.0.2.1");
    internal.external = false;
    internal.send.external = false;
    groups.join(
        A,
        &internal,
        export(accept_all(), false),
        [local("10.0.0.1/32")].into_iter(),
    );
    let mut a = Receiver::new(A, &internal);
    a.drain(&mut groups);
    let (attributes, _) = &a.table[&prefix("10.0.0.1/32")];
    assert_eq!(
        (&attributes.as_path, attributes.local_pref),
        (&AsPath::default(), Some(100))
    );
}

#[test]
fn eight_hundred_host_routes_fit_one_message() {
    let mut groups = UpdateGroups::default();
    let mut a = join(&mut groups, A, &hosts(1620));
    a.drain(&mut groups);
    assert_eq!((a.updates, a.table.len()), (2, 1620));
    for route in hosts(1628) {
        groups.route_changed(route.prefix, None);
    }
    a.drain(&mut groups);
    assert_eq!(
        (a.updates, a.table.len()),
        (4, 0),
        "814 withdrawals fit one message"
    );
}

#[test]
fn routes_that_share_attributes_share_messages_wherever_their_prefixes_lie() {
    let mut groups = UpdateGroups::default();
    let mut routes = hosts(3000);
    let sets: Vec<Arc<Attributes>> = (0..3)
        .map(|n| {
            Arc::new(Attributes {
                communities: vec![Community(n)],
                ..Attributes::default()
            })
        })
        .collect();
    for (n, route) in routes.iter_mut().enumerate() {
        route.attributes = Arc::clone(&sets[n % 3]);
    }
    let mut a = join(&mut groups, A, &routes);
    a.drain(&mut groups);
    assert_eq!((a.updates, a.table.len()), (6, 3000));
}

#[test]
fn what_was_withdrawn_before_the_peer_took_it_is_never_told() {
    let mut groups = UpdateGroups::default();
    let mut a = join(&mut groups, A, &[]);
    a.drain(&mut groups);
    let route = local("10.0.0.1/32");
    groups.route_changed(route.prefix, Some(&route));
    groups.route_changed(route.prefix, None);
    assert!(!groups.is_dirty(A));
    assert_eq!(groups.next_octets(A, EVERYTHING), None);
}

#[test]
fn a_change_that_is_taken_back_is_never_told() {
    let mut groups = UpdateGroups::default();
    let route = local("10.0.0.1/32");
    let mut a = join(&mut groups, A, std::slice::from_ref(&route));
    a.drain(&mut groups);
    let mut other = route.clone();
    Arc::make_mut(&mut other.attributes).med = Some(5);
    groups.route_changed(route.prefix, Some(&other));
    assert!(groups.is_dirty(A));
    groups.route_changed(route.prefix, Some(&route));
    assert_eq!(groups.next_octets(A, EVERYTHING), None);
}

#[test]
fn peers_that_keep_pace_share_one_buffer() {
    let mut groups = UpdateGroups::default();
    let (_, _) = (
        join(&mut groups, A, &hosts(10)),
        join(&mut groups, B, &hosts(10)),
    );
    let first = groups.next_octets(A, EVERYTHING).expect("routes");
    let second = groups.next_octets(B, EVERYTHING).expect("routes");
    assert_eq!(first.as_ptr(), second.as_ptr());
}

#[test]
fn a_peer_that_is_behind_gets_the_newest_only() {
    let mut groups = UpdateGroups::default();
    let (mut a, mut b) = (join(&mut groups, A, &[]), join(&mut groups, B, &[]));
    a.drain(&mut groups);
    b.drain(&mut groups);
    for med in 0..50 {
        let mut route = local("10.0.0.1/32");
        Arc::make_mut(&mut route.attributes).med = Some(med);
        groups.route_changed(route.prefix, Some(&route));
        a.drain(&mut groups);
    }
    b.drain(&mut groups);
    assert_eq!((a.updates, b.updates), (50, 1));
    assert_eq!(a.table, b.table);
    a.drain(&mut groups);
    assert_eq!(
        groups.groups.values().map(Group::cohorts).sum::<usize>(),
        1,
        "they are together again"
    );
}

#[test]
fn a_slow_peer_does_not_make_the_log_grow() {
    let mut groups = UpdateGroups::default();
    let (mut a, mut b) = (join(&mut groups, A, &[]), join(&mut groups, B, &[]));
    a.drain(&mut groups);
    b.drain(&mut groups);
    let routes = hosts(60_000);
    for route in &routes {
        groups.route_changed(route.prefix, Some(route));
    }
    a.drain(&mut groups);
    assert_eq!(
        groups.groups.values().map(Group::cohorts).sum::<usize>(),
        2,
        "the slow one went its own way"
    );
    assert_eq!(groups.advertised_count(B, V4), 0);
    b.drain(&mut groups);
    assert_eq!(b.table.len(), routes.len());
}

#[test]
fn a_route_is_not_told_to_the_peer_that_it_came_from() {
    let mut groups = UpdateGroups::default();
    let (mut one, mut two) = (
        join(&mut groups, PeerId(1), &[]),
        join(&mut groups, PeerId(2), &[]),
    );
    let net = prefix("10.0.0.0/24");
    groups.route_changed(net, Some(&learned("10.0.0.0/24", 1)));
    one.drain(&mut groups);
    two.drain(&mut groups);
    assert_eq!((one.updates, two.updates), (0, 1));
    assert_eq!(
        two.table[&net].0.as_path,
        AsPath::sequence([model::US, Asn(65001)])
    );
    // The other one's is better now: each loses or gets the other's.
    groups.route_changed(net, Some(&learned("10.0.0.0/24", 2)));
    one.drain(&mut groups);
    two.drain(&mut groups);
    assert!(two.table.is_empty());
    assert_eq!(
        one.table[&net].0.as_path,
        AsPath::sequence([model::US, Asn(65002)])
    );
    assert_eq!(
        (
            groups.advertised_count(PeerId(1), V4),
            groups.advertised_count(PeerId(2), V4)
        ),
        (1, 0)
    );
    groups.route_changed(net, None);
    one.drain(&mut groups);
    two.drain(&mut groups);
    assert_eq!((one.table.len(), one.updates, two.updates), (0, 2, 2));
}

#[test]
fn the_same_route_from_another_peer_is_not_told_again() {
    let mut groups = UpdateGroups::default();
    let mut a = join(&mut groups, PeerId(9), &[]);
    let first = learned("10.0.0.0/24", 1);
    let mut second = learned("10.0.0.0/24", 2);
    second.attributes = Arc::clone(&first.attributes);
    groups.route_changed(first.prefix, Some(&first));
    a.drain(&mut groups);
    groups.route_changed(first.prefix, Some(&second));
    a.drain(&mut groups);
    assert_eq!(a.updates, 1);
}

#[test]
fn well_known_communities_of_received_routes_are_honoured() {
    let carrying = |route: Route, community| {
        let mut route = route;
        Arc::make_mut(&mut route.attributes)
            .communities
            .push(Community(community));
        route
    };
    let mut groups = UpdateGroups::default();
    join(&mut groups, A, &[]);
    let why = |route: &Route| groups.explain(A, route).expect("a session").err();
    assert_eq!(
        why(&carrying(learned("10.0.0.0/24", 9), 0xFFFF_FF01)),
        Some(Refusal::NoExport)
    );
    assert_eq!(
        why(&carrying(learned("10.0.0.0/24", 9), 0xFFFF_FF03)),
        Some(Refusal::NoExport)
    );
    assert_eq!(
        why(&carrying(learned("10.0.0.0/24", 9), 0xFFFF_FF02)),
        Some(Refusal::NoAdvertise)
    );
    assert_eq!(
        why(&carrying(local("10.0.0.0/24"), 0xFFFF_FF01)),
        None,
        "it is for the router to honour"
    );
    assert_eq!(why(&learned("10.0.0.0/24", 1)), Some(Refusal::OwnRoute));
}

#[test]
fn a_new_policy_sends_the_difference() {
    let mut groups = UpdateGroups::default();
    let routes = hosts(10);
    let mut a = join(&mut groups, A, &routes);
    let mut b = join(&mut groups, B, &routes);
    a.drain(&mut groups);
    b.drain(&mut groups);
    let only = |range: std::ops::Range<usize>| {
        let prefixes = routes[range]
            .iter()
            .map(|route| PrefixMatch::exact(route.prefix))
            .collect();
        Arc::new(Policy {
            statements: vec![Statement {
                name: "some".to_owned(),
                matches: vec![Match::Prefix(prefixes)],
                actions: vec![],
                verdict: Verdict::Accept,
            }],
            default: Verdict::Reject,
        })
    };
    groups.set_policy(A, only(0..9), routes.iter().cloned());
    a.drain(&mut groups);
    assert_eq!((a.updates, a.table.len(), b.table.len()), (2, 9, 10));
    groups.set_policy(A, only(0..9), routes.iter().cloned());
    assert!(!groups.is_dirty(A), "an equal policy is no change");
    groups.set_policy(A, accept_all(), routes.iter().cloned());
    a.drain(&mut groups);
    assert_eq!((a.updates, a.table.len()), (3, 10));
    assert_eq!(groups.groups.len(), 1);
    assert_eq!(a.ends_of_rib.len(), 2, "the initial ones and no more");
}

#[test]
fn a_policy_that_changes_attributes_announces_anew() {
    let mut groups = UpdateGroups::default();
    let mut a = join(&mut groups, A, &[local("10.0.0.1/32")]);
    a.drain(&mut groups);
    let policy = Policy {
        statements: vec![Statement {
            name: "tag".to_owned(),
            matches: vec![],
            actions: vec![
                Action::AddCommunities(vec![Community(7)]),
                Action::SetMed(3),
            ],
            verdict: Verdict::Accept,
        }],
        default: Verdict::Reject,
    };
    groups.set_policy(A, Arc::new(policy), [local("10.0.0.1/32")].into_iter());
    a.drain(&mut groups);
    let (attributes, _) = &a.table[&prefix("10.0.0.1/32")];
    assert_eq!(
        (attributes.communities.as_slice(), attributes.med),
        (&[Community(7)][..], Some(3))
    );
}

#[test]
fn a_refresh_sends_the_family_again_between_its_markers() {
    let mut groups = UpdateGroups::default();
    let routes = [local("10.0.0.1/32"), local("10.0.0.2/32")];
    let mut a = join(&mut groups, A, &routes);
    a.drain(&mut groups);
    groups.refresh(A, V4);
    groups.route_changed(routes[1].prefix, None);
    a.asked();
    a.drain(&mut groups);
    assert_eq!(
        (a.begins.as_slice(), a.ends.as_slice()),
        (&[V4][..], &[V4][..])
    );
    assert_eq!((a.updates, a.table.len()), (3, 1));
    assert!(!groups.is_dirty(A));
}

#[test]
fn a_refresh_during_the_initial_table_waits_for_end_of_rib() {
    let mut groups = UpdateGroups::default();
    let mut a = join(&mut groups, A, &[local("10.0.0.1/32")]);
    groups.refresh(A, V4);
    a.drain(&mut groups);
    assert_eq!(
        (
            a.ends_of_rib.as_slice(),
            a.begins.as_slice(),
            a.ends.as_slice()
        ),
        (&[V4, V6][..], &[V4][..], &[V4][..])
    );
    assert_eq!(a.updates, 2);
}

#[test]
fn who_asks_again_and_again_gets_one_table_after_another() {
    let mut groups = UpdateGroups::default();
    let mut a = join(&mut groups, A, &[local("10.0.0.1/32")]);
    a.drain(&mut groups);
    for _ in 0..1000 {
        groups.refresh(A, V4);
    }
    a.drain(&mut groups);
    assert_eq!(
        (a.begins.len(), a.ends.len(), a.updates),
        (2, 2, 3),
        "the one that runs and one more"
    );
}

#[test]
fn without_the_capability_a_refresh_has_no_markers() {
    let mut groups = UpdateGroups::default();
    let mut session = session("192.0.2.1");
    session.enhanced_route_refresh = false;
    groups.join(
        A,
        &session,
        export(accept_all(), false),
        [local("10.0.0.1/32")].into_iter(),
    );
    let mut a = Receiver::new(A, &session);
    a.drain(&mut groups);
    groups.refresh(A, V4);
    a.asked();
    a.drain(&mut groups);
    assert_eq!((a.updates, a.begins.len(), a.ends.len()), (2, 0, 0));
}

#[test]
fn a_next_hop_that_the_session_cannot_say_keeps_the_route_back_and_is_told() {
    let mut groups = UpdateGroups::default();
    let v6 = local("2001:db8::1/128");
    let mut a = join(&mut groups, A, std::slice::from_ref(&v6));
    a.drain(&mut groups);
    assert!(a.table.is_empty());
    assert_eq!(groups.unsent(A), [(v6.prefix, Refusal::NextHop)]);
    let mut given = v6.clone();
    given.next_hop = Some(NextHop::V6("2001:db8::ffff".parse().expect("an address")));
    groups.route_changed(v6.prefix, Some(&given));
    a.drain(&mut groups);
    assert_eq!((a.table.len(), groups.unsent(A).len()), (1, 0));
}

#[test]
fn ipv4_goes_over_ipv6_where_that_was_negotiated() {
    let mut groups = UpdateGroups::default();
    let mut session = session("2001:db8::1");
    let routes = [local("10.0.0.1/32"), local("2001:db8:1::/64")];
    groups.join(
        A,
        &session,
        export(accept_all(), false),
        routes.iter().cloned(),
    );
    let mut a = Receiver::new(A, &session);
    a.drain(&mut groups);
    assert_eq!((a.table.len(), groups.unsent(A).len()), (1, 1));
    session.send.extended_next_hop.push(V4);
    groups.join(
        B,
        &session,
        export(accept_all(), false),
        routes.iter().cloned(),
    );
    let mut b = Receiver::new(B, &session);
    b.drain(&mut groups);
    let own = NextHop::V6("2001:db8::1".parse().expect("an address"));
    assert!(b.table.values().all(|(_, next_hop)| *next_hop == own));
    assert_eq!(b.table.len(), 2);
}

#[test]
fn a_link_local_session_has_the_link_local_next_hop() {
    let mut groups = UpdateGroups::default();
    let session = session("fe80::1");
    groups.join(
        A,
        &session,
        export(accept_all(), false),
        [local("2001:db8:1::/64")].into_iter(),
    );
    let mut a = Receiver::new(A, &session);
    a.drain(&mut groups);
    let address = "fe80::1".parse().expect("an address");
    let expected = NextHop::V6LinkLocal {
        global: address,
        link_local: address,
    };
    assert_eq!(a.table[&prefix("2001:db8:1::/64")].1, expected);
}

#[test]
fn a_route_that_grew_too_big_is_withdrawn() {
    let mut groups = UpdateGroups::default();
    let route = local("10.0.0.1/32");
    let mut a = join(&mut groups, A, std::slice::from_ref(&route));
    a.drain(&mut groups);
    let mut big = route.clone();
    Arc::make_mut(&mut big.attributes).communities = (0..1100).map(Community).collect();
    groups.route_changed(route.prefix, Some(&big));
    a.drain(&mut groups);
    assert!(a.table.is_empty());
    assert_eq!(groups.unsent(A), [(route.prefix, Refusal::TooLong)]);
    Arc::make_mut(&mut big.attributes)
        .communities
        .truncate(1011);
    groups.route_changed(route.prefix, Some(&big));
    a.drain(&mut groups);
    assert_eq!(
        a.table.len(),
        1,
        "43 octets, four for the header of the communities and 5 for the prefix leave 4044"
    );
}

#[test]
fn only_originated_routes_go_out_where_transit_is_off() {
    let mut groups = UpdateGroups::default();
    let session = session("192.0.2.1");
    let routes = [learned("10.0.0.0/24", 7), local("10.0.1.0/24")];
    groups.join(A, &session, export(accept_all(), true), routes.into_iter());
    let mut a = Receiver::new(A, &session);
    a.drain(&mut groups);
    assert_eq!(
        a.table.keys().copied().collect::<Vec<_>>(),
        [prefix("10.0.1.0/24")]
    );
}

#[test]
fn a_budget_is_kept_message_by_message() {
    let mut groups = UpdateGroups::default();
    join(&mut groups, A, &hosts(5000));
    while let Some(octets) = groups.next_octets(A, 9000) {
        assert!(octets.len() <= 9000);
    }
    join(&mut groups, A, &hosts(5000));
    let first = groups.next_octets(A, 0).expect("at least one message");
    assert!(first.len() <= 4096);
}

#[test]
fn a_peer_that_left_leaves_nothing_behind() {
    let mut groups = UpdateGroups::default();
    join(&mut groups, A, &hosts(10));
    groups.leave(A);
    assert!(groups.groups.is_empty() && groups.places.is_empty());
    assert!(!groups.is_dirty(A));
    assert_eq!(groups.next_octets(A, EVERYTHING), None);
    assert_eq!(
        (
            groups.advertised_count(A, V4),
            groups.advertised(A, V4).len()
        ),
        (0, 0)
    );
}
