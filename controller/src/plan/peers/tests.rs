use std::time::Duration;

use bgp_core::{Family, HoldTime};
use serde_json::{Value, json};

use super::super::testing::{merged, node, policy, router, service, settings, snapshot};
use super::*;

fn plan(values: impl IntoIterator<Item = Value>) -> BgpPlan {
    super::plan(&snapshot(values), &AddressPlan::default(), &settings())
}

fn k3s1() -> Value {
    node("k3s1", &["192.168.10.21", "fd00::21"])
}

fn annotated(key: &str, value: &str) -> Value {
    merged(k3s1(), json!({"metadata": {"annotations": {key: value}}}))
}

fn peer_of(neighbor: Value) -> PeerPlan {
    let plan = plan([
        k3s1(),
        policy("p", json!([router(json!({"neighbors": [neighbor]}))])),
    ]);
    plan.instances["64512"]
        .peers
        .values()
        .next()
        .unwrap()
        .clone()
}

fn has_note(plan: &BgpPlan, text: &str) -> bool {
    plan.notes.iter().any(|note| note.contains(text))
}

#[test]
fn the_homelab_node_peers_with_its_router() {
    let plan = plan([k3s1(), policy("p", json!([router(json!({}))]))]);
    assert_eq!(plan.hold_all, None);
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    let instance = &plan.instances["64512"];
    assert_eq!(instance.local_asn, Asn(64512));
    assert_eq!(instance.router_id.to_string(), "192.168.10.21");
    assert_eq!((instance.listen_port, instance.bind_address), (None, None));
    let peer = &instance.peers["192.168.10.1"];
    let expected = PeerPlan {
        address: "192.168.10.1".parse().unwrap(),
        port: 179,
        asn: Some(Asn(64513)),
        local_address: None,
        ttl: 1,
        password: None,
        blocked: None,
        hold_time: HoldTime::DEFAULT,
        keepalive: Duration::from_secs(30),
        connect_retry: Duration::from_secs(120),
        graceful_restart: None,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        export: Arc::new(Policy::accept_all()),
    };
    assert_eq!(*peer, expected);
}

#[test]
fn an_incomplete_snapshot_holds_everything() {
    let mut snapshot = snapshot([k3s1(), policy("p", json!([router(json!({}))]))]);
    snapshot.complete = false;
    assert!(
        super::plan(&snapshot, &AddressPlan::default(), &settings())
            .hold_all
            .is_some()
    );
}

#[test]
fn a_node_that_is_not_there_waits_and_one_that_goes_withdraws() {
    let router = || policy("p", json!([router(json!({}))]));
    let absent = plan([router()]);
    assert!(absent.instances.is_empty() && absent.hold_all.is_none());
    assert!(has_note(&absent, "waiting for Node k3s1"));
    let going = merged(
        k3s1(),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    let going = plan([going, router()]);
    assert!(going.instances.is_empty() && going.hold_all.is_none());
    assert!(has_note(&going, "being deleted"));
    let by_cilium_node = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "k3s1", "labels": {"bgp": "enabled"}},
        "spec": {"addresses": [{"type": "InternalIP", "ip": "192.168.10.21"}]}});
    assert_eq!(plan([by_cilium_node, router()]).instances.len(), 1);
}

#[test]
fn what_cannot_be_read_is_not_said_to_be_missing() {
    let unreadable = |values: &[Value], kind: Kind| {
        let mut snapshot = snapshot(values.iter().cloned());
        snapshot.unreadable.insert(kind, "no right".to_owned());
        super::plan(&snapshot, &AddressPlan::default(), &settings())
    };
    let with_password = json!({"neighbors": [
        {"peerAddress": "192.168.10.1/32", "peerASN": 64513, "authSecretRef": "router"},
        {"peerAddress": "192.168.10.2/32", "peerASN": 64513}]});
    let all = [k3s1(), policy("p", json!([router(with_password)]))];
    let no_secrets = unreadable(&all, Kind::Secret);
    let peers = &no_secrets.instances["64512"].peers;
    let reason = peers["192.168.10.1"].blocked.as_deref();
    assert_eq!(
        reason,
        Some("the password in Secret router is not known: no right")
    );
    assert_eq!(peers["192.168.10.2"].blocked, None);
    assert_eq!(
        unreadable(&all[1..], Kind::Node).notes,
        ["waiting for Node k3s1: no right"]
    );
    assert_eq!(
        unreadable(&all[..1], Kind::CiliumBGPPeeringPolicy).notes,
        ["node k3s1: there is no session: no right"]
    );
    for kind in [Kind::Node, Kind::CiliumBGPPeeringPolicy] {
        let plan = unreadable(&all, kind);
        assert_eq!(
            plan.instances.len(),
            1,
            "what was known before stays in force"
        );
        assert!(!has_note(&plan, "no right"));
    }
}

