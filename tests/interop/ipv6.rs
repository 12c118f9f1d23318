//! IPv6: sessions over it, /128 routes, and Services of both families.

use std::time::Duration;

use support::clock::{eventually, holds};
use support::fairway::{Fairway, FairwaySetup};
use support::lab::Lab;
use support::manifests::{Manifests, Neighbor, Service, node, peering_policy, pool};
use support::reference::{HttpServer, ReferenceNetwork, http_get};
use support::router::{Frr, RoutePath};

const LATER: Duration = Duration::from_secs(30);
const ROUTE: &str = "fd00:10::e0/128";
const BOTH: [&str; 2] = ["IPv4", "IPv6"];

#[test]
fn a_session_over_ipv6_carries_a_host_route_that_a_client_reaches() {
    let stage = Stage::new(&[Neighbor::new(
        "fd00:10::1"
            .parse::<std::net::Ipv6Addr>()
            .expect("an address"),
        64513,
    )]);
    let service = Service::new("default", "six")
        .of_families(&["IPv6"])
        .local();
    stage.manifests.write(
        "six.yaml",
        &(service.yaml() + "---\n" + &service.ipv6_endpoints(&[("k3s1", true)])),
    );
    let fairway = stage.fairway();
    eventually("Established", LATER, || {
        holds(
            stage.frr.established("ipv6Unicast") == ["fd00:10::21"]
                && fairway.is_established("fd00:10::1"),
            fairway.peer("fd00:10::1"),
        )
    });
    stage.until_six("fd00:10::21");
    let _server = HttpServer::start(
        &stage.network.nodes[0],
        "fd00:10::e0".parse().expect("an address"),
    );
    stage.network.client.ip("route add default via fd00:20::1");
    stage.network.nodes[0].ip("route add default via fd00:10::1");
    assert_eq!(
        eventually("a client behind the router", LATER, || http_get(
            &stage.network.client,
            "fd00:10::e0".parse().expect("an address")
        )),
        "k3s1"
    );

    stage.manifests.write(
        "six.yaml",
        &(service.yaml() + "---\n" + &service.ipv6_endpoints(&[("k3s1", false)])),
    );
    eventually("withdrawn", LATER, || {
        holds(
            stage.frr.prefixes("ipv6").is_empty(),
            stage.frr.prefixes("ipv6"),
        )
    });
    assert!(fairway.is_established("fd00:10::1"));
}

#[test]
fn a_dual_stack_service_has_a_route_of_each_family_judged_apart() {
    let four = Neighbor::new([192, 168, 10, 1], 64513);
    let six = Neighbor::new(
        "fd00:10::1"
            .parse::<std::net::Ipv6Addr>()
            .expect("an address"),
        64513,
    );
    let stage = Stage::new(&[four, six]);
    let service = Service::new("default", "both").of_families(&BOTH).local();
    let slices = |four: bool, six: bool| {
        service.endpoints(&[("k3s1", four)]) + "---\n" + &service.ipv6_endpoints(&[("k3s1", six)])
    };
    stage.manifests.write("both.yaml", &service.yaml());
    stage.manifests.write("slices.yaml", &slices(true, true));
    let fairway = stage.fairway();
    stage.until_six("fd00:10::21");
    stage.until_four(&["192.168.10.224/32"]);
    let mut addresses = fairway.addresses().remove(0).1;
    addresses.sort();
    assert_eq!(addresses, ["192.168.10.224", "fd00:10::e0"]);

    stage.manifests.write("slices.yaml", &slices(false, true));
    stage.until_four(&[]);
    assert_eq!(
        stage.frr.prefixes("ipv6"),
        [ROUTE],
        "the other family stays"
    );
    stage.manifests.write("slices.yaml", &slices(true, false));
    stage.until_four(&["192.168.10.224/32"]);
    eventually("the IPv6 route is withdrawn", LATER, || {
        holds(
            stage.frr.prefixes("ipv6").is_empty(),
            stage.frr.prefixes("ipv6"),
        )
    });
}

struct Stage {
    network: ReferenceNetwork,
    frr: Frr,
    manifests: Manifests,
}

impl Stage {
    fn new(neighbors: &[Neighbor]) -> Self {
        let network = ReferenceNetwork::in_lab(Lab::new());
        let frr = Frr::start(&network.lab, &network.router, CONFIGURATION);
        let manifests = Manifests::in_folder(&network.lab.directory().join("manifests"));
        manifests.write(
            "node.yaml",
            &node("k3s1", &["192.168.10.21", "fd00:10::21"], &[]),
        );
        manifests.write(
            "pool.yaml",
            &pool("pool", &["192.168.10.224/28", "fd00:10::e0/124"]),
        );
        manifests.write("policy.yaml", &peering_policy(64512, neighbors));
        Self {
            network,
            frr,
            manifests,
        }
    }

    fn fairway(&self) -> Fairway {
        FairwaySetup::new(
            "k3s1",
            self.manifests.folder(),
            self.network.lab.directory(),
        )
        .start(&self.network.nodes[0])
    }

    fn until_six(&self, next_hop: &str) {
        let expected = [RoutePath {
            next_hop: next_hop.into(),
            as_path: "64512".into(),
            origin: "IGP".into(),
        }];
        eventually(&format!("{ROUTE} by {next_hop}"), LATER, || {
            let paths = self.frr.paths(ROUTE);
            holds(paths == expected, paths)
        });
        eventually("in the kernel", LATER, || {
            let hops = self
                .network
                .router
                .next_hops_to("fd00:10::e0".parse().expect("an address"));
            holds(hops.len() == 1, hops)
        });
        assert_eq!(self.frr.prefixes("ipv6"), [ROUTE]);
    }

    fn until_four(&self, prefixes: &[&str]) {
        eventually(&format!("exactly {prefixes:?}"), LATER, || {
            let found = self.frr.prefixes("ipv4");
            holds(found == prefixes, found)
        });
    }
}

const CONFIGURATION: &str = "frr defaults traditional
hostname udm
log stdout
log timestamp precision 6
router bgp 64513
 bgp router-id 192.168.10.1
 no bgp default ipv4-unicast
 no bgp ebgp-requires-policy
 neighbor K8S peer-group
 neighbor K8S remote-as 64512
 neighbor K8S timers 3 9
 neighbor K8S6 peer-group
 neighbor K8S6 remote-as 64512
 neighbor K8S6 timers 3 9
 bgp listen range 192.168.10.0/24 peer-group K8S
 bgp listen range fd00:10::/64 peer-group K8S6
 address-family ipv4 unicast
  neighbor K8S activate
  maximum-paths 8
 exit-address-family
 address-family ipv6 unicast
  neighbor K8S6 activate
  maximum-paths 8
 exit-address-family
exit
";
