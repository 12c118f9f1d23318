//! Two connections between the same two speakers: exactly one becomes the session, and a session is not disturbed.

mod support;

use std::time::Duration;

use bgp_core::capability::{Capability, GracefulRestart};
use bgp_core::message::{Message, Open};
use bgp_core::speaker::Refused;
use bgp_core::types::{CeaseSubcode, Reason};
use bgp_core::{Family, Input};
use bytes::Bytes;
use proptest::prelude::*;

use support::network::{LEFT, RIGHT, both_established, pair, received, start_both};
use support::probe::{PEER, Probe, announcement, open_of, peer_open};
use support::{RIGHT_AS, address, open_settings, origination};

const V4: Family = Family::IPV4_UNICAST;
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_simultaneous_open_keeps_the_connection_of_the_higher_identifier() {
    for (left, right, caller) in [(21, 1, LEFT), (1, 21, RIGHT)] {
        let mut network = pair(1, Duration::ZERO, left, right);
        start_both(&mut network);
        network.run(SECOND);
        assert!(both_established(&network));
        assert_eq!(network.open_links(), 1);
        let peers = network.nodes[caller].speaker.peers();
        let session = peers[0].session.clone().expect("a session");
        assert_eq!(session.remote.port(), 179, "node {caller} called");
    }
}

#[test]
fn both_orders_of_crossed_opens_keep_the_same_connection() {
    // The speaker is 192.168.10.21; the peer's identifier is lower or higher.
    for (peer_id, ours_wins) in [(1, true), (99, false)] {
        for ours_first in [true, false] {
            let mut probe = Probe::new();
            let ours = probe.answer_call();
            let theirs = probe.call().expect("a place is free");
            let open = Message::Open(open_of(RIGHT_AS, peer_id));
            let (first, second) = if ours_first {
                (ours, theirs)
            } else {
                (theirs, ours)
            };
            probe.say(first, &open);
            probe.say(second, &open);
            let (winner, loser) = if ours_wins {
                (ours, theirs)
            } else {
                (theirs, ours)
            };
            let collision = Reason::Cease(CeaseSubcode::ConnectionCollision);
            assert_eq!(probe.heard_reason(loser), Some(collision));
            probe.say(winner, &Message::Keepalive);
            assert_eq!(probe.session(), Some(winner));
        }
    }
}

#[test]
fn the_loser_of_a_collision_hears_no_keepalive() {
    let mut probe = Probe::new();
    let ours = probe.answer_call();
    let theirs = probe.call().expect("a place is free");
    probe.say(ours, &Message::Open(peer_open()));
    probe.say(theirs, &Message::Open(peer_open()));
    let heard = probe.heard(theirs);
    assert!(
        matches!(heard[..], [Message::Open(_), Message::Notification(_)]),
        "{heard:?}"
    );
}

#[test]
fn a_call_of_ours_is_dropped_when_the_peers_own_becomes_the_session() {
    for answered in [false, true] {
        let mut probe = Probe::new();
        let ours = if answered {
            probe.answer_call()
        } else {
            probe.calls[0]
        };
        let theirs = probe.call().expect("a place is free");
        probe.finish(theirs);
        assert!(probe.closed.contains(&ours));
        let told = answered.then_some(Reason::Cease(CeaseSubcode::ConnectionCollision));
        assert_eq!(probe.heard_reason(ours), told);
        probe.pass_alive(theirs, Duration::from_secs(600));
        assert_eq!(probe.session(), Some(theirs));
        assert_eq!(probe.calls_in_all, 1);
    }
}

/// A probe that offers graceful restart, and the OPEN of a peer that does.
fn graceful_probe() -> (Probe, Open) {
    let restart = GracefulRestart {
        restart_time: 120,
        families: vec![(V4, true)],
        ..GracefulRestart::default()
    };
    let mut ours = open_settings(1, RIGHT_AS);
    ours.session.graceful_restart = Some(restart.clone());
    let mut open = peer_open();
    open.capabilities.push(Capability::GracefulRestart(restart));
    (Probe::with(ours), open)
}

#[test]
fn a_restarted_peer_with_graceful_restart_replaces_its_session() {
    let (mut probe, open) = graceful_probe();
    let first = probe.answer_call();
    probe.say(first, &Message::Open(open.clone()));
    probe.say(first, &Message::Keepalive);
    assert_eq!(probe.session(), Some(first));
    let second = probe.call().expect("a place is free");
    probe.say(second, &Message::Open(open));
    probe.say(second, &Message::Keepalive);
    assert_eq!(probe.session(), Some(second));
    assert!(probe.closed.contains(&first));
    assert_eq!(probe.heard_reason(first), None);
}

#[test]
fn a_late_open_of_a_crossed_call_is_not_taken_for_a_restart() {
    let (mut probe, open) = graceful_probe();
    let ours = probe.answer_call();
    let theirs = probe.call().expect("a place is free");
    probe.say(ours, &Message::Open(open.clone()));
    probe.say(ours, &Message::Keepalive);
    assert_eq!(probe.session(), Some(ours));
    // Sent before the peer saw our OPEN on the other connection, and overtaken by what it said there.
    probe.say(theirs, &Message::Open(open));
    let collision = Reason::Cease(CeaseSubcode::ConnectionCollision);
    assert_eq!(probe.heard_reason(theirs), Some(collision));
    assert_eq!(probe.session(), Some(ours));
}

