//! The reference homelab: FRR as the UDM-SE, three nodes with one Fairway each, the operator's own manifests, a client on
//! another VLAN.

use std::collections::BTreeSet;
use std::time::Duration;

use support::clock::{eventually, holds, throughout};
use support::fairway::{Fairway, FairwaySetup, addresses_of};
use support::lab::Lab;
use support::manifests::{Manifests, Service};
use support::reference::{
    GATEWAY, GATEWAY_ROUTE, HttpServer, NODES, ROUTER, ReferenceNetwork, http_get,
    udm_configuration,
};
use support::router::{Frr, RoutePath};

const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);
/// How long a start may take until the session stands, with a router that already listens.
const FIRST_SESSION: Duration = Duration::from_millis(50);

#[test]
fn three_nodes_make_three_paths_and_three_next_hops() {
    let mut homelab = Homelab::new(Lab::new(), &[]);
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
    assert_eq!(
        homelab.frr.established("ipv4Unicast"),
        ["192.168.10.21", "192.168.10.23", "192.168.10.31"]
    );
    assert_eq!(homelab.frr.prefixes("ipv4"), [GATEWAY_ROUTE]);
    let paths: Vec<RoutePath> = NODES
        .iter()
        .map(|(_, address)| RoutePath {
            next_hop: (*address).into(),
            as_path: "64512".into(),
            origin: "IGP".into(),
        })
        .collect();
    assert_eq!(homelab.frr.paths(GATEWAY_ROUTE), paths);
    for fairway in &homelab.fairways {
        let service = fairway.service("networking", "cilium-gateway-main-gateway");
        assert_eq!(addresses_of(&service), ["192.168.10.224"], "{service}");
        assert_eq!(fairway.advertised(ROUTER, "ipv4"), [GATEWAY_ROUTE]);
    }

    assert!(homelab.fairways[1].stop().success());
    homelab.until_announced_by(&["k3s1", "k3s3"]);

    homelab.fairways[2].kill();
    homelab.until_announced_by(&["k3s1"]);

    homelab.start(1);
    homelab.start(2);
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
}

#[test]
fn a_node_whose_link_is_cut_is_gone_when_the_hold_time_has_expired() {
    let homelab = Homelab::new(Lab::new(), &[]);
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
    homelab.network.nodes[1].ip("link set eth0 down");
    eventually(
        "the router drops the node that went silent",
        Duration::from_secs(12),
        || {
            let hops = homelab.network.router.next_hops_to(GATEWAY);
            holds(hops == ["192.168.10.21", "192.168.10.31"], hops)
        },
    );
    homelab.network.nodes[1].ip("link set eth0 up\nroute replace default via 192.168.10.1");
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
}

#[test]
fn the_first_session_stands_within_50_milliseconds_of_the_start() {
    let mut homelab = Homelab::empty(Lab::alone(), &[]);
    let mut took = Vec::new();
    for _ in 0..5 {
        let before = homelab.frr.came_up(NODES[0].1).len();
        let setup = homelab.setup(0);
        let mut fairway = setup.launch(&homelab.network.nodes[0]);
        let up = eventually("the router sees the session", LATER, || {
            homelab
                .frr
                .came_up(NODES[0].1)
                .get(before)
                .copied()
                .ok_or("not yet")
        });
        took.push(up.saturating_sub(fairway.started_wall_clock));
        fairway.stop();
        eventually("the router forgets it", LATER, || {
            holds(
                homelab.frr.established("ipv4Unicast").is_empty(),
                "still there",
            )
        });
    }
    took.sort();
    println!("from the start of the process to Established at the router: {took:?}");
    assert!(
        took[took.len() / 2] <= FIRST_SESSION,
        "the median of five starts is above {FIRST_SESSION:?}: {took:?}"
    );
    homelab.fairways.clear();
}

#[test]
fn the_local_policy_follows_the_endpoints() {
    let homelab = Homelab::new(Lab::new(), &[]);
    let gateway = Service::gateway().local();
    homelab.manifests.write("service.yaml", &gateway.yaml());
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
    homelab.manifests.write(
        "endpoints.yaml",
        &gateway.endpoints(&[("k3s1", true), ("k3s2", false), ("k3s3", true)]),
    );
    homelab.until_announced_by(&["k3s1", "k3s3"]);
    homelab
        .manifests
        .write("endpoints.yaml", &gateway.endpoints(&[("k3s2", true)]));
    homelab.until_announced_by(&["k3s2"]);
    homelab
        .manifests
        .write("endpoints.yaml", &gateway.endpoints(&[]));
    homelab.until_announced_by(&[]);
    assert_eq!(
        homelab.frr.established("ipv4Unicast").len(),
        3,
        "the sessions stay"
    );
    let nowhere = gateway
        .endpoints(&[("k3s9", true)])
        .replace("    nodeName: k3s9\n", "");
    homelab.manifests.write("endpoints.yaml", &nowhere);
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
}

#[test]
fn the_cluster_policy_keeps_an_address_without_endpoints_by_default() {
    let homelab = Homelab::new(Lab::new(), &[]);
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
    homelab
        .manifests
        .write("endpoints.yaml", &Service::gateway().endpoints(&[]));
    throughout("announced by all nodes", Duration::from_secs(2), || {
        homelab.announced_by(&["k3s1", "k3s2", "k3s3"])
    });
}

