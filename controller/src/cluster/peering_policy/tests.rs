use serde_json::json;

use super::*;

fn convert(spec: Value) -> Conversion<PeeringPolicy> {
    super::convert(
        &ObjectName::default(),
        &json!({"metadata": {"name": "p"}, "spec": spec}),
    )
}

fn with_neighbor(neighbor: Value) -> Conversion<PeeringPolicy> {
    convert(
        json!({"virtualRouters": [{"localASN": 64512, "serviceSelector": {}, "neighbors": [neighbor]}]}),
    )
}

fn texts(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(Fault::to_string).collect()
}

#[test]
fn the_defaults_are_the_schemas() {
    let (policy, notes) =
        with_neighbor(json!({"peerAddress": "192.168.10.1/32", "peerASN": 64513})).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    let router = &policy.virtual_routers[0];
    assert_eq!(
        router.service_advertisements,
        [ServiceAdvertisement::LoadBalancerIp]
    );
    assert!(!router.export_pod_cidr && router.pod_ip_pool_selector.is_none());
    let neighbor = Neighbor {
        address: "192.168.10.1".parse().unwrap(),
        asn: Asn(64513),
        port: 179,
        auth_secret: None,
        ebgp_multihop_ttl: 1,
        connect_retry: Duration::from_secs(120),
        hold_time: HoldTime::DEFAULT,
        keepalive: Duration::from_secs(30),
        graceful_restart: None,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        path_attributes: vec![],
    };
    assert_eq!(router.neighbors, [neighbor]);
}

#[test]
fn every_field_is_read() {
    let (policy, notes) = convert(json!({"nodeSelector": {"matchLabels": {"bgp": "enabled"}}, "virtualRouters": [{"localASN": 4_200_000_000_u32, "exportPodCIDR": true,
        "podIPPoolSelector": {}, "serviceSelector": {"matchLabels": {"a": "b"}}, "serviceAdvertisements": ["ClusterIP", "ExternalIP", "LoadBalancerIP", "ClusterIP"],
        "neighbors": [{"peerAddress": "fd00::1/128", "peerASN": 64513, "peerPort": 1790, "authSecretRef": "router", "eBGPMultihopTTL": 3, "connectRetryTimeSeconds": 5,
            "holdTimeSeconds": 9, "keepAliveTimeSeconds": 3, "gracefulRestart": {"enabled": true, "restartTimeSeconds": 15},
            "families": [{"afi": "ipv6", "safi": "unicast"}, {"afi": "l2vpn", "safi": "evpn"}],
            "advertisedPathAttributes": [{"selectorType": "CiliumLoadBalancerIPPool", "selector": {"matchLabels": {"x": "y"}},
                "communities": {"standard": ["65000:100", "4259840100", "100"], "wellKnown": ["no-export"], "large": ["64512:1:2"]}, "localPreference": 200}]}]}]}))
    .unwrap();
    assert_eq!(
        texts(&notes),
        [
            "spec.virtualRouters[0].neighbors[0].families[1]: l2vpn/evpn carries no Service, so it is left out"
        ]
    );
    let router = &policy.virtual_routers[0];
    assert_eq!(
        router.service_advertisements,
        [
            ServiceAdvertisement::ClusterIp,
            ServiceAdvertisement::ExternalIp,
            ServiceAdvertisement::LoadBalancerIp
        ]
    );
    assert_eq!(router.pod_ip_pool_selector, Some(Selector::default()));
    let neighbor = &router.neighbors[0];
    assert_eq!(
        (
            neighbor.port,
            neighbor.ebgp_multihop_ttl,
            neighbor.graceful_restart
        ),
        (1790, 3, Some(15))
    );
    assert_eq!(
        (neighbor.hold_time.seconds(), neighbor.keepalive),
        (9, Duration::from_secs(3))
    );
    assert_eq!(neighbor.families, [Family::IPV6_UNICAST]);
    assert_eq!(neighbor.auth_secret.as_deref(), Some("router"));
    let attributes = &neighbor.path_attributes[0];
    assert_eq!(
        attributes.communities,
        [
            Community(100),
            Community(65000 << 16 | 100),
            Community(0xFFFF_FF01)
        ]
    );
    assert_eq!(
        attributes.large_communities,
        [LargeCommunity {
            global: 64512,
            local1: 1,
            local2: 2
        }]
    );
    assert_eq!(attributes.local_preference, Some(200));
}

