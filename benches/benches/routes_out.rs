//! Route changes to octets, through a whole speaker: export policy, update groups, packing, encoding.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bench_inputs::context;
use bgp_core::attribute::{Attributes, Community};
use bgp_core::capability::Capability;
use bgp_core::message::{Message, Open};
use bgp_core::peer::ConnectionId;
use bgp_core::rib::{Action, Match, Origination, PrefixMatch, Statement, Verdict};
use bgp_core::speaker::{PeerId, PeerSettings};
use bgp_core::{
    Asn, Family, HoldTime, Input, Output, PeerConfig, Policy, Prefix, RouterId, Speaker,
    SpeakerConfig,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const ROUTER: Asn = Asn(64513);

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn host(n: u32) -> Prefix {
    Prefix::host(Ipv4Addr::from(0x0A00_0000 + n).into())
}

/// A speaker that originates host routes and has no peer yet. A new attribute set begins every `run` routes.
fn speaker(now: Instant, routes: u32, run: u32) -> Speaker {
    let mut speaker = Speaker::new(SpeakerConfig {
        asn: Asn(64512),
        router_id: RouterId::new(address(1)).expect("not zero"),
        seed: 1,
        transit: false,
    });
    let mut attributes = Arc::new(Attributes::default());
    for n in 0..routes {
        if n % run == 0 {
            let communities = vec![Community(n)];
            attributes = Arc::new(Attributes {
                communities,
                ..Attributes::default()
            });
        }
        originate(&mut speaker, now, host(n), &attributes);
    }
    speaker
}

fn originate(speaker: &mut Speaker, now: Instant, prefix: Prefix, attributes: &Arc<Attributes>) {
    let attributes = Arc::clone(attributes);
    let origination = Origination {
        prefix,
        attributes,
        next_hop: None,
    };
    speaker.handle(now, Input::Originate(origination));
}

/// All but the last step of a session: the KEEPALIVE that establishes it.
fn open(speaker: &mut Speaker, now: Instant, last: u8, export: &Arc<Policy>) -> ConnectionId {
    let mut session = PeerConfig::new(IpAddr::V4(address(last)), ROUTER);
    session.passive = true;
    session.extended_message = false;
    let settings = PeerSettings {
        session,
        export: Arc::clone(export),
        import: Arc::new(Policy::reject_all()),
        max_prefixes: None,
    };
    speaker.handle(now, Input::SetPeer(PeerId(u32::from(last)), settings));
    let local = SocketAddr::new(address(1).into(), 179);
    let remote = SocketAddr::new(address(last).into(), 40_000);
    let connection = speaker
        .accept(now, local, remote)
        .expect("the peer is configured");
    drain(speaker, now);
    let open = Message::Open(Open {
        my_as: 64513,
        hold_time: HoldTime::DEFAULT,
        router_id: RouterId::new(address(last)).expect("not zero"),
        capabilities: vec![
            Capability::Multiprotocol(Family::IPV4_UNICAST),
            Capability::FourOctetAs(ROUTER),
        ],
    });
    say(speaker, now, connection, &open);
    drain(speaker, now);
    connection
}

fn say(speaker: &mut Speaker, now: Instant, connection: ConnectionId, message: &Message) {
    let octets = message.encode(&context()).expect("it fits");
    speaker.handle(now, Input::Received { connection, octets });
}

/// Takes everything that is to be sent, as a network without limits would; how many octets that were.
fn drain(speaker: &mut Speaker, now: Instant) -> usize {
    let mut total = 0;
    while let Some(output) = speaker.poll_output(now) {
        if let Output::Send { connection, octets } = output {
            let octets = black_box(octets).len();
            total += octets;
            speaker.handle(now, Input::Written { connection, octets });
        }
    }
    total
}

/// What the sessions of `connections` lack is said, and everything goes out.
fn establish_and_drain(speaker: &mut Speaker, now: Instant, connections: &[ConnectionId]) -> usize {
    for connection in connections {
        say(speaker, now, *connection, &Message::Keepalive);
    }
    drain(speaker, now)
}

/// One statement for each route, as a controller makes them.
fn one_statement_each(routes: u32) -> Arc<Policy> {
    let statement = |n: u32| Statement {
        name: format!("Service-{n}"),
        matches: vec![Match::Prefix(vec![PrefixMatch::exact(host(n))])],
        actions: vec![Action::AddCommunities(vec![Community(1)])],
        verdict: Verdict::Accept,
    };
    Arc::new(Policy {
        statements: (0..routes).map(statement).collect(),
        default: Verdict::Reject,
    })
}

fn benches(criterion: &mut Criterion) {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant serves; the time does not pass"
    )]
    let now = Instant::now();
    let all = Arc::new(Policy::accept_all());
    let mut group = criterion.benchmark_group("routes_out");
    group.sample_size(20);

    let mut table = |name: &str, routes: u32, run: u32, peers: u8, policy: &Arc<Policy>| {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    let mut speaker = speaker(now, routes, run);
                    let peers = 2..2 + peers;
                    let connections: Vec<ConnectionId> = peers
                        .map(|last| open(&mut speaker, now, last, policy))
                        .collect();
                    (speaker, connections)
                },
                |(mut speaker, connections)| {
                    let octets = establish_and_drain(&mut speaker, now, &connections);
                    assert!(octets > usize::from(peers) * routes as usize * 5);
                    speaker
                },
                BatchSize::LargeInput,
            );
        });
    };
    table("table_100000_hosts_1_peer", 100_000, 100_000, 1, &all);
    table("table_100000_hosts_1000_sets_1_peer", 100_000, 100, 1, &all);
    table("table_10000_hosts_10_peers", 10_000, 10_000, 10, &all);
    table(
        "table_10000_hosts_10_peers_10000_statements",
        10_000,
        10_000,
        10,
        &one_statement_each(10_000),
    );

    let mut running = speaker(now, 10_000, 10_000);
    let connections: Vec<ConnectionId> = (2..12)
        .map(|last| open(&mut running, now, last, &all))
        .collect();
    establish_and_drain(&mut running, now, &connections);
    let attributes = [0, 1].map(|med| {
        Arc::new(Attributes {
            med: Some(med),
            ..Attributes::default()
        })
    });
    let mut turn = 0;
    group.bench_function("one_change_10_peers", |bencher| {
        bencher.iter(|| {
            turn += 1;
            originate(&mut running, now, host(5), &attributes[turn % 2]);
            drain(&mut running, now)
        });
    });
    group.finish();
}

criterion_group!(routes_out, benches);
criterion_main!(routes_out);