#[test]
fn the_cluster_policy_withdraws_an_address_without_endpoints_where_told_to() {
    let homelab = Homelab::new(
        Lab::new(),
        &["--enable-no-service-endpoints-routable=false"],
    );
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
    homelab.manifests.write(
        "endpoints.yaml",
        &Service::gateway().endpoints(&[("k3s2", true)]),
    );
    throughout(
        "one endpoint anywhere is enough",
        Duration::from_secs(1),
        || homelab.announced_by(&["k3s1", "k3s2", "k3s3"]),
    );
    homelab.manifests.write(
        "endpoints.yaml",
        &Service::gateway().endpoints(&[("k3s2", false)]),
    );
    homelab.until_announced_by(&[]);
    homelab.manifests.write(
        "endpoints.yaml",
        &Service::gateway().endpoints(&[("k3s2", true)]),
    );
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
}

#[test]
fn a_client_on_another_vlan_reaches_the_address_through_each_node() {
    let homelab = Homelab::new(Lab::new(), &[]);
    let _servers: Vec<HttpServer> = homelab
        .network
        .nodes
        .iter()
        .map(|node| HttpServer::start(node, GATEWAY))
        .collect();
    let gateway = Service::gateway().local();
    homelab.manifests.write("service.yaml", &gateway.yaml());
    for (name, _) in NODES {
        homelab
            .manifests
            .write("endpoints.yaml", &gateway.endpoints(&[(name, true)]));
        homelab.until_announced_by(&[name]);
        for _ in 0..5 {
            assert_eq!(
                homelab.fetch(),
                Ok(name.to_owned()),
                "the only announcing node answers"
            );
        }
    }
    homelab.manifests.write(
        "endpoints.yaml",
        &gateway.endpoints(&[("k3s1", true), ("k3s2", true), ("k3s3", true)]),
    );
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
    let mut answering = BTreeSet::new();
    eventually("all three nodes answer", LATER, || {
        answering.insert(homelab.fetch()?);
        holds(answering.len() == 3, format!("{answering:?}"))
    });

    homelab
        .manifests
        .write("endpoints.yaml", &gateway.endpoints(&[]));
    homelab.until_announced_by(&[]);
    assert!(
        homelab.fetch().is_err(),
        "an address that nobody announces is not reached"
    );
}

/// The reference network with FRR, the homelab's manifests and one Fairway on each speaking node.
struct Homelab {
    fairways: Vec<Fairway>,
    frr: Frr,
    manifests: Manifests,
    switches: Vec<String>,
    network: ReferenceNetwork,
}

impl Homelab {
    fn new(lab: Lab, switches: &[&str]) -> Self {
        let mut homelab = Self::empty(lab, switches);
        homelab.fairways = (0..NODES.len())
            .map(|node| homelab.setup(node).start(&homelab.network.nodes[node]))
            .collect();
        homelab
    }

    /// With no Fairway running yet.
    fn empty(lab: Lab, switches: &[&str]) -> Self {
        let network = ReferenceNetwork::in_lab(lab);
        let frr = Frr::start(&network.lab, &network.router, &udm_configuration());
        let manifests = Manifests::homelab(&network.lab.directory().join("manifests"));
        let gateway = Service::gateway();
        manifests.write("service.yaml", &gateway.yaml());
        manifests.write(
            "endpoints.yaml",
            &gateway.endpoints(&[("k3s1", true), ("k3s2", true), ("k3s3", true)]),
        );
        let switches = switches.iter().map(|switch| (*switch).to_owned()).collect();
        Self {
            fairways: Vec::new(),
            frr,
            manifests,
            switches,
            network,
        }
    }

    fn setup(&self, node: usize) -> FairwaySetup {
        let mut setup = FairwaySetup::new(
            NODES[node].0,
            self.manifests.folder(),
            self.network.lab.directory(),
        );
        setup.switches.clone_from(&self.switches);
        setup
    }

    fn start(&mut self, node: usize) {
        self.fairways[node] = self.setup(node).start(&self.network.nodes[node]);
    }

    fn until_announced_by(&self, nodes: &[&str]) {
        eventually(
            &format!("{GATEWAY_ROUTE} is announced by exactly {nodes:?}"),
            LATER,
            || self.announced_by(nodes),
        );
    }

    /// In the router's BGP table and in its kernel.
    fn announced_by(&self, nodes: &[&str]) -> Result<(), String> {
        let expected: Vec<&str> = NODES
            .iter()
            .filter(|(name, _)| nodes.contains(name))
            .map(|(_, address)| *address)
            .collect();
        let paths: Vec<String> = self
            .frr
            .paths(GATEWAY_ROUTE)
            .into_iter()
            .map(|path| path.next_hop)
            .collect();
        let hops = self.network.router.next_hops_to(GATEWAY);
        holds(
            paths == expected && hops == expected,
            format!("paths by {paths:?}, next hops {hops:?}"),
        )
    }

    fn fetch(&self) -> Result<String, String> {
        // A route that has just changed may cost the first packet; a second try is what any client does.
        http_get(&self.network.client, GATEWAY).or_else(|_| http_get(&self.network.client, GATEWAY))
    }
}

#[test]
fn every_node_says_what_it_does_to_its_peer() {
    let homelab = Homelab::new(Lab::new(), &[]);
    homelab.until_announced_by(&["k3s1", "k3s2", "k3s3"]);
    for fairway in &homelab.fairways {
        let peer = eventually("the counters stand", SOON, || {
            let peer = fairway.peer(ROUTER);
            if peer["families"][0]["advertised"] == 1 {
                Ok(peer)
            } else {
                Err(peer)
            }
        });
        assert_eq!(
            (&peer["local-asn"], &peer["peer-asn"], &peer["peer-port"]),
            (&64512.into(), &64513.into(), &179.into())
        );
        assert_eq!(peer["session-state"], "established");
        assert_eq!(
            peer["applied-hold-time-seconds"], 9,
            "the router's offer is the smaller one"
        );
    }
}
