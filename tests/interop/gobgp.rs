//! Fairway against GoBGP, which runs in a container and plays the router: what it learns, and what happens when something fails.

use std::net::Ipv4Addr;
use std::time::Duration;

use support::clock::{eventually, holds, throughout};
use support::fairway::{Fairway, FairwaySetup};
use support::lab::{Host, Lab};
use support::manifests::{Manifests, Neighbor, Service, node, peering_policy, pool};
use support::reference::ROUTER;
use support::router::{GobgpContainer, GobgpSetup, RoutePath};
use support::scripted::{ScriptedPeer, kind, open};

const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);
const NODE: &str = "192.168.10.21";
const ROUTER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);

#[test]
fn exactly_the_services_routes_are_learned_and_withdrawn() {
    let stage = Stage::new();
    stage.serve("one", Service::new("default", "one"));
    stage.serve("two", Service::new("default", "two").local());
    stage.serve("far", Service::new("default", "far").local());
    let far = Service::new("default", "far").local();
    stage
        .manifests
        .write("far-slice.yaml", &far.endpoints(&[("k3s2", true)]));
    let gobgp = stage.gobgp();
    let fairway = stage.fairway();
    stage.until_established(&gobgp, &fairway);

    stage.until_learned(
        &gobgp,
        &[
            "192.168.10.224/32",
            "192.168.10.225/32",
            "192.168.10.226/32",
        ],
        &fairway,
        "default/far",
    );
    let path = RoutePath {
        next_hop: NODE.into(),
        as_path: "64512".into(),
        origin: "IGP".into(),
    };
    for (prefix, paths) in gobgp.rib("ipv4") {
        assert_eq!(paths, std::slice::from_ref(&path), "{prefix}");
    }

    stage.manifests.remove("one.yaml");
    let kept = stage.address_route(&fairway, "default/two");
    eventually("the deleted Service's route is withdrawn", SOON, || {
        let learned = learned(&gobgp);
        holds(learned == [kept.clone()], learned)
    });
    stage.manifests.write(
        "two-slice.yaml",
        &Service::new("default", "two")
            .local()
            .endpoints(&[("k3s1", false)]),
    );
    eventually(
        "the Service without a ready local endpoint is withdrawn",
        SOON,
        || {
            let learned = learned(&gobgp);
            holds(learned.is_empty(), learned)
        },
    );
    stage.manifests.write(
        "two-slice.yaml",
        &Service::new("default", "two")
            .local()
            .endpoints(&[("k3s1", true)]),
    );
    eventually("and comes back with its endpoint", SOON, || {
        let learned = learned(&gobgp);
        holds(learned == [kept.clone()], learned)
    });
    assert!(
        fairway.is_established(ROUTER),
        "no change of routes touches the session"
    );
}

#[test]
fn the_session_comes_back_after_a_restart_of_either_side() {
    let stage = Stage::new();
    stage.serve("one", Service::new("default", "one"));
    let mut gobgp = stage.gobgp();
    let mut fairway = stage.fairway();
    stage.until_established(&gobgp, &fairway);
    let route = "192.168.10.224/32";
    eventually("learned", SOON, || {
        holds(learned(&gobgp) == [route], learned(&gobgp))
    });

    gobgp.restart(&stage.lab, "router", &setup(64513, ROUTER_ADDRESS));
    stage.until_established(&gobgp, &fairway);
    eventually("learned again", SOON, || {
        holds(learned(&gobgp) == [route], learned(&gobgp))
    });

    fairway.kill();
    eventually("a killed speaker's routes go", LATER, || {
        holds(learned(&gobgp).is_empty(), learned(&gobgp))
    });
    let mut fairway = stage.fairway();
    stage.until_established(&gobgp, &fairway);
    eventually("learned a third time", SOON, || {
        holds(learned(&gobgp) == [route], learned(&gobgp))
    });

    assert!(fairway.stop().success(), "SIGTERM is a clean end");
    eventually("a stopped speaker's routes go", SOON, || {
        holds(learned(&gobgp).is_empty(), learned(&gobgp))
    });
}

#[test]
fn a_frozen_peer_is_given_up_when_the_hold_time_expires() {
    let stage = Stage::new();
    stage.serve("one", Service::new("default", "one"));
    let gobgp = stage.gobgp();
    let fairway = stage.fairway();
    stage.until_established(&gobgp, &fairway);
    assert_eq!(fairway.peer(ROUTER)["applied-hold-time-seconds"], 9);

    gobgp.freeze();
    throughout(
        "a silence shorter than the hold time is borne",
        Duration::from_secs(5),
        || holds(fairway.is_established(ROUTER), fairway.peer(ROUTER)),
    );
    let peer = eventually(
        "the session ends when the hold time has expired",
        Duration::from_secs(6),
        || {
            let peer = fairway.peer(ROUTER);
            if peer["session-state"] == "established" {
                Err(peer)
            } else {
                Ok(peer)
            }
        },
    );
    says(&peer, &["hold"]);
    gobgp.thaw();
    stage.until_established(&gobgp, &fairway);
    eventually("learned again", SOON, || {
        holds(learned(&gobgp) == ["192.168.10.224/32"], learned(&gobgp))
    });
}

