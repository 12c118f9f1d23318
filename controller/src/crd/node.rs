use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Names the resource.
pub(super) const PLURAL: &str = "ciliumnodes";

/// The definition's `spec`. It lets everything pass and keeps it: what a CiliumNode looks like is for Cilium to say.
pub(super) fn definition_spec() -> Value {
    let anything = |description: &str| json!({"description": description, "type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "group": "cilium.io",
        "names": {
            "categories": ["cilium"],
            "kind": "CiliumNode",
            "plural": PLURAL,
            "shortNames": ["cn", "ciliumn"],
            "singular": "ciliumnode",
        },
        "scope": "Cluster",
        "versions": [{
            "additionalPrinterColumns": [
                {"jsonPath": ".metadata.creationTimestamp", "name": "Age", "type": "date"},
            ],
            "name": "v2",
            "schema": {"openAPIV3Schema": {
                "description": "What Cilium as a network plugin knows of a node.",
                "type": "object",
                "properties": {
                    "apiVersion": {"type": "string", "description": "The group and version of this object's form."},
                    "kind": {"type": "string", "description": "The kind."},
                    "metadata": {"type": "object"},
                    "spec": anything("Addresses and pod CIDRs of the node, among others."),
                    "status": anything("Whatever Cilium says of the node."),
                },
            }},
            "served": true,
            "storage": true,
            "subresources": {"status": {}},
        }],
    })
}

/// A CiliumNode, as far as it is read; Fairway neither installs nor writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CiliumNode {
    /// Name and labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Addresses and CIDRs.
    #[serde(default)]
    pub spec: CiliumNodeSpec,
}

/// Addresses and CIDRs of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiliumNodeSpec {
    /// In the order listed.
    #[serde(default)]
    pub addresses: Vec<CiliumNodeAddress>,
    /// What Cilium's address management gave the node.
    #[serde(default)]
    pub ipam: NodeIpam,
}

/// One address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiliumNodeAddress {
    /// `InternalIP`, `ExternalIP`, `CiliumInternalIP`, ...
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The address.
    #[serde(default)]
    pub ip: String,
}

/// CIDRs for the node's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIpam {
    /// In the modes that give a node whole CIDRs.
    #[serde(default, rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    /// In the mode with several pools.
    #[serde(default)]
    pub pools: NodePools,
}

/// CIDRs by pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePools {
    /// What the node has now.
    #[serde(default)]
    pub allocated: Vec<AllocatedPool>,
}

/// CIDRs of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatedPool {
    /// The CiliumPodIPPool's name.
    #[serde(default)]
    pub pool: String,
    /// The CIDRs.
    #[serde(default)]
    pub cidrs: Vec<String>,
}
