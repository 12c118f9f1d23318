use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The BGP routers of all nodes that a selector picks, whom they peer with and what they announce ("BGPv1"). Exactly one
/// policy may select a node.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2alpha1",
    kind = "CiliumBGPPeeringPolicy",
    plural = "ciliumbgppeeringpolicies",
    singular = "ciliumbgppeeringpolicy",
    shortname = "bgpp",
    category = "cilium",
    category = "ciliumbgp",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CiliumBGPPeeringPolicySpec {
    /// The nodes that this policy is for; absent and `{}`: every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub node_selector: Option<LabelSelector>,
    /// The routers of each of these nodes, at least one.
    #[schemars(length(min = 1))]
    pub virtual_routers: Vec<VirtualRouter>,
}

/// One BGP router of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualRouter {
    /// The router's own AS number; names the router on its node.
    #[serde(rename = "localASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub local_asn: i64,
    /// Announce the node's pod CIDRs.
    #[serde(
        default,
        rename = "exportPodCIDR",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(extend("default" = false))]
    pub export_pod_cidr: Option<bool>,
    /// The CiliumPodIPPools whose CIDRs are announced; absent: none.
    #[serde(
        default,
        rename = "podIPPoolSelector",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "schema::label_selector")]
    pub pod_ip_pool_selector: Option<LabelSelector>,
    /// The Services that are announced; absent: none; `{}`: all. Besides its labels a Service has its namespace as
    /// `io.kubernetes.service.namespace` and its name as `io.kubernetes.service.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub service_selector: Option<LabelSelector>,
    /// Which of the addresses of these Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_addresses", extend("default" = ["LoadBalancerIP"]))]
    pub service_advertisements: Option<Vec<String>>,
    /// The peers, at least one.
    #[schemars(length(min = 1))]
    pub neighbors: Vec<Neighbor>,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Neighbor {
    /// Its address as a host prefix, such as 192.168.10.1/32; only the address counts.
    #[schemars(extend("format" = "cidr"))]
    pub peer_address: String,
    /// Its AS number; equal to `localASN`: an internal peer.
    #[serde(rename = "peerASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub peer_asn: i64,
    /// The TCP port that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535), extend("default" = 179))]
    pub peer_port: Option<i64>,
    /// The Secret whose key `password` is the TCP MD5 password; absent: no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<String>,
    /// TTL of packets to external peers: how many hops away they may be, and 1 for a peer on the same network. Says nothing
    /// to internal peers.
    #[serde(
        default,
        rename = "eBGPMultihopTTL",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1, max = 255), extend("default" = 1))]
    pub ebgp_multihop_ttl: Option<i64>,
    /// Seconds between two calls of a peer that does not answer, at least; up to twice as many by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647), extend("default" = 120))]
    pub connect_retry_time_seconds: Option<i64>,
    /// Seconds without a message after which the peer counts as gone. The peer may ask for fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = 65535), extend("default" = 90))]
    pub hold_time_seconds: Option<i64>,
    /// Seconds between two messages to the peer, at most; not more than `holdTimeSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535), extend("default" = 30))]
    pub keep_alive_time_seconds: Option<i64>,
    /// Graceful restart; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graceful_restart: Option<GracefulRestart>,
    /// Address families; absent: both unicast ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub families: Option<Vec<FamilyPair>>,
    /// Attributes for some of the routes. Several entries for one route add up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised_path_attributes: Option<Vec<AdvertisedPathAttributes>>,
}

/// Graceful restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestart {
    /// On or off.
    pub enabled: bool,
    /// Seconds for which the peer should keep the routes of a router that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4095), extend("default" = 120))]
    pub restart_time_seconds: Option<i64>,
}

/// An address family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FamilyPair {
    /// Address family.
    #[schemars(schema_with = "schema::afi")]
    pub afi: String,
    /// Subsequent address family.
    #[schemars(schema_with = "schema::safi")]
    pub safi: String,
}

/// Attributes that selected routes carry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisedPathAttributes {
    /// What `selector` selects: the node itself, for its pod CIDRs (`PodCIDR`), or pools, for the routes inside them.
    #[schemars(extend("enum" = ["PodCIDR", "CiliumLoadBalancerIPPool", "CiliumPodIPPool"]))]
    pub selector_type: String,
    /// Absent: all objects of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// Communities to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<Communities>,
    /// LOCAL_PREF towards internal peers; external ones never see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub local_preference: Option<i64>,
}

/// Communities in text form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Communities {
    /// Two numbers up to 65535, such as `65000:100`, or one up to 4294967295.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::standard_communities")]
    pub standard: Option<Vec<String>>,
    /// Names such as `no-export`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("items" = {"type": "string", "enum": [
        "internet", "planned-shut", "accept-own", "route-filter-translated-v4", "route-filter-v4",
        "route-filter-translated-v6", "route-filter-v6", "llgr-stale", "no-llgr", "blackhole", "no-export",
        "no-advertise", "no-export-subconfed", "no-peer",
    ]}))]
    pub well_known: Option<Vec<String>>,
    /// Three numbers up to 4294967295, such as `65000:1:2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::large_communities")]
    pub large: Option<Vec<String>>,
}
