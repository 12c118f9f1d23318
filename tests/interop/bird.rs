//! Fairway against BIRD 2: sessions and routes.

use std::time::Duration;

use support::clock::{eventually, holds, throughout};
use support::fairway::{Fairway, FairwaySetup};
use support::lab::Lab;
use support::manifests::{Manifests, Neighbor, Service, node, peering_policy, pool};
use support::reference::{GATEWAY, GATEWAY_ROUTE, NODES, ROUTER, ReferenceNetwork};
use support::router::{Bird, RoutePath};

const LATER: Duration = Duration::from_secs(30);

#[test]
fn three_sessions_and_their_routes() {
    let network = ReferenceNetwork::in_lab(Lab::new());
    let manifests = Manifests::homelab(&network.lab.directory().join("manifests"));
    let gateway = Service::gateway().local();
    manifests.write("service.yaml", &gateway.yaml());
    manifests.write(
        "endpoints.yaml",
        &gateway.endpoints(&[("k3s1", true), ("k3s2", true), ("k3s3", true)]),
    );
    let bird = Bird::start(&network.lab, &network.router, &configuration());
    let mut fairways: Vec<Fairway> = NODES
        .iter()
        .zip(&network.nodes)
        .map(|((name, _), host)| {
            FairwaySetup::new(name, manifests.folder(), network.lab.directory()).start(host)
        })
        .collect();
    for (name, _) in NODES {
        eventually(&format!("{name} is Established"), LATER, || {
            holds(bird.is_established(name), bird.show("show protocols"))
        });
    }
    until_announced_by(
        &network,
        &bird,
        &["192.168.10.21", "192.168.10.23", "192.168.10.31"],
    );
    assert_eq!(bird.prefixes(), [GATEWAY_ROUTE]);

    manifests.write(
        "endpoints.yaml",
        &gateway.endpoints(&[("k3s1", true), ("k3s3", true)]),
    );
    until_announced_by(&network, &bird, &["192.168.10.21", "192.168.10.31"]);
    assert!(
        bird.is_established("k3s2"),
        "a withdrawal leaves the session alone"
    );

    assert!(fairways[0].stop().success());
    until_announced_by(&network, &bird, &["192.168.10.31"]);

    manifests.remove("service.yaml");
    until_announced_by(&network, &bird, &[]);

    bird.show("restart k3s3");
    eventually(
        "Established again after BIRD reset the session",
        LATER,
        || {
            holds(
                bird.is_established("k3s3") && fairways[2].is_established(ROUTER),
                bird.show("show protocols"),
            )
        },
    );
}

#[test]
fn pod_cidrs_go_out_beside_the_services() {
    let network = ReferenceNetwork::in_lab(Lab::new());
    let manifests = Manifests::homelab(&network.lab.directory().join("manifests"));
    let k3s1 = node("k3s1", &["192.168.10.21"], &[("bgp", "enabled")]);
    manifests.write(
        "nodes.yaml",
        &format!("{k3s1}spec:\n  podCIDRs: [10.42.1.0/24]\n"),
    );
    manifests.write("service.yaml", &Service::gateway().yaml());
    let bird = Bird::start(&network.lab, &network.router, &configuration());
    let fairway = FairwaySetup::new("k3s1", manifests.folder(), network.lab.directory())
        .start(&network.nodes[0]);
    eventually("the pod CIDR and the Service", LATER, || {
        holds(
            bird.prefixes() == ["10.42.1.0/24", GATEWAY_ROUTE],
            bird.prefixes(),
        )
    });
    manifests.write("nodes.yaml", &k3s1);
    eventually("the Service alone", LATER, || {
        holds(bird.prefixes() == [GATEWAY_ROUTE], bird.prefixes())
    });
    assert!(fairway.is_established(ROUTER));
    manifests.write("nodes.yaml", &node("k3s1", &["192.168.10.21"], &[]));
    eventually(
        "a node that loses its label ends its session",
        LATER,
        || holds(!bird.is_established("k3s1"), bird.show("show protocols")),
    );
    eventually("and its routes go", LATER, || {
        holds(bird.prefixes().is_empty(), bird.prefixes())
    });
}

#[test]
fn a_router_two_hops_away_is_reached_with_the_multihop_ttl_only() {
    let network = ReferenceNetwork::in_lab(Lab::new());
    let manifests = Manifests::in_folder(&network.lab.directory().join("manifests"));
    manifests.write("node.yaml", &node("k3s1", &["192.168.10.21"], &[]));
    manifests.write("pool.yaml", &pool("pool", &["192.168.10.224/28"]));
    manifests.write("service.yaml", &Service::gateway().yaml());
    let far = "log stderr all;\nrouter id 192.168.20.10;\nprotocol device {}\nprotocol bgp k3s1 { local 192.168.20.10 as 64513; \
        neighbor 192.168.10.21 as 64512; multihop 2; passive on; ipv4 { import all; export none; }; }\n";
    let bird = Bird::start(&network.lab, &network.client, far);
    let neighbor = Neighbor::new([192, 168, 20, 10], 64513);
    manifests.write("policy.yaml", &peering_policy(64512, &[neighbor]));
    let fairway = FairwaySetup::new("k3s1", manifests.folder(), network.lab.directory())
        .start(&network.nodes[0]);
    throughout(
        "a TTL of 1 does not get there",
        Duration::from_secs(3),
        || holds(!bird.is_established("k3s1"), fairway.peer("192.168.20.10")),
    );
    let multihop = format!(
        "{}          eBGPMultihopTTL: 2\n",
        peering_policy(64512, &[neighbor])
    );
    manifests.write("policy.yaml", &multihop);
    eventually("a TTL of 2 does", LATER, || {
        holds(bird.is_established("k3s1"), fairway.peer("192.168.20.10"))
    });
    eventually("with the route", LATER, || {
        holds(bird.prefixes() == [GATEWAY_ROUTE], bird.prefixes())
    });
}

fn until_announced_by(network: &ReferenceNetwork, bird: &Bird, nodes: &[&str]) {
    let expected: Vec<RoutePath> = nodes
        .iter()
        .map(|node| RoutePath {
            next_hop: (*node).into(),
            as_path: "64512".into(),
            origin: "IGP".into(),
        })
        .collect();
    eventually(
        &format!("{GATEWAY_ROUTE} by exactly {nodes:?}"),
        LATER,
        || {
            let (paths, hops) = (
                bird.paths(GATEWAY_ROUTE),
                network.router.next_hops_to(GATEWAY),
            );
            holds(
                paths == expected && hops == nodes,
                format!("{paths:?}, in the kernel {hops:?}"),
            )
        },
    );
}

fn configuration() -> String {
    let mut file = "log stderr all;\nrouter id 192.168.10.1;\nprotocol device {}\n\
        protocol kernel { merge paths yes limit 8; ipv4 { import none; export all; }; }\n"
        .to_owned();
    for (name, address) in NODES {
        file.push_str(&format!(
            "protocol bgp {name} {{ local {ROUTER} as 64513; neighbor {address} as 64512; passive on; hold time 9; ipv4 {{ import all; export none; }}; }}\n"
        ));
    }
    file
}
