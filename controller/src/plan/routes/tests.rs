use proptest::prelude::*;
use serde_json::{Value, json};

use crate::plan::addresses::ServiceStatus;
use crate::plan::{BgpPlan, peers};

use super::super::testing::{merged, node, policy, router, service, settings, slice, snapshot};
use super::*;

fn k3s1() -> Value {
    node("k3s1", &["192.168.10.21"])
}

fn bgp(values: Vec<Value>, changes: Value, settings: &Settings) -> BgpPlan {
    let objects = values
        .into_iter()
        .chain([k3s1(), policy("p", json!([router(changes)]))]);
    peers::plan(&snapshot(objects), &AddressPlan::default(), settings)
}

/// The prefixes that the router of the tests announces.
fn announced(values: Vec<Value>, changes: Value) -> Vec<String> {
    prefixes(&bgp(values, changes, &settings()))
}

fn prefixes(plan: &BgpPlan) -> Vec<String> {
    plan.instances["64512"]
        .routes
        .keys()
        .map(Prefix::to_string)
        .collect()
}

fn local() -> Value {
    json!({"spec": {"externalTrafficPolicy": "Local"}})
}

#[test]
fn the_gateways_address_is_one_host_route() {
    let plan = bgp(
        vec![service("gateway", "192.168.10.224", json!({}))],
        json!({}),
        &settings(),
    );
    let routes = &plan.instances["64512"].routes;
    let (prefix, route) = routes.iter().next().unwrap();
    assert_eq!(
        (routes.len(), prefix.to_string()),
        (1, "192.168.10.224/32".to_owned())
    );
    assert_eq!(route.origination.attributes.origin, Origin::Igp);
    assert_eq!(route.origination.next_hop, None);
    assert_eq!(
        route.because,
        [ObjectName {
            namespace: "default".into(),
            name: "gateway".into()
        }]
    );
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn all_routes_share_their_attributes() {
    let plan = bgp(
        vec![
            service("a", "10.0.0.1", json!({})),
            service("b", "fd00::1", json!({})),
        ],
        json!({}),
        &settings(),
    );
    let attributes: Vec<_> = plan.instances["64512"]
        .routes
        .values()
        .map(|route| route.origination.attributes.clone())
        .collect();
    assert!(Arc::ptr_eq(&attributes[0], &attributes[1]));
}

#[test]
fn the_service_selector_selects_and_an_absent_one_selects_nothing() {
    let services = || {
        vec![
            service(
                "a",
                "10.0.0.1",
                json!({"metadata": {"labels": {"tier": "edge"}}}),
            ),
            service("b", "10.0.0.2", json!({"metadata": {"namespace": "other"}})),
        ]
    };
    assert_eq!(
        announced(services(), json!({})),
        ["10.0.0.1/32", "10.0.0.2/32"]
    );
    assert_eq!(
        announced(
            services(),
            json!({"serviceSelector": {"matchLabels": {"tier": "edge"}}})
        ),
        ["10.0.0.1/32"]
    );
    assert_eq!(
        announced(
            services(),
            json!({"serviceSelector": {"matchLabels": {"io.kubernetes.service.namespace": "other"}}})
        ),
        ["10.0.0.2/32"]
    );
    assert_eq!(
        announced(
            services(),
            json!({"serviceSelector": {"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["never"]}]}})
        ),
        ["10.0.0.1/32", "10.0.0.2/32"]
    );
    let plan = bgp(services(), json!({"serviceSelector": null}), &settings());
    assert!(prefixes(&plan).is_empty());
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("serviceSelector is absent")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn planned_addresses_count_before_recorded_ones() {
    let values = [
        service("a", "10.0.0.1", json!({})),
        service("b", "10.0.0.2", json!({})),
        k3s1(),
        policy("p", json!([router(json!({}))])),
    ];
    let ingress = vec![IngressEntry {
        ip: Some("10.0.0.9".parse().unwrap()),
        hostname: None,
        ip_mode: IngressIpMode::Absent,
    }];
    let name = |name: &str| ObjectName {
        namespace: "default".into(),
        name: name.into(),
    };
    let mut addresses = AddressPlan::default();
    addresses.services.insert(
        name("a"),
        ServiceStatus {
            ingress,
            condition: None,
            foreign: None,
        },
    );
    addresses.services.insert(
        name("aa-gone"),
        ServiceStatus {
            ingress: vec![],
            condition: None,
            foreign: None,
        },
    );
    let plan = peers::plan(&snapshot(values.clone()), &addresses, &settings());
    assert_eq!(prefixes(&plan), ["10.0.0.2/32", "10.0.0.9/32"]);
    addresses.services.insert(
        name("b"),
        ServiceStatus {
            ingress: vec![],
            condition: None,
            foreign: None,
        },
    );
    let plan = peers::plan(&snapshot(values), &addresses, &settings());
    assert_eq!(
        prefixes(&plan),
        ["10.0.0.9/32"],
        "an address that is taken away is not announced"
    );
}

#[test]
fn each_kind_of_address_is_announced_where_it_is_wanted() {
    let all = || {
        service(
            "a",
            "10.0.0.1",
            json!({"spec": {"clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1", "fd00:43::1"], "externalIPs": ["203.0.113.1"]}}),
        )
    };
    let kinds = |kinds: Value| announced(vec![all()], json!({"serviceAdvertisements": kinds}));
    assert_eq!(kinds(Value::Null), ["10.0.0.1/32"]);
    assert_eq!(
        kinds(json!(["ClusterIP"])),
        ["10.43.0.1/32", "fd00:43::1/128"]
    );
    assert_eq!(kinds(json!(["ExternalIP"])), ["203.0.113.1/32"]);
    assert_eq!(
        kinds(json!(["LoadBalancerIP", "ClusterIP", "ExternalIP"])).len(),
        4
    );
}

#[test]
fn load_balancer_addresses_need_type_class_and_mode() {
    let of = |changes: Value| announced(vec![service("a", "10.0.0.1", changes)], json!({}));
    assert_eq!(
        of(json!({"spec": {"loadBalancerClass": "io.cilium/bgp-control-plane"}})),
        ["10.0.0.1/32"]
    );
    assert!(of(json!({"spec": {"loadBalancerClass": "io.cilium/l2-announcer"}})).is_empty());
    assert!(of(json!({"spec": {"loadBalancerClass": "example.org/other"}})).is_empty());
    assert!(of(json!({"spec": {"type": "NodePort"}})).is_empty());
    let modes = json!([{"ip": "10.0.0.1", "ipMode": "VIP"}, {"ip": "10.0.0.2", "ipMode": "Proxy"}, {"ip": "10.0.0.3"}, {"hostname": "x.example"}, {"ip": "nonsense"}]);
    assert_eq!(
        of(json!({"status": {"loadBalancer": {"ingress": modes}}})),
        ["10.0.0.1/32", "10.0.0.3/32"]
    );
    let class_is_for_ingress_only =
        json!({"spec": {"loadBalancerClass": "example.org/other", "externalIPs": ["203.0.113.1"]}});
    assert_eq!(
        announced(
            vec![service("a", "10.0.0.1", class_is_for_ingress_only)],
            json!({"serviceAdvertisements": ["LoadBalancerIP", "ExternalIP"]})
        ),
        ["203.0.113.1/32"]
    );
}

#[test]
fn policy_local_needs_a_ready_endpoint_here() {
    let with = |endpoints: &[(Option<&str>, bool)]| {
        !announced(
            vec![service("a", "10.0.0.1", local()), slice("a", endpoints)],
            json!({}),
        )
        .is_empty()
    };
    assert!(with(&[(Some("k3s1"), true)]));
    assert!(with(&[(Some("k3s2"), true), (Some("k3s1"), true)]));
    assert!(
        with(&[(None, true)]),
        "an endpoint without node is local everywhere"
    );
    assert!(!with(&[(Some("k3s2"), true)]));
    assert!(!with(&[(Some("k3s1"), false)]));
    assert!(!with(&[(None, false)]));
    assert!(!with(&[]));
    assert!(announced(vec![service("a", "10.0.0.1", local())], json!({})).is_empty());
    let plan = bgp(
        vec![service("a", "10.0.0.1", local())],
        json!({}),
        &settings(),
    );
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("no ready endpoint") && note.contains("default/a")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn an_absent_ready_counts_as_ready_and_terminating_does_not_matter() {
    let conditions = |conditions: Value| {
        let slice = merged(
            slice("a", &[]),
            json!({"endpoints": [{"addresses": ["10.42.1.5"], "nodeName": "k3s1", "conditions": conditions}]}),
        );
        !announced(vec![service("a", "10.0.0.1", local()), slice], json!({})).is_empty()
    };
    assert!(conditions(Value::Null));
    assert!(conditions(json!({"ready": true, "terminating": true})));
    assert!(!conditions(
        json!({"ready": false, "serving": true, "terminating": true})
    ));
}

#[test]
fn endpoints_count_by_family_protocol_and_port_name() {
    let with = |ports: Value, slice_changes: Value, address: &str| {
        let service = service(
            "a",
            address,
            json!({"spec": {"externalTrafficPolicy": "Local", "ports": ports}}),
        );
        !announced(
            vec![
                service,
                merged(slice("a", &[(Some("k3s1"), true)]), slice_changes),
            ],
            json!({}),
        )
        .is_empty()
    };
    let http = || json!([{"name": "http", "port": 80}]);
    assert!(with(http(), json!({}), "10.0.0.1"));
    assert!(
        !with(http(), json!({}), "fd00::1"),
        "IPv4 endpoints are none for an IPv6 address"
    );
    let ipv6 = json!({"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::5"], "nodeName": "k3s1"}]});
    assert!(with(http(), ipv6.clone(), "fd00::1"));
    assert!(!with(http(), ipv6, "10.0.0.1"));
    assert!(
        !with(
            http(),
            json!({"ports": [{"name": "https", "port": 80}]}),
            "10.0.0.1"
        ),
        "another name"
    );
    assert!(
        with(http(), json!({"ports": [{"port": 9999}]}), "10.0.0.1"),
        "no name on one side, numbers never compared"
    );
    assert!(
        with(json!([{"port": 80}]), json!({}), "10.0.0.1"),
        "no name on the other side"
    );
    assert!(!with(
        http(),
        json!({"ports": [{"name": "http", "port": 80, "protocol": "UDP"}]}),
        "10.0.0.1"
    ));
    assert!(
        !with(http(), json!({"ports": null}), "10.0.0.1"),
        "a slice without ports has none of the Service's"
    );
    assert!(
        with(
            json!([{"name": "https", "port": 443}, {"name": "http", "port": 80}]),
            json!({}),
            "10.0.0.1"
        ),
        "one port is enough"
    );
}

#[test]
fn policy_cluster_is_announced_everywhere_unless_switched_off() {
    let strict = Settings {
        no_service_endpoints_routable: false,
        ..settings()
    };
    let with = |values: Vec<Value>, settings: &Settings| {
        !prefixes(&bgp(values, json!({}), settings)).is_empty()
    };
    let plain = || service("a", "10.0.0.1", json!({}));
    assert!(with(vec![plain()], &settings()));
    assert!(!with(vec![plain()], &strict));
    assert!(!with(
        vec![plain(), slice("a", &[(Some("k3s2"), false)])],
        &strict
    ));
    assert!(
        with(vec![plain(), slice("a", &[(Some("k3s2"), true)])], &strict),
        "an endpoint on any node will do"
    );
    assert!(!with(
        vec![
            service("a", "10.0.0.1", local()),
            slice("a", &[(Some("k3s2"), true)])
        ],
        &strict
    ));
}

#[test]
fn each_kind_of_address_follows_its_own_traffic_policy() {
    let mixed = |external: &str, internal: &str| {
        let service = service(
            "a",
            "10.0.0.1",
            json!({"spec": {"externalTrafficPolicy": external, "internalTrafficPolicy": internal, "clusterIP": "10.43.0.1", "externalIPs": ["203.0.113.1"]}}),
        );
        announced(
            vec![service],
            json!({"serviceAdvertisements": ["LoadBalancerIP", "ClusterIP", "ExternalIP"]}),
        )
    };
    assert_eq!(mixed("Local", "Cluster"), ["10.43.0.1/32"]);
    assert_eq!(mixed("Cluster", "Local"), ["10.0.0.1/32", "203.0.113.1/32"]);
}

#[test]
fn headless_and_portless_services_have_no_route_of_any_kind() {
    let kinds = || json!({"serviceAdvertisements": ["LoadBalancerIP", "ClusterIP", "ExternalIP"]});
    let of = |changes: Value| {
        announced(
            vec![service(
                "a",
                "10.0.0.1",
                merged(json!({"spec": {"externalIPs": ["203.0.113.1"]}}), changes),
            )],
            kinds(),
        )
    };
    assert_eq!(of(json!({})).len(), 2);
    assert!(of(json!({"spec": {"clusterIP": "None"}})).is_empty());
    assert!(of(json!({"metadata": {"labels": {"service.kubernetes.io/headless": ""}}})).is_empty());
    assert!(of(json!({"spec": {"ports": []}})).is_empty());
}

#[test]
fn annotations_decide_which_nodes_know_a_service() {
    let of = |annotations: Value, labels: Value| {
        let node = merged(k3s1(), json!({"metadata": {"labels": labels}}));
        let objects = [
            service(
                "a",
                "10.0.0.1",
                json!({"metadata": {"annotations": annotations}}),
            ),
            node,
            policy("p", json!([router(json!({}))])),
        ];
        let plan = peers::plan(&snapshot(objects), &AddressPlan::default(), &settings());
        (!prefixes(&plan).is_empty(), plan.notes)
    };
    let selector = "service.cilium.io/node-selector";
    let node = "service.cilium.io/node";
    assert!(
        of(
            json!({selector: "bgp=enabled,kubernetes.io/hostname in (k3s1,k3s2),!gpu"}),
            json!({})
        )
        .0
    );
    assert!(!of(json!({selector: "gpu"}), json!({})).0);
    assert!(of(json!({selector: ""}), json!({})).0);
    assert!(
        of(json!({selector: "bgp", node: "elsewhere"}), json!({})).0,
        "the selector decides alone"
    );
    let (exposed, notes) = of(json!({selector: "a in b", node: "elsewhere"}), json!({}));
    assert!(
        exposed && notes.iter().any(|note| note.contains("is ignored")),
        "{notes:?}"
    );
    assert!(of(json!({node: "edge"}), json!({node: "edge"})).0);
    assert!(!of(json!({node: "edge"}), json!({node: "core"})).0);
    assert!(!of(json!({node: ""}), json!({})).0);
    let (exposed, notes) = of(json!({node: "edge"}), json!({}));
    assert!(
        !exposed
            && notes
                .iter()
                .any(|note| note.contains("kept from this node")),
        "{notes:?}"
    );
}

#[test]
fn the_type_annotation_leaves_one_kind_and_never_touches_external_addresses() {
    let of = |kind: &str| {
        let service = service(
            "a",
            "10.0.0.1",
            json!({"metadata": {"annotations": {"service.cilium.io/type": kind}}, "spec": {"clusterIP": "10.43.0.1", "externalIPs": ["203.0.113.1"]}}),
        );
        announced(
            vec![service],
            json!({"serviceAdvertisements": ["LoadBalancerIP", "ClusterIP", "ExternalIP"]}),
        )
    };
    assert_eq!(of("LoadBalancer"), ["10.0.0.1/32", "203.0.113.1/32"]);
    assert_eq!(of("ClusterIP"), ["10.43.0.1/32", "203.0.113.1/32"]);
    assert_eq!(of("NodePort"), ["203.0.113.1/32"]);
    assert_eq!(
        of("loadbalancer").len(),
        3,
        "any other value is as if absent"
    );
    assert_eq!(of("").len(), 3);
}

#[test]
fn a_shared_address_is_one_route_with_several_causes() {
    let plan = bgp(
        vec![
            service("a", "10.0.0.1", json!({})),
            service("b", "10.0.0.1", json!({})),
            service("c", "10.0.0.1", local()),
        ],
        json!({}),
        &settings(),
    );
    let routes = &plan.instances["64512"].routes;
    assert_eq!(routes.len(), 1);
    let because: Vec<_> = routes
        .values()
        .next()
        .unwrap()
        .because
        .iter()
        .map(|name| name.name.as_str())
        .collect();
    assert_eq!(because, ["a", "b"], "who produces it, and nobody else");
}

#[test]
fn an_address_of_several_kinds_is_one_route_with_one_cause() {
    let plan = bgp(
        vec![service(
            "a",
            "10.0.0.1",
            json!({"spec": {"externalIPs": ["10.0.0.1"]}}),
        )],
        json!({"serviceAdvertisements": ["LoadBalancerIP", "ExternalIP"]}),
        &settings(),
    );
    assert_eq!(
        plan.instances["64512"]
            .routes
            .values()
            .next()
            .unwrap()
            .because
            .len(),
        1
    );
}

#[test]
fn without_endpoint_slices_only_what_needs_none_is_announced_and_the_reason_is_told() {
    let mut snapshot = snapshot([
        service("everywhere", "10.0.0.1", json!({})),
        service("here", "10.0.0.2", local()),
        k3s1(),
        policy("p", json!([router(json!({}))])),
    ]);
    for kind in [Kind::EndpointSlice, Kind::Service] {
        let reason = format!("no right to see {}", kind.plural());
        snapshot.unreadable.insert(kind, reason);
    }
    let plan = peers::plan(&snapshot, &AddressPlan::default(), &settings());
    assert_eq!(prefixes(&plan), ["10.0.0.1/32"]);
    let told = |text: &str| plan.notes.iter().any(|note| note.contains(text));
    assert!(
        told("(no right to see endpointslices): default/here"),
        "{:?}",
        plan.notes
    );
    assert!(told("no right to see services"), "{:?}", plan.notes);
}

#[test]
fn pod_cidrs_are_announced_where_wanted() {
    assert!(announced(vec![], json!({})).is_empty());
    assert_eq!(
        announced(vec![], json!({"exportPodCIDR": true})),
        ["10.42.1.0/24", "fd00:42:1::/64"]
    );
}

#[test]
fn cidrs_of_selected_pod_pools_are_announced_while_the_pool_exists() {
    let cilium_node = || {
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "k3s1", "labels": {"bgp": "enabled"}}, "spec": {
        "addresses": [{"type": "InternalIP", "ip": "192.168.10.21"}], "ipam": {"pools": {"allocated": [
            {"pool": "blue", "cidrs": ["10.10.0.0/26", "fd00:10::/96"]}, {"pool": "green", "cidrs": ["10.20.0.0/26"]}]}}}})
    };
    let pool = |name: &str| json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumPodIPPool", "metadata": {"name": name, "labels": {"color": name}}, "spec": {"ipv4": {"maskSize": 26}}});
    let with = |pools: Vec<Value>, selector: Value| {
        announced(
            pools.into_iter().chain([cilium_node()]).collect(),
            json!({"podIPPoolSelector": selector}),
        )
    };
    assert_eq!(
        with(vec![pool("blue"), pool("green")], json!({})),
        ["10.10.0.0/26", "10.20.0.0/26"],
        "no IPv6 block, no IPv6 route"
    );
    assert_eq!(
        with(
            vec![pool("blue"), pool("green")],
            json!({"matchLabels": {"color": "green"}})
        ),
        ["10.20.0.0/26"]
    );
    assert_eq!(
        with(
            vec![pool("blue"), pool("green")],
            json!({"matchLabels": {"io.cilium.podippool.name": "blue"}})
        ),
        ["10.10.0.0/26"]
    );
    assert_eq!(with(vec![pool("green")], json!({})), ["10.20.0.0/26"]);
    assert!(
        with(vec![pool("blue")], Value::Null).is_empty(),
        "an absent selector selects nothing"
    );
}

