//! The whole table of [`transitions`](super::transitions), pair by pair, and the timers.
#![expect(clippy::disallowed_methods, reason = "any instant serves as a start")]

use std::net::Ipv4Addr;

use bytes::Bytes;

use super::StateName::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
use super::*;
use crate::capability::{Capability, GracefulRestart};
use crate::message::{Message, Notification, RefreshKind, RouteRefresh, Update};
use crate::types::{
    Afi, Asn, CeaseSubcode, Family, FsmSubcode, HeaderSubcode, HoldTime, OpenSubcode, Reason,
    RouterId, UpdateSubcode,
};

fn router_id(last: u8) -> RouterId {
    RouterId::new(Ipv4Addr::new(192, 168, 10, last)).expect("not zero")
}

fn offer() -> Offer {
    Offer {
        local_asn: Asn(64512),
        router_id: router_id(21),
        peer_asn: Some(Asn(64513)),
        hold_time: HoldTime::DEFAULT,
        keepalive: None,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        graceful_restart: None,
        extended_message: true,
        extra_capabilities: vec![],
        capabilities: true,
    }
}

/// What the other side of [`offer`] says.
fn their_open() -> Open {
    Offer {
        local_asn: Asn(64513),
        router_id: router_id(1),
        ..offer()
    }
    .open()
}

fn error(reason: Reason) -> ProtocolError {
    ProtocolError {
        reason,
        data: Bytes::new(),
    }
}

fn cease() -> Notification {
    Notification::from(error(Reason::Cease(CeaseSubcode::AdministrativeShutdown)))
}

const CONNECT_RETRY: Duration = Duration::from_secs(120);

fn machine(offer: Offer) -> Fsm {
    Fsm::new(offer, CONNECT_RETRY, 1)
}

/// A machine in that state with nothing left to put out.
fn machine_in(state: StateName, now: Instant) -> Fsm {
    let mut fsm = machine(offer());
    let path = match state {
        Idle => vec![],
        Connect => vec![Input::Start],
        Active => vec![Input::StartPassive],
        OpenSent => vec![Input::Start, Input::Connected],
        OpenConfirm => vec![Input::Start, Input::Connected, open()],
        Established => vec![
            Input::Start,
            Input::Connected,
            open(),
            Input::Received(Message::Keepalive),
        ],
    };
    for input in path {
        fsm.handle(now, input);
    }
    assert_eq!(fsm.state(), state);
    drain(&mut fsm);
    fsm
}

fn open() -> Input {
    Input::Received(Message::Open(their_open()))
}

fn drain(fsm: &mut Fsm) -> Vec<Output> {
    std::iter::from_fn(|| fsm.poll_output()).collect()
}

/// Every kind of input there is. A variant that is missing here fails to compile in [`name`].
fn inputs() -> Vec<Input> {
    let bad_open = Open {
        my_as: 65000,
        capabilities: vec![],
        ..their_open()
    };
    vec![
        Input::Start,
        Input::StartPassive,
        Input::Stop(Some(cease())),
        Input::Stop(None),
        Input::Collision,
        Input::Connected,
        Input::Failed("reset".into()),
        open(),
        Input::Received(Message::Open(bad_open)),
        Input::Received(Message::Notification(cease())),
        Input::Received(Message::Keepalive),
        Input::Received(Message::Update(Update::empty())),
        Input::Received(Message::RouteRefresh(RouteRefresh {
            family: Family::IPV4_UNICAST,
            kind: RefreshKind::Request,
        })),
        Input::Malformed(error(Reason::Header(HeaderSubcode::NotSynchronized))),
        Input::Malformed(error(Reason::Update(UpdateSubcode::MalformedAttributeList))),
        Input::Expired(Timer::ConnectRetry),
        Input::Expired(Timer::Hold),
        Input::Expired(Timer::Keepalive),
        Input::Expired(Timer::SendHold),
        Input::Sent,
        Input::Progress,
    ]
}

