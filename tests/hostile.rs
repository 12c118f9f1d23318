//! Peers and strangers that mean harm. A good session to a real router stands beside them, and must not notice.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::clock::{eventually, holds, now};
use support::fairway::{Fairway, FairwaySetup};
use support::lab::{Host, Lab};
use support::manifests::{Manifests, Neighbor, Service, annotated_node, peering_policy, pool};
use support::router::Frr;
use support::scripted::{Connection, ScriptedPeer, keepalive, kind, message, open};

const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);
const NODE: &str = "192.168.10.21";
const ROUTER: &str = "192.168.10.1";
const BAD: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 66);
const BAD_ASN: u32 = 65_066;
/// What any of these attacks may cost in memory, in KiB.
const BOUND: u64 = 64 * 1024;

#[test]
fn garbage_on_a_second_session_leaves_the_first_alone() {
    const SEED: u64 = 0x6a5b_a6e0;
    println!("seed {SEED:#x}");
    let mut random = SEED;
    let mut stage = Stage::new();
    let peer = ScriptedPeer::listen(&stage.bad, BAD.into(), 179);
    for round in 0..24 {
        let mut connection = peer.accept(LATER);
        let garbage = garbage(round, &mut random);
        if round % 2 == 0 {
            connection.expect(kind::OPEN, SOON);
            // Half of it comes after a handshake that was in order.
            if connection.send(&open(BAD_ASN, 90, BAD)).is_ok()
                && connection.send(&keepalive()).is_ok()
            {
                connection.expect(kind::KEEPALIVE, SOON);
            }
        }
        let _ = connection.send(&garbage);
        let _ = connection.send(&garbage);
        drop(connection);
        // And what the peer sends on a connection of its own.
        if let Ok(mut own) = Connection::dial(
            &stage.bad,
            SocketAddr::new(NODE.parse().expect("an address"), 179),
        ) {
            let _ = own.send(&garbage);
        }
        stage.is_well();
    }
    let shown = stage.fairway.peer(&BAD.to_string());
    assert!(
        shown["last-error"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "fairway says why the bad session ended: {shown}"
    );
    let mut connection = peer.accept(LATER);
    connection.establish(&open(BAD_ASN, 90, BAD));
    eventually("a peer that behaves again is taken back", SOON, || {
        holds(
            stage.fairway.is_established(&BAD.to_string()),
            "not established",
        )
    });
    stage.is_well();
}

#[test]
fn malformed_messages_are_answered_with_the_right_notification() {
    let mut stage = Stage::new();
    let peer = ScriptedPeer::listen(&stage.bad, BAD.into(), 179);
    let wrong_marker = [&[0; 16][..], &[0, 19, 4]].concat();
    let too_short = [&[0xff; 16][..], &[0, 18, 4]].concat();
    // Fairway offers extended messages, so only those that are never extended have a limit below 65,535.
    let too_long = [&[0xff; 16][..], &[0xff, 0xff, 4]].concat();
    let unknown_type = message(77, &[]);
    let fat_keepalive = message(kind::KEEPALIVE, &[1]);
    let attribute_overrun = message(kind::UPDATE, &[0, 0, 0, 200, 1, 2, 3]);
    let cases = [
        ("wrong marker", wrong_marker, [1, 1]),
        ("length below 19", too_short, [1, 2]),
        ("length above the limit", too_long, [1, 2]),
        ("unknown type", unknown_type, [1, 3]),
        ("KEEPALIVE with a body", fat_keepalive, [1, 2]),
        (
            "attributes longer than the message",
            attribute_overrun,
            [3, 1],
        ),
    ];
    for (what, octets, expected) in cases {
        println!("{what}");
        let mut connection = peer.accept(LATER);
        connection.establish(&open(BAD_ASN, 90, BAD));
        connection.send(&octets).expect("sent");
        let notification = connection.expect(kind::NOTIFICATION, SOON);
        assert_eq!(notification.body[..2], expected, "{what}");
        assert!(connection.is_ended(SOON), "{what}");
    }
    stage.is_well();
}

#[test]
fn a_malformed_attribute_costs_the_route_and_not_the_session() {
    let mut stage = Stage::new();
    let peer = ScriptedPeer::listen(&stage.bad, BAD.into(), 179);
    let mut connection = peer.accept(LATER);
    connection.establish(&open(BAD_ASN, 90, BAD));
    // ORIGIN 9 does not exist: RFC 7606 treats the route as withdrawn.
    let attributes = [
        0x40, 1, 1, 9, 0x40, 2, 6, 2, 1, 0, 0, 0xfe, 0x2a, 0x40, 3, 4, 192, 168, 10, 66,
    ];
    let update = [&[0, 0, 0, 20][..], &attributes, &[24, 10, 1, 1]].concat();
    connection
        .send(&message(kind::UPDATE, &update))
        .expect("sent");
    let good = [
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfe, 0x2a, 0x40, 3, 4, 192, 168, 10, 66,
    ];
    let update = [&[0, 0, 0, 20][..], &good, &[24, 10, 1, 2]].concat();
    connection
        .send(&message(kind::UPDATE, &update))
        .expect("sent");
    eventually("one of the two routes counts", SOON, || {
        let shown = stage.fairway.peer(&BAD.to_string());
        holds(
            shown["session-state"] == "established" && shown["families"][0]["received"] == 1,
            shown,
        )
    });
    stage.is_well();
}

#[test]
fn a_flood_of_connections_is_bounded() {
    let mut stage = Stage::new();
    let before = stage.fairway.process.resident_kib().expect("it runs");
    let stranger = stage.lab.host("stranger");
    stage
        .lab
        .plug(&stranger, "lan", "eth0", &["192.168.10.99/24"]);
    let target = SocketAddr::new(NODE.parse().expect("an address"), 179);
    let mut held: Vec<TcpStream> = Vec::new();
    for host in [stranger, stage.bad.clone()] {
        for _ in 0..5 {
            held.extend(host.inside(|| {
                (0..100)
                    .filter_map(|_| {
                        TcpStream::connect_timeout(&target, Duration::from_millis(200)).ok()
                    })
                    .collect::<Vec<_>>()
            }));
            stage.is_well();
        }
    }
    println!("{} connections held open", held.len());
    eventually("it keeps few of them", LATER, || {
        let open = stage.open_files();
        holds(open < 100, open)
    });
    stage.is_well();
    drop(held);
    let after = stage.fairway.process.resident_kib().expect("it runs");
    assert!(
        after < before + BOUND,
        "memory grew from {before} to {after} KiB"
    );
    let peer = ScriptedPeer::listen(&stage.bad, BAD.into(), 179);
    let mut connection = peer.accept(LATER);
    connection.establish(&open(BAD_ASN, 90, BAD));
    eventually("the flooding peer itself is still served", LATER, || {
        holds(
            stage.fairway.is_established(&BAD.to_string()),
            stage.fairway.peer(&BAD.to_string()),
        )
    });
}

#[test]
fn clients_of_the_local_api_that_do_not_play_along_hold_up_nobody() {
    let mut stage = Stage::new();
    let before = stage.fairway.process.resident_kib().expect("it runs");
    let mut held = Vec::new();
    for index in 0..300 {
        let Ok(mut client) = UnixStream::connect(stage.fairway.api()) else {
            break;
        };
        // Some say nothing, some stop in the middle of a request, some send no HTTP.
        let _ = match index % 3 {
            0 => Ok(()),
            1 => client.write_all(b"GET / HTTP/1.1\r\nHost: "),
            _ => client.write_all(&[0xff; 2000]),
        };
        held.push(client);
    }
    stage.is_well();
    drop(held);
    eventually("the API answers", LATER, || {
        stage.fairway.ask(&["peers", "-o", "json"])
    });
    let after = stage.fairway.process.resident_kib().expect("it runs");
    assert!(
        after < before + BOUND,
        "memory grew from {before} to {after} KiB"
    );
}

#[test]
fn a_peer_that_never_reads_holds_up_nobody_and_costs_little() {
    const SERVICES: usize = 800;
    let mut stage = Stage::new();
    let peer = ScriptedPeer::listen(&stage.bad, BAD.into(), 179).with_little_room();
    let mut connection = peer.accept(LATER);
    connection.establish(&open(BAD_ASN, 90, BAD));
    eventually("Established", SOON, || {
        holds(
            stage.fairway.is_established(&BAD.to_string()),
            "not established",
        )
    });
    let all: Vec<String> = (0..SERVICES)
        .map(|index| Service::new("default", &format!("web-{index:03}")).yaml())
        .collect();
    let all = all.join("---\n");
    let mut before = None;
    let begin = now();
    for round in 0..10 {
        stage.manifests.write("many.yaml", &all);
        eventually("the good router has all routes", LATER, || {
            holds(
                stage.frr.prefixes("ipv4").len() == SERVICES + 1,
                stage.frr.prefixes("ipv4").len(),
            )
        });
        stage.manifests.remove("many.yaml");
        eventually("and none", LATER, || {
            holds(
                stage.frr.prefixes("ipv4").len() == 1,
                stage.frr.prefixes("ipv4").len(),
            )
        });
        let _ = connection.send(&keepalive());
        if round == 2 {
            before = stage.fairway.process.resident_kib();
        }
        stage.is_well();
    }
    assert!(
        stage.node.unsent_to(BAD) > 0,
        "the bad peer does hold its session up"
    );
    let (before, after) = (
        before.expect("it ran"),
        stage.fairway.process.resident_kib().expect("it runs"),
    );
    println!(
        "20 changes of {SERVICES} routes: {:?}; resident before {before} KiB, after {after} KiB",
        now() - begin
    );
    assert!(
        after < before + BOUND / 2,
        "memory grew from {before} to {after} KiB"
    );
}

#[test]
fn a_peer_that_announces_the_internet_is_borne_or_cut_off() {
    let mut stage = Stage::new();
    let before = stage.fairway.process.resident_kib().expect("it runs");
    let peer = ScriptedPeer::listen(&stage.bad, BAD.into(), 179);
    let mut connection = peer.accept(LATER);
    connection.establish(&open(BAD_ASN, 90, BAD));
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfe, 0x2a, 0x40, 3, 4, 192, 168, 10, 66,
    ];
    for block in 0..1000_u16 {
        let [high, low] = block.to_be_bytes();
        let prefixes: Vec<u8> = (0..=255_u8)
            .flat_map(|last| [32, 60 + high, low, last, 1])
            .collect();
        let update = [&[0, 0, 0, 20][..], &attributes, &prefixes].concat();
        if connection.send(&message(kind::UPDATE, &update)).is_err() {
            break;
        }
    }
    stage.is_well();
    let end = now() + SOON;
    eventually("all is read, or the session ended", LATER, || {
        let shown = stage.fairway.peer(&BAD.to_string());
        let received = shown["families"][0]["received"]
            .as_u64()
            .unwrap_or_default();
        holds(
            received == 256_000 || shown["session-state"] != "established" || now() > end + SOON,
            shown,
        )
    });
    let after = stage.fairway.process.resident_kib().expect("it runs");
    println!("256,000 routes: from {before} to {after} KiB");
    assert!(
        after < before + 4 * BOUND,
        "memory grew from {before} to {after} KiB"
    );
    stage.is_well();
}

