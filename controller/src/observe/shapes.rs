//! The JSON shapes of `cilium bgp peers` and `cilium bgp routes` (`-o json`), plus the key `instance`.
//!
//! Both the local API and the commands that read it use these. Zero-valued scalars are left out, as Cilium does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `peers`: node name -> peers.
pub type PeersByNode = BTreeMap<String, Vec<Peer>>;
/// `routes`: node name -> routes.
pub type RoutesByNode = BTreeMap<String, Vec<Route>>;

/// One peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Peer {
    /// Fairway's addition.
    #[serde(skip_serializing_if = "is_default")]
    pub instance: String,
    /// Local AS.
    #[serde(skip_serializing_if = "is_default")]
    pub local_asn: u32,
    /// Configured peer AS (or the peer's real one where any is accepted).
    #[serde(skip_serializing_if = "is_default")]
    pub peer_asn: u32,
    /// Address without port.
    #[serde(skip_serializing_if = "is_default")]
    pub peer_address: String,
    /// Port dialled.
    #[serde(skip_serializing_if = "is_default")]
    pub peer_port: u16,
    /// Peer name.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// `idle`, `connect`, `active`, `open_sent`, `open_confirm`, `established`.
    #[serde(skip_serializing_if = "is_default")]
    pub session_state: String,
    /// Since established.
    #[serde(skip_serializing_if = "is_default")]
    pub uptime_nanoseconds: u64,
    /// The configured families, whatever the state.
    pub families: Vec<PeerFamily>,
    /// Seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub configured_hold_time_seconds: u32,
    /// Seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub applied_hold_time_seconds: u32,
    /// Seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub configured_keep_alive_time_seconds: u32,
    /// Seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub applied_keep_alive_time_seconds: u32,
    /// Seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub connect_retry_time_seconds: u32,
    /// 1 for internal peers as well.
    #[serde(skip_serializing_if = "is_default")]
    pub ebgp_multihop_ttl: u32,
    /// `{}` when off.
    pub graceful_restart: GracefulRestart,
    /// Whether TCP MD5 is in use.
    #[serde(skip_serializing_if = "is_default")]
    pub tcp_password_enabled: bool,
    /// What we offered.
    pub local_capabilities: Vec<Capability>,
    /// What they offered; empty before their first OPEN.
    pub remote_capabilities: Vec<Capability>,
    /// Fairway's addition: why the last session or attempt ended, or why none is attempted.
    #[serde(skip_serializing_if = "is_default")]
    pub last_error: String,
}

/// Routes of one family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerFamily {
    /// `ipv4`, `ipv6`.
    pub afi: String,
    /// `unicast`.
    pub safi: String,
    /// Adj-RIB-In.
    #[serde(skip_serializing_if = "is_default")]
    pub received: u64,
    /// After import.
    #[serde(skip_serializing_if = "is_default")]
    pub accepted: u64,
    /// Adj-RIB-Out.
    #[serde(skip_serializing_if = "is_default")]
    pub advertised: u64,
}

/// `{}` when off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct GracefulRestart {
    /// On.
    #[serde(skip_serializing_if = "is_default")]
    pub enabled: bool,
    /// Seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub restart_time_seconds: u32,
}

/// One capability: base64 of code, length and value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Capability {
    /// The octets.
    pub capabilities: String,
}

/// One route (of one peer, where advertised).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Route {
    /// Fairway's addition.
    #[serde(skip_serializing_if = "is_default")]
    pub instance: String,
    /// Local AS.
    #[serde(skip_serializing_if = "is_default")]
    pub router_asn: u32,
    /// Peer address without port; advertised routes only.
    #[serde(skip_serializing_if = "is_default")]
    pub neighbor: String,
    /// The prefix.
    pub prefix: String,
    /// The paths.
    pub paths: Vec<Path>,
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Path {
    /// Age.
    #[serde(skip_serializing_if = "is_default")]
    pub age_nanoseconds: u64,
    /// Best path; available routes only.
    #[serde(skip_serializing_if = "is_default")]
    pub best: bool,
    /// Stale.
    #[serde(skip_serializing_if = "is_default")]
    pub stale: bool,
    /// Family.
    pub family: FamilyName,
    /// Wire NLRI: length octet, prefix octets.
    pub nlri: Base64,
    /// Whole attributes: flags, type, length, value.
    pub path_attributes: Vec<Base64>,
}

/// A family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FamilyName {
    /// `ipv4`, `ipv6`.
    pub afi: String,
    /// `unicast`.
    pub safi: String,
}

/// Octets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Base64 {
    /// In base64.
    pub base64: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
