use std::net::IpAddr;
use std::time::Duration;

use bgp_core::attribute::{Community, LargeCommunity};
use bgp_core::{Asn, Family, HoldTime};

use super::{Meta, Selector};

/// A CiliumBGPPeeringPolicy (v2alpha1, "BGPv1"), with the schema's defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct PeeringPolicy {
    /// Name and labels.
    pub meta: Meta,
    /// Absent = every node.
    pub node_selector: Selector,
    /// At least one, ASNs distinct.
    pub virtual_routers: Vec<VirtualRouter>,
}

/// One BGP router.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualRouter {
    /// `localASN`.
    pub local_asn: Asn,
    /// `exportPodCIDR`.
    pub export_pod_cidr: bool,
    /// `podIPPoolSelector`; `None` = no pool.
    pub pod_ip_pool_selector: Option<Selector>,
    /// `serviceSelector`; `None` = no Service.
    pub service_selector: Option<Selector>,
    /// `serviceAdvertisements`; default LoadBalancerIP alone.
    pub service_advertisements: Vec<ServiceAdvertisement>,
    /// At least one.
    pub neighbors: Vec<Neighbor>,
}

/// Which addresses of a Service are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceAdvertisement {
    /// `spec.clusterIPs`
    ClusterIp,
    /// `spec.externalIPs`
    ExternalIp,
    /// `status.loadBalancer.ingress`
    LoadBalancerIp,
}

/// A peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbor {
    /// `peerAddress`, its mask dropped.
    pub address: IpAddr,
    /// `peerASN`.
    pub asn: Asn,
    /// `peerPort`, default 179.
    pub port: u16,
    /// `authSecretRef`.
    pub auth_secret: Option<String>,
    /// `eBGPMultihopTTL`, default 1.
    pub ebgp_multihop_ttl: u8,
    /// `connectRetryTimeSeconds`, default 120.
    pub connect_retry: Duration,
    /// `holdTimeSeconds`, default 90.
    pub hold_time: HoldTime,
    /// `keepAliveTimeSeconds`, default 30; not above the hold time.
    pub keepalive: Duration,
    /// `gracefulRestart.restartTimeSeconds` where enabled.
    pub graceful_restart: Option<u16>,
    /// The unicast ones of `families`; default both.
    pub families: Vec<Family>,
    /// `advertisedPathAttributes`.
    pub path_attributes: Vec<AdvertisedPathAttributes>,
}

/// Attributes for selected routes.
#[derive(Clone, Debug, PartialEq)]
pub struct AdvertisedPathAttributes {
    /// Which routes.
    pub selector: PathAttributeSelector,
    /// `communities.standard` and `.wellKnown`, merged, by value.
    pub communities: Vec<Community>,
    /// `communities.large`.
    pub large_communities: Vec<LargeCommunity>,
    /// `localPreference`; for internal peers.
    pub local_preference: Option<u32>,
}

/// `selectorType` with `selector` (absent = all objects of the type).
#[derive(Clone, Debug, PartialEq)]
pub enum PathAttributeSelector {
    /// Labels of the local node; applies to its pod CIDRs.
    PodCidr(Selector),
    /// Labels of pools; applies to host routes inside their blocks.
    LoadBalancerPool(Selector),
    /// Labels of CiliumPodIPPools.
    PodIpPool(Selector),
}