fn name(input: &Input) -> &'static str {
    match input {
        Input::Start => "start",
        Input::StartPassive => "start passive",
        Input::Stop(Some(_)) => "stop",
        Input::Stop(None) => "stop silently",
        Input::Collision => "collision",
        Input::Connected => "connected",
        Input::Failed(_) => "failed",
        Input::Received(Message::Open(open)) if *open == their_open() => "open",
        Input::Received(Message::Open(_)) => "bad open",
        Input::Received(Message::Notification(_)) => "notification",
        Input::Received(Message::Keepalive) => "keepalive",
        Input::Received(Message::Update(_)) => "update",
        Input::Received(Message::RouteRefresh(_)) => "refresh",
        Input::Malformed(error) => match error.reason {
            Reason::Header(_) => "bad header",
            _ => "bad update",
        },
        Input::Expired(Timer::ConnectRetry) => "connect retry expires",
        Input::Expired(Timer::Hold) => "hold expires",
        Input::Expired(Timer::Keepalive) => "keepalive expires",
        Input::Expired(Timer::SendHold) => "send hold expires",
        Input::Sent => "sent",
        Input::Progress => "progress",
    }
}

fn words(outputs: &[Output]) -> String {
    let word = |output: &Output| match output {
        Output::Connect => "connect".to_owned(),
        Output::Send(Message::Open(_)) => "OPEN".to_owned(),
        Output::Send(Message::Keepalive) => "KEEPALIVE".to_owned(),
        Output::Send(Message::Notification(sent)) => reason_words(sent.reason),
        Output::Send(message) => format!("{message:?}"),
        Output::Close => "close".to_owned(),
        Output::Established(_) => "established".to_owned(),
        Output::Update(_) | Output::Refresh(_) => "deliver".to_owned(),
        Output::Ended(ending) => match ending {
            Ending::Sent(_) => "ended",
            Ending::Received(_) => "they ended",
            Ending::Lost(_) => "lost",
            Ending::NotConnected(_) => "not connected",
            Ending::Collision => "superfluous",
            Ending::Silent => "stopped",
        }
        .to_owned(),
    };
    outputs.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn reason_words(reason: Reason) -> String {
    match reason {
        Reason::Header(HeaderSubcode::NotSynchronized) => "1/1",
        Reason::Open(OpenSubcode::BadPeerAs) => "2/2",
        Reason::Update(UpdateSubcode::MalformedAttributeList) => "3/1",
        Reason::HoldTimerExpired => "4/0",
        Reason::Fsm(FsmSubcode::OpenSent) => "5/1",
        Reason::Fsm(FsmSubcode::OpenConfirm) => "5/2",
        Reason::Fsm(FsmSubcode::Established) => "5/3",
        Reason::Cease(CeaseSubcode::AdministrativeShutdown) => "6/2",
        Reason::Cease(CeaseSubcode::ConnectionCollision) => "6/7",
        Reason::SendHoldTimerExpired => "8/0",
        other => panic!("unexpected {other:?}"),
    }
    .to_owned()
}

/// Input, and per state the next state with what is put out.
type Row = (&'static str, [(StateName, &'static str); 6]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    //                        in Idle            in Connect                                     in Active                                        in OpenSent                                   in OpenConfirm                                 in Established
    ("start",                 [(Connect, "connect"), (Connect, ""),                              (Active, ""),                                    (OpenSent, ""),                               (OpenConfirm, ""),                             (Established, "")]),
    ("start passive",         [(Active, ""),     (Connect, ""),                                  (Active, ""),                                    (OpenSent, ""),                               (OpenConfirm, ""),                             (Established, "")]),
    ("stop",                  [(Idle, ""),       (Idle, "close, stopped"),                       (Idle, "close, stopped"),                        (Idle, "6/2, close, ended"),                  (Idle, "6/2, close, ended"),                   (Idle, "6/2, close, ended")]),
    ("stop silently",         [(Idle, ""),       (Idle, "close, stopped"),                       (Idle, "close, stopped"),                        (Idle, "close, stopped"),                     (Idle, "close, stopped"),                      (Idle, "close, stopped")]),
    ("collision",             [(Idle, ""),       (Idle, "close, superfluous"),                   (Idle, "close, superfluous"),                    (Idle, "6/7, close, superfluous"),            (Idle, "6/7, close, superfluous"),             (Idle, "6/7, close, superfluous")]),
    ("connected",             [(Idle, ""),       (OpenSent, "OPEN"),                             (OpenSent, "OPEN"),                              (OpenSent, ""),                               (OpenConfirm, ""),                             (Established, "")]),
    ("failed",                [(Idle, ""),       (Idle, "not connected"),                        (Idle, "not connected"),                         (Idle, "lost"),                               (Idle, "lost"),                                (Idle, "lost")]),
    ("open",                  [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (OpenConfirm, "KEEPALIVE"),                   (Idle, "5/2, close, ended"),                   (Idle, "5/3, close, ended")]),
    ("bad open",              [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "2/2, close, ended"),                  (Idle, "5/2, close, ended"),                   (Idle, "5/3, close, ended")]),
    ("notification",          [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "close, they ended"),                  (Idle, "close, they ended"),                   (Idle, "close, they ended")]),
    ("keepalive",             [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "5/1, close, ended"),                  (Established, "established"),                  (Established, "")]),
    ("update",                [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "5/1, close, ended"),                  (Idle, "5/2, close, ended"),                   (Established, "deliver")]),
    ("refresh",               [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "5/1, close, ended"),                  (Idle, "5/2, close, ended"),                   (Established, "deliver")]),
    ("bad header",            [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "1/1, close, ended"),                  (Idle, "1/1, close, ended"),                   (Idle, "1/1, close, ended")]),
    ("bad update",            [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "3/1, close, ended"),                  (Idle, "3/1, close, ended"),                   (Idle, "3/1, close, ended")]),
    ("connect retry expires", [(Idle, ""),       (Connect, "close, connect"),                    (Connect, "connect"),                            (Idle, "5/1, close, ended"),                  (Idle, "5/2, close, ended"),                   (Idle, "5/3, close, ended")]),
    ("hold expires",          [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "4/0, close, ended"),                  (Idle, "4/0, close, ended"),                   (Idle, "4/0, close, ended")]),
    ("keepalive expires",     [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "5/1, close, ended"),                  (OpenConfirm, "KEEPALIVE"),                    (Established, "KEEPALIVE")]),
    ("send hold expires",     [(Idle, ""),       (Idle, "close, not connected"),                 (Idle, "close, not connected"),                  (Idle, "5/1, close, ended"),                  (Idle, "5/2, close, ended"),                   (Idle, "8/0, close, ended")]),
    ("sent",                  [(Idle, ""),       (Connect, ""),                                  (Active, ""),                                    (OpenSent, ""),                               (OpenConfirm, ""),                             (Established, "")]),
    ("progress",              [(Idle, ""),       (Connect, ""),                                  (Active, ""),                                    (OpenSent, ""),                               (OpenConfirm, ""),                             (Established, "")]),
];