#[test]
fn a_peer_of_the_wrong_as_is_refused_and_named() {
    let stage = Stage::new();
    stage.serve("one", Service::new("default", "one"));
    let gobgp = GobgpContainer::start(&stage.lab, "router", &setup(64999, ROUTER_ADDRESS));
    let fairway = stage.fairway();
    eventually(
        "fairway says that the peer's AS is another one",
        LATER,
        || said(&fairway.peer(ROUTER), &["peer as", "64513"]),
    );
    throughout(
        "no session, and the same reason",
        Duration::from_secs(4),
        || {
            said(&fairway.peer(ROUTER), &["peer as", "64513"])?;
            holds(
                !fairway.is_established(ROUTER) && learned(&gobgp).is_empty(),
                fairway.peer(ROUTER),
            )
        },
    );
    drop(gobgp);
    let right = stage.gobgp_named("router-right");
    stage.until_established(&right, &fairway);
}

#[test]
fn a_peer_of_the_wrong_as_gets_the_notification_for_it() {
    let stage = Stage::new();
    let (mut fairway, notification) = stage.answer_open(64513, &open(64999, 9, ROUTER_ADDRESS));
    assert_eq!(
        notification[..2],
        [2, 2],
        "OPEN Message Error, Bad Peer AS: {notification:?}"
    );
    assert!(fairway.process.is_running());
}

#[test]
fn a_router_id_of_zero_is_refused() {
    let stage = Stage::new();
    let (mut fairway, notification) =
        stage.answer_open(64513, &open(64513, 9, Ipv4Addr::UNSPECIFIED));
    assert_eq!(
        notification[..2],
        [2, 3],
        "OPEN Message Error, Bad BGP Identifier: {notification:?}"
    );
    eventually("fairway names it", SOON, || {
        said(&fairway.peer(ROUTER), &["identifier"])
    });
    assert!(fairway.process.is_running());
}

#[test]
fn our_own_router_id_at_an_internal_peer_is_refused() {
    let stage = Stage::new();
    let (mut fairway, notification) =
        stage.answer_open(64512, &open(64512, 9, NODE.parse().expect("an address")));
    assert_eq!(
        notification[..2],
        [2, 3],
        "OPEN Message Error, Bad BGP Identifier: {notification:?}"
    );
    eventually("fairway names it", SOON, || {
        said(&fairway.peer(ROUTER), &["identifier"])
    });
    assert!(fairway.process.is_running());
}

#[test]
fn an_unacceptable_hold_time_is_refused() {
    let stage = Stage::new();
    let (_fairway, notification) = stage.answer_open(64513, &open(64513, 2, ROUTER_ADDRESS));
    assert_eq!(
        notification[..2],
        [2, 6],
        "OPEN Message Error, Unacceptable Hold Time: {notification:?}"
    );
}

#[test]
fn a_real_peer_with_our_own_router_id_is_refused_and_named() {
    let stage = Stage::new();
    stage.manifests.write(
        "policy.yaml",
        &peering_policy(64512, &[Neighbor::new(ROUTER_ADDRESS, 64512)]),
    );
    let gobgp = GobgpContainer::start(
        &stage.lab,
        "router",
        &setup(64512, NODE.parse().expect("an address")),
    );
    let fairway = stage.fairway();
    eventually("fairway says what is wrong", LATER, || {
        said(&fairway.peer(ROUTER), &["identifier"])
    });
    throughout("no session", Duration::from_secs(1), || {
        holds(
            !fairway.is_established(ROUTER) && !gobgp.is_established(NODE),
            fairway.peer(ROUTER),
        )
    });
}

#[test]
fn a_peer_that_closes_after_open_is_tried_again_without_haste() {
    let stage = Stage::new();
    let peer = ScriptedPeer::listen(&stage.router(), ROUTER_ADDRESS.into(), 179);
    let mut fairway = stage.fairway();
    for _ in 0..3 {
        let mut connection = peer.accept(LATER);
        connection.expect(kind::OPEN, SOON);
        connection
            .send(&open(64513, 9, ROUTER_ADDRESS))
            .expect("sent");
        drop(connection);
    }
    let peer_shown = fairway.peer(ROUTER);
    assert_ne!(peer_shown["session-state"], "established");
    assert!(
        said(&peer_shown, &[]).is_ok(),
        "fairway says why there is no session: {peer_shown}"
    );
    let mut attempts = 0;
    throughout("no storm of attempts", Duration::from_secs(3), || {
        while peer.try_accept().is_some() {
            attempts += 1;
        }
        holds(attempts <= 12, attempts)
    });
    assert!(fairway.process.is_running());

    let mut connection = peer.accept(LATER);
    connection.establish(&open(64513, 9, ROUTER_ADDRESS));
    eventually("Established once the peer behaves", SOON, || {
        holds(fairway.is_established(ROUTER), fairway.peer(ROUTER))
    });
}

