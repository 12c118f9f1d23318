//! What is left out of an object at the door: everything that nobody reads. Pure.

use serde_json::{Map, Value, json};

use crate::cluster::{Kind, MANAGED_INGRESS};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object of a kind, as a list or a watch gave it, without what nobody reads. Items of lists do not say what they are;
/// afterwards they do.
pub(super) fn reduce(kind: Kind, version: &str, object: Value) -> Value {
    let Value::Object(mut object) = object else {
        return object;
    };
    let api_version = match kind.group() {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    let mut reduced = Map::new();
    reduced.insert("apiVersion".to_owned(), Value::String(api_version));
    reduced.insert("kind".to_owned(), Value::String(kind.name().to_owned()));
    if let Some(mut metadata) = object.remove("metadata") {
        reduce_metadata(kind, &mut metadata);
        reduced.insert("metadata".to_owned(), metadata);
    }
    match kind {
        Kind::Node => {
            keep(&object, &["spec", "podCIDR"], &mut reduced);
            keep(&object, &["spec", "podCIDRs"], &mut reduced);
            keep(&object, &["status", "addresses"], &mut reduced);
        }
        Kind::CiliumNode => {
            keep(&object, &["spec", "addresses"], &mut reduced);
            keep(&object, &["spec", "ipam", "podCIDRs"], &mut reduced);
            let allocated = ["spec", "ipam", "pools", "allocated"];
            keep(&object, &allocated, &mut reduced);
        }
        Kind::EndpointSlice => {
            for endpoint in array(&mut object, "endpoints") {
                endpoint.retain(|key, _| matches!(&**key, "addresses" | "conditions" | "nodeName"));
            }
            for port in array(&mut object, "ports") {
                port.retain(|key, _| matches!(&**key, "name" | "protocol" | "port"));
            }
            for key in ["addressType", "endpoints", "ports"] {
                keep(&object, &[key], &mut reduced);
            }
        }
        _ => {
            object.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
            reduced.extend(object);
        }
    }
    Value::Object(reduced)
}

fn reduce_metadata(kind: Kind, metadata: &mut Value) {
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    if let Some(managed) = metadata.remove("managedFields")
        && kind == Kind::Service
        && let Some(entry) = ingress_manager(&managed)
    {
        metadata.insert("managedFields".to_owned(), json!([entry]));
    }
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    if kind == Kind::EndpointSlice {
        metadata.remove("annotations");
        metadata.remove("ownerReferences");
    }
}

/// The entry of whoever wrote the addresses in a Service's status last, without all else that it manages.
fn ingress_manager(managed: &Value) -> Option<Value> {
    let wrote_ingress = |entry: &&Value| {
        entry
            .get("fieldsV1")
            .is_some_and(|fields| fields.pointer(MANAGED_INGRESS).is_some())
    };
    // Times are RFC 3339 in UTC, so their order is that of the texts.
    let time = |entry: &&Value| entry.get("time").and_then(Value::as_str).map(str::to_owned);
    let entry = managed.as_array()?.iter().filter(wrote_ingress);
    let mut entry = entry.max_by_key(time)?.clone();
    entry["fieldsV1"] = json!({"f:status": {"f:loadBalancer": {"f:ingress": {}}}});
    Some(entry)
}

fn array<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let items = object.get_mut(key).and_then(Value::as_array_mut);
    let items = items.into_iter().flatten();
    items.filter_map(Value::as_object_mut)
}

/// Copies one field, with the maps that lead to it.
fn keep(from: &Map<String, Value>, path: &[&str], to: &mut Map<String, Value>) {
    let [key, rest @ ..] = path else { return };
    let Some(value) = from.get(*key) else { return };
    if rest.is_empty() {
        to.insert((*key).to_owned(), value.clone());
        return;
    }
    let Some(value) = value.as_object() else {
        return;
    };
    let below = to
        .entry((*key).to_owned())
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(below) = below.as_object_mut() {
        keep(value, rest, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_what_tells_where_it_is() {
        let node = json!({"metadata": {"name": "n", "uid": "u", "resourceVersion": "7", "labels": {"bgp": "enabled"}, "annotations": {LAST_APPLIED: "{}", "a": "b"},
                "managedFields": [{"manager": "kubelet"}]},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"], "taints": [{"key": "x"}]},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "images": [{"names": ["x"]}], "conditions": [{}], "nodeInfo": {}}});
        let expected = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "uid": "u", "resourceVersion": "7", "labels": {"bgp": "enabled"}, "annotations": {"a": "b"}},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        assert_eq!(reduce(Kind::Node, "v1", node), expected);
    }

    #[test]
    fn a_cilium_node_keeps_addresses_and_cidrs() {
        let node = json!({"apiVersion": "cilium.io/v2", "metadata": {"name": "n"}, "status": {"eni": {}},
            "spec": {"addresses": [], "health": {}, "ipam": {"podCIDRs": ["10.1.0.0/24"], "pool": {"10.0.0.1": {}}, "pools": {"requested": [1], "allocated": [2]}}}});
        let reduced = reduce(Kind::CiliumNode, "v2", node);
        let expected = json!({"addresses": [], "ipam": {"podCIDRs": ["10.1.0.0/24"], "pools": {"allocated": [2]}}});
        assert_eq!(reduced["spec"], expected);
        assert_eq!(reduced.get("status"), None);
    }

    #[test]
    fn a_slice_keeps_addresses_readiness_and_node() {
        let slice = json!({"metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "web"}, "annotations": {"x": "y"}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "h2c"}],
            "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true}, "nodeName": "n", "targetRef": {"kind": "Pod"}, "zone": "z"}]});
        let expected = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true}, "nodeName": "n"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]});
        assert_eq!(reduce(Kind::EndpointSlice, "v1", slice), expected);
    }

    #[test]
    fn of_managed_fields_only_the_last_writer_of_the_addresses_stays() {
        let entry = |manager: &str, second: u8, fields: Value| json!({"manager": manager, "operation": "Update", "subresource": "status", "time": format!("2026-01-01T00:00:0{second}Z"), "fieldsV1": fields});
        let ingress =
            json!({"f:status": {"f:conditions": {}, "f:loadBalancer": {"f:ingress": {"x": {}}}}});
        let managed = json!([
            entry("a", 1, ingress.clone()),
            entry("b", 3, ingress),
            entry("c", 4, json!({"f:status": {"f:conditions": {}}}))
        ]);
        let service = json!({"metadata": {"name": "s", "managedFields": managed}, "spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}});
        let reduced = reduce(Kind::Service, "v1", service.clone());
        let entries = reduced["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!((entries.len(), &entries[0]["manager"]), (1, &json!("b")));
        assert_eq!(
            entries[0]["fieldsV1"],
            json!({"f:status": {"f:loadBalancer": {"f:ingress": {}}}})
        );
        assert_eq!(reduced["spec"], service["spec"]);
        assert_eq!(reduced["status"], service["status"]);
        let pool = reduce(Kind::CiliumLoadBalancerIPPool, "v2", service);
        assert_eq!(pool.pointer("/metadata/managedFields"), None);
        assert_eq!(pool["apiVersion"], "cilium.io/v2");
    }

    #[test]
    fn what_is_no_object_passes_unharmed() {
        for value in [
            json!(7),
            json!(null),
            json!({"metadata": 3, "endpoints": 4, "ports": [5]}),
        ] {
            reduce(Kind::EndpointSlice, "v1", value.clone());
            reduce(Kind::Service, "v1", value);
        }
    }
}