#[test]
fn a_node_without_the_label_is_told_what_the_policy_wants() {
    let unlabelled = merged(k3s1(), json!({"metadata": {"labels": {"bgp": null}}}));
    let plan = plan([
        unlabelled,
        policy("bgp-peering-policy", json!([router(json!({}))])),
    ]);
    assert!(plan.instances.is_empty());
    assert_eq!(
        plan.notes,
        ["node k3s1: no CiliumBGPPeeringPolicy selects it (bgp-peering-policy wants bgp=enabled)"]
    );
}

#[test]
fn without_a_valid_policy_the_invalid_one_is_named() {
    let broken = plan([k3s1(), policy("p", json!([]))]);
    assert!(broken.instances.is_empty());
    assert!(has_note(
        &broken,
        "there is no valid CiliumBGPPeeringPolicy"
    ));
    assert!(
        has_note(
            &broken,
            "CiliumBGPPeeringPolicy p: spec.virtualRouters: there must be at least one"
        ),
        "{:?}",
        broken.notes
    );
}

#[test]
fn two_policies_for_one_node_tear_everything_down_and_are_named() {
    let plan = plan([
        k3s1(),
        policy("a", json!([router(json!({}))])),
        policy("b", json!([router(json!({}))])),
    ]);
    assert!(plan.instances.is_empty() && plan.held.is_empty() && plan.hold_all.is_none());
    assert!(has_note(
        &plan,
        "CiliumBGPPeeringPolicies a and b all select it"
    ));
}

#[test]
fn a_policy_without_node_selector_selects_every_node() {
    let everywhere = merged(
        policy("p", json!([router(json!({}))])),
        json!({"spec": {"nodeSelector": null}}),
    );
    assert_eq!(
        plan([
            merged(k3s1(), json!({"metadata": {"labels": null}})),
            everywhere
        ])
        .instances
        .len(),
        1
    );
}

#[test]
fn annotations_set_router_id_and_port() {
    let with = |value: &str| {
        plan([
            annotated("cilium.io/bgp-virtual-router.64512", value),
            policy("p", json!([router(json!({}))])),
        ])
    };
    let plan = with("router-id=10.0.0.9,local-port=1790,unknown=x,noequals,a=b=c,local-port=1791");
    let instance = &plan.instances["64512"];
    assert_eq!(
        (instance.router_id.to_string(), instance.listen_port),
        ("10.0.0.9".to_owned(), Some(1791))
    );
    assert_eq!(with("").instances["64512"].listen_port, None);
    assert_eq!(
        with(" local-port = 1790 ").instances["64512"].listen_port,
        Some(1790)
    );
    assert_eq!(
        with("local-port=0").instances["64512"].listen_port,
        Some(179)
    );
}

