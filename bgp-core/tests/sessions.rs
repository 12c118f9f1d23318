//! Sessions: speakers against speakers on in-memory links, and one speaker against a peer played by hand.

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp_core::attribute::NextHop;
use bgp_core::capability::{Capability, GracefulRestart};
use bgp_core::fsm::StateName;
use bgp_core::message::{Message, Notification, RefreshKind, RouteRefresh, Update};
use bgp_core::peer::{ConnectionId, DownReason, PeerConfig, Shutdown};
use bgp_core::rib::Origination;
use bgp_core::speaker::{Event, PeerId, PeerSettings, Refused};
use bgp_core::types::{CeaseSubcode, FsmSubcode, HeaderSubcode, OpenSubcode, Reason};
use bgp_core::{Asn, Family, HoldTime, Input, Nlri, Policy, Prefix, Speaker, SpeakerConfig};
use bytes::Bytes;

use support::network::{LEFT, Network, RIGHT, both_established, pair, received, start_both};
use support::probe::{
    CONTROL, OUR_IPV6, PEER, Probe, announcement, open_of, peer_context, peer_open, withdrawal,
};
use support::{
    LEFT_AS, RIGHT_AS, address, hold, open_settings, origination, prefix, settings, speaker_config,
};

const V4: Family = Family::IPV4_UNICAST;
const SECOND: Duration = Duration::from_secs(1);

fn established_pair(settle: impl Fn(&mut PeerSettings)) -> Network {
    let mut network = pair(1, Duration::from_millis(1), 21, 1);
    let mut left = open_settings(1, RIGHT_AS);
    let mut right = open_settings(21, LEFT_AS);
    settle(&mut left);
    settle(&mut right);
    right.session.passive = true;
    network.set_peer(RIGHT, PEER, right);
    network.set_peer(LEFT, PEER, left);
    network.run_until(SECOND, "both are established", both_established);
    network
}

fn is_cease(reason: &DownReason, subcode: CeaseSubcode) -> bool {
    match reason {
        DownReason::Sent(notification) | DownReason::Received(notification) => {
            notification.reason == Reason::Cease(subcode)
        }
        _ => false,
    }
}

#[test]
fn the_first_call_is_made_at_once_and_nothing_in_the_core_waits() {
    let mut network = pair(1, Duration::ZERO, 21, 1);
    let mut passive = open_settings(21, LEFT_AS);
    passive.session.passive = true;
    network.set_peer(RIGHT, PEER, passive);
    network.set_peer(LEFT, PEER, open_settings(1, RIGHT_AS));
    network.run(Duration::ZERO);
    assert!(both_established(&network));
}

#[test]
fn routes_originated_before_the_peers_are_sent_first_and_then_end_of_rib() {
    let mut network = pair(1, Duration::from_millis(1), 21, 1);
    network.input(LEFT, Input::Originate(origination("192.168.10.224/32")));
    network.input(LEFT, Input::Originate(origination("2001:db8::224/128")));
    start_both(&mut network);
    network.run(SECOND);
    assert_eq!(received(&network, RIGHT), ["192.168.10.224/32"]);
    let events = network.nodes[RIGHT].events.iter().map(|(_, event)| event);
    let routes: Vec<&Event> = events
        .filter(|event| matches!(event, Event::RoutesReceived { .. } | Event::EndOfRib(_)))
        .collect();
    let end = routes
        .iter()
        .position(|event| **event == Event::EndOfRib(V4));
    let first = routes.iter().position(|event| matches!(event, Event::RoutesReceived { announced, .. } if announced.contains(&prefix("192.168.10.224/32"))));
    assert!(
        first.expect("announced") < end.expect("ended"),
        "{routes:?}"
    );
}

#[test]
fn a_withdrawn_route_leaves_the_peer() {
    let mut network = established_pair(|_| {});
    network.input(LEFT, Input::Originate(origination("10.0.0.1/32")));
    network.run(SECOND);
    assert_eq!(received(&network, RIGHT), ["10.0.0.1/32"]);
    assert_eq!(network.nodes[LEFT].speaker.advertised(PEER, V4).len(), 1);
    network.input(LEFT, Input::WithdrawOrigination(prefix("10.0.0.1/32")));
    network.run(SECOND);
    assert!(received(&network, RIGHT).is_empty());
    assert!(network.nodes[LEFT].speaker.advertised(PEER, V4).is_empty());
}

