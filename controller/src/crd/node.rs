use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

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