#[test]
fn a_malformed_annotation_holds_everything_as_it_is() {
    for (key, value) in [
        ("cilium.io/bgp-virtual-router.64512", "router-id=fd00::1"),
        ("cilium.io/bgp-virtual-router.64512", "router-id=3232238081"),
        ("cilium.io/bgp-virtual-router.64512", "router-id="),
        ("cilium.io/bgp-virtual-router.64512", "router-id=0.0.0.0"),
        ("cilium.io/bgp-virtual-router.64512", "local-port=65536"),
        ("cilium.io/bgp-virtual-router.64512", "local-port=-1"),
        ("cilium.io/bgp-virtual-router", "local-port=179"),
        ("cilium.io/bgp-virtual-router.", "local-port=179"),
        ("cilium.io/bgp-virtual-router.64512.1", "local-port=179"),
        ("cilium.io/bgp-virtual-router.4294967296", ""),
        ("cilium.io/bgp-virtual-router.+1", ""),
        ("cilium.io/bgp-virtual-routers", ""),
    ] {
        let plan = plan([
            annotated(key, value),
            policy("p", json!([router(json!({}))])),
        ]);
        assert!(
            plan.hold_all
                .as_deref()
                .is_some_and(|reason| reason.contains(key)),
            "{key}: {value}"
        );
        assert!(plan.instances.is_empty());
        assert!(has_note(&plan, "until that is corrected"));
    }
}

#[test]
fn an_annotation_for_another_as_is_told() {
    let plan = plan([
        annotated("cilium.io/bgp-virtual-router.64999", "local-port=179"),
        policy("p", json!([router(json!({}))])),
    ]);
    assert_eq!(plan.instances.len(), 1);
    assert!(has_note(&plan, "64999 is for an AS that p does not have"));
}

#[test]
fn a_node_without_ipv4_needs_the_annotation_and_holds_only_what_lacks_it() {
    let ipv6_only = || node("k3s1", &["fd00::21"]);
    let routers = || {
        policy(
            "p",
            json!([router(json!({})), router(json!({"localASN": 64599}))]),
        )
    };
    let held = plan([ipv6_only(), routers()]);
    assert!(held.instances.is_empty());
    assert!(held.held["64512"].contains("cilium.io/bgp-virtual-router.64512"));
    let annotation = json!({"metadata": {"annotations": {"cilium.io/bgp-virtual-router.64599": "router-id=10.0.0.1"}}});
    let half = plan([merged(ipv6_only(), annotation), routers()]);
    assert_eq!(half.instances.keys().collect::<Vec<_>>(), ["64599"]);
    assert_eq!(half.held.keys().collect::<Vec<_>>(), ["64512"]);
}

#[test]
fn as_zero_is_held_with_a_reason() {
    let plan = plan([
        k3s1(),
        policy(
            "p",
            json!([router(json!({"localASN": 0})), router(json!({}))]),
        ),
    ]);
    assert_eq!(plan.instances.keys().collect::<Vec<_>>(), ["64512"]);
    assert!(plan.held["0"].contains("RFC 7607"));
}

