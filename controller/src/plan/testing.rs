//! Snapshots for tests of the plan, made from objects as people write them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Document, Objects, RecordedStatuses, Snapshot, Store};

use super::Settings;

/// The snapshot of these objects.
pub(super) fn snapshot(values: impl IntoIterator<Item = Value>) -> Snapshot {
    let mut objects = Objects::default();
    for value in values {
        for (key, object) in Document::read(value, None, "kube-system").objects {
            objects.insert(key, object);
        }
    }
    let mut store = Store::default();
    store.update(&objects, &RecordedStatuses::new());
    store.snapshot()
}

/// The agent's defaults on node `k3s1`.
pub(super) fn settings() -> Settings {
    Settings {
        node: "k3s1".to_owned(),
        no_service_endpoints_routable: true,
        default_ipam: true,
        ipv4: true,
        ipv6: true,
        bgp_enabled: true,
        l2_enabled: true,
        address_memory: Duration::from_secs(3600),
    }
}

/// A Node with the label `bgp=enabled`.
pub(super) fn node(name: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<_> = addresses
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .collect();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"bgp": "enabled", "kubernetes.io/hostname": name}},
        "spec": {"podCIDRs": ["10.42.1.0/24", "fd00:42:1::/64"]}, "status": {"addresses": addresses}})
}

/// A peering policy for `bgp=enabled` with these virtual routers.
pub(super) fn policy(name: &str, virtual_routers: Value) -> Value {
    json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumBGPPeeringPolicy", "metadata": {"name": name},
        "spec": {"nodeSelector": {"matchLabels": {"bgp": "enabled"}}, "virtualRouters": virtual_routers}})
}

/// A virtual router of AS 64512 with one peer, 192.168.10.1 of AS 64513; `changes` are merged into it.
pub(super) fn router(changes: Value) -> Value {
    let peer = json!({"peerAddress": "192.168.10.1/32", "peerASN": 64513});
    merged(
        json!({"localASN": 64512, "serviceSelector": {}, "neighbors": [peer]}),
        changes,
    )
}

/// A Service of type LoadBalancer in namespace `default` with port 80 and this address; `changes` are merged into it.
pub(super) fn service(name: &str, address: &str, changes: Value) -> Value {
    let ingress = if address.is_empty() {
        json!([])
    } else {
        json!([{"ip": address}])
    };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}]}, "status": {"loadBalancer": {"ingress": ingress}}});
    merged(service, changes)
}

/// An IPv4 EndpointSlice of a Service with port `http`; each endpoint is a node (or none) and whether it is ready.
pub(super) fn slice(service: &str, endpoints: &[(Option<&str>, bool)]) -> Value {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(node, ready)| json!({"addresses": ["10.42.1.5"], "nodeName": node, "conditions": {"ready": ready}}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
        "metadata": {"name": format!("{service}-1"), "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": 8080}]})
}

/// A JSON merge patch (RFC 7396).
pub(super) fn merged(mut value: Value, changes: Value) -> Value {
    match (&mut value, changes) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                if change.is_null() {
                    fields.remove(&key);
                } else {
                    let field = fields.remove(&key).unwrap_or_default();
                    fields.insert(key, merged(field, change));
                }
            }
            value
        }
        (_, changes) => changes,
    }
}
