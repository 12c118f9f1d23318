use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as ApiNode;
use serde_json::{Value, json};

use crate::crd::CiliumNode;

use super::fault::{Conversion, Fault, partly_typed, typed};
use super::{Meta, ObjectName};

/// A Node; where a CiliumNode of its name exists, labels, addresses and pod CIDRs are the CiliumNode's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Name, labels, annotations (those of the Node).
    pub meta: Meta,
    /// In the order listed.
    pub addresses: Vec<NodeAddress>,
    /// Pod CIDRs.
    pub pod_cidrs: Vec<IpNet>,
    /// CIDRs allocated from CiliumPodIPPools: pool name and CIDRs.
    pub pod_pools: Vec<(String, Vec<IpNet>)>,
}

/// One address of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, ... as listed.
    pub kind: String,
    /// The address.
    pub address: IpAddr,
}

impl Node {
    /// The addresses of type `InternalIP`, in the order listed.
    pub fn internal_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses
            .iter()
            .filter(|address| address.kind == "InternalIP")
            .map(|address| address.address)
    }
}

/// Takes a Node.
pub(super) fn convert(name: &ObjectName, value: &Value) -> Conversion<Node> {
    let (node, mut notes): (ApiNode, _) = typed(&with_addresses_alone(value))?;
    let meta = super::meta::convert(name, node.metadata)?;
    let mut addresses = vec![];
    let listed = node
        .status
        .and_then(|status| status.addresses)
        .unwrap_or_default();
    for (index, address) in listed.into_iter().enumerate() {
        if matches!(
            address.type_.as_str(),
            "Hostname" | "InternalDNS" | "ExternalDNS"
        ) {
            continue;
        }
        let field = format!("status.addresses[{index}].address");
        add_address(
            address.type_,
            &address.address,
            field,
            &mut addresses,
            &mut notes,
        );
    }
    let mut pod_cidrs = vec![];
    let spec = node.spec.unwrap_or_default();
    for (index, cidr) in spec.pod_cidrs.iter().flatten().enumerate() {
        add_cidr(
            cidr,
            || format!("spec.podCIDRs[{index}]"),
            &mut pod_cidrs,
            &mut notes,
        );
    }
    if let Some(cidr) = &spec.pod_cidr {
        add_cidr(
            cidr,
            || "spec.podCIDR".to_owned(),
            &mut pod_cidrs,
            &mut notes,
        );
    }
    Ok((
        Node {
            meta,
            addresses,
            pod_cidrs,
            pod_pools: vec![],
        },
        notes,
    ))
}

/// The Node with no more of its status than is read: kubelets of all versions write the rest, and people write some of it.
fn with_addresses_alone(value: &Value) -> Value {
    let mut node = super::without_status(value);
    if let (Some(addresses), Some(fields)) =
        (value.pointer("/status/addresses"), node.as_object_mut())
    {
        fields.insert("status".to_owned(), json!({"addresses": addresses}));
    }
    node
}

/// Takes a CiliumNode.
pub(super) fn convert_cilium(name: &ObjectName, value: &Value) -> Conversion<Node> {
    let node: CiliumNode = partly_typed(value).map_err(|fault| vec![fault])?;
    let meta = super::meta::convert(name, node.metadata)?;
    let (mut addresses, mut pod_cidrs, mut pod_pools, mut notes) = (vec![], vec![], vec![], vec![]);
    for (index, address) in node.spec.addresses.into_iter().enumerate() {
        add_address(
            address.kind,
            &address.ip,
            format!("spec.addresses[{index}].ip"),
            &mut addresses,
            &mut notes,
        );
    }
    for (index, cidr) in node.spec.ipam.pod_cidrs.iter().enumerate() {
        add_cidr(
            cidr,
            || format!("spec.ipam.podCIDRs[{index}]"),
            &mut pod_cidrs,
            &mut notes,
        );
    }
    for (index, pool) in node.spec.ipam.pools.allocated.into_iter().enumerate() {
        let mut cidrs = vec![];
        for (at, cidr) in pool.cidrs.iter().enumerate() {
            let field = || format!("spec.ipam.pools.allocated[{index}].cidrs[{at}]");
            add_cidr(cidr, field, &mut cidrs, &mut notes);
        }
        pod_pools.push((pool.pool, cidrs));
    }
    Ok((
        Node {
            meta,
            addresses,
            pod_cidrs,
            pod_pools,
        },
        notes,
    ))
}