const STATES: [StateName; 6] = [Idle, Connect, Active, OpenSent, OpenConfirm, Established];

#[test]
fn every_state_answers_every_input_as_the_table_says() {
    let now = Instant::now();
    assert_eq!(inputs().len(), TABLE.len());
    for (input, (row, cells)) in inputs().into_iter().zip(TABLE) {
        assert_eq!(name(&input), *row);
        for (state, (next, outputs)) in STATES.into_iter().zip(cells) {
            let mut fsm = machine_in(state, now);
            fsm.handle(now, input.clone());
            let told = (fsm.state(), words(&drain(&mut fsm)));
            assert_eq!(told, (*next, (*outputs).to_owned()), "{row} in {state}");
        }
    }
}

#[test]
fn an_idle_machine_has_no_timer_running() {
    let now = Instant::now();
    for state in STATES {
        for input in inputs() {
            let mut fsm = machine_in(state, now);
            fsm.handle(now, input);
            if fsm.state() == Idle {
                assert_eq!(fsm.next_deadline(), None);
            }
        }
    }
}

#[test]
fn a_silent_peer_is_waited_for_four_minutes_before_its_open() {
    let now = Instant::now();
    let mut fsm = machine_in(OpenSent, now);
    fsm.tick(now + Duration::from_secs(239));
    assert_eq!(fsm.state(), OpenSent);
    fsm.tick(now + Duration::from_secs(240));
    assert_eq!(words(&drain(&mut fsm)), "4/0, close, ended");
}

