//! The whole way: the operator's manifests through kubectl into a real API server, Fairway and a real kube-proxy on each node,
//! FRR as the gateway, and a client of another VLAN that gets HTTP from the address that Fairway allocated.
//!
//! ```text
//! client .20.10 --- vlan20 --- router (FRR) .10.1 --- lan --- k3s1 .21, k3s2 .23 (Fairway, kube-proxy, a pod each)
//!                                                      +----- control plane .40 (etcd, API server, controller manager)
//! ```

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use support::api_server::{ControlPlane, ControlPlaneSetup};
use support::clock::{eventually, holds, now};
use support::controller_manager::{self, CONTROLLERS};
use support::crds;
use support::fairway::{Fairway, FairwaySetup, addresses_of};
use support::kube_proxy;
use support::lab::{Host, Lab};
use support::manifests::homelab_files;
use support::process::Process;
use support::reference::{
    GATEWAY, GATEWAY_ROUTE, HttpServer, NODES, ReferenceNetwork, http_get, udm_configuration,
};
use support::router::Frr;
use support::visitor::{Visit, Visitor};

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(30);
/// A request each.
const PACE: Duration = Duration::from_millis(100);
const NAMESPACE: &str = "networking";
const NAME: &str = "cilium-gateway-main-gateway";
const CONTROL_PLANE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 40));
/// How many nodes speak and serve.
const SPEAKERS: usize = 2;

#[test]
fn kube_proxy_serves_an_address_that_kubectl_wrote() {
    let homelab = Homelab::new();
    homelab.apply_service();
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": GATEWAY }] } } });
    homelab.plane.kubectl().call(&[
        "patch",
        "service",
        NAME,
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status.to_string(),
    ]);
    homelab
        .network
        .router
        .ip(&format!("route add {GATEWAY_ROUTE} via {}", NODES[0].1));
    homelab.until_both_pods_answer();
}

#[test]
fn a_client_keeps_getting_answers_whatever_of_the_cluster_is_killed() {
    let mut homelab = Homelab::new();
    homelab.apply_manifests();
    for node in 0..SPEAKERS {
        homelab.start_fairway(node);
    }
    let begin = now();
    homelab.apply_service();
    let addresses = eventually("the Service has an address", SOON, || {
        let addresses = addresses_of(&homelab.service());
        holds(!addresses.is_empty(), homelab.service()).map(|()| addresses)
    });
    println!(
        "kubectl apply -> address in the status: {:?}",
        begin.elapsed()
    );
    assert_eq!(addresses, [GATEWAY.to_string()]);
    homelab.until_next_hops(&[0, 1]);
    println!(
        "kubectl apply -> two next hops in the router: {:?}",
        begin.elapsed()
    );
    homelab.until_both_pods_answer();
    println!(
        "kubectl apply -> both pods answer the client: {:?}",
        begin.elapsed()
    );

    let visitor = Visitor::start(&homelab.network.client, GATEWAY, PACE);
    homelab.while_visited(
        "the API server is killed and comes back",
        &visitor,
        |homelab| {
            homelab.plane.kill_server();
            homelab.until_visited(&visitor, 20);
            homelab.plane.restart_server();
        },
    );
    homelab.while_visited("etcd is killed and comes back", &visitor, |homelab| {
        homelab.plane.etcd.kill();
        homelab.until_visited(&visitor, 20);
        homelab.plane.etcd.restart();
        homelab.plane.until_ready();
    });
    let leader = homelab.leader();
    homelab.while_visited("the leader is killed", &visitor, |homelab| {
        visitor.between_requests(|| {
            homelab.fairways[leader] = None;
            homelab.until_next_hops(&[1 - leader]);
        });
    });
    homelab.while_visited("it comes back", &visitor, |homelab| {
        visitor.between_requests(|| {
            homelab.start_fairway(leader);
            homelab.until_next_hops(&[0, 1]);
        });
    });
    let visits = visitor.stop();
    let failures: Vec<&Visit> = visits
        .iter()
        .filter(|(_, answer)| answer.is_err())
        .collect();
    println!("{} requests, {} failures", visits.len(), failures.len());
    assert!(failures.is_empty(), "{failures:?}");

    // What outlived all that is still the same cluster: it can be changed.
    homelab
        .plane
        .kubectl()
        .call(&["delete", "service", NAME, "-n", NAMESPACE]);
    homelab.until_next_hops(&[]);
}

struct Homelab {
    fairways: Vec<Option<Fairway>>,
    _proxies: Vec<Process>,
    _pods: Vec<HttpServer>,
    _controllers: Process,
    frr: Frr,
    plane: ControlPlane,
    network: ReferenceNetwork,
}