#[test]
fn services_without_address_are_named_but_not_all_of_them() {
    let services = (0..8)
        .map(|number| service(&format!("s{number}"), "", json!({})))
        .collect();
    let plan = bgp(services, json!({}), &settings());
    let note = plan
        .notes
        .iter()
        .find(|note| note.contains("has no address yet"))
        .unwrap();
    assert!(
        note.ends_with("default/s0, default/s1, default/s2, default/s3, default/s4 and 3 more"),
        "{note}"
    );
}

/// One Service of the property below: addresses of three kinds, policy, type, class, mode.
#[derive(Clone, Debug)]
struct Drawn {
    ingress: Vec<(u8, bool)>,
    external: Vec<u8>,
    cluster: Vec<u8>,
    local: bool,
    load_balancer: bool,
    class: Option<u8>,
    endpoint: Option<(bool, bool)>,
    planned: Option<Vec<u8>>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let list = || proptest::collection::vec(0..40_u8, 0..3);
    (
        proptest::collection::vec((0..40_u8, any::<bool>()), 0..3),
        list(),
        list(),
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(0..3_u8),
        proptest::option::of((any::<bool>(), any::<bool>())),
        proptest::option::of(list()),
    )
        .prop_map(
            |(ingress, external, cluster, local, load_balancer, class, endpoint, planned)| Drawn {
                ingress,
                external,
                cluster,
                local,
                load_balancer,
                class,
                endpoint,
                planned,
            },
        )
}

