use std::net::IpAddr;

use ipnet::IpNet;

use super::Meta;

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