#[test]
fn a_silent_second_connection_does_not_hinder_the_first() {
    let mut probe = Probe::new();
    probe.call().expect("a place is free");
    let session = probe.establish();
    probe.pass_alive(session, Duration::from_secs(600));
    assert_eq!(probe.session(), Some(session));
}

#[test]
fn a_second_connection_with_a_good_open_loses_against_the_session() {
    let mut probe = Probe::new();
    let session = probe.establish();
    let second = probe.call().expect("a place is free");
    probe.say(second, &Message::Open(peer_open()));
    let collision = Reason::Cease(CeaseSubcode::ConnectionCollision);
    assert_eq!(probe.heard_reason(second), Some(collision));
    assert_eq!(probe.session(), Some(session));
}

#[test]
fn garbage_on_a_second_connection_leaves_the_session_alone() {
    let mut probe = Probe::new();
    let session = probe.establish();
    probe.say(session, &announcement(&["10.0.0.0/8"], &[64513]));
    for garbage in [
        &[0_u8; 19][..],
        &[0xFF; 300],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let second = probe.call().expect("a place is free");
        probe.say_octets(second, Bytes::copy_from_slice(garbage));
        assert!(matches!(
            probe.heard_reason(second),
            Some(Reason::Header(_))
        ));
        assert!(probe.closed.contains(&second));
        assert_eq!(probe.session(), Some(session));
    }
    assert!(probe.heard_reason(session).is_none());
    assert_eq!(probe.speaker.received(PEER, V4).len(), 1);
    probe.pass_alive(session, Duration::from_secs(600));
    assert_eq!(probe.session(), Some(session));
    assert_eq!(probe.calls_in_all, 1);
}

#[test]
fn a_third_connection_is_refused() {
    let mut probe = Probe::new();
    probe.call().expect("one place is free beside our own call");
    assert_eq!(probe.call(), Err(Refused::NotNow(address(1))));
}

#[test]
fn two_connections_without_a_word_do_not_keep_us_from_calling() {
    let mut probe = Probe::new();
    probe.refuse_call();
    let older = probe.call().expect("a place is free");
    let newer = probe.call().expect("a second place is free");
    assert!(probe.wait_for_call(SECOND) <= SECOND);
    assert!(probe.closed.contains(&older) && !probe.closed.contains(&newer));
    let session = probe.establish();
    probe.pass_alive(session, Duration::from_secs(600));
    assert_eq!(probe.session(), Some(session));
    assert_eq!(probe.calls_in_all, 2);
}

#[test]
fn what_comes_for_stale_connections_and_garbage_beside_a_handshake_change_nothing() {
    let mut probe = Probe::new();
    let session = probe.answer_call();
    probe.say(session, &Message::Open(peer_open()));
    let mut stale = vec![];
    for _ in 0..50 {
        let other = probe.call().expect("the last one is gone");
        probe.say_octets(other, Bytes::from_static(&[0; 19]));
        stale.push(other);
    }
    for connection in stale {
        probe.say_octets(connection, Bytes::from_static(&[0; 19]));
        let octets = usize::MAX;
        probe.input(Input::Written { connection, octets });
        probe.hang_up(connection);
    }
    probe.say(session, &Message::Keepalive);
    assert_eq!(probe.session(), Some(session));
    assert_eq!(probe.calls_in_all, 1);
}

#[test]
fn a_tick_at_the_deadline_always_moves_the_deadline() {
    let mut probe = Probe::new();
    probe.establish();
    for _ in 0..1000 {
        let due = probe.speaker.next_deadline().expect("something is due");
        assert!(due > probe.now);
        probe.now = due;
        probe.input(Input::Tick);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn simultaneous_opens_converge_to_exactly_one_session(
        seed in any::<u64>(),
        latency in 0_u64..200,
        ids in prop_oneof![Just((21_u8, 1_u8)), Just((1, 21)), Just((7, 7))],
    ) {
        let mut network = pair(seed, Duration::from_millis(latency), ids.0, ids.1);
        start_both(&mut network);
        network.input(LEFT, Input::Originate(origination("10.0.0.1/32")));
        network.run_until(Duration::from_secs(60), "both are established", both_established);
        network.run(Duration::from_secs(10));
        prop_assert!(both_established(&network));
        prop_assert_eq!(network.open_links(), 1);
        let ends = [LEFT, RIGHT].map(|node| network.ended(node, PEER).len());
        network.run(Duration::from_secs(1000));
        prop_assert_eq!(ends, [LEFT, RIGHT].map(|node| network.ended(node, PEER).len()));
        prop_assert_eq!(received(&network, RIGHT), ["10.0.0.1/32"]);
    }

    #[test]
    fn restarts_at_any_moment_end_in_one_session(
        seed in any::<u64>(),
        moments in proptest::collection::vec((0_usize..2, 0_u64..3000), 1..6),
    ) {
        let mut network = pair(seed, Duration::from_millis(100), 21, 1);
        start_both(&mut network);
        for (node, wait) in moments {
            network.run(Duration::from_millis(wait));
            network.kill(node);
            network.run(Duration::from_millis(wait / 2));
            network.revive(node);
        }
        network.run_until(Duration::from_secs(200), "both are established", both_established);
        network.run(Duration::from_secs(200));
        prop_assert!(both_established(&network));
        prop_assert_eq!(network.open_links(), 1);
    }
}