proptest! {
    /// Whatever the objects say: every route is an address that one of its causes holds and wants announced, and under
    /// policy Local a ready endpoint is here.
    #[test]
    fn a_route_is_never_planned_for_an_address_that_no_service_holds(services in proptest::collection::vec(drawn(), 0..8)) {
        let address = |kind: u8, number: u8| format!("10.{kind}.0.{number}");
        let mut values = vec![k3s1(), policy("p", json!([router(json!({"serviceAdvertisements": ["LoadBalancerIP", "ClusterIP", "ExternalIP"]}))]))];
        let mut addresses = AddressPlan::default();
        for (index, drawn) in services.iter().enumerate() {
            let name = format!("s{index}");
            let class = drawn.class.map(|class| ["io.cilium/bgp-control-plane", "io.cilium/l2-announcer", "other/class"][usize::from(class)]);
            let ingress: Vec<_> = drawn.ingress.iter().map(|(number, vip)| json!({"ip": address(0, *number), "ipMode": if *vip { "VIP" } else { "Proxy" }})).collect();
            values.push(service(&name, "", json!({"spec": {
                "type": if drawn.load_balancer { "LoadBalancer" } else { "ClusterIP" }, "loadBalancerClass": class,
                "externalTrafficPolicy": if drawn.local { "Local" } else { "Cluster" },
                "externalIPs": drawn.external.iter().map(|number| address(1, *number)).collect::<Vec<_>>(),
                "clusterIPs": drawn.cluster.iter().map(|number| address(2, *number)).collect::<Vec<_>>()},
                "status": {"loadBalancer": {"ingress": ingress}}})));
            if let Some((here, ready)) = drawn.endpoint {
                values.push(slice(&name, &[(Some(if here { "k3s1" } else { "k3s2" }), ready)]));
            }
            if let Some(planned) = &drawn.planned {
                let entry = |number: &u8| IngressEntry { ip: address(0, *number).parse().ok(), hostname: None, ip_mode: IngressIpMode::Absent };
                let status = ServiceStatus { ingress: planned.iter().map(entry).collect(), condition: None, foreign: None };
                addresses.services.insert(ObjectName { namespace: "default".into(), name: name.into() }, status);
            }
        }
        let plan = peers::plan(&snapshot(values), &addresses, &settings());
        let mut causes = 0;
        for (prefix, route) in &plan.instances["64512"].routes {
            prop_assert!(!route.because.is_empty());
            for because in &route.because {
                causes += 1;
                let drawn = &services[because.name[1..].parse::<usize>().unwrap()];
                let is = |kind: u8, number: u8| prefix.to_string() == format!("{}/32", address(kind, number));
                let usable = drawn.endpoint == Some((true, true));
                let external_ok = !drawn.local || usable;
                let ingress: Vec<u8> = match &drawn.planned {
                    Some(planned) => planned.clone(),
                    None => drawn.ingress.iter().filter(|(_, vip)| *vip).map(|(number, _)| *number).collect(),
                };
                let by_ingress = drawn.load_balancer && drawn.class.is_none_or(|class| class == 0) && external_ok && ingress.iter().any(|number| is(0, *number));
                let by_external = external_ok && drawn.external.iter().any(|number| is(1, *number));
                let by_cluster = drawn.cluster.iter().any(|number| is(2, *number));
                prop_assert!(by_ingress || by_external || by_cluster, "{prefix} because of {because}: {drawn:?}");
            }
        }
        let expected: usize = services.iter().map(|drawn| {
            let external_ok = !drawn.local || drawn.endpoint == Some((true, true));
            let mut numbers = std::collections::BTreeSet::new();
            if external_ok && drawn.load_balancer && drawn.class.is_none_or(|class| class == 0) {
                match &drawn.planned {
                    Some(planned) => numbers.extend(planned.iter().map(|number| (0, *number))),
                    None => numbers.extend(drawn.ingress.iter().filter(|(_, vip)| *vip).map(|(number, _)| (0, *number))),
                }
            }
            if external_ok {
                numbers.extend(drawn.external.iter().map(|number| (1, *number)));
            }
            numbers.extend(drawn.cluster.iter().map(|number| (2, *number)));
            numbers.len()
        }).sum();
        prop_assert_eq!(causes, expected, "nothing that may be announced is left out");
    }
}

