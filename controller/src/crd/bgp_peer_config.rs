use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GracefulRestart, schema};

/// How to talk to the peers that refer to it: ports, timers, password, families, and what is announced to them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPPeerConfig",
    plural = "ciliumbgppeerconfigs",
    singular = "ciliumbgppeerconfig",
    shortname = "cbgppeer",
    category = "cilium",
    category = "ciliumbgp",
    status = "CiliumBGPPeerConfigStatus",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CiliumBGPPeerConfigSpec {
    /// Ports and source address of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Timers of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<Timers>,
    /// The Secret whose key `password` is the TCP MD5 password; absent: no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_secret_ref: Option<String>,
    /// Graceful restart; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graceful_restart: Option<GracefulRestart>,
    /// TTL of packets to external peers: how many hops away they may be, and 1 for a peer on the same network. Says
    /// nothing to internal peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255), extend("default" = 1))]
    pub ebgp_multihop: Option<i64>,
    /// Address families to negotiate, and what is announced in each. Absent: IPv4 and IPv6 unicast, and nothing is
    /// announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub families: Option<Vec<FamilyWithAdvertisements>>,
}

/// Ports and source address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transport {
    /// The TCP port that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535), extend("default" = 179))]
    pub peer_port: Option<i64>,
    /// A field of Cilium up to 1.17. It has no effect: the kernel chooses the port that calls come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<i64>,
    /// The interface whose one address of the peer's family is the source of the connection. A CiliumBGPNodeConfigOverride
    /// with `localAddress` wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_interface: Option<String>,
}

/// Timers in seconds. Where only some are given the others have their defaults, and the rule that binds them counts all the
/// same: a hold time below 30 needs a keep-alive time too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "self.keepAliveTimeSeconds <= self.holdTimeSeconds",
    "keepAliveTimeSeconds (30 if not given) must not be more than holdTimeSeconds (90 if not given)",
)]))]
pub struct Timers {
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
}

/// An address family and what is announced in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FamilyWithAdvertisements {
    /// Address family.
    #[schemars(schema_with = "schema::afi")]
    pub afi: String,
    /// Subsequent address family.
    #[schemars(schema_with = "schema::safi")]
    pub safi: String,
    /// Labels of the CiliumBGPAdvertisements that count for this family; absent: none; `{}`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub advertisements: Option<LabelSelector>,
}

/// What is wrong with a peer configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumBGPPeerConfigStatus {
    /// Whether the Secret is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Option<Vec<Condition>>,
}