#[test]
fn the_negotiated_hold_time_ends_a_session_that_went_silent() {
    let now = Instant::now();
    let mut fsm = machine_in(Established, now);
    let later = now + Duration::from_secs(60);
    fsm.handle(later, Input::Received(Message::Keepalive));
    fsm.tick(later + Duration::from_secs(89));
    assert_eq!(fsm.state(), Established);
    drain(&mut fsm);
    fsm.tick(later + Duration::from_secs(90));
    assert!(words(&drain(&mut fsm)).ends_with("4/0, close, ended"));
}

#[test]
fn keepalives_go_out_every_third_of_the_hold_time_less_jitter() {
    let mut now = Instant::now();
    let mut fsm = machine_in(Established, now);
    for _ in 0..20 {
        let due = fsm.next_deadline().expect("a keepalive is due");
        let wait = (due - now).as_secs_f64();
        assert!((22.5..=30.0).contains(&wait), "{wait}");
        now = due;
        fsm.tick(now);
        assert_eq!(words(&drain(&mut fsm)), "KEEPALIVE");
        fsm.handle(now, Input::Progress);
        fsm.handle(now, Input::Received(Message::Keepalive));
    }
}

#[test]
fn jitter_never_takes_keepalives_below_one_second() {
    let mut now = Instant::now();
    let short = |mut offer: Offer| {
        offer.hold_time = HoldTime::new(3).expect("three is allowed");
        offer
    };
    let mut fsm = machine(short(offer()));
    fsm.handle(now, Input::Start);
    fsm.handle(now, Input::Connected);
    fsm.handle(now, open());
    fsm.handle(now, Input::Received(Message::Keepalive));
    for _ in 0..20 {
        let due = fsm.next_deadline().expect("a keepalive is due");
        assert_eq!(due - now, Duration::from_secs(1));
        now = due;
        fsm.tick(now);
        fsm.handle(now, Input::Received(Message::Keepalive));
    }
}

#[test]
fn an_update_makes_the_next_keepalive_less_urgent() {
    let now = Instant::now();
    let mut fsm = machine_in(Established, now);
    let later = now + Duration::from_secs(20);
    fsm.handle(later, Input::Sent);
    fsm.tick(now + Duration::from_secs(42));
    assert_eq!(words(&drain(&mut fsm)), "");
}

/// In OpenConfirm, with a peer that wants no hold time.
fn waiting_without_hold_time(now: Instant) -> Fsm {
    let mut fsm = machine(offer());
    fsm.handle(now, Input::Start);
    fsm.handle(now, Input::Connected);
    let open = Open {
        hold_time: HoldTime::ZERO,
        ..their_open()
    };
    fsm.handle(now, Input::Received(Message::Open(open)));
    fsm
}

#[test]
fn a_peer_without_hold_time_that_dies_before_its_keepalive_is_given_up() {
    let now = Instant::now();
    let mut fsm = waiting_without_hold_time(now);
    assert_eq!(fsm.state(), OpenConfirm);
    let due = fsm.next_deadline().expect("the wait is bounded");
    drain(&mut fsm);
    fsm.tick(due);
    assert_eq!(due - now, Duration::from_secs(240));
    assert!(words(&drain(&mut fsm)).contains("4/0, close, ended"));
}

#[test]
fn a_session_with_hold_time_zero_has_no_timers_at_all() {
    let now = Instant::now();
    let mut fsm = waiting_without_hold_time(now);
    fsm.handle(now, Input::Received(Message::Keepalive));
    fsm.handle(now, Input::Sent);
    fsm.handle(now, Input::Progress);
    assert_eq!(fsm.state(), Established);
    assert_eq!(fsm.next_deadline(), None);
}

