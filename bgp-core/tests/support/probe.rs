//! One speaker under test and a peer that is played by hand, message by message.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bgp_core::capability::Capability;
use bgp_core::fsm::StateName;
use bgp_core::message::{Framer, Message, Notification, Open, Update, WireContext};
use bgp_core::peer::{ConnectionId, DownReason};
use bgp_core::speaker::{Event, PeerId, PeerSettings, Refused};
use bgp_core::types::Reason;
use bgp_core::{Asn, Family, HoldTime, Input, Output, Speaker};
use bytes::Bytes;

use super::{LEFT_AS, RIGHT_AS, address, attributes_of, open_settings, router_id, speaker_config};

pub(crate) const PEER: PeerId = PeerId(1);

/// Our end where the peer has an IPv6 address.
pub(crate) const OUR_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x21);

/// The speaker is 192.168.10.21 of AS 64512; the peer is 192.168.10.`peer` of AS 64513.
pub(crate) struct Probe {
    pub(crate) speaker: Speaker,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) events: Vec<Event>,
    /// Calls not answered yet.
    pub(crate) calls: Vec<ConnectionId>,
    pub(crate) calls_in_all: usize,
    pub(crate) closed: Vec<ConnectionId>,
    /// What was sent and not looked at yet.
    sent: BTreeMap<ConnectionId, Vec<Bytes>>,
    /// Octets sent and not confirmed.
    pub(crate) outstanding: BTreeMap<ConnectionId, usize>,
    /// Confirm octets as soon as they are sent.
    pub(crate) reads: bool,
    address: IpAddr,
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self::with(open_settings(1, RIGHT_AS))
    }

    pub(crate) fn with(settings: PeerSettings) -> Self {
        let start = Instant::now();
        let mut probe = Self {
            speaker: Speaker::new(speaker_config(LEFT_AS, 21, 1)),
            now: start,
            start,
            events: vec![],
            calls: vec![],
            calls_in_all: 0,
            closed: vec![],
            sent: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            reads: true,
            address: settings.session.address,
        };
        probe.input(Input::SetPeer(PEER, settings));
        probe
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.speaker.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let mut written = vec![];
            while let Some(output) = self.speaker.poll_output(self.now) {
                match output {
                    Output::Connect { connection, .. } => {
                        self.calls.push(connection);
                        self.calls_in_all += 1;
                    }
                    Output::Send { connection, octets } => {
                        if self.reads {
                            written.push((connection, octets.len()));
                        } else {
                            *self.outstanding.entry(connection).or_default() += octets.len();
                        }
                        self.sent.entry(connection).or_default().push(octets);
                    }
                    Output::Close { connection } => {
                        self.calls.retain(|call| *call != connection);
                        self.closed.push(connection);
                    }
                    Output::Event(_, event) => self.events.push(event),
                }
            }
            if written.is_empty() {
                return;
            }
            for (connection, octets) in written {
                self.speaker
                    .handle(self.now, Input::Written { connection, octets });
            }
        }
    }

    /// Lets that much time pass, with every tick that is due in it.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.speaker.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Tick);
        }
        self.now = end;
    }

    /// As [`pass`](Self::pass), while the peer says often enough that it lives.
    pub(crate) fn pass_alive(&mut self, connection: ConnectionId, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.pass(Duration::from_secs(10).min(end - self.now));
            self.say(connection, &Message::Keepalive);
        }
    }

    /// The peer answers the call that is out.
    pub(crate) fn answer_call(&mut self) -> ConnectionId {
        let connection = self.calls.pop().expect("a call is out");
        let (local, remote) = self.endpoints();
        self.input(Input::Connected {
            connection,
            local,
            remote,
        });
        connection
    }

    pub(crate) fn refuse_call(&mut self) {
        let connection = self.calls.pop().expect("a call is out");
        let error = "connection refused".to_owned();
        self.input(Input::ConnectFailed { connection, error });
    }

    /// The peer calls.
    pub(crate) fn call(&mut self) -> Result<ConnectionId, Refused> {
        let (local, remote) = self.endpoints();
        let accepted = self.speaker.accept(self.now, local, remote);
        self.drain();
        accepted
    }

    fn endpoints(&self) -> (SocketAddr, SocketAddr) {
        let here = if self.address.is_ipv6() {
            OUR_IPV6.into()
        } else {
            address(21)
        };
        (
            SocketAddr::new(here, 40_000),
            SocketAddr::new(self.address, 179),
        )
    }

    /// The peer says something; everything it says is encoded with four-octet AS numbers.
    pub(crate) fn say(&mut self, connection: ConnectionId, message: &Message) {
        let octets = message.encode(&peer_context()).expect("it fits");
        self.say_octets(connection, octets);
    }

    pub(crate) fn say_octets(&mut self, connection: ConnectionId, octets: Bytes) {
        self.input(Input::Received { connection, octets });
    }

    pub(crate) fn hang_up(&mut self, connection: ConnectionId) {
        let error = "closed by peer".to_owned();
        self.input(Input::Closed { connection, error });
    }

    /// What was said to the peer since it was last asked.
    pub(crate) fn heard(&mut self, connection: ConnectionId) -> Vec<Message> {
        let mut framer = Framer::new(65_535);
        for octets in self.sent.remove(&connection).unwrap_or_default() {
            framer.push(&octets);
        }
        let mut messages = vec![];
        while let Some(octets) = framer.next_message().expect("whole messages") {
            messages.push(Message::decode(octets, &peer_context()).expect("good messages"));
        }
        messages
    }

    pub(crate) fn heard_reason(&mut self, connection: ConnectionId) -> Option<Reason> {
        self.heard(connection)
            .into_iter()
            .find_map(|message| match message {
                Message::Notification(Notification { reason, .. }) => Some(reason),
                _ => None,
            })
    }

    /// Takes the call that is out through to a session.
    pub(crate) fn establish(&mut self) -> ConnectionId {
        let connection = self.answer_call();
        self.finish(connection);
        connection
    }

    /// OPEN and KEEPALIVE.
    pub(crate) fn finish(&mut self, connection: ConnectionId) {
        self.say(connection, &Message::Open(peer_open()));
        self.say(connection, &Message::Keepalive);
        assert_eq!(self.state(), StateName::Established);
    }

    pub(crate) fn state(&self) -> StateName {
        self.speaker.peers()[0].state
    }

    pub(crate) fn session(&self) -> Option<ConnectionId> {
        self.speaker.peers()[0]
            .session
            .as_ref()
            .map(|session| session.connection)
    }

    pub(crate) fn last_down(&self) -> Option<DownReason> {
        self.speaker.peers()[0].last_down.clone()
    }

    /// How long until the next call, if nothing else happens.
    pub(crate) fn wait_for_call(&mut self, limit: Duration) -> Duration {
        let before = self.now;
        while self.calls.is_empty() {
            let due = self.speaker.next_deadline().expect("a call is planned");
            assert!(due - before <= limit, "no call within {limit:?}");
            self.now = due;
            self.input(Input::Tick);
        }
        self.now - before
    }
}