#[test]
fn a_peer_address_without_mask_is_refused_with_what_to_write() {
    let faults =
        with_neighbor(json!({"peerAddress": "192.168.10.1", "peerASN": 64513})).unwrap_err();
    assert_eq!(
        texts(&faults),
        [
            "spec.virtualRouters[0].neighbors[0].peerAddress: 192.168.10.1 has no mask, and a prefix is wanted: write 192.168.10.1/32"
        ]
    );
    for bad in [
        "router.lan",
        "",
        "192.168.10.1/33",
        "0.0.0.0/0",
        "224.0.0.5/32",
        "::ffff:10.0.0.1/128",
    ] {
        assert!(
            with_neighbor(json!({"peerAddress": bad, "peerASN": 1})).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn a_keepalive_above_the_hold_time_is_refused_also_when_it_is_the_default() {
    let faults =
        with_neighbor(json!({"peerAddress": "10.0.0.1/32", "peerASN": 1, "holdTimeSeconds": 9}))
            .unwrap_err();
    assert_eq!(
        texts(&faults),
        [
            "spec.virtualRouters[0].neighbors[0].keepAliveTimeSeconds: 30 (the default) is more than holdTimeSeconds 9: set it to 3"
        ]
    );
    assert!(with_neighbor(json!({"peerAddress": "10.0.0.1/32", "peerASN": 1, "holdTimeSeconds": 9, "keepAliveTimeSeconds": 9})).is_ok());
}

#[test]
fn numbers_out_of_range_are_refused_each_by_name() {
    let faults = with_neighbor(json!({"peerAddress": "10.0.0.1/32", "peerASN": 4_294_967_296_i64, "peerPort": 65536, "eBGPMultihopTTL": 256,
        "connectRetryTimeSeconds": 0, "holdTimeSeconds": 2, "keepAliveTimeSeconds": 0, "gracefulRestart": {"enabled": true, "restartTimeSeconds": 4096}}))
    .unwrap_err();
    let fields: Vec<_> = faults
        .iter()
        .map(|fault| fault.field.rsplit('.').next().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "peerASN",
            "peerPort",
            "eBGPMultihopTTL",
            "connectRetryTimeSeconds",
            "holdTimeSeconds",
            "keepAliveTimeSeconds",
            "restartTimeSeconds"
        ]
    );
    assert_eq!(faults[1].message, "65536 is out of range: write 1 to 65535");
}

#[test]
fn the_same_router_or_peer_twice_is_refused() {
    let router = json!({"localASN": 64512, "serviceSelector": {}, "neighbors": [{"peerAddress": "10.0.0.1/32", "peerASN": 1}]});
    let faults = convert(json!({"virtualRouters": [router, router]})).unwrap_err();
    assert_eq!(
        texts(&faults),
        ["spec.virtualRouters[1].localASN: AS 64512 has a virtual router already: merge the two"]
    );
    let peer = json!({"peerAddress": "10.0.0.1/32", "peerASN": 1});
    let faults = convert(json!({"virtualRouters": [{"localASN": 64512, "serviceSelector": {}, "neighbors": [peer, peer]}]})).unwrap_err();
    assert_eq!(
        faults[0].field,
        "spec.virtualRouters[0].neighbors[1].peerAddress"
    );
}

#[test]
fn required_fields_are_required() {
    assert_eq!(
        convert(json!({})).unwrap_err()[0].to_string(),
        "spec: missing field `virtualRouters`"
    );
    assert_eq!(
        convert(json!({"virtualRouters": []})).unwrap_err()[0].field,
        "spec.virtualRouters"
    );
    assert_eq!(
        convert(json!({"virtualRouters": [{"localASN": 1, "neighbors": []}]})).unwrap_err()[0]
            .field,
        "spec.virtualRouters[0].neighbors"
    );
    let faults = convert(
        json!({"virtualRouters": [{"localASN": 1, "neighbors": [{"peerAddress": "10.0.0.1/32"}]}]}),
    )
    .unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "spec.virtualRouters[0].neighbors[0]: missing field `peerASN`"
    );
    let faults =
        convert(json!({"virtualRouters": [{"localASN": "64512", "neighbors": []}]})).unwrap_err();
    assert_eq!(faults[0].field, "spec.virtualRouters[0].localASN");
}

#[test]
fn an_absent_service_selector_is_told() {
    let (policy, notes) = convert(json!({"virtualRouters": [{"localASN": 1, "neighbors": [{"peerAddress": "10.0.0.1/32", "peerASN": 2}]}]})).unwrap();
    assert_eq!(policy.virtual_routers[0].service_selector, None);
    assert_eq!(notes[0].field, "spec.virtualRouters[0].serviceSelector");
}

#[test]
fn choices_are_checked() {
    let faults = convert(json!({"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}, "virtualRouters": [{"localASN": 1, "serviceSelector": {},
        "serviceAdvertisements": ["PodIP"], "neighbors": [{"peerAddress": "10.0.0.1/32", "peerASN": 2, "families": [{"afi": "ip", "safi": "any"}],
            "advertisedPathAttributes": [{"selectorType": "Service", "communities": {"standard": ["1:65536"], "wellKnown": ["export"], "large": ["1:2"]}, "localPreference": -1}]}]}]}))
    .unwrap_err();
    let fields: Vec<_> = faults
        .iter()
        .map(|fault| {
            fault
                .field
                .rsplit("neighbors[0].")
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        fields,
        [
            "spec.nodeSelector.matchExpressions[0].values",
            "spec.virtualRouters[0].serviceAdvertisements[0]",
            "families[0].afi",
            "families[0].safi",
            "advertisedPathAttributes[0].selectorType",
            "advertisedPathAttributes[0].communities.standard[0]",
            "advertisedPathAttributes[0].communities.wellKnown[0]",
            "advertisedPathAttributes[0].communities.large[0]",
            "advertisedPathAttributes[0].localPreference"
        ]
    );
}
