//! What a peer may say within the rules and what that may cost: no more than it costs the peer.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_core::attribute::NlriList;
use bgp_core::message::{Message, RefreshKind, RouteRefresh, Update};
use bgp_core::rib::{Action, Statement, Verdict};
use bgp_core::{Family, Policy};

use support::probe::{PEER, Probe, announcement, peer_context};
use support::{RIGHT_AS, attributes_of, open_settings, prefix};

const V4: Family = Family::IPV4_UNICAST;

/// How long the speaker takes for one UPDATE whose path is that long and that names one prefix 30,000 times.
#[expect(clippy::disallowed_methods, reason = "costs are compared")]
fn cost_of_path(length: usize) -> Duration {
    let mut probe = Probe::new();
    let session = probe.establish();
    let mut update = Update::empty();
    update.attributes = Some(attributes_of(&vec![RIGHT_AS.0; length]));
    update.next_hop = Some("192.168.10.1".parse().expect("an address"));
    let nlri = std::iter::repeat_n(prefix("0.0.0.0/0").into(), 30_000);
    update.announced = NlriList::build(V4, false, nlri);
    let octets = Message::Update(update).encode(&peer_context());
    let octets = octets.expect("it fits");
    let begin = Instant::now();
    probe.say_octets(session, octets);
    let cost = begin.elapsed();
    assert_eq!(probe.speaker.loc_rib(V4).len(), 1);
    cost
}

#[test]
fn a_long_path_is_looked_at_once_and_not_for_every_prefix() {
    let short = cost_of_path(1);
    assert!(cost_of_path(7_000) < short * 10, "{short:?}");
}

#[test]
fn what_the_import_policy_makes_of_an_update_is_kept_once() {
    let mut settings = open_settings(1, RIGHT_AS);
    settings.import = Arc::new(Policy {
        statements: vec![Statement {
            name: "prefer".to_owned(),
            matches: vec![],
            actions: vec![Action::SetLocalPref(200)],
            verdict: Verdict::Accept,
        }],
        default: Verdict::Reject,
    });
    let mut probe = Probe::with(settings);
    let session = probe.establish();
    for prefixes in [
        ["10.0.0.0/24", "10.0.1.0/24"],
        ["10.0.2.0/24", "10.0.3.0/24"],
    ] {
        probe.say(session, &announcement(&prefixes, &[RIGHT_AS.0]));
    }
    let routes = probe.speaker.loc_rib(V4);
    assert_eq!(routes.len(), 4);
    for route in &routes {
        assert_eq!(route.attributes.local_pref, Some(200));
        assert!(Arc::ptr_eq(&route.attributes, &routes[0].attributes));
    }
}

#[test]
fn the_attributes_of_a_lost_session_are_given_back() {
    let mut probe = Probe::new();
    let session = probe.establish();
    for last in 1..100 {
        let prefixes = [&*format!("10.0.{last}.0/24")];
        probe.say(session, &announcement(&prefixes, &[RIGHT_AS.0, last]));
    }
    let routes = probe.speaker.received(PEER, V4);
    let held: Vec<_> = routes
        .iter()
        .map(|route| Arc::downgrade(&route.attributes))
        .collect();
    assert_eq!(held.len(), 99);
    drop(routes);
    probe.hang_up(session);
    assert!(held.iter().all(|attributes| attributes.upgrade().is_none()));
}

#[test]
fn beginnings_and_ends_of_refreshes_may_come_in_any_order_and_number() {
    let mut probe = Probe::new();
    let session = probe.establish();
    let marker = |kind| Message::RouteRefresh(RouteRefresh { family: V4, kind });
    probe.say(session, &marker(RefreshKind::End));
    probe.say(
        session,
        &announcement(&["10.0.0.0/24", "10.0.1.0/24"], &[RIGHT_AS.0]),
    );
    probe.say(session, &marker(RefreshKind::End));
    assert_eq!(probe.speaker.loc_rib(V4).len(), 2);
    for _ in 0..1000 {
        probe.say(session, &marker(RefreshKind::Begin));
    }
    probe.say(session, &announcement(&["10.0.1.0/24"], &[RIGHT_AS.0]));
    for _ in 0..1000 {
        probe.say(session, &marker(RefreshKind::End));
    }
    let left: Vec<_> = probe
        .speaker
        .loc_rib(V4)
        .iter()
        .map(|route| route.prefix)
        .collect();
    assert_eq!(left, [prefix("10.0.1.0/24")]);
}