impl Homelab {
    /// Everything but Fairway and the operator's objects.
    fn new() -> Self {
        let network = ReferenceNetwork::in_lab(Lab::alone());
        let frr = Frr::start(&network.lab, &network.router, &udm_configuration());
        let host = network.lab.host("control-plane");
        let address = format!("{CONTROL_PLANE}/24");
        network.lab.plug(&host, "lan", "eth0", &[&address]);
        let plane = ControlPlaneSetup::new(&host, &network.lab.directory().join("plane"))
            .on_address(CONTROL_PLANE)
            .start();
        crds::install(&plane.admin(), crds::all(&plane.kubectl()));
        plane.make_namespace("kube-system");
        plane.make_namespace(NAMESPACE);
        let rights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/rbac.yaml");
        plane
            .kubectl()
            .call(&["apply", "-f", &rights.display().to_string()]);
        plane.make_node("k3s-master1", "192.168.10.30", false);
        let speakers = || network.nodes.iter().take(SPEAKERS).enumerate();
        let mut pods = Vec::new();
        for (number, node) in speakers() {
            plane.make_node(node.name(), NODES[number].1, true);
            pods.push(pod(&network, node, number));
            plane.make_pod(
                NAMESPACE,
                &format!("gateway-{}", node.name()),
                &json!({ "app": "gateway" }),
                node.name(),
                pod_address(number),
            );
        }
        let controllers = controller_manager::start(&plane, CONTROLLERS);
        let proxies = speakers()
            .map(|(_, node)| kube_proxy::start(node, &plane.kubeconfig()))
            .collect();
        Self {
            fairways: (0..SPEAKERS).map(|_| None).collect(),
            _proxies: proxies,
            _pods: pods,
            _controllers: controllers,
            frr,
            plane,
            network,
        }
    }

    /// The operator's own files, as far as they are Cilium's objects.
    fn apply_manifests(&self) {
        for file in homelab_files() {
            if fs::read_to_string(&file).is_ok_and(|text| text.contains("cilium.io/")) {
                let kubectl = self.plane.kubectl();
                kubectl.call(&["apply", "-f", &file.display().to_string()]);
            }
        }
    }

    /// The Service that Cilium's Gateway controller makes of the operator's Gateway.
    fn apply_service(&self) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "namespace": NAMESPACE, "name": NAME },
            "spec": {
                "type": "LoadBalancer", "selector": { "app": "gateway" },
                "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }],
            },
        });
        self.plane.kubectl().apply(&service.to_string());
    }

    fn service(&self) -> Value {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/{NAME}");
        self.plane.admin().get(&path).unwrap_or_default()
    }

    fn start_fairway(&mut self, node: usize) {
        let directory = self.network.lab.directory();
        let account = self.plane.find_service_account("kube-system", "fairway");
        let user = json!({ "token": self.plane.token(&account) });
        let kubeconfig = self.plane.kubeconfig_for(&self.plane.url(), &user);
        let setup = FairwaySetup::in_cluster(NODES[node].0, &kubeconfig, directory)
            .with("--ipam")
            .with("auto")
            .with("--namespace")
            .with("kube-system");
        self.fairways[node] = Some(setup.start(&self.network.nodes[node]));
    }

    /// Which of the nodes holds the lease.
    fn leader(&self) -> usize {
        eventually("somebody leads", SOON, || {
            let path =
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/fairway-operator";
            let lease = self.plane.admin().get(path)?;
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            let leads = |node: &usize| holder.contains(NODES[*node].0);
            (0..SPEAKERS).find(leads).ok_or_else(|| lease.to_string())
        })
    }

    /// In the router's BGP table and in its kernel.
    fn until_next_hops(&self, nodes: &[usize]) {
        let expected: Vec<&str> = nodes.iter().map(|node| NODES[*node].1).collect();
        eventually(
            &format!("{GATEWAY_ROUTE} goes to {expected:?}"),
            LATER,
            || {
                let paths = self.frr.paths(GATEWAY_ROUTE).into_iter();
                let paths: Vec<String> = paths.map(|path| path.next_hop).collect();
                let hops = self.network.router.next_hops_to(GATEWAY);
                holds(
                    paths == expected && hops == expected,
                    format!("paths by {paths:?}, next hops {hops:?}"),
                )
            },
        );
    }

    fn until_both_pods_answer(&self) {
        for (name, _) in &NODES[..SPEAKERS] {
            eventually(
                &format!("the pod on {name} answers"),
                LATER,
                || match http_get(&self.network.client, GATEWAY) {
                    Ok(body) if body == *name => Ok(()),
                    other => Err(other),
                },
            );
        }
    }

    /// Does something, and shows that the client got an answer each time meanwhile and for a while afterwards.
    fn while_visited(&mut self, what: &str, visitor: &Visitor, action: impl FnOnce(&mut Self)) {
        let before = visitor.count();
        let begin = now();
        action(self);
        self.until_visited(visitor, 10);
        println!(
            "{what}: {} requests in {:?}",
            visitor.count() - before,
            begin.elapsed()
        );
    }

    fn until_visited(&self, visitor: &Visitor, times: usize) {
        let enough = visitor.count() + times;
        eventually("the client goes on asking", LATER, || {
            holds(visitor.count() >= enough, visitor.count())
        });
    }
}

/// A pod on a node: an address of the node's own that the other nodes know the way to, and a server on it.
fn pod(network: &ReferenceNetwork, node: &Host, number: usize) -> HttpServer {
    node.set_sysctl("net/ipv4/ip_forward", "1");
    let address = pod_address(number);
    for other in network
        .nodes
        .iter()
        .filter(|other| other.name() != node.name())
    {
        other.ip(&format!("route add {address}/32 via {}", NODES[number].1));
    }
    HttpServer::start_on(node, address, 8080)
}

fn pod_address(number: usize) -> IpAddr {
    let third = u8::try_from(number + 1).expect("a few nodes");
    IpAddr::V4(Ipv4Addr::new(10, 42, third, 10))
}