/// A LAN with one node and a router's place, and manifests that make the node speak to it.
struct Stage {
    lab: Lab,
    node: Host,
    manifests: Manifests,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host("k3s1");
        lab.plug(&host, "lan", "eth0", &["192.168.10.21/24"]);
        let manifests = Manifests::in_folder(&lab.directory().join("manifests"));
        manifests.write("node.yaml", &node("k3s1", &[NODE], &[]));
        manifests.write("pool.yaml", &pool("pool", &["192.168.10.224/28"]));
        manifests.write(
            "policy.yaml",
            &peering_policy(64512, &[Neighbor::new(ROUTER_ADDRESS, 64513)]),
        );
        Self {
            lab,
            node: host,
            manifests,
        }
    }

    fn serve(&self, file: &str, service: Service) {
        self.manifests.write(
            &format!("{file}-slice.yaml"),
            &service.endpoints(&[("k3s1", true)]),
        );
        self.manifests
            .write(&format!("{file}.yaml"), &service.yaml());
    }

    fn router(&self) -> Host {
        let router = self.lab.host("router");
        self.lab.plug(&router, "lan", "eth0", &["192.168.10.1/24"]);
        router
    }

    fn gobgp(&self) -> GobgpContainer {
        self.gobgp_named("router")
    }

    fn gobgp_named(&self, name: &str) -> GobgpContainer {
        GobgpContainer::start(&self.lab, name, &setup(64513, ROUTER_ADDRESS))
    }

    fn fairway(&self) -> Fairway {
        FairwaySetup::new("k3s1", self.manifests.folder(), self.lab.directory()).start(&self.node)
    }

    fn until_established(&self, gobgp: &GobgpContainer, fairway: &Fairway) {
        eventually("Established on both sides", LATER, || {
            holds(
                gobgp.is_established(NODE) && fairway.is_established(ROUTER),
                fairway.peer(ROUTER),
            )
        });
    }

    /// Waits until GoBGP has the routes of all Services but one that has no local endpoint.
    fn until_learned(
        &self,
        gobgp: &GobgpContainer,
        all: &[&str],
        fairway: &Fairway,
        without: &str,
    ) {
        let hidden = eventually("all Services have an address", SOON, || {
            let addresses = fairway.addresses();
            if addresses.len() == all.len()
                && addresses.iter().all(|(_, addresses)| addresses.len() == 1)
            {
                Ok(self.address_route(fairway, without))
            } else {
                Err(addresses)
            }
        });
        let expected: Vec<String> = all
            .iter()
            .map(|route| (*route).to_owned())
            .filter(|route| *route != hidden)
            .collect();
        eventually(
            "exactly those with a local endpoint are learned",
            SOON,
            || {
                let learned = learned(gobgp);
                holds(learned == expected, learned)
            },
        );
    }

    fn address_route(&self, fairway: &Fairway, service: &str) -> String {
        let all = fairway.addresses();
        let (_, addresses) = all
            .iter()
            .find(|(name, _)| name == service)
            .unwrap_or_else(|| panic!("{service} is known: {all:?}"));
        format!("{}/32", addresses[0])
    }

    /// Answers fairway's OPEN with another and returns the body of the NOTIFICATION that comes back.
    fn answer_open(&self, expected_asn: u32, open: &[u8]) -> (Fairway, Vec<u8>) {
        self.manifests.write(
            "policy.yaml",
            &peering_policy(64512, &[Neighbor::new(ROUTER_ADDRESS, expected_asn)]),
        );
        let peer = ScriptedPeer::listen(&self.router(), ROUTER_ADDRESS.into(), 179);
        let fairway = self.fairway();
        let mut connection = peer.accept(SOON);
        connection.expect(kind::OPEN, SOON);
        connection.send(open).expect("sent");
        let notification = connection.expect(kind::NOTIFICATION, SOON);
        assert!(
            connection.is_ended(SOON),
            "the connection ends after a NOTIFICATION"
        );
        (fairway, notification.body)
    }
}

fn setup(asn: u32, router_id: Ipv4Addr) -> GobgpSetup {
    let neighbors = vec![(NODE.parse().expect("an address"), 64512)];
    GobgpSetup {
        asn,
        router_id,
        address: "192.168.10.1/24".into(),
        neighbors,
        hold_time: 9,
        dials: None,
    }
}

fn learned(gobgp: &GobgpContainer) -> Vec<String> {
    gobgp
        .rib("ipv4")
        .into_iter()
        .map(|(prefix, _)| prefix)
        .collect()
}

fn said(peer: &serde_json::Value, words: &[&str]) -> Result<(), String> {
    let reason = peer["last-error"]
        .as_str()
        .unwrap_or_default()
        .to_lowercase();
    holds(
        !reason.is_empty() && words.iter().all(|word| reason.contains(word)),
        peer.to_string(),
    )
}

fn says(peer: &serde_json::Value, words: &[&str]) {
    said(peer, words).unwrap_or_else(|peer| panic!("fairway says why ({words:?}): {peer}"));
}
