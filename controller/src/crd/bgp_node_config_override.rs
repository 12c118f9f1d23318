use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What is different on the node of this name from what its CiliumBGPClusterConfig says.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPNodeConfigOverride",
    plural = "ciliumbgpnodeconfigoverrides",
    singular = "ciliumbgpnodeconfigoverride",
    shortname = "cbgpnodeoverride",
    category = "cilium",
    category = "ciliumbgp",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CiliumBGPNodeConfigOverrideSpec {
    /// The routers, by the names that the CiliumBGPClusterConfig gave them; others are ignored.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub bgp_instances: Vec<BgpInstanceOverride>,
}

/// What is different of one router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpInstanceOverride {
    /// The router's name.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The router ID in the form of an IPv4 address; absent: the node's IPv4 address.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "ipv4"))]
    pub router_id: Option<String>,
    /// The TCP port on which peers may call; absent: as the CiliumBGPClusterConfig says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i64>,
    /// The router's own AS number; absent: as the CiliumBGPClusterConfig says.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub local_asn: Option<i64>,
    /// The peers, by the names that the CiliumBGPClusterConfig gave them; others are ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Option<Vec<BgpPeerOverride>>,
}

/// What is different of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeerOverride {
    /// The peer's name.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The source address of the connection; absent: the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::address")]
    pub local_address: Option<String>,
    /// A field of Cilium. It has no effect: the kernel chooses the port that calls come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i64>,
}