#[test]
fn a_killed_speaker_comes_back_and_its_routes_with_it() {
    let mut network = established_pair(|_| {});
    network.input(LEFT, Input::Originate(origination("10.0.0.1/32")));
    network.run(Duration::from_secs(20));
    network.kill(RIGHT);
    network.run(SECOND);
    assert_eq!(
        network.ended(LEFT, PEER),
        [DownReason::ConnectionLost("closed by peer".into())]
    );
    network.revive(RIGHT);
    network.run_until(
        Duration::from_secs(5),
        "the session is back",
        both_established,
    );
    network.run(SECOND);
    assert_eq!(received(&network, RIGHT), ["10.0.0.1/32"]);
}

#[test]
fn the_routes_of_a_lost_peer_go() {
    let mut network = established_pair(|_| {});
    network.input(RIGHT, Input::Originate(origination("10.0.0.1/32")));
    network.run(SECOND);
    assert_eq!(network.nodes[LEFT].speaker.loc_rib(V4).len(), 1);
    network.kill(RIGHT);
    network.run(SECOND);
    assert!(received(&network, LEFT).is_empty());
    assert!(network.nodes[LEFT].speaker.loc_rib(V4).is_empty());
}

#[test]
fn a_cable_that_is_pulled_ends_the_session_after_the_hold_time() {
    let mut network = established_pair(|settings| settings.session.hold_time = hold(9));
    network.cut_all();
    network.run(Duration::from_secs(5));
    assert!(both_established(&network));
    network.run(Duration::from_secs(5));
    for node in [LEFT, RIGHT] {
        let ended = network.ended(node, PEER);
        assert!(
            matches!(&ended[..], [DownReason::Sent(sent)] if sent.reason == Reason::HoldTimerExpired),
            "{ended:?}"
        );
    }
    // The cable is back for new connections.
    network.run_until(
        Duration::from_secs(30),
        "the session is back",
        both_established,
    );
}

#[test]
fn the_lower_hold_time_counts_on_both_sides() {
    let mut network = pair(1, Duration::from_millis(1), 21, 1);
    let mut short = open_settings(1, RIGHT_AS);
    short.session.hold_time = hold(3);
    network.set_peer(LEFT, PEER, short);
    network.set_peer(RIGHT, PEER, open_settings(21, LEFT_AS));
    network.run(SECOND);
    for node in [LEFT, RIGHT] {
        let session = network.nodes[node].speaker.peers()[0]
            .session
            .clone()
            .expect("a session");
        assert_eq!(session.hold_time, hold(3));
        assert_eq!(session.keepalive, SECOND);
    }
    network.run(Duration::from_secs(3600));
    assert!(network.ended(LEFT, PEER).is_empty());
}

#[test]
fn a_session_with_hold_time_zero_stays_up_in_silence() {
    let mut network = established_pair(|settings| settings.session.hold_time = HoldTime::ZERO);
    assert_eq!(network.nodes[LEFT].speaker.next_deadline(), None);
    network.run(Duration::from_secs(86_400));
    assert!(both_established(&network));
}

#[test]
fn an_idle_session_lives_for_a_day() {
    let mut network = established_pair(|_| {});
    network.run(Duration::from_secs(86_400));
    assert!(both_established(&network));
    assert!(network.ended(LEFT, PEER).is_empty());
    assert_eq!(network.nodes[LEFT].calls, 1);
}

#[test]
fn a_peer_that_is_removed_is_told_why() {
    let mut network = established_pair(|_| {});
    let shutdown = Shutdown::Cease(CeaseSubcode::PeerDeconfigured, String::new());
    network.input(LEFT, Input::RemovePeer(PEER, shutdown));
    network.run(SECOND);
    let ended = network.ended(RIGHT, PEER);
    assert!(
        is_cease(&ended[0], CeaseSubcode::PeerDeconfigured),
        "{ended:?}"
    );
    assert_eq!(network.open_links(), 0);
    assert!(network.nodes[LEFT].speaker.peers().is_empty());
}