/// Prints how long planning takes; `cargo test --release -- --ignored` for the budget of 10 ms.
#[test]
#[ignore = "a measurement"]
fn ten_thousand_services_and_ten_peers_are_planned_in_ten_milliseconds() {
    let peers: Vec<_> = (1..=10)
        .map(|number| json!({"peerAddress": format!("192.168.10.{number}/32"), "peerASN": 64513, "advertisedPathAttributes": [{"selectorType": "CiliumLoadBalancerIPPool", "communities": {"standard": ["1:2"]}}]}))
        .collect();
    let pool = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "p"}, "spec": {"blocks": [{"cidr": "10.0.0.0/16"}]}});
    let mut values = vec![
        k3s1(),
        pool,
        policy("p", json!([router(json!({"neighbors": peers}))])),
    ];
    for number in 0..10_000 {
        let policy = if number % 2 == 0 { "Local" } else { "Cluster" };
        let name = format!("service-{number}");
        values.push(service(&name, &format!("10.0.{}.{}", number >> 8, number & 0xFF), json!({"metadata": {"labels": {"app": name, "team": "x"}}, "spec": {"externalTrafficPolicy": policy}})));
        values.push(slice(&name, &[(Some("k3s2"), true), (Some("k3s1"), true)]));
    }
    let snapshot = snapshot(values);
    let mut best = std::time::Duration::MAX;
    for _ in 0..40 {
        #[expect(clippy::disallowed_methods, reason = "this test measures real time")]
        let start = std::time::Instant::now();
        let plan = peers::plan(&snapshot, &AddressPlan::default(), &settings());
        best = best.min(start.elapsed());
        assert_eq!(plan.instances["64512"].routes.len(), 10_000);
    }
    println!("10,000 Services x 10 peers: {best:?}");
    assert!(
        cfg!(debug_assertions) || best < std::time::Duration::from_millis(10),
        "{best:?}"
    );
}
