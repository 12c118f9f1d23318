//! Whatever a shell and a peer do in whatever order, nothing panics and nothing grows without bound.

mod support;

use std::time::Duration;

use bgp_core::message::{Message, Notification, RefreshKind, RouteRefresh};
use bgp_core::peer::ConnectionId;
use bgp_core::types::{CeaseSubcode, Reason};
use bgp_core::{Asn, Family, Input, Speaker};
use bytes::Bytes;
use proptest::prelude::*;

use support::probe::{CONTROL, PEER, Probe, announcement, open_of, peer_open, withdrawal};
use support::{RIGHT_AS, hold, open_settings, origination, prefix};

const V4: Family = Family::IPV4_UNICAST;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_panics_and_memory_is_bounded(
        steps in proptest::collection::vec(step(), 1..120),
        reads in any::<bool>(),
    ) {
        let mut probe = Probe::new();
        probe.reads = reads;
        let mut known: Vec<ConnectionId> = probe.calls.clone();
        for step in steps {
            take(&mut probe, &mut known, step);
            let most = Speaker::SEND_WINDOW + 65_535 + CONTROL;
            prop_assert!(probe.outstanding.values().all(|octets| *octets <= most));
            prop_assert!(probe.calls.len() <= 2);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Answer,
    Refuse,
    Call,
    HangUp(usize),
    Say(usize, u8),
    Garbage(usize, Vec<u8>),
    Confirm(usize, usize),
    Wait(u64),
    Originate(u8),
    Withdraw(u8),
    Configure(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Answer),
        1 => Just(Step::Refuse),
        2 => Just(Step::Call),
        1 => any::<usize>().prop_map(Step::HangUp),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(which, what)| Step::Say(which, what)),
        1 => (any::<usize>(), proptest::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(which, octets)| Step::Garbage(which, octets)),
        1 => (any::<usize>(), 0_usize..10_000).prop_map(|(which, octets)| Step::Confirm(which, octets)),
        3 => (0_u64..300).prop_map(Step::Wait),
        2 => any::<u8>().prop_map(Step::Originate),
        1 => any::<u8>().prop_map(Step::Withdraw),
        1 => any::<u8>().prop_map(Step::Configure),
    ]
}

fn take(probe: &mut Probe, known: &mut Vec<ConnectionId>, step: Step) {
    let pick =
        |known: &[ConnectionId], which: usize| known.get(which % known.len().max(1)).copied();
    match step {
        Step::Answer if !probe.calls.is_empty() => known.push(probe.answer_call()),
        Step::Refuse if !probe.calls.is_empty() => probe.refuse_call(),
        Step::Answer | Step::Refuse => {}
        Step::Call => known.extend(probe.call().ok()),
        Step::HangUp(which) => {
            if let Some(connection) = pick(known, which) {
                probe.hang_up(connection);
            }
        }
        Step::Say(which, what) => {
            if let Some(connection) = pick(known, which) {
                probe.say(connection, &message(what));
            }
        }
        Step::Garbage(which, octets) => {
            if let Some(connection) = pick(known, which) {
                probe.say_octets(connection, octets.into());
            }
        }
        Step::Confirm(which, octets) => {
            if let Some(connection) = pick(known, which) {
                probe.input(Input::Written { connection, octets });
                let outstanding = probe.outstanding.entry(connection).or_default();
                *outstanding = outstanding.saturating_sub(octets);
            }
        }
        Step::Wait(seconds) => probe.pass(Duration::from_secs(seconds)),
        Step::Originate(fourth) => {
            for third in 0..200 {
                let route = format!("10.1.{third}.{fourth}/32");
                probe.input(Input::Originate(origination(&route)));
            }
        }
        Step::Withdraw(fourth) => {
            for third in 0..200 {
                let route = format!("10.1.{third}.{fourth}/32");
                probe.input(Input::WithdrawOrigination(prefix(&route)));
            }
        }
        Step::Configure(what) => {
            let mut settings = open_settings(1, RIGHT_AS);
            settings.session.passive = what & 1 != 0;
            settings.session.hold_time = hold(u16::from(what) + 3);
            probe.input(Input::SetPeer(PEER, settings));
        }
    }
}

fn message(what: u8) -> Message {
    let refresh = |kind| Message::RouteRefresh(RouteRefresh { family: V4, kind });
    match what % 12 {
        0..=2 => Message::Open(peer_open()),
        3..=5 => Message::Keepalive,
        6 => announcement(&["10.0.0.0/24", "10.0.1.0/24"], &[64513]),
        7 => withdrawal(&["10.0.0.0/24"]),
        8 => Message::Open(open_of(Asn(64999), 1)),
        9 => refresh(RefreshKind::Request),
        10 => refresh(if what & 64 == 0 {
            RefreshKind::Begin
        } else {
            RefreshKind::End
        }),
        _ => Message::Notification(Notification {
            reason: Reason::Cease(CeaseSubcode::AdministrativeReset),
            data: Bytes::new(),
        }),
    }
}
