//! Two connections with one peer (RFC 4271 6.8), and routers that dial a node that listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use support::clock::{eventually, holds, throughout};
use support::fairway::{Fairway, FairwaySetup};
use support::lab::{Host, Lab};
use support::manifests::{Manifests, Neighbor, Service, annotated_node, peering_policy, pool};
use support::router::{GobgpContainer, GobgpSetup};
use support::scripted::{Connection, ScriptedPeer, keepalive, kind, open};

const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(60);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 21);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);
const PORT: u16 = 1790;
const CEASE_COLLISION: [u8; 2] = [6, 7];

#[test]
fn our_connection_stays_where_our_router_id_is_the_higher_one() {
    let (stage, mut ours, mut theirs) = two_connections(Ipv4Addr::new(192, 168, 10, 1));
    let notification = theirs.expect(kind::NOTIFICATION, SOON);
    assert_eq!(notification.body[..2], CEASE_COLLISION);
    finish(&stage, &mut ours);
}

#[test]
fn their_connection_stays_where_their_router_id_is_the_higher_one() {
    let (stage, mut ours, mut theirs) = two_connections(Ipv4Addr::new(192, 168, 10, 200));
    let notification = ours.expect(kind::NOTIFICATION, SOON);
    assert_eq!(notification.body[..2], CEASE_COLLISION);
    finish(&stage, &mut theirs);
}

#[test]
fn a_second_connection_does_not_disturb_an_established_session() {
    let stage = Stage::new();
    let peer = ScriptedPeer::listen(&stage.router, ROUTER.into(), 179);
    let fairway = stage.fairway();
    let mut session = peer.accept(SOON);
    session.establish(&open(64513, 9, ROUTER));
    eventually("Established", SOON, || {
        holds(
            fairway.is_established("192.168.10.1"),
            fairway.peer("192.168.10.1"),
        )
    });
    let mut second = Connection::dial(&stage.router, SocketAddr::new(NODE.into(), PORT))
        .expect("fairway listens");
    let _ = second.send(&open(64513, 9, ROUTER));
    assert!(second.is_ended(SOON), "the second connection is closed");
    throughout("the first one lives", Duration::from_secs(1), || {
        session
            .send(&keepalive())
            .map_err(|error| error.to_string())?;
        holds(
            fairway.is_established("192.168.10.1"),
            fairway.peer("192.168.10.1").to_string(),
        )
    });
}

#[test]
fn a_router_that_dials_gets_a_session_when_the_node_listens() {
    let stage = Stage::new();
    // Nothing answers where fairway dials, so that the session can only be the router's own.
    stage.manifests.write(
        "policy.yaml",
        &peering_policy(
            64512,
            &[Neighbor {
                port: 1799,
                ..Neighbor::new(ROUTER, 64513)
            }],
        ),
    );
    let fairway = stage.fairway();
    stage.router.ip("link delete eth0");
    let neighbors = vec![(NODE.into(), 64512)];
    let setup = GobgpSetup {
        asn: 64513,
        router_id: ROUTER,
        address: "192.168.10.1/24".into(),
        neighbors,
        hold_time: 9,
        dials: Some(PORT),
    };
    let gobgp = GobgpContainer::start(&stage.lab, "gobgp", &setup);
    eventually("Established", LATER, || {
        holds(
            gobgp.is_established("192.168.10.21") && fairway.is_established("192.168.10.1"),
            fairway.peer("192.168.10.1"),
        )
    });
    eventually("the route is learned", SOON, || {
        holds(gobgp.rib("ipv4").len() == 1, gobgp.rib("ipv4"))
    });
}

/// Fairway's own connection and one of the peer, both with an OPEN from this router id.
fn two_connections(router_id: Ipv4Addr) -> (RunningStage, Connection, Connection) {
    let stage = Stage::new();
    let peer = ScriptedPeer::listen(&stage.router, ROUTER.into(), 179);
    let fairway = stage.fairway();
    let mut ours = peer.accept(SOON);
    ours.expect(kind::OPEN, SOON);
    let mut theirs = Connection::dial(&stage.router, SocketAddr::new(NODE.into(), PORT))
        .expect("fairway listens");
    theirs.expect(kind::OPEN, SOON);
    let open = open(64513, 9, router_id);
    ours.send(&open).expect("sent");
    ours.expect(kind::KEEPALIVE, SOON);
    theirs.send(&open).expect("sent");
    (
        RunningStage {
            fairway,
            _stage: stage,
        },
        ours,
        theirs,
    )
}

fn finish(stage: &RunningStage, connection: &mut Connection) {
    connection.send(&keepalive()).expect("sent");
    eventually("Established on the connection that stays", SOON, || {
        holds(
            stage.fairway.is_established("192.168.10.1"),
            stage.fairway.peer("192.168.10.1"),
        )
    });
    connection.expect(kind::UPDATE, SOON);
}

struct RunningStage {
    fairway: Fairway,
    _stage: Stage,
}

struct Stage {
    node: Host,
    router: Host,
    manifests: Manifests,
    lab: Lab,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let (node, router) = (lab.host("k3s1"), lab.host("router"));
        lab.plug(&node, "lan", "eth0", &["192.168.10.21/24"]);
        lab.plug(&router, "lan", "eth0", &["192.168.10.1/24"]);
        let manifests = Manifests::in_folder(&lab.directory().join("manifests"));
        let annotation = [("cilium.io/bgp-virtual-router.64512", "local-port=1790")];
        manifests.write(
            "node.yaml",
            &annotated_node("k3s1", &["192.168.10.21"], &[], &annotation),
        );
        manifests.write("pool.yaml", &pool("pool", &["192.168.10.224/28"]));
        manifests.write("service.yaml", &Service::gateway().yaml());
        manifests.write(
            "policy.yaml",
            &peering_policy(64512, &[Neighbor::new(ROUTER, 64513)]),
        );
        Self {
            node,
            router,
            manifests,
            lab,
        }
    }

    fn fairway(&self) -> Fairway {
        FairwaySetup::new("k3s1", self.manifests.folder(), self.lab.directory()).start(&self.node)
    }
}
