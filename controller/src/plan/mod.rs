//! PURE and synchronous: Snapshot -> Plan. No IO, no clock, no randomness.

pub mod action;
pub mod addresses;
pub mod diff;
pub mod events;
mod export;
pub mod peers;
mod routes;
pub mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_core::rib::{Origination, Policy};
use bgp_core::{Asn, Family, HoldTime, Prefix, RouterId};

use crate::cluster::{ObjectName, Password};

/// Switches of the agent, with Cilium's names where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node we run on.
    pub node: String,
    /// `--enable-no-service-endpoints-routable`: announce a policy Cluster Service although no endpoint is ready.
    pub no_service_endpoints_routable: bool,
    /// `--default-lb-service-ipam` is `lbipam`.
    pub default_ipam: bool,
    /// `--enable-ipv4`
    pub ipv4: bool,
    /// `--enable-ipv6`
    pub ipv6: bool,
    /// Classes `io.cilium/bgp-control-plane` and `io.cilium/l2-announcer` that are served.
    pub bgp_enabled: bool,
    /// See `bgp_enabled`.
    pub l2_enabled: bool,
    /// How long a Service that is gone may come back to its address; zero remembers nothing.
    pub address_memory: Duration,
}

/// What this node's BGP should look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BgpPlan {
    /// Desired instances by name (v1: the local ASN in decimal). `Err` in `hold` keeps the running ones as they are.
    pub instances: BTreeMap<String, InstancePlan>,
    /// Instances that exist in the objects but cannot be built now, with the reason; the running one stays as it is.
    pub held: BTreeMap<String, String>,
    /// A reason for which everything stays as it is (malformed node annotation, snapshot not complete).
    pub hold_all: Option<String>,
    /// What an instance that stays as it is may still announce: the rest is withdrawn all the same, for nobody may attract
    /// traffic for an address that no Service holds. One that is not listed keeps all its routes.
    pub held_routes: BTreeMap<String, BTreeSet<Prefix>>,
    /// What an operator should know: why there is no session, why a policy does not apply, what was ignored.
    pub notes: Vec<String>,
}

/// One BGP speaker on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct InstancePlan {
    /// Our AS.
    pub local_asn: Asn,
    /// Our identifier.
    pub router_id: RouterId,
    /// Where we listen; `None` = not at all.
    pub listen_port: Option<u16>,
    /// The address to listen on and connect from, where the node's InternalIP is a loopback address.
    pub bind_address: Option<IpAddr>,
    /// Peers by name (v1: the address).
    pub peers: BTreeMap<String, PeerPlan>,
    /// What is originated.
    pub routes: BTreeMap<Prefix, RoutePlan>,
}

/// One neighbour of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerPlan {
    /// Its address.
    pub address: IpAddr,
    /// The port we dial.
    pub port: u16,
    /// Its AS; `None` accepts any.
    pub asn: Option<Asn>,
    /// The source address, where one is wanted.
    pub local_address: Option<IpAddr>,
    /// TTL of our packets: 1 to 255.
    pub ttl: u8,
    /// TCP MD5.
    pub password: Option<Password>,
    /// Why the peer must not be dialled (its Secret is missing, ...): it is shown with this reason and not started.
    pub blocked: Option<String>,
    /// Offered hold time.
    pub hold_time: HoldTime,
    /// Keepalive interval.
    pub keepalive: Duration,
    /// Connect retry time.
    pub connect_retry: Duration,
    /// Restart time in seconds where graceful restart is on.
    pub graceful_restart: Option<u16>,
    /// Offered families.
    pub families: Vec<Family>,
    /// What goes out to it, with which attributes.
    pub export: Arc<Policy>,
}

/// A route of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// What the speaker is told.
    pub origination: Origination,
    /// Who caused it, for `why` and `routes`: Services, or empty for pod CIDRs.
    pub because: Vec<ObjectName>,
}

/// The BGP identifier that an IPv4 address gives.
pub fn router_id(address: Ipv4Addr) -> Option<RouterId> {
    RouterId::new(address)
}
