//! Fairway against BIRD 2: sessions and routes.

use std::time::Duration;

use support::clock::{eventually, holds};
use support::fairway::{Fairway, FairwaySetup};
use support::lab::Lab;
use support::manifests::{Manifests, Service};
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