/// A node that listens, a good router (FRR) and a bad neighbour's place.
struct Stage {
    fairway: Fairway,
    frr: Frr,
    manifests: Manifests,
    node: Host,
    bad: Host,
    lab: Lab,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let plug = |name: &str, address: &str| {
            let host = lab.host(name);
            lab.plug(&host, "lan", "eth0", &[address]);
            host
        };
        let (host, router, bad) = (
            plug("k3s1", "192.168.10.21/24"),
            plug("router", "192.168.10.1/24"),
            plug("bad", "192.168.10.66/24"),
        );
        let frr = Frr::start(&lab, &router, CONFIGURATION);
        let manifests = Manifests::in_folder(&lab.directory().join("manifests"));
        let annotation = [("cilium.io/bgp-virtual-router.64512", "local-port=179")];
        manifests.write(
            "node.yaml",
            &annotated_node("k3s1", &[NODE], &[], &annotation),
        );
        manifests.write("pool.yaml", &pool("pool", &["10.20.0.0/22"]));
        manifests.write("gateway.yaml", &Service::gateway().yaml());
        let bad_neighbor = Neighbor {
            hold_time: 90,
            ..Neighbor::new(BAD, BAD_ASN)
        };
        let good: IpAddr = ROUTER.parse().expect("an address");
        manifests.write(
            "policy.yaml",
            &peering_policy(64512, &[Neighbor::new(good, 64513), bad_neighbor]),
        );
        let fairway = FairwaySetup::new("k3s1", manifests.folder(), lab.directory()).start(&host);
        let stage = Self {
            fairway,
            frr,
            manifests,
            node: host,
            bad,
            lab,
        };
        eventually(
            "the good session stands and carries the route",
            LATER,
            || {
                holds(
                    stage.frr.established("ipv4Unicast") == [NODE]
                        && stage.frr.prefixes("ipv4").len() == 1,
                    stage.frr.show("show bgp summary"),
                )
            },
        );
        stage
    }

    /// The process runs, the good session is the one it was at the beginning, and its route is there.
    #[track_caller]
    fn is_well(&mut self) {
        assert!(self.fairway.process.is_running(), "fairway ended");
        assert_eq!(
            self.frr.established("ipv4Unicast"),
            [NODE],
            "the good session"
        );
        assert_eq!(
            self.frr.came_up(NODE).len(),
            1,
            "the good session never went down"
        );
        assert!(
            !self.frr.prefixes("ipv4").is_empty(),
            "the good router keeps the route"
        );
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.fairway.process.id()))
            .map(Iterator::count)
            .unwrap_or_default()
    }
}