/// One node out of its Node and its CiliumNode, of which at least one is there.
pub(super) fn merge(node: Option<&Node>, cilium: Option<&Node>) -> Option<Node> {
    let Some(cilium) = cilium else {
        return node.cloned();
    };
    let mut merged = cilium.clone();
    if let Some(node) = node {
        merged.meta.annotations.clone_from(&node.meta.annotations);
        merged.meta.uid.clone_from(&node.meta.uid);
        merged.meta.deleting = node.meta.deleting;
    }
    Some(merged)
}

fn add_address(
    kind: String,
    text: &str,
    field: String,
    addresses: &mut Vec<NodeAddress>,
    notes: &mut Vec<Fault>,
) {
    match text.parse() {
        Ok(address) => addresses.push(NodeAddress { kind, address }),
        Err(_) => notes.push(Fault::new(
            field,
            format!("{text:?} is not an IP address, so it is left out"),
        )),
    }
}

fn add_cidr(
    text: &str,
    field: impl Fn() -> String,
    cidrs: &mut Vec<IpNet>,
    notes: &mut Vec<Fault>,
) {
    match text.parse::<IpNet>() {
        Ok(cidr) if cidrs.contains(&cidr.trunc()) => {}
        Ok(cidr) => cidrs.push(cidr.trunc()),
        Err(_) => notes.push(Fault::new(
            field(),
            format!("{text:?} is not a CIDR, so it is left out"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ObjectName {
        ObjectName {
            namespace: "".into(),
            name: name.into(),
        }
    }

    #[test]
    fn addresses_and_pod_cidrs_are_taken_in_order_and_once() {
        let (node, notes) = convert(&named("k3s1"), &json!({
            "metadata": {"name": "k3s1", "labels": {"bgp": "enabled"}},
            "spec": {"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "fd00:42::/64"]},
            "status": {"addresses": [{"type": "Hostname", "address": "k3s1"}, {"type": "InternalIP", "address": "192.168.10.21"},
                {"type": "InternalIP", "address": "fd00::21"}, {"type": "ExternalIP", "address": "1.2.3"}]}}))
        .unwrap();
        assert_eq!(
            node.internal_addresses().collect::<Vec<_>>(),
            [
                "192.168.10.21".parse::<IpAddr>().unwrap(),
                "fd00::21".parse().unwrap()
            ]
        );
        assert_eq!(
            node.pod_cidrs,
            [
                "10.42.1.0/24".parse::<IpNet>().unwrap(),
                "fd00:42::/64".parse().unwrap()
            ]
        );
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].field, "status.addresses[3].address");
    }

    #[test]
    fn a_cilium_node_gives_labels_addresses_and_cidrs_but_not_annotations() {
        let (node, _) = convert(&named("n"), &json!({"metadata": {"labels": {"from": "node"}, "annotations": {"a": "node"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}, "spec": {"podCIDR": "10.1.0.0/24"}}))
        .unwrap();
        let (cilium, _) = convert_cilium(&named("n"), &json!({"metadata": {"labels": {"from": "cilium"}, "annotations": {"a": "cilium"}},
            "spec": {"addresses": [{"type": "InternalIP", "ip": "10.0.0.2"}], "ipam": {"podCIDRs": ["10.2.0.0/24"],
                "pools": {"allocated": [{"pool": "blue", "cidrs": ["10.3.0.0/26"]}]}}, "health": {"ipv4": "x"}}}))
        .unwrap();
        let merged = merge(Some(&node), Some(&cilium)).unwrap();
        assert_eq!(merged.meta.labels["from"], "cilium");
        assert_eq!(merged.meta.annotations["a"], "node");
        assert_eq!(
            merged.internal_addresses().next(),
            Some("10.0.0.2".parse().unwrap())
        );
        assert_eq!(merged.pod_cidrs, ["10.2.0.0/24".parse::<IpNet>().unwrap()]);
        assert_eq!(
            merged.pod_pools,
            [("blue".to_owned(), vec!["10.3.0.0/26".parse().unwrap()])]
        );
        assert_eq!(merge(Some(&node), None), Some(node));
        assert_eq!(merge(None, Some(&cilium)), Some(cilium));
    }
}