#[test]
fn a_stopped_speaker_says_its_text_and_takes_no_connection_until_it_is_started_anew() {
    let mut network = established_pair(|_| {});
    let text = "maintenance until six";
    let shutdown = Shutdown::Cease(CeaseSubcode::AdministrativeShutdown, text.to_owned());
    network.input(LEFT, Input::Stop(shutdown));
    network.run(SECOND);
    assert_eq!(network.state(LEFT, PEER), StateName::Idle);
    let ended = network.ended(RIGHT, PEER);
    let DownReason::Received(notification) = &ended[0] else {
        panic!("{ended:?}")
    };
    assert_eq!(notification.communication().as_deref(), Some(text));
    network.run(Duration::from_secs(600));
    assert_eq!(network.state(LEFT, PEER), StateName::Idle);
    network.kill(LEFT);
    network.revive(LEFT);
    network.run_until(SECOND, "both are established", both_established);
}

#[test]
fn a_silent_stop_sends_no_notification() {
    let mut network = established_pair(|_| {});
    network.input(LEFT, Input::Stop(Shutdown::Silent));
    network.run(SECOND);
    assert_eq!(
        network.ended(RIGHT, PEER),
        [DownReason::ConnectionLost("closed by peer".into())]
    );
}

#[test]
fn what_one_peer_teaches_goes_to_others_only_in_transit() {
    for transit in [false, true] {
        let mut network = Network::new(1, Duration::from_millis(1));
        let middle = SpeakerConfig {
            transit,
            ..speaker_config(Asn(64510), 9, 1)
        };
        network.add(21, speaker_config(LEFT_AS, 21, 1));
        network.add(1, speaker_config(RIGHT_AS, 1, 2));
        let center = network.add(9, middle);
        network.set_peer(center, PeerId(21), open_settings(21, LEFT_AS));
        network.set_peer(center, PeerId(1), open_settings(1, RIGHT_AS));
        network.set_peer(LEFT, PEER, open_settings(9, Asn(64510)));
        network.set_peer(RIGHT, PEER, open_settings(9, Asn(64510)));
        network.input(LEFT, Input::Originate(origination("10.0.0.1/32")));
        network.run(Duration::from_secs(2));
        assert_eq!(network.nodes[center].speaker.loc_rib(V4).len(), 1);
        let learned = network.nodes[RIGHT].speaker.received(PEER, V4);
        assert_eq!(learned.len(), usize::from(transit));
        if transit {
            let path = learned[0].attributes.as_path.to_string();
            assert_eq!(path, "64510 64512");
            network.kill(LEFT);
            network.run(SECOND);
            assert!(received(&network, RIGHT).is_empty());
        }
    }
}

#[test]
fn a_change_of_timers_makes_a_new_session_at_once() {
    let mut network = established_pair(|_| {});
    let mut changed = open_settings(1, RIGHT_AS);
    changed.session.hold_time = hold(30);
    network.set_peer(LEFT, PEER, changed);
    network.run_until(SECOND, "the session is back", both_established);
    let ended = network.ended(RIGHT, PEER);
    assert!(
        is_cease(&ended[0], CeaseSubcode::OtherConfigurationChange),
        "{ended:?}"
    );
    let session = network.nodes[RIGHT].speaker.peers()[0]
        .session
        .clone()
        .expect("a session");
    assert_eq!(session.hold_time, hold(30));
}

#[test]
fn changes_that_need_no_new_session_make_none() {
    let mut network = established_pair(|_| {});
    network.input(LEFT, Input::Originate(origination("10.0.0.1/32")));
    network.run(SECOND);
    let mut changed = open_settings(1, RIGHT_AS);
    changed.session.connect_retry = Duration::from_secs(5);
    changed.export = std::sync::Arc::new(Policy::reject_all());
    network.set_peer(LEFT, PEER, changed);
    network.run(SECOND);
    assert!(network.ended(RIGHT, PEER).is_empty());
    assert!(received(&network, RIGHT).is_empty());
}