#[test]
fn a_peer_that_takes_nothing_for_eight_minutes_is_given_up() {
    let start = Instant::now();
    let mut fsm = machine_in(Established, start);
    let progress = start + Duration::from_secs(100);
    let alive = |fsm: &mut Fsm, until: Instant| {
        let mut now = start;
        while now < until && fsm.state() == Established {
            fsm.handle(now, Input::Received(Message::Keepalive));
            fsm.tick(now);
            now += Duration::from_secs(10);
        }
    };
    fsm.handle(progress, Input::Progress);
    alive(&mut fsm, progress + Duration::from_secs(480));
    assert_eq!(fsm.state(), Established);
    drain(&mut fsm);
    fsm.tick(progress + Duration::from_secs(480));
    assert!(words(&drain(&mut fsm)).ends_with("8/0, close, ended"));
}

#[test]
fn an_attempt_to_connect_is_repeated_after_the_connect_retry_time() {
    let now = Instant::now();
    let mut fsm = machine_in(Connect, now);
    let due = fsm.next_deadline().expect("the attempt is bounded");
    let wait = due - now;
    assert!((CONNECT_RETRY * 3 / 4..=CONNECT_RETRY).contains(&wait));
    fsm.tick(due);
    assert_eq!(words(&drain(&mut fsm)), "close, connect");
}

#[test]
fn a_connect_retry_time_of_zero_does_not_spin() {
    let now = Instant::now();
    let mut fsm = Fsm::new(offer(), Duration::ZERO, 1);
    fsm.handle(now, Input::Start);
    assert!(fsm.next_deadline().expect("bounded") > now);
    fsm.tick(now);
    assert_eq!(words(&drain(&mut fsm)), "connect");
}

fn negotiate(ours: Offer, theirs: &Open) -> Result<Negotiated, Reason> {
    ours.negotiate(theirs).map_err(|error| error.reason)
}

#[test]
fn the_lower_hold_time_is_used() {
    let hold = |seconds| HoldTime::new(seconds).expect("valid");
    for (ours, theirs, used, keepalive) in [
        (90, 180, 90, Some(30)),
        (180, 9, 9, Some(3)),
        (3, 90, 3, Some(1)),
        (0, 90, 0, None),
        (90, 0, 0, None),
    ] {
        let ours = Offer {
            hold_time: hold(ours),
            ..offer()
        };
        let theirs = Open {
            hold_time: hold(theirs),
            ..their_open()
        };
        let negotiated = negotiate(ours, &theirs).expect("agreed");
        assert_eq!(negotiated.hold_time, hold(used));
        assert_eq!(negotiated.keepalive, keepalive.map(Duration::from_secs));
    }
}

#[test]
fn a_configured_keepalive_shortens_the_interval_and_never_stretches_it() {
    for (configured, used) in [(10, 10), (60, 30), (0, 1)] {
        let ours = Offer {
            keepalive: Some(Duration::from_secs(configured)),
            ..offer()
        };
        let negotiated = negotiate(ours, &their_open()).expect("agreed");
        assert_eq!(negotiated.keepalive, Some(Duration::from_secs(used)));
    }
}

#[test]
fn a_peer_of_another_as_than_configured_is_refused() {
    let bad = Err(Reason::Open(OpenSubcode::BadPeerAs));
    let expecting = |peer_asn| Offer {
        peer_asn,
        ..offer()
    };
    assert_eq!(negotiate(expecting(Some(Asn(64514))), &their_open()), bad);
    for any in [None, Some(Asn(0))] {
        let negotiated = negotiate(expecting(any), &their_open()).expect("any AS is accepted");
        assert_eq!(negotiated.peer_asn, Asn(64513));
        let zero = Open {
            my_as: 0,
            capabilities: vec![],
            ..their_open()
        };
        assert_eq!(negotiate(expecting(any), &zero), bad);
    }
}