#[test]
fn a_node_on_a_loopback_address_binds_to_it() {
    let plan = plan([
        node("k3s1", &["127.0.0.21"]),
        policy(
            "p",
            json!([router(json!({"neighbors": [
        {"peerAddress": "127.0.0.1/32", "peerASN": 64513, "peerPort": 1790}, {"peerAddress": "::1/128", "peerASN": 64513}]}))]),
        ),
    ]);
    let instance = &plan.instances["64512"];
    assert_eq!(instance.bind_address, Some("127.0.0.21".parse().unwrap()));
    assert_eq!(
        instance.peers["127.0.0.1"].local_address,
        Some("127.0.0.21".parse().unwrap())
    );
    assert_eq!(instance.peers["127.0.0.1"].port, 1790);
    assert_eq!(instance.peers["::1"].local_address, None);
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn ttl_and_asn_follow_the_kind_of_peer() {
    let of = |asn: u32, ttl: Option<u8>| {
        peer_of(json!({"peerAddress": "192.168.10.1/32", "peerASN": asn, "eBGPMultihopTTL": ttl}))
    };
    assert_eq!((of(64513, None).ttl, of(64513, Some(3)).ttl), (1, 3));
    assert_eq!(
        of(64512, Some(3)).ttl,
        255,
        "internal peers may be anywhere"
    );
    assert_eq!(of(0, None).asn, None, "any AS will do");
}

#[test]
fn timers_families_and_graceful_restart_are_passed_on() {
    let peer = peer_of(
        json!({"peerAddress": "192.168.10.1/32", "peerASN": 64513, "holdTimeSeconds": 9, "keepAliveTimeSeconds": 3, "connectRetryTimeSeconds": 5,
        "gracefulRestart": {"enabled": true, "restartTimeSeconds": 15}, "families": [{"afi": "ipv4", "safi": "unicast"}]}),
    );
    assert_eq!(
        (peer.hold_time.seconds(), peer.keepalive, peer.connect_retry),
        (9, Duration::from_secs(3), Duration::from_secs(5))
    );
    assert_eq!(
        (peer.graceful_restart, peer.families),
        (Some(15), vec![Family::IPV4_UNICAST])
    );
    let none = peer_of(
        json!({"peerAddress": "192.168.10.1/32", "peerASN": 64513, "families": [{"afi": "l2vpn", "safi": "evpn"}]}),
    );
    assert!(none.blocked.unwrap().contains("neither"));
}

#[test]
fn a_missing_password_keeps_the_peer_from_being_dialled_and_no_other() {
    let secret = |fields: Value| {
        merged(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "router", "namespace": "kube-system"}}),
            fields,
        )
    };
    let with = |secrets: Vec<Value>| {
        let routers = json!([router(
            json!({"neighbors": [{"peerAddress": "192.168.10.1/32", "peerASN": 64513, "authSecretRef": "router"}, {"peerAddress": "192.168.10.2/32", "peerASN": 64513}]})
        )]);
        plan(secrets.into_iter().chain([k3s1(), policy("p", routers)]))
    };
    let blocked = |plan: &BgpPlan| {
        plan.instances["64512"].peers["192.168.10.1"]
            .blocked
            .clone()
    };
    let missing = with(vec![]);
    assert_eq!(
        blocked(&missing).unwrap(),
        "there is no Secret router in the namespace of the BGP secrets"
    );
    assert!(
        missing.instances["64512"].peers["192.168.10.2"]
            .blocked
            .is_none()
    );
    assert!(has_note(
        &missing,
        "peer 192.168.10.1: not dialled: there is no Secret router"
    ));
    assert!(
        blocked(&with(vec![secret(json!({"stringData": {"user": "x"}}))]))
            .unwrap()
            .contains("no usable key `password`")
    );
    assert!(
        blocked(&with(vec![secret(
            json!({"stringData": {"password": "x".repeat(81)}})
        )]))
        .unwrap()
        .contains("80 octets")
    );
    let good = with(vec![secret(json!({"stringData": {"password": "s3cr3t"}}))]);
    assert_eq!(blocked(&good), None);
    assert_eq!(
        good.instances["64512"].peers["192.168.10.1"]
            .password
            .as_ref()
            .unwrap()
            .0,
        b"s3cr3t"
    );
    assert!(!format!("{good:?}").contains("s3cr3t"));
}

#[test]
fn a_router_on_another_vlan_is_told() {
    let with = |address: &str, ttl: u8| {
        plan([
            k3s1(),
            policy(
                "p",
                json!([router(
                    json!({"neighbors": [{"peerAddress": address, "peerASN": 64513, "eBGPMultihopTTL": ttl}]})
                )]),
            ),
        ])
    };
    assert!(has_note(
        &with("192.168.1.1/32", 1),
        "peer 192.168.1.1: it does not look like a neighbour of 192.168.10.21"
    ));
    assert!(with("192.168.1.1/32", 2).notes.is_empty());
    assert!(with("192.168.10.254/32", 1).notes.is_empty());
}

#[test]
fn peers_with_equal_policies_share_one() {
    let tagged = |address: &str| json!({"peerAddress": address, "peerASN": 64513, "advertisedPathAttributes": [{"selectorType": "PodCIDR", "communities": {"standard": ["1:2"]}}]});
    let plan = plan([
        k3s1(),
        policy(
            "p",
            json!([router(
                json!({"neighbors": [tagged("192.168.10.1/32"), tagged("192.168.10.2/32"), {"peerAddress": "192.168.10.3/32", "peerASN": 64513}]})
            )]),
        ),
    ]);
    let peers = &plan.instances["64512"].peers;
    assert!(Arc::ptr_eq(
        &peers["192.168.10.1"].export,
        &peers["192.168.10.2"].export
    ));
    assert!(!Arc::ptr_eq(
        &peers["192.168.10.1"].export,
        &peers["192.168.10.3"].export
    ));
}