#[test]
fn another_import_policy_judges_what_was_received() {
    let mut network = established_pair(|_| {});
    network.input(RIGHT, Input::Originate(origination("10.0.0.1/32")));
    network.run(SECOND);
    let counts = |network: &Network| network.nodes[LEFT].speaker.peers()[0].counts[0].1;
    assert_eq!(
        (counts(&network).received, counts(&network).accepted),
        (1, 1)
    );
    let mut changed = open_settings(1, RIGHT_AS);
    changed.import = std::sync::Arc::new(Policy::reject_all());
    network.set_peer(LEFT, PEER, changed);
    assert_eq!(
        (counts(&network).received, counts(&network).accepted),
        (1, 0)
    );
    assert!(network.nodes[LEFT].speaker.loc_rib(V4).is_empty());
    network.set_peer(LEFT, PEER, open_settings(1, RIGHT_AS));
    assert_eq!(
        network.nodes[LEFT]
            .speaker
            .candidates(prefix("10.0.0.1/32"))
            .len(),
        1
    );
}

#[test]
fn a_stranger_is_refused() {
    let mut probe = Probe::new();
    let stranger = std::net::SocketAddr::new(address(77), 40_000);
    let local = std::net::SocketAddr::new(address(21), 179);
    let refused = probe.speaker.accept(probe.now, local, stranger);
    assert_eq!(refused, Err(Refused::UnknownPeer(address(77))));
}

#[test]
fn a_wrong_as_is_refused_and_not_hammered() {
    let mut probe = Probe::new();
    let mut refused = 0;
    while probe.now < probe.start + Duration::from_secs(600) {
        probe.wait_for_call(Duration::from_secs(120));
        let connection = probe.answer_call();
        probe.say(connection, &Message::Open(open_of(Asn(64999), 1)));
        assert_eq!(
            probe.heard_reason(connection),
            Some(Reason::Open(OpenSubcode::BadPeerAs))
        );
        assert!(probe.closed.contains(&connection));
        refused += 1;
    }
    assert!(
        (6..20).contains(&refused),
        "{refused} attempts in ten minutes"
    );
}

#[test]
fn our_own_identifier_inside_our_as_is_refused() {
    let mut probe = Probe::with(open_settings(1, LEFT_AS));
    let connection = probe.answer_call();
    probe.say(connection, &Message::Open(open_of(LEFT_AS, 21)));
    assert_eq!(
        probe.heard_reason(connection),
        Some(Reason::Open(OpenSubcode::BadBgpIdentifier))
    );
}

#[test]
fn a_peer_that_closes_after_our_open_is_not_hammered() {
    let mut probe = Probe::new();
    while probe.now < probe.start + Duration::from_secs(600) {
        probe.wait_for_call(Duration::from_secs(120));
        let connection = probe.answer_call();
        assert!(matches!(probe.heard(connection)[..], [Message::Open(_)]));
        probe.hang_up(connection);
    }
    assert!(
        (8..20).contains(&probe.calls_in_all),
        "{}",
        probe.calls_in_all
    );
}

#[test]
fn a_refused_call_is_repeated_soon_and_then_less_often() {
    let mut probe = Probe::new();
    probe.refuse_call();
    assert!(probe.wait_for_call(Duration::from_secs(5)) <= SECOND);
    for _ in 0..20 {
        probe.refuse_call();
        assert!(probe.wait_for_call(Duration::from_secs(120)) >= SECOND);
    }
}

#[test]
fn a_call_that_nobody_answers_is_given_up_reported_and_made_anew() {
    let mut probe = Probe::new();
    let first = probe.calls[0];
    probe.pass(Duration::from_secs(10));
    assert!(probe.closed.contains(&first));
    assert_eq!(
        probe.last_down(),
        Some(DownReason::ConnectFailed("no answer".into()))
    );
    assert_eq!(probe.calls.len(), 1);
    let session = probe.establish();
    assert_eq!(probe.session(), Some(session));
}

#[test]
fn ipv4_endpoints_in_ipv6_form_are_ipv4_endpoints() {
    let mut probe = Probe::new();
    let mapped = |last: u8, port| {
        let address = format!("[::ffff:192.168.10.{last}]:{port}");
        address.parse().expect("an address")
    };
    probe
        .speaker
        .accept(probe.now, mapped(21, 179), mapped(1, 40_000))
        .expect("known");
    let connection = ConnectionId(2);
    probe.finish(connection);
    let session = probe.speaker.peers()[0].session.clone().expect("a session");
    assert_eq!(session.local.ip(), address(21));
    assert_eq!(session.remote.ip(), address(1));
}