#[test]
fn our_own_identifier_is_refused_inside_the_as_and_tolerated_outside() {
    let mut theirs = their_open();
    theirs.router_id = offer().router_id;
    assert!(negotiate(offer(), &theirs).is_ok());
    let inside = Offer {
        peer_asn: Some(Asn(64512)),
        ..offer()
    };
    let twin = inside.open();
    assert_eq!(
        negotiate(inside, &twin),
        Err(Reason::Open(OpenSubcode::BadBgpIdentifier))
    );
}

#[test]
fn a_peer_without_multiprotocol_speaks_ipv4_unicast_alone() {
    let old = Open {
        capabilities: vec![],
        ..their_open()
    };
    let negotiated = negotiate(offer(), &old).expect("agreed");
    assert_eq!(negotiated.receive.families, [Family::IPV4_UNICAST]);
    assert!(!negotiated.receive.four_octet_as);
    assert!(!negotiated.route_refresh);
    assert_eq!(negotiated.send.max_message, 4096);
    // It may send us long messages all the same: we said that we take them.
    assert_eq!(negotiated.receive.max_message, 65_535);
}

#[test]
fn a_session_without_a_common_family_is_refused() {
    let ours = Offer {
        families: vec![Family::IPV6_UNICAST],
        ..offer()
    };
    let old = Open {
        capabilities: vec![],
        ..their_open()
    };
    assert_eq!(
        negotiate(ours, &old),
        Err(Reason::Open(OpenSubcode::UnsupportedCapability))
    );
}

#[test]
fn without_capabilities_we_speak_ipv4_unicast_alone() {
    let ours = Offer {
        capabilities: false,
        ..offer()
    };
    assert!(ours.open().capabilities.is_empty());
    let negotiated = negotiate(ours, &their_open()).expect("agreed");
    assert_eq!(negotiated.send.families, [Family::IPV4_UNICAST]);
    assert!(!negotiated.send.four_octet_as);
}

#[test]
fn a_large_as_goes_into_the_capability_and_as_trans_into_the_field() {
    let ours = Offer {
        local_asn: Asn(4_200_000_000),
        ..offer()
    };
    assert_eq!(ours.open().my_as, 23456);
    assert_eq!(ours.open().asn(), Asn(4_200_000_000));
}

#[test]
fn what_both_offered_is_agreed() {
    let negotiated = negotiate(offer(), &their_open()).expect("agreed");
    assert!(negotiated.external);
    assert!(negotiated.route_refresh && negotiated.enhanced_route_refresh);
    assert!(negotiated.send.four_octet_as);
    assert_eq!(negotiated.send.max_message, 65_535);
    assert_eq!(negotiated.send.families, offer().families);
    assert_eq!(negotiated.send.extended_next_hop, [Family::IPV4_UNICAST]);
    assert!(negotiated.send.add_path.is_empty());
}

#[test]
fn extended_next_hops_go_to_those_who_said_that_they_take_them() {
    let mut theirs = their_open();
    theirs
        .capabilities
        .retain(|c| !matches!(c, Capability::ExtendedNextHop(_)));
    let negotiated = negotiate(offer(), &theirs).expect("agreed");
    assert!(negotiated.send.extended_next_hop.is_empty());
    assert_eq!(negotiated.receive.extended_next_hop, [Family::IPV4_UNICAST]);
    let offered = offer().open().capabilities;
    let tuple = vec![(Family::IPV4_UNICAST, Afi::IPV6)];
    assert!(offered.contains(&Capability::ExtendedNextHop(tuple)));
}

#[test]
fn graceful_restart_lists_only_families_that_are_offered() {
    let ours = Offer {
        families: vec![Family::IPV4_UNICAST],
        graceful_restart: Some(GracefulRestart {
            restart_time: 120,
            families: vec![(Family::IPV4_UNICAST, true), (Family::IPV6_UNICAST, true)],
            ..GracefulRestart::default()
        }),
        ..offer()
    };
    let listed = ours
        .open()
        .capabilities
        .into_iter()
        .find_map(|c| match c {
            Capability::GracefulRestart(restart) => Some(restart.families),
            _ => None,
        })
        .expect("offered");
    assert_eq!(listed, [(Family::IPV4_UNICAST, true)]);
}