#[test]
fn bgp_switched_off_plans_nothing() {
    let settings = Settings {
        bgp_enabled: false,
        ..settings()
    };
    let plan = super::plan(
        &snapshot([k3s1(), policy("p", json!([router(json!({}))]))]),
        &AddressPlan::default(),
        &settings,
    );
    assert!(plan.instances.is_empty() && plan.hold_all.is_none());
}

#[test]
fn planning_twice_gives_the_same() {
    let snapshot = snapshot([
        k3s1(),
        policy("p", json!([router(json!({"exportPodCIDR": true}))])),
        service("a", "192.168.10.224", json!({})),
    ]);
    let plan = || super::plan(&snapshot, &AddressPlan::default(), &settings());
    assert_eq!(plan(), plan());
}

/// The mistakes of the reference homelab, each told where an operator looks first.
#[test]
fn what_went_wrong_in_the_homelab_is_told() {
    let pool = |name: &str, block: Value| json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": name, "namespace": "kube-system"}, "spec": {"blocks": [block]}});
    let l2 = json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy", "metadata": {"name": "l2"},
        "spec": {"loadBalancerIPs": true, "nodeSelectors": {}}});
    let router = router(
        json!({"serviceSelector": null, "neighbors": [{"peerAddress": "192.168.1.1/32", "peerASN": 64513}]}),
    );
    let objects = [
        k3s1(),
        policy("bgp", json!([router])),
        pool("host-bits", json!({"cidr": "192.168.10.230/28"})),
        pool(
            "broadcast",
            json!({"start": "192.168.10.240", "stop": "192.168.10.255"}),
        ),
        l2,
    ];
    let snapshot = snapshot(objects);
    let problems: Vec<_> = snapshot.problems.iter().map(ToString::to_string).collect();
    for told in [
        "CiliumLoadBalancerIPPool host-bits: spec.blocks[0].cidr: 192.168.10.230/28 does not begin at 192.168.10.230: it means 192.168.10.224 to 192.168.10.239",
        "CiliumLoadBalancerIPPool broadcast: spec.blocks[0]: the block ends at 192.168.10.255, most likely the broadcast address",
        "CiliumL2AnnouncementPolicy l2: spec.nodeSelectors: there is no such field",
        "CiliumBGPPeeringPolicy bgp: spec.virtualRouters[0].serviceSelector: absent, so this router announces no Service",
    ] {
        assert!(
            problems.iter().any(|problem| problem.starts_with(told)),
            "{told} is not among {problems:#?}"
        );
    }
    let plan = super::plan(&snapshot, &AddressPlan::default(), &settings());
    assert!(has_note(
        &plan,
        "peer 192.168.1.1: it does not look like a neighbour"
    ));
    assert!(has_note(&plan, "serviceSelector is absent"));
    let master = super::plan(
        &snapshot,
        &AddressPlan::default(),
        &Settings {
            node: "k3s-master1".into(),
            ..settings()
        },
    );
    assert!(has_note(&master, "waiting for Node k3s-master1"));
}

#[test]
fn a_held_instance_may_announce_only_what_a_service_holds() {
    let web = || service("web", "192.168.10.224", json!({}));
    let policy = || policy("p", json!([router(json!({}))]));
    let broken = || annotated("cilium.io/bgp-virtual-router.64512", "router-id=nonsense");
    let unnumbered = || node("k3s1", &["fd00::21"]);
    for node in [broken(), unnumbered()] {
        let mut applied = crate::plan::diff::Applied::new();
        crate::plan::diff::diff(&mut applied, plan([k3s1(), policy(), web()]));
        let still = crate::plan::diff::diff(&mut applied, plan([node.clone(), policy(), web()]));
        assert_eq!(still, vec![]);
        crate::plan::diff::diff(&mut applied, plan([node, policy()]));
        assert!(applied["64512"].routes.is_empty());
        assert_eq!(applied["64512"].peers.len(), 1);
    }
}
