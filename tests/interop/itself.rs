//! The lab itself: its routers and hosts do what the other tests rely on. GoBGP stands where Fairway will be.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use support::clock::{eventually, holds};
use support::lab::{Host, Lab};
use support::reference::{
    GATEWAY, GATEWAY_ROUTE, HttpServer, NODES, ReferenceNetwork, http_get, udm_configuration,
};
use support::router::{Bird, Frr, GobgpContainer, GobgpSetup, RoutePath};
use support::scripted::{Connection, keepalive, kind, message, open};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn routes_that_frr_learns_carry_a_client_s_requests_to_all_nodes() {
    let network = ReferenceNetwork::in_lab(Lab::new());
    let frr = Frr::start(&network.lab, &network.router, &udm_configuration());
    let _servers: Vec<HttpServer> = network
        .nodes
        .iter()
        .map(|node| HttpServer::start(node, GATEWAY))
        .collect();
    assert!(
        http_get(&network.client, GATEWAY).is_err(),
        "without a route nothing answers"
    );

    let mut sessions = Vec::new();
    for (index, (_, address)) in NODES.iter().enumerate() {
        let address: Ipv4Addr = address.parse().expect("an address");
        sessions.push(announcing(&network.nodes[index], address));
        let expected: Vec<RoutePath> = NODES[..=index]
            .iter()
            .map(|(_, hop)| RoutePath {
                next_hop: (*hop).into(),
                as_path: "64512".into(),
                origin: "IGP".into(),
            })
            .collect();
        eventually("the router and its kernel have the paths", LIMIT, || {
            let (paths, hops) = (
                frr.paths(GATEWAY_ROUTE),
                network.router.next_hops_to(GATEWAY),
            );
            holds(
                paths == expected && hops.len() == index + 1,
                format!("{paths:?}, {hops:?}"),
            )
        });
        assert_eq!(frr.established("ipv4Unicast").len(), index + 1);
        assert_eq!(frr.came_up(NODES[index].1).len(), 1);
    }
    let mut answering = BTreeSet::new();
    eventually("all three nodes answer", LIMIT, || {
        answering.insert(http_get(&network.client, GATEWAY)?);
        holds(answering.len() == 3, format!("{answering:?}"))
    });
    sessions.truncate(1);
    eventually("the last one alone", LIMIT, || {
        let hops = network.router.next_hops_to(GATEWAY);
        holds(hops == [NODES[0].1], hops)
    });
    assert_eq!(http_get(&network.client, GATEWAY), Ok("k3s1".to_owned()));
}

/// A session from this node that announces the gateway's address.
fn announcing(node: &Host, address: Ipv4Addr) -> Connection {
    let mut session = Connection::dial(node, "192.168.10.1:179".parse().expect("an address"))
        .expect("FRR listens");
    session.send(&open(64512, 90, address)).expect("sent");
    session.expect(kind::OPEN, LIMIT);
    session.send(&keepalive()).expect("sent");
    session.expect(kind::KEEPALIVE, LIMIT);
    let attributes = [
        &[0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0, 0x40, 3, 4][..],
        &address.octets(),
    ]
    .concat();
    let update = [&[0, 0, 0, 20][..], &attributes, &[32, 192, 168, 10, 224]].concat();
    session.send(&message(kind::UPDATE, &update)).expect("sent");
    session
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
        dials: None,
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