/// How the hand-played peer encodes and decodes.
pub(crate) fn peer_context() -> WireContext {
    WireContext {
        four_octet_as: true,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        extended_next_hop: vec![Family::IPV4_UNICAST],
        max_message: 65_535,
        ..WireContext::initial()
    }
}

pub(crate) fn peer_open() -> Open {
    open_of(RIGHT_AS, 1)
}

pub(crate) fn open_of(asn: Asn, last: u8) -> Open {
    Open {
        my_as: u16::try_from(asn.0).expect("a short one"),
        hold_time: HoldTime::DEFAULT,
        router_id: router_id(last),
        capabilities: vec![
            Capability::Multiprotocol(Family::IPV4_UNICAST),
            Capability::Multiprotocol(Family::IPV6_UNICAST),
            Capability::RouteRefresh,
            Capability::ExtendedMessage,
            Capability::FourOctetAs(asn),
            Capability::EnhancedRouteRefresh,
        ],
    }
}

/// An UPDATE of the peer that announces these, with this AS_PATH.
pub(crate) fn announcement(prefixes: &[&str], path: &[u32]) -> Message {
    let nlri = prefixes.iter().map(|text| super::prefix(text).into());
    let mut update = Update::empty();
    update.attributes = Some(attributes_of(path));
    update.next_hop = Some("192.168.10.1".parse().expect("an address"));
    update.announced = bgp_core::attribute::NlriList::build(Family::IPV4_UNICAST, false, nlri);
    Message::Update(update)
}

pub(crate) fn withdrawal(prefixes: &[&str]) -> Message {
    let nlri = prefixes.iter().map(|text| super::prefix(text).into());
    let mut update = Update::empty();
    update.withdrawn = bgp_core::attribute::NlriList::build(Family::IPV4_UNICAST, false, nlri);
    Message::Update(update)
}

/// OPEN, KEEPALIVE and NOTIFICATION at their largest.
pub(crate) const CONTROL: usize = 3 * 4096;