#[test]
fn why_a_route_is_sent_or_not_can_be_asked() {
    let mut probe = Probe::new();
    probe.input(Input::Originate(origination("10.0.0.1/32")));
    let asked = prefix("10.0.0.1/32");
    assert!(probe.speaker.explain(PEER, asked).is_none());
    probe.establish();
    assert!(matches!(probe.speaker.explain(PEER, asked), Some(Ok(_))));
    let mut closed = open_settings(1, RIGHT_AS);
    closed.export = std::sync::Arc::new(Policy::reject_all());
    probe.input(Input::SetPeer(PEER, closed));
    assert!(matches!(probe.speaker.explain(PEER, asked), Some(Err(_))));
    assert!(probe.speaker.unsent(PEER).is_empty());
}

#[test]
fn a_peer_that_knows_no_capabilities_gets_an_open_without_any() {
    let mut probe = Probe::new();
    let connection = probe.answer_call();
    assert!(
        matches!(&probe.heard(connection)[..], [Message::Open(open)] if !open.capabilities.is_empty())
    );
    let reason = Reason::Open(OpenSubcode::UnsupportedOptionalParameter);
    probe.say(
        connection,
        &Message::Notification(Notification {
            reason,
            data: Bytes::new(),
        }),
    );
    let connection = probe.answer_call();
    assert!(
        matches!(&probe.heard(connection)[..], [Message::Open(open)] if open.capabilities.is_empty())
    );
}

#[test]
fn a_notification_is_never_answered() {
    let mut probe = Probe::new();
    let connection = probe.establish();
    probe.heard(connection);
    let received = Notification {
        reason: Reason::Cease(CeaseSubcode::AdministrativeReset),
        data: Bytes::new(),
    };
    probe.say(connection, &Message::Notification(received.clone()));
    assert!(probe.heard(connection).is_empty());
    assert!(probe.closed.contains(&connection));
    assert_eq!(probe.last_down(), Some(DownReason::Received(received)));
}

#[test]
fn messages_out_of_turn_end_the_connection_with_the_code_of_the_state() {
    let mut probe = Probe::new();
    let connection = probe.answer_call();
    probe.say(connection, &Message::Keepalive);
    assert_eq!(
        probe.heard_reason(connection),
        Some(Reason::Fsm(FsmSubcode::OpenSent))
    );

    let mut probe = Probe::new();
    let connection = probe.answer_call();
    probe.say(connection, &Message::Open(peer_open()));
    probe.say(connection, &Message::Update(Update::empty()));
    assert_eq!(
        probe.heard_reason(connection),
        Some(Reason::Fsm(FsmSubcode::OpenConfirm))
    );

    let mut probe = Probe::new();
    let connection = probe.establish();
    probe.say(connection, &Message::Open(peer_open()));
    assert_eq!(
        probe.heard_reason(connection),
        Some(Reason::Fsm(FsmSubcode::Established))
    );
}

#[test]
fn an_ipv6_session_carries_both_families_with_its_own_address_as_next_hop() {
    let remote: std::net::Ipv6Addr = "2001:db8::1".parse().expect("an address");
    let mut probe = Probe::with(settings(PeerConfig::new(remote.into(), RIGHT_AS)));
    probe.input(Input::Originate(origination("2001:db8:5::224/128")));
    probe.input(Input::Originate(origination("10.0.0.1/32")));
    let session = probe.answer_call();
    let mut open = peer_open();
    let tuple = (V4, bgp_core::types::Afi::IPV6);
    open.capabilities
        .push(Capability::ExtendedNextHop(vec![tuple]));
    probe.say(session, &Message::Open(open));
    probe.say(session, &Message::Keepalive);
    let heard = probe.heard(session);
    let reached: Vec<String> = heard
        .iter()
        .filter_map(|message| match message {
            Message::Update(update) => update.mp_reach.as_ref(),
            _ => None,
        })
        .map(|reach| {
            assert_eq!(reach.next_hop, NextHop::V6(OUR_IPV6));
            reach
                .nlri
                .iter()
                .map(|nlri| nlri.prefix.to_string())
                .collect()
        })
        .collect();
    assert_eq!(reached.len(), 2, "{heard:?}");
    assert!(reached.contains(&"10.0.0.1/32".to_owned()));
    assert!(reached.contains(&"2001:db8:5::224/128".to_owned()));
}

