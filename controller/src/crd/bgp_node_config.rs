use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AutoDiscovery, PeerConfigReference, schema};

/// The BGP routers of the node of this name, and how they fare. Made from CiliumBGPClusterConfigs; one that a user writes
/// is obeyed and left alone.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPNodeConfig",
    plural = "ciliumbgpnodeconfigs",
    singular = "ciliumbgpnodeconfig",
    shortname = "cbgpnode",
    category = "cilium",
    category = "ciliumbgp",
    status = "CiliumBGPNodeConfigStatus",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CiliumBGPNodeConfigSpec {
    /// The routers, 1 to 16 of them.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub bgp_instances: Vec<NodeBgpInstance>,
}

/// One BGP router of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeBgpInstance {
    /// Names the router.
    #[schemars(length(min = 1, max = 255))]
    pub name: String,
    /// The router's own AS number; without one it does not start.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub local_asn: Option<i64>,
    /// The router ID in the form of an IPv4 address; absent: the node's IPv4 address.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "ipv4"))]
    pub router_id: Option<String>,
    /// The TCP port on which peers may call; absent: none, the router only calls them.
    // No range, because there is none in the CiliumBGPNodeConfigOverride that this may be copied from: a value that cannot
    // be is reported on this object by the node, instead of failing every attempt to write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i64>,
    /// The peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Option<Vec<NodeBgpPeer>>,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeBgpPeer {
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
    /// The source address of the connection; absent: the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::address")]
    pub local_address: Option<String>,
    /// The interface behind which the peer is. A field of Cilium after 1.20; it has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_interface: Option<String>,
    /// How the address is found where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_discovery: Option<AutoDiscovery>,
    /// The CiliumBGPPeerConfig with timers, families and the rest. Absent: the defaults, and nothing is announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_config_ref: Option<PeerConfigReference>,
}

/// How a node's routers fare, written by that node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CiliumBGPNodeConfigStatus {
    /// The routers that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub bgp_instances: Option<Vec<BgpInstanceStatus>>,
    /// Whether all of the spec could be put into force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}

/// A router that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpInstanceStatus {
    /// Its name.
    pub name: String,
    /// Its own AS number.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    pub local_asn: Option<i64>,
    /// Its peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub peers: Option<Vec<BgpPeerStatus>>,
}

/// How it stands with a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeerStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    /// Its AS number; the real one where 0 was configured.
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    pub peer_asn: Option<i64>,
    /// The state of the session: `idle`, `connect`, `active`, `open_sent`, `open_confirm`, `established` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["idle", "connect", "active", "open_sent", "open_confirm", "established", "unknown"]))]
    pub peering_state: Option<String>,
    /// The timers that were agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<AppliedTimers>,
    /// When the session was established (RFC 3339), as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub established_time: Option<String>,
    /// Routes by address family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_count: Option<Vec<RouteCount>>,
}

/// Timers that two peers agreed on, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedTimers {
    /// Seconds without a message after which the peer counts as gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_hold_time_seconds: Option<i64>,
    /// Seconds between two messages to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_keepalive_seconds: Option<i64>,
}

/// How many routes of one address family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteCount {
    /// Address family.
    pub afi: String,
    /// Subsequent address family.
    pub safi: String,
    /// Routes that the peer sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<i64>,
    /// Routes that were sent to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised: Option<i64>,
}