/// Kinds of garbage by turns: noise, a right header over noise, a right OPEN cut short, lengths that lie, a NOTIFICATION.
fn garbage(round: u32, random: &mut u64) -> Vec<u8> {
    let mut noise = |length: usize| -> Vec<u8> {
        (0..length)
            .map(|_| {
                *random ^= *random << 13;
                *random ^= *random >> 7;
                *random ^= *random << 17;
                random.to_le_bytes()[0]
            })
            .collect()
    };
    match round / 2 % 6 {
        0 => noise(5000),
        1 => message(kind::UPDATE, &noise(600)),
        2 => open(BAD_ASN, 90, BAD)[..25].to_vec(),
        3 => [&[0xff; 16][..], &[0xff, 0xff, 2], &noise(3000)].concat(),
        4 => message(kind::OPEN, &noise(40)),
        _ => message(kind::NOTIFICATION, &noise(30)),
    }
}

const CONFIGURATION: &str = "frr defaults traditional
hostname router
log stdout
log timestamp precision 6
router bgp 64513
 bgp router-id 192.168.10.1
 bgp log-neighbor-changes
 no bgp ebgp-requires-policy
 neighbor 192.168.10.21 remote-as 64512
 neighbor 192.168.10.21 timers 3 9
 neighbor 192.168.10.21 timers connect 1
 neighbor 192.168.10.21 passive
exit
";