#[test]
fn that_we_restarted_is_said_until_the_first_session_stands() {
    let restart = GracefulRestart {
        restarting: true,
        restart_time: 120,
        ..GracefulRestart::default()
    };
    let mut ours = open_settings(1, RIGHT_AS);
    ours.session.graceful_restart = Some(restart);
    let mut probe = Probe::with(ours);
    for restarting in [true, false] {
        let connection = probe.answer_call();
        let heard = probe.heard(connection);
        let Message::Open(open) = &heard[0] else {
            panic!("{heard:?}")
        };
        let said = open.capabilities.iter().any(|capability| {
            matches!(capability, Capability::GracefulRestart(restart) if restart.restarting)
        });
        assert_eq!(said, restarting);
        probe.finish(connection);
        probe.hang_up(connection);
        probe.wait_for_call(SECOND);
    }
}

#[test]
fn a_farewell_takes_our_routes_along_where_a_plain_cease_would_not() {
    for (notification, said) in [
        (false, CeaseSubcode::PeerDeconfigured),
        (true, CeaseSubcode::HardReset),
    ] {
        let restart = GracefulRestart {
            notification,
            restart_time: 120,
            ..GracefulRestart::default()
        };
        let mut ours = open_settings(1, RIGHT_AS);
        ours.session.graceful_restart = Some(restart.clone());
        let mut probe = Probe::with(ours);
        let session = probe.answer_call();
        let mut open = peer_open();
        open.capabilities.push(Capability::GracefulRestart(restart));
        probe.say(session, &Message::Open(open));
        probe.say(session, &Message::Keepalive);
        let shutdown = Shutdown::Cease(CeaseSubcode::PeerDeconfigured, String::new());
        probe.input(Input::RemovePeer(PEER, shutdown));
        assert_eq!(probe.heard_reason(session), Some(Reason::Cease(said)));
    }
}

#[test]
fn a_route_refresh_brings_everything_again_between_its_marks() {
    let mut probe = Probe::new();
    probe.input(Input::Originate(origination("10.0.0.1/32")));
    let session = probe.establish();
    probe.heard(session);
    let refresh = |kind| Message::RouteRefresh(RouteRefresh { family: V4, kind });
    probe.say(session, &refresh(RefreshKind::Request));
    let heard = probe.heard(session);
    assert_eq!(heard.first(), Some(&refresh(RefreshKind::Begin)));
    assert_eq!(heard.last(), Some(&refresh(RefreshKind::End)));
    let Message::Update(update) = &heard[1] else {
        panic!("{heard:?}")
    };
    assert_eq!(
        update.announced.iter().next().map(|nlri| nlri.prefix),
        Some(prefix("10.0.0.1/32"))
    );
}

#[test]
fn what_a_refresh_does_not_bring_again_is_gone() {
    let mut probe = Probe::new();
    let session = probe.establish();
    probe.say(
        session,
        &announcement(&["10.0.0.0/24", "10.0.1.0/24"], &[64513]),
    );
    let refresh = |kind| Message::RouteRefresh(RouteRefresh { family: V4, kind });
    probe.say(session, &refresh(RefreshKind::Begin));
    probe.say(session, &announcement(&["10.0.1.0/24"], &[64513]));
    assert_eq!(probe.speaker.received(PEER, V4).len(), 2);
    probe.say(session, &refresh(RefreshKind::End));
    let left = probe.speaker.received(PEER, V4);
    assert_eq!(
        left.iter().map(|route| route.prefix).collect::<Vec<_>>(),
        [prefix("10.0.1.0/24")]
    );
}

#[test]
fn too_many_routes_end_the_session_for_a_while() {
    let mut ours = open_settings(1, RIGHT_AS);
    ours.max_prefixes = Some(2);
    let mut probe = Probe::with(ours);
    let session = probe.establish();
    probe.say(
        session,
        &announcement(&["10.0.0.0/24", "10.0.1.0/24"], &[64513]),
    );
    assert_eq!(probe.session(), Some(session));
    probe.say(session, &announcement(&["10.0.2.0/24"], &[64513]));
    assert_eq!(
        probe.heard_reason(session),
        Some(Reason::Cease(CeaseSubcode::MaximumPrefixes))
    );
    assert!(probe.speaker.received(PEER, V4).is_empty());
    assert_eq!(probe.call(), Err(Refused::NotNow(address(1))));
    assert!(probe.wait_for_call(Duration::from_secs(120)) >= Duration::from_secs(90));
    probe.establish();
}

