//! The lab itself: its routers and hosts do what the other tests rely on. GoBGP stands where Fairway will be.

use std::time::Duration;

use support::clock::{eventually, holds};
use support::lab::Lab;
use support::reference::{
    GATEWAY, GATEWAY_ROUTE, HttpServer, NODES, ReferenceNetwork, http_get, udm_configuration,
};
use support::router::{Bird, Frr, GobgpContainer, GobgpSetup};
use support::scripted::{Connection, kind, open};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_route_that_frr_learns_carries_a_client_s_request_to_the_node() {
    let network = ReferenceNetwork::in_lab(Lab::new());
    let frr = Frr::start(&network.lab, &network.router, &udm_configuration());
    let _server = HttpServer::start(&network.nodes[0], GATEWAY);
    assert!(
        http_get(&network.client, GATEWAY).is_err(),
        "without a route nothing answers"
    );

    let mut peer = Connection::dial(
        &network.nodes[0],
        "192.168.10.1:179".parse().expect("an address"),
    )
    .expect("FRR listens");
    peer.send(&open(64512, 9, [192, 168, 10, 21].into()))
        .expect("sent");
    peer.expect(kind::OPEN, LIMIT);
    peer.send(&support::scripted::keepalive()).expect("sent");
    eventually("Established", LIMIT, || {
        holds(
            frr.established("ipv4Unicast") == ["192.168.10.21"],
            frr.show("show bgp summary"),
        )
    });
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0, 0x40, 3, 4, 192, 168, 10, 21,
    ];
    let update = [&[0, 0, 0, 20][..], &attributes, &[32, 192, 168, 10, 224]].concat();
    peer.send(&support::scripted::message(kind::UPDATE, &update))
        .expect("sent");
    eventually("the kernel has the route", LIMIT, || {
        let hops = network.router.next_hops_to(GATEWAY);
        holds(hops == ["192.168.10.21"], hops)
    });
    let paths = frr.paths(GATEWAY_ROUTE);
    assert_eq!(paths.len(), 1);
    assert_eq!(
        (&*paths[0].next_hop, &*paths[0].as_path, &*paths[0].origin),
        ("192.168.10.21", "64512", "IGP")
    );
    assert_eq!(frr.came_up("192.168.10.21").len(), 1);
    assert_eq!(
        eventually("an answer", LIMIT, || http_get(&network.client, GATEWAY)),
        "k3s1"
    );
}

#[test]
fn gobgp_in_a_container_speaks_with_bird() {
    let lab = Lab::new();
    let router = lab.host("router");
    lab.plug(&router, "lan", "eth0", &["192.168.10.1/24"]);
    let configuration = "log stderr all;\nrouter id 192.168.10.1;\nprotocol device {}\nprotocol static { ipv4; route 192.168.10.224/32 blackhole; }\n\
        protocol bgp peer { local 192.168.10.1 as 64513; neighbor 192.168.10.21 as 64512; connect delay time 1; connect retry time 1; error wait time 1, 1; \
        ipv4 { import all; export all; next hop self; }; }\n";
    let bird = Bird::start(&lab, &router, configuration);
    let neighbors = vec![(
        support::reference::ROUTER.parse().expect("an address"),
        64513,
    )];
    let setup = GobgpSetup {
        asn: 64512,
        router_id: [192, 168, 10, 21].into(),
        address: format!("{}/24", NODES[0].1),
        neighbors,
        hold_time: 9,
    };
    let mut gobgp = GobgpContainer::start(&lab, "k3s1", &setup);
    eventually("Established", LIMIT, || {
        holds(
            bird.is_established("peer") && gobgp.is_established("192.168.10.1"),
            bird.show("show protocols"),
        )
    });
    let rib = eventually("the route arrives", LIMIT, || {
        let rib = gobgp.rib("ipv4");
        if rib.is_empty() {
            Err("no route")
        } else {
            Ok(rib)
        }
    });
    assert_eq!(rib.len(), 1);
    assert_eq!(
        (
            &*rib[0].0,
            &*rib[0].1[0].next_hop,
            &*rib[0].1[0].as_path,
            &*rib[0].1[0].origin
        ),
        (GATEWAY_ROUTE, "192.168.10.1", "64513", "IGP")
    );

    gobgp.freeze();
    eventually("a frozen peer is given up", LIMIT, || {
        holds(!bird.is_established("peer"), bird.show("show protocols"))
    });
    gobgp.thaw();
    gobgp.restart(&lab, "k3s1", &setup);
    eventually("Established again", LIMIT, || {
        holds(bird.is_established("peer"), bird.show("show protocols"))
    });
}
