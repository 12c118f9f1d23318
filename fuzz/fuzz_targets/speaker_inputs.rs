//! A speaker whose shell and peer do anything in any order neither panics nor lets octets pile up.
#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use bgp_core::attribute::Attributes;
use bgp_core::message::{Message, Open};
use bgp_core::peer::{ConnectionId, Shutdown};
use bgp_core::rib::Origination;
use bgp_core::speaker::{PeerId, PeerSettings};
use bgp_core::types::CeaseSubcode;
use bgp_core::{
    Asn, HoldTime, Input, Output, PeerConfig, Policy, Prefix, RouterId, Speaker, SpeakerConfig,
};

fuzz_support::target!(|octets: &[u8]| {
    let mut world = World::new();
    let mut input = Unstructured::new(octets);
    while !input.is_empty() && world.step(&mut input).is_ok() {
        world.check();
    }
});

const PEER: PeerId = PeerId(1);
/// OPEN, KEEPALIVE and NOTIFICATION at their largest.
const CONTROL: usize = 3 * 4096;

struct World {
    now: Instant,
    speaker: Speaker,
    connections: Vec<ConnectionId>,
    outstanding: BTreeMap<ConnectionId, usize>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "any instant serves as a start")]
    fn new() -> Self {
        let config = SpeakerConfig {
            asn: Asn(64512),
            router_id: router_id(21),
            seed: 1,
            transit: true,
        };
        let mut world = Self {
            now: Instant::now(),
            speaker: Speaker::new(config),
            connections: vec![],
            outstanding: BTreeMap::new(),
        };
        world.input(Input::SetPeer(PEER, settings(90, false)));
        world
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let step: u8 = input.arbitrary()?;
        let index = input.arbitrary::<u8>()? as usize % self.connections.len().max(1);
        let connection = self
            .connections
            .get(index)
            .copied()
            .unwrap_or(ConnectionId(0));
        match step % 12 {
            0 => self.input(Input::Connected {
                connection,
                local: endpoint(21),
                remote: endpoint(1),
            }),
            1 => self.connections.extend(
                self.speaker
                    .accept(self.now, endpoint(21), endpoint(1))
                    .ok(),
            ),
            2 => self.input(Input::Closed {
                connection,
                error: String::new(),
            }),
            3 => self.input(Input::ConnectFailed {
                connection,
                error: String::new(),
            }),
            4 => self.say(connection, Message::Open(open(input.arbitrary()?))),
            5 => self.say(connection, Message::Keepalive),
            6 => {
                let (kind, length) = (input.arbitrary()?, input.arbitrary::<u8>()? as usize);
                let body = input.bytes(length.min(input.len()))?;
                let octets = fuzz_support::message(kind, body);
                self.input(Input::Received { connection, octets });
            }
            7 => {
                let length = input.arbitrary::<u8>()? as usize;
                let octets = input.bytes(length.min(input.len()))?.to_vec().into();
                self.input(Input::Received { connection, octets });
            }
            8 => {
                let octets = input.arbitrary::<u16>()?.into();
                let waiting = self.outstanding.entry(connection).or_default();
                *waiting = waiting.saturating_sub(octets);
                self.input(Input::Written { connection, octets });
            }
            9 => {
                self.now += Duration::from_secs(u64::from(input.arbitrary::<u8>()?) * 2);
                self.input(Input::Tick);
            }
            10 => {
                let prefix = Prefix::host(endpoint(input.arbitrary()?).ip());
                let attributes = Arc::new(Attributes::default());
                self.input(match step & 128 {
                    0 => Input::Originate(Origination {
                        prefix,
                        attributes,
                        next_hop: None,
                    }),
                    _ => Input::WithdrawOrigination(prefix),
                });
            }
            _ => {
                let shutdown =
                    Shutdown::Cease(CeaseSubcode::AdministrativeShutdown, "fuzz".to_owned());
                self.input(match step & 64 {
                    0 => Input::SetPeer(PEER, settings(input.arbitrary()?, step & 128 != 0)),
                    _ => Input::RemovePeer(PEER, shutdown),
                });
            }
        }
        self.drain();
        Ok(())
    }

    fn say(&mut self, connection: ConnectionId, message: Message) {
        let context = bgp_core::message::WireContext::initial();
        let octets = message.encode(&context).expect("a short message");
        self.input(Input::Received { connection, octets });
    }

    fn input(&mut self, input: Input) {
        self.speaker.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.speaker.poll_output(self.now) {
            match output {
                Output::Connect { connection, .. } => self.connections.push(connection),
                Output::Send { connection, octets } => {
                    *self.outstanding.entry(connection).or_default() += octets.len();
                }
                Output::Close { .. } | Output::Event(..) => {}
            }
        }
    }

    fn check(&self) {
        let most = Speaker::SEND_WINDOW + Message::MAX_EXTENDED + CONTROL;
        assert!(self.outstanding.values().all(|octets| *octets <= most));
        assert!(self.speaker.peers().len() <= 1);
    }
}

fn settings(hold_time: u8, passive: bool) -> PeerSettings {
    let mut session = PeerConfig::new(endpoint(1).ip(), Asn(64513));
    session.passive = passive;
    session.hold_time = HoldTime::new(hold_time.into()).unwrap_or(HoldTime::ZERO);
    let all = Arc::new(Policy::accept_all());
    PeerSettings {
        session,
        export: Arc::clone(&all),
        import: all,
        max_prefixes: Some(100),
    }
}

fn open(hold_time: u8) -> Open {
    Open {
        my_as: 64513,
        hold_time: HoldTime::new(hold_time.into()).unwrap_or(HoldTime::ZERO),
        router_id: router_id(1),
        capabilities: vec![],
    }
}

fn router_id(last: u8) -> RouterId {
    RouterId::new([192, 168, 10, last].into()).expect("not zero")
}

fn endpoint(last: u8) -> SocketAddr {
    ([192, 168, 10, last], 179).into()
}