#[test]
fn withdrawals_and_announcements_are_counted_and_told() {
    let mut probe = Probe::new();
    let session = probe.establish();
    probe.events.clear();
    probe.say(
        session,
        &announcement(&["10.0.0.0/24", "10.0.1.0/24"], &[64513]),
    );
    probe.say(session, &withdrawal(&["10.0.0.0/24", "10.9.9.0/24"]));
    let changes: Vec<Event> = probe.events.drain(..).collect();
    assert_eq!(
        changes,
        [
            Event::RoutesReceived {
                announced: vec![prefix("10.0.0.0/24"), prefix("10.0.1.0/24")],
                withdrawn: vec![],
            },
            Event::RoutesReceived {
                announced: vec![],
                withdrawn: vec![prefix("10.0.0.0/24")]
            },
        ]
    );
    assert_eq!(probe.speaker.peers()[0].counts[0].1.received, 1);
}

#[test]
fn a_route_with_our_own_as_is_kept_and_not_used() {
    let mut probe = Probe::new();
    let session = probe.establish();
    probe.say(session, &announcement(&["10.0.0.0/24"], &[64513, 64512]));
    let counts = probe.speaker.peers()[0].counts[0].1;
    assert_eq!((counts.received, counts.accepted), (1, 0));
    assert!(probe.speaker.loc_rib(V4).is_empty());
}

#[test]
fn a_path_that_does_not_start_with_the_neighbour_withdraws_the_route() {
    let mut probe = Probe::new();
    let session = probe.establish();
    probe.say(session, &announcement(&["10.0.0.0/24"], &[64513]));
    probe.say(session, &announcement(&["10.0.0.0/24"], &[65000]));
    assert!(probe.speaker.received(PEER, V4).is_empty());
    assert!(
        probe
            .events
            .iter()
            .any(|event| matches!(event, Event::Fault(_)))
    );
    assert_eq!(probe.session(), Some(session));

    let mut tolerant = PeerConfig::new(address(1), RIGHT_AS);
    tolerant.enforce_first_as = false;
    let mut probe = Probe::with(settings(tolerant));
    let session = probe.establish();
    probe.say(session, &announcement(&["10.0.0.0/24"], &[65000]));
    assert_eq!(probe.speaker.received(PEER, V4).len(), 1);
}

#[test]
fn our_own_route_goes_out_whatever_a_peer_says_about_the_prefix() {
    let mut probe = Probe::with(open_settings(1, LEFT_AS));
    probe.input(Input::Originate(origination("10.0.0.1/32")));
    let session = probe.answer_call();
    probe.say(session, &Message::Open(open_of(LEFT_AS, 1)));
    probe.say(session, &Message::Keepalive);
    let Message::Update(mut update) = announcement(&["10.0.0.1/32"], &[]) else {
        unreachable!()
    };
    update.attributes.as_mut().expect("attributes").local_pref = Some(500);
    let octets = Message::Update(update)
        .encode(&bgp_core::message::WireContext {
            external: false,
            ..peer_context()
        })
        .expect("it fits");
    probe.say_octets(session, octets);
    assert_eq!(probe.speaker.candidates(prefix("10.0.0.1/32")).len(), 2);
    assert_eq!(probe.speaker.advertised(PEER, V4).len(), 1);
}

#[test]
fn a_peer_that_never_reads_costs_a_bounded_amount_and_is_given_up() {
    let mut probe = Probe::new();
    for third in 0..=255 {
        for fourth in (0..=255).step_by(4) {
            let route = origination(&format!("10.0.{third}.{fourth}/32"));
            probe.input(Input::Originate(route));
        }
    }
    probe.reads = false;
    let session = probe.establish();
    let most = Speaker::SEND_WINDOW + 65_535 + CONTROL;
    for _ in 0..47 {
        probe.pass_alive(session, Duration::from_secs(10));
        assert!(
            probe.outstanding[&session] <= most,
            "{}",
            probe.outstanding[&session]
        );
        assert_eq!(probe.session(), Some(session));
    }
    probe.pass_alive(session, Duration::from_secs(20));
    assert_eq!(probe.session(), None);
    assert_eq!(
        probe.heard_reason(session),
        Some(Reason::SendHoldTimerExpired)
    );
}

