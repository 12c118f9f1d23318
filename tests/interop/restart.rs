//! What stands between a node and its router besides routes: a TCP MD5 password, and graceful restart (RFC 4724, 8538).

use std::time::Duration;

use support::clock::{eventually, holds, throughout};
use support::fairway::{Fairway, FairwaySetup};
use support::lab::Lab;
use support::manifests::{Manifests, Neighbor, Service, node, peering_policy, pool};
use support::reference::{GATEWAY, GATEWAY_ROUTE, ROUTER, ReferenceNetwork};
use support::router::Bird;

const LATER: Duration = Duration::from_secs(30);
const A_WHILE: Duration = Duration::from_secs(2);
const ROUTER_FILE: &str = "log stderr all;\nrouter id 192.168.10.1;\nprotocol device {}\n\
    protocol kernel { ipv4 { import none; export all; }; }\n\
    protocol bgp k3s1 { local 192.168.10.1 as 64513; neighbor 192.168.10.21 as 64512; passive on; hold time 9; ";

/// One node, one router, one Service; the neighbour with these lines more.
struct Stage {
    network: ReferenceNetwork,
    manifests: Manifests,
    bird: Bird,
    setup: FairwaySetup,
}

impl Stage {
    fn new(of_bird: &str, of_neighbor: &str) -> Self {
        let network = ReferenceNetwork::in_lab(Lab::new());
        let manifests = Manifests::in_folder(&network.lab.directory().join("manifests"));
        manifests.write("pool.yaml", &pool("pool", &["192.168.10.224/28"]));
        manifests.write("service.yaml", &Service::gateway().yaml());
        manifests.write("node.yaml", &node("k3s1", &["192.168.10.21"], &[]));
        let policy = peering_policy(64512, &[Neighbor::new([192, 168, 10, 1], 64513)]);
        manifests.write("policy.yaml", &(policy + of_neighbor));
        let channel = "ipv4 { import all; export none; }; }\n";
        let file = format!("{ROUTER_FILE}{of_bird} {channel}");
        let bird = Bird::start(&network.lab, &network.router, &file);
        let setup = FairwaySetup::new("k3s1", manifests.folder(), network.lab.directory());
        Self {
            network,
            manifests,
            bird,
            setup,
        }
    }

    fn start(&self) -> Fairway {
        self.setup.start(&self.network.nodes[0])
    }

    fn until_established(&self, fairway: &Fairway) {
        eventually("Established on both sides", LATER, || {
            holds(
                self.bird.is_established("k3s1") && fairway.is_established(ROUTER),
                fairway.peer(ROUTER),
            )
        });
    }

    fn route_stands(&self) -> Result<(), String> {
        let hops = self.network.router.next_hops_to(GATEWAY);
        holds(hops == ["192.168.10.21"], format!("{hops:?}"))
    }

    fn until_the_route_is_gone(&self) {
        eventually("the route is gone", Duration::from_secs(3), || {
            let hops = self.network.router.next_hops_to(GATEWAY);
            holds(self.bird.prefixes().is_empty() && hops.is_empty(), hops)
        });
    }
}

fn secret(password: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: router, namespace: kube-system}}\nstringData: {{password: {password}}}\n"
    )
}

#[test]
fn a_session_needs_the_password_and_a_missing_secret_is_named() {
    let stage = Stage::new(
        "password \"open-sesame\";",
        "          authSecretRef: router\n",
    );
    let fairway = stage.start();
    eventually("the missing Secret is named", LATER, || {
        let peer = fairway.peer(ROUTER);
        let error = peer["last-error"].as_str().unwrap_or_default();
        holds(
            error.contains("Secret") && error.contains("router"),
            peer.clone(),
        )
    });
    assert!(!fairway.is_established(ROUTER));

    stage.manifests.write("secret.yaml", &secret("wrong"));
    throughout("a wrong password gets nowhere", A_WHILE, || {
        holds(!fairway.is_established(ROUTER), fairway.peer(ROUTER))
    });

    stage.manifests.write("secret.yaml", &secret("open-sesame"));
    stage.until_established(&fairway);
    eventually("with the route", LATER, || stage.route_stands());
    let peer = fairway.peer(ROUTER);
    assert_eq!(peer["tcp-password-enabled"], true);
    assert!(!peer.to_string().contains("sesame"), "{peer}");
}

#[test]
fn the_router_keeps_the_route_while_a_node_restarts_gracefully() {
    let stage = Stage::new(
        "",
        "          gracefulRestart: {enabled: true, restartTimeSeconds: 30}\n",
    );
    let mut fairway = stage.start();
    stage.until_established(&fairway);
    eventually("the route", LATER, || stage.route_stands());

    for crash in [true, false] {
        if crash {
            fairway.kill();
        } else {
            assert!(fairway.stop().success());
        }
        throughout("it stays while nobody is there", A_WHILE, || {
            stage.route_stands()
        });
        fairway = stage.start();
        eventually(
            "Established again, the route there all the time",
            LATER,
            || {
                stage.route_stands().expect("the route must not go");
                holds(
                    stage.bird.is_established("k3s1") && fairway.is_established(ROUTER),
                    fairway.peer(ROUTER),
                )
            },
        );
        throughout("and after the End-of-RIB", A_WHILE, || stage.route_stands());
        assert_eq!(stage.bird.prefixes(), [GATEWAY_ROUTE]);
    }

    // A node that is taken out of service for good is no restart.
    stage.manifests.remove("policy.yaml");
    stage.until_the_route_is_gone();
}

#[test]
fn without_graceful_restart_the_route_goes_with_the_node() {
    let stage = Stage::new("", "");
    let mut fairway = stage.start();
    stage.until_established(&fairway);
    eventually("the route", LATER, || stage.route_stands());
    fairway.kill();
    stage.until_the_route_is_gone();
}
