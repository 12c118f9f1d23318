use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The BGP routers of all nodes that a selector picks, and whom they peer with ("BGPv2"). Every selected node gets a
/// CiliumBGPNodeConfig made from it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPClusterConfig",
    plural = "ciliumbgpclusterconfigs",
    singular = "ciliumbgpclusterconfig",
    shortname = "cbgpcluster",
    category = "cilium",
    category = "ciliumbgp",
    status = "CiliumBGPClusterConfigStatus",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CiliumBGPClusterConfigSpec {
    /// The nodes that this is for; absent and `{}`: every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub node_selector: Option<LabelSelector>,
    /// The routers of each of these nodes, 1 to 16 of them.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub bgp_instances: Vec<BgpInstance>,
}

/// One BGP router of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpInstance {
    /// Names the router; CiliumBGPNodeConfigOverrides refer to it.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The router's own AS number. A router that has none, and gets none by a CiliumBGPNodeConfigOverride, does not start.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub local_asn: Option<i64>,
    /// The TCP port on which peers may call; absent: none, the router only calls them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub local_port: Option<i64>,
    /// The peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Option<Vec<BgpPeer>>,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeer {
    /// Names the peer within its router.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// Its IPv4 or IPv6 address, without a mask. Absent: see `autoDiscovery`; without either the peer is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::address")]
    pub peer_address: Option<String>,
    /// Its AS number; equal to `localASN`: an internal peer. 0 takes whatever number the peer says it has.
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64), extend("default" = 0))]
    pub peer_asn: Option<i64>,
    /// How the address is found where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_discovery: Option<AutoDiscovery>,
    /// The CiliumBGPPeerConfig with timers, families and the rest. Absent: the defaults, and nothing is announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_config_ref: Option<PeerConfigReference>,
}

/// How a peer's address is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoDiscovery {
    /// `DefaultGateway`: the peer is the gateway of the node's default route.
    #[schemars(extend("enum" = ["DefaultGateway"]))]
    pub mode: String,
    /// What the mode `DefaultGateway` needs to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_gateway: Option<DefaultGateway>,
}

/// Which default route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefaultGateway {
    /// The family of the default route: `ipv4` or `ipv6`.
    #[schemars(extend("enum" = ["ipv4", "ipv6"]))]
    pub address_family: String,
}

/// A CiliumBGPPeerConfig by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerConfigReference {
    /// The group, which can only be `cilium.io`. Cilium up to 1.17 had this field; it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind, which can only be `CiliumBGPPeerConfig`. Cilium up to 1.17 had this field; it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name.
    pub name: String,
}

/// Whether nodes and peer configurations were found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumBGPClusterConfigStatus {
    /// Missing nodes and CiliumBGPPeerConfigs, and nodes that another CiliumBGPClusterConfig has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}