#[test]
fn keepalives_go_out_while_updates_wait_and_never_pile_up() {
    let mut probe = Probe::new();
    probe.reads = false;
    let session = probe.establish();
    probe.heard(session);
    probe.pass_alive(session, Duration::from_secs(400));
    let heard = probe.heard(session);
    // The one of OpenConfirm has not been read either.
    assert!(heard.is_empty(), "{heard:?}");
    let octets = probe.outstanding[&session];
    probe.input(Input::Written {
        connection: session,
        octets,
    });
    probe.pass_alive(session, Duration::from_secs(60));
    assert_eq!(probe.heard(session), [Message::Keepalive]);
}

#[test]
fn octets_in_pieces_mean_the_same() {
    let mut probe = Probe::new();
    let connection = probe.answer_call();
    let mut octets = vec![];
    for message in [
        Message::Open(peer_open()),
        Message::Keepalive,
        announcement(&["10.0.0.0/24"], &[64513]),
    ] {
        octets.extend_from_slice(&message.encode(&peer_context()).expect("it fits"));
    }
    for octet in octets {
        probe.say_octets(connection, Bytes::copy_from_slice(&[octet]));
    }
    assert_eq!(probe.session(), Some(connection));
    assert_eq!(probe.speaker.received(PEER, V4).len(), 1);
}

#[test]
fn a_bad_header_in_a_session_ends_it_with_the_header_error() {
    let mut probe = Probe::new();
    let session = probe.establish();
    probe.heard(session);
    probe.say_octets(session, Bytes::from_static(&[0; 19]));
    assert_eq!(
        probe.heard_reason(session),
        Some(Reason::Header(HeaderSubcode::NotSynchronized))
    );
    assert!(probe.wait_for_call(Duration::from_secs(2)) <= SECOND);
}

#[test]
fn inputs_about_connections_that_are_gone_are_ignored() {
    let mut probe = Probe::new();
    let session = probe.establish();
    probe.hang_up(session);
    probe.say(session, &Message::Keepalive);
    probe.hang_up(session);
    probe.input(Input::Written {
        connection: session,
        octets: 1 << 40,
    });
    probe.input(Input::ConnectFailed {
        connection: ConnectionId(999),
        error: String::new(),
    });
    assert_eq!(probe.session(), None);
}

#[test]
fn many_inputs_before_one_drain_go_out_in_few_messages() {
    let mut probe = Probe::new();
    let session = probe.establish();
    probe.heard(session);
    let prefixes: Vec<Prefix> = (0..10_000_u32)
        .map(|index| prefix(&format!("{}/32", Ipv4Addr::from(0xC633_0000 + index))))
        .collect();
    for prefix in &prefixes {
        let origination = Origination {
            prefix: *prefix,
            ..origination("10.0.0.0/32")
        };
        probe
            .speaker
            .handle(probe.now, Input::Originate(origination));
    }
    probe.input(Input::Tick);
    let announced: Vec<usize> = updates(&probe.heard(session))
        .map(|update| update.announced.iter().count())
        .collect();
    assert_eq!(announced.iter().sum::<usize>(), 10_000);
    assert_eq!(probe.speaker.advertised(PEER, V4).len(), 10_000);
    let (_, full) = announced.split_last().expect("messages");
    assert!(full.iter().all(|count| *count >= 800), "{announced:?}");

    for prefix in &prefixes {
        let withdrawal = Input::WithdrawOrigination(*prefix);
        probe.speaker.handle(probe.now, withdrawal);
    }
    // What is taken back before anybody drained is never told.
    let prefix = prefixes[0];
    let origination = Origination {
        prefix,
        ..origination("10.0.0.0/32")
    };
    probe.input(Input::Originate(origination));
    let heard = probe.heard(session);
    let withdrawn: Vec<Nlri> = updates(&heard)
        .flat_map(|update| update.withdrawn.iter())
        .collect();
    assert_eq!(withdrawn.len(), 9_999);
    assert!(!withdrawn.contains(&prefix.into()));
    assert!(updates(&heard).all(|update| update.announced.is_empty()));
}

fn updates(messages: &[Message]) -> impl Iterator<Item = &Update> {
    messages.iter().filter_map(|message| match message {
        Message::Update(update) => Some(update),
        _ => None,
    })
}
