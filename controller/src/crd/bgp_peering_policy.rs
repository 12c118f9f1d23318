use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who peers with whom, and what is announced ("BGPv1").
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
    pub node_selector: Option<LabelSelector>,
    /// One BGP router each.
    #[schemars(length(min = 1))]
    pub virtual_routers: Vec<VirtualRouter>,
}

/// One BGP router of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VirtualRouter {
    /// AS number; names the router on its node.
    #[serde(rename = "localASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub local_asn: i64,
    /// Announce the node's pod CIDRs.
    #[serde(
        default,
        rename = "exportPodCIDR",
        skip_serializing_if = "Option::is_none"
    )]
    pub export_pod_cidr: Option<bool>,
    /// The CiliumPodIPPools whose CIDRs are announced; absent: none.
    #[serde(
        default,
        rename = "podIPPoolSelector",
        skip_serializing_if = "Option::is_none"
    )]
    pub pod_ip_pool_selector: Option<LabelSelector>,
    /// The Services that are announced; absent: none; `{}`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
    /// Which of their addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("items" = {"type": "string", "enum": ["LoadBalancerIP", "ClusterIP", "ExternalIP"]}))]
    pub service_advertisements: Option<Vec<String>>,
    /// The peers.
    #[schemars(length(min = 1))]
    pub neighbors: Vec<Neighbor>,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Neighbor {
    /// Its address as a host prefix.
    #[schemars(extend("format" = "cidr"))]
    pub peer_address: String,
    /// Its AS number.
    #[serde(rename = "peerASN")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub peer_asn: i64,
    /// The TCP port that is dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub peer_port: Option<i64>,
    /// The Secret with the TCP MD5 password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<String>,
    /// TTL towards external peers.
    #[serde(
        default,
        rename = "eBGPMultihopTTL",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1, max = 255))]
    pub ebgp_multihop_ttl: Option<i64>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub connect_retry_time_seconds: Option<i64>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = 65535))]
    pub hold_time_seconds: Option<i64>,
    /// Seconds; not above the hold time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub keep_alive_time_seconds: Option<i64>,
    /// Graceful restart; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graceful_restart: Option<GracefulRestart>,
    /// Address families; absent: both unicast ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub families: Option<Vec<FamilyPair>>,
    /// Attributes for some of the routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised_path_attributes: Option<Vec<AdvertisedPathAttributes>>,
}

/// Graceful restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestart {
    /// On or off.
    pub enabled: bool,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4095))]
    pub restart_time_seconds: Option<i64>,
}

/// An address family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FamilyPair {
    /// Address family.
    #[schemars(extend("enum" = ["ipv4", "ipv6", "l2vpn", "ls", "opaque"]))]
    pub afi: String,
    /// Subsequent address family.
    #[schemars(extend("enum" = [
        "unicast", "multicast", "mpls_label", "encapsulation", "vpls", "evpn", "ls", "sr_policy", "mup", "mpls_vpn",
        "mpls_vpn_multicast", "route_target_constraints", "flowspec_unicast", "flowspec_vpn", "key_value",
    ]))]
    pub safi: String,
}

/// Attributes that selected routes carry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisedPathAttributes {
    /// What `selector` selects.
    #[schemars(extend("enum" = ["PodCIDR", "CiliumLoadBalancerIPPool", "CiliumPodIPPool"]))]
    pub selector_type: String,
    /// Absent: all objects of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Communities to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<Communities>,
    /// LOCAL_PREF towards internal peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub local_preference: Option<i64>,
}

/// Communities in text form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Communities {
    /// A decimal number, or two of them: `65000:100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<Vec<String>>,
    /// Names such as `no-export`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("items" = {"type": "string", "enum": [
        "internet", "planned-shut", "accept-own", "route-filter-translated-v4", "route-filter-v4",
        "route-filter-translated-v6", "route-filter-v6", "llgr-stale", "no-llgr", "blackhole", "no-export",
        "no-advertise", "no-export-subconfed", "no-peer",
    ]}))]
    pub well_known: Option<Vec<String>>,
    /// Three numbers: `65000:1:2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large: Option<Vec<String>>,
}
