use std::net::IpAddr;
use std::time::Duration;

use bgp_core::attribute::{Community, LargeCommunity};
use bgp_core::{Asn, Family, HoldTime};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use crate::crd;

use super::fault::{Conversion, Fault, typed};
use super::{Meta, ObjectName, Selector, communities};

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

const DEFAULT_PORT: u16 = 179;
const DEFAULT_CONNECT_RETRY_SECONDS: u32 = 120;
const DEFAULT_HOLD_TIME_SECONDS: u16 = 90;
const DEFAULT_KEEPALIVE_SECONDS: u16 = 30;
const DEFAULT_RESTART_TIME_SECONDS: u16 = 120;
const AFIS: [&str; 5] = ["ipv4", "ipv6", "l2vpn", "ls", "opaque"];
const SAFIS: [&str; 15] = [
    "unicast",
    "multicast",
    "mpls_label",
    "encapsulation",
    "vpls",
    "evpn",
    "ls",
    "sr_policy",
    "mup",
    "mpls_vpn",
    "mpls_vpn_multicast",
    "route_target_constraints",
    "flowspec_unicast",
    "flowspec_vpn",
    "key_value",
];

/// Takes a policy.
pub(super) fn convert(name: &ObjectName, value: &Value) -> Conversion<PeeringPolicy> {
    let (policy, notes): (crd::CiliumBGPPeeringPolicy, _) = typed(&super::without_status(value))?;
    let meta = super::meta::convert(name, policy.metadata)?;
    let mut door = Door {
        faults: vec![],
        notes,
    };
    let node_selector = door.selector("spec.nodeSelector", policy.spec.node_selector.as_ref());
    let mut virtual_routers: Vec<VirtualRouter> = vec![];
    for (index, router) in policy.spec.virtual_routers.iter().enumerate() {
        let field = format!("spec.virtualRouters[{index}]");
        let router = door.virtual_router(&field, router);
        if virtual_routers
            .iter()
            .any(|other| other.local_asn == router.local_asn)
        {
            door.fault(
                format!("{field}.localASN"),
                format!(
                    "AS {} has a virtual router already: merge the two",
                    router.local_asn
                ),
            );
        }
        virtual_routers.push(router);
    }
    if virtual_routers.is_empty() {
        door.fault("spec.virtualRouters", "there must be at least one");
    }
    if door.faults.is_empty() {
        Ok((
            PeeringPolicy {
                meta,
                node_selector,
                virtual_routers,
            },
            door.notes,
        ))
    } else {
        Err(door.faults)
    }
}

/// Collects the faults while the parts are converted; a faulty part gets a stand-in value that nobody will see.
struct Door {
    faults: Vec<Fault>,
    notes: Vec<Fault>,
}

impl Door {
    fn virtual_router(&mut self, field: &str, router: &crd::VirtualRouter) -> VirtualRouter {
        let local_asn = Asn(self.number(
            format!("{field}.localASN"),
            Some(router.local_asn),
            0,
            0,
            u32::MAX,
        ));
        let pod_ip_pool_selector = router
            .pod_ip_pool_selector
            .as_ref()
            .map(|selector| self.selector(&format!("{field}.podIPPoolSelector"), Some(selector)));
        let service_selector = router
            .service_selector
            .as_ref()
            .map(|selector| self.selector(&format!("{field}.serviceSelector"), Some(selector)));
        if service_selector.is_none() {
            let message =
                "absent, so this router announces no Service at all; `{}` selects every Service";
            self.note(format!("{field}.serviceSelector"), message);
        }
        let mut service_advertisements = vec![];
        match &router.service_advertisements {
            None => service_advertisements.push(ServiceAdvertisement::LoadBalancerIp),
            Some(kinds) => {
                for (index, kind) in kinds.iter().enumerate() {
                    let kind = match kind.as_str() {
                        "LoadBalancerIP" => ServiceAdvertisement::LoadBalancerIp,
                        "ClusterIP" => ServiceAdvertisement::ClusterIp,
                        "ExternalIP" => ServiceAdvertisement::ExternalIp,
                        other => {
                            let message = format!(
                                "{other:?} is not one of LoadBalancerIP, ClusterIP, ExternalIP"
                            );
                            self.fault(format!("{field}.serviceAdvertisements[{index}]"), message);
                            continue;
                        }
                    };
                    if !service_advertisements.contains(&kind) {
                        service_advertisements.push(kind);
                    }
                }
            }
        }
        let mut neighbors: Vec<Neighbor> = vec![];
        for (index, neighbor) in router.neighbors.iter().enumerate() {
            let field = format!("{field}.neighbors[{index}]");
            let Some(neighbor) = self.neighbor(&field, neighbor) else {
                continue;
            };
            if neighbors
                .iter()
                .any(|other| other.address == neighbor.address)
            {
                let message = format!(
                    "{} is listed already: a router has one session with a peer",
                    neighbor.address
                );
                self.fault(format!("{field}.peerAddress"), message);
            }
            neighbors.push(neighbor);
        }
        if router.neighbors.is_empty() {
            self.fault(format!("{field}.neighbors"), "there must be at least one");
        }
        VirtualRouter {
            local_asn,
            export_pod_cidr: router.export_pod_cidr.unwrap_or(false),
            pod_ip_pool_selector,
            service_selector,
            service_advertisements,
            neighbors,
        }
    }

    fn neighbor(&mut self, field: &str, neighbor: &crd::Neighbor) -> Option<Neighbor> {
        let at = |name: &str| format!("{field}.{name}");
        let address = self.peer_address(at("peerAddress"), &neighbor.peer_address);
        let asn = Asn(self.number(at("peerASN"), Some(neighbor.peer_asn), 0, 0, u32::MAX));
        // Zero is "not set", as the API's Go clients write it.
        let port = self.number(
            at("peerPort"),
            neighbor.peer_port.filter(|port| *port != 0),
            DEFAULT_PORT,
            1,
            u16::MAX,
        );
        let ttl = self.number(
            at("eBGPMultihopTTL"),
            neighbor.ebgp_multihop_ttl,
            1,
            1,
            u8::MAX,
        );
        let connect_retry = self.number(
            at("connectRetryTimeSeconds"),
            neighbor.connect_retry_time_seconds,
            DEFAULT_CONNECT_RETRY_SECONDS,
            1,
            i32::MAX.unsigned_abs(),
        );
        let hold_time = self.number(
            at("holdTimeSeconds"),
            neighbor.hold_time_seconds,
            DEFAULT_HOLD_TIME_SECONDS,
            3,
            u16::MAX,
        );
        let keepalive = self.number(
            at("keepAliveTimeSeconds"),
            neighbor.keep_alive_time_seconds,
            DEFAULT_KEEPALIVE_SECONDS,
            1,
            u16::MAX,
        );
        if keepalive > hold_time {
            let default = if neighbor.keep_alive_time_seconds.is_none() {
                " (the default)"
            } else {
                ""
            };
            let message = format!(
                "{keepalive}{default} is more than holdTimeSeconds {hold_time}: set it to {}",
                (hold_time / 3).max(1)
            );
            self.fault(at("keepAliveTimeSeconds"), message);
        }
        let restart = neighbor.graceful_restart.as_ref();
        let restart_time = self.number(
            at("gracefulRestart.restartTimeSeconds"),
            restart.and_then(|restart| restart.restart_time_seconds),
            DEFAULT_RESTART_TIME_SECONDS,
            1,
            4095,
        );
        let families = self.families(
            &at("families"),
            neighbor.families.as_deref().unwrap_or_default(),
        );
        let entries = neighbor
            .advertised_path_attributes
            .iter()
            .flatten()
            .enumerate();
        let path_attributes = entries
            .filter_map(|(index, entry)| {
                self.path_attributes(&at(&format!("advertisedPathAttributes[{index}]")), entry)
            })
            .collect();
        Some(Neighbor {
            address: address?,
            asn,
            port,
            auth_secret: neighbor
                .auth_secret_ref
                .clone()
                .filter(|name| !name.is_empty()),
            ebgp_multihop_ttl: ttl,
            connect_retry: Duration::from_secs(connect_retry.into()),
            hold_time: HoldTime::new(hold_time).unwrap_or(HoldTime::DEFAULT),
            keepalive: Duration::from_secs(keepalive.into()),
            graceful_restart: restart
                .filter(|restart| restart.enabled)
                .map(|_| restart_time),
            families,
            path_attributes,
        })
    }

    fn peer_address(&mut self, field: String, text: &str) -> Option<IpAddr> {
        let Ok(net) = text.parse::<IpNet>() else {
            let message = match text.parse::<IpAddr>() {
                Ok(address) => format!(
                    "{text} has no mask, and a prefix is wanted: write {}",
                    IpNet::from(address)
                ),
                Err(_) => format!("{text:?} is not a host prefix such as 192.168.10.1/32"),
            };
            self.fault(field, message);
            return None;
        };
        let address = net.addr();
        let mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
        if address.is_unspecified() || address.is_multicast() || mapped {
            self.fault(
                field,
                format!("{address} is no address that a peer can have"),
            );
            return None;
        }
        if net.prefix_len() != net.max_prefix_len() {
            let message = format!(
                "of {text} only the address counts: write {}",
                IpNet::from(address)
            );
            self.note(field, message);
        }
        Some(address)
    }

    /// An empty list is an absent one.
    fn families(&mut self, field: &str, listed: &[crd::FamilyPair]) -> Vec<Family> {
        if listed.is_empty() {
            return vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
        }
        let mut families = vec![];
        for (index, pair) in listed.iter().enumerate() {
            if !AFIS.contains(&pair.afi.as_str()) {
                self.fault(
                    format!("{field}[{index}].afi"),
                    format!("{:?} is not one of {}", pair.afi, AFIS.join(", ")),
                );
            }
            if !SAFIS.contains(&pair.safi.as_str()) {
                self.fault(
                    format!("{field}[{index}].safi"),
                    format!("{:?} is not one of {}", pair.safi, SAFIS.join(", ")),
                );
            }
            let family = match (pair.afi.as_str(), pair.safi.as_str()) {
                ("ipv4", "unicast") => Family::IPV4_UNICAST,
                ("ipv6", "unicast") => Family::IPV6_UNICAST,
                (afi, safi) => {
                    self.note(
                        format!("{field}[{index}]"),
                        format!("{afi}/{safi} carries no Service, so it is left out"),
                    );
                    continue;
                }
            };
            if !families.contains(&family) {
                families.push(family);
            }
        }
        families
    }

    fn path_attributes(
        &mut self,
        field: &str,
        entry: &crd::AdvertisedPathAttributes,
    ) -> Option<AdvertisedPathAttributes> {
        let selector = self.selector(&format!("{field}.selector"), entry.selector.as_ref());
        let selector = match entry.selector_type.as_str() {
            "PodCIDR" => Some(PathAttributeSelector::PodCidr(selector)),
            "CiliumLoadBalancerIPPool" => Some(PathAttributeSelector::LoadBalancerPool(selector)),
            "CiliumPodIPPool" => Some(PathAttributeSelector::PodIpPool(selector)),
            other => {
                let message = format!(
                    "{other:?} is not one of PodCIDR, CiliumLoadBalancerIPPool, CiliumPodIPPool"
                );
                self.fault(format!("{field}.selectorType"), message);
                None
            }
        };
        let listed = entry.communities.clone().unwrap_or_default();
        let (standard, well_known) = (
            listed.standard.unwrap_or_default(),
            listed.well_known.unwrap_or_default(),
        );
        let mut communities = self.communities(
            &format!("{field}.communities.standard"),
            &standard,
            communities::standard,
        );
        communities.extend(self.communities(
            &format!("{field}.communities.wellKnown"),
            &well_known,
            communities::well_known,
        ));
        communities.sort_unstable();
        communities.dedup();
        let large = listed.large.unwrap_or_default();
        let mut large_communities = self.communities(
            &format!("{field}.communities.large"),
            &large,
            communities::large,
        );
        large_communities.sort_unstable();
        large_communities.dedup();
        let preference = entry.local_preference;
        let number = self.number(
            format!("{field}.localPreference"),
            preference,
            0,
            0,
            u32::MAX,
        );
        Some(AdvertisedPathAttributes {
            selector: selector?,
            communities,
            large_communities,
            local_preference: preference.map(|_| number),
        })
    }

    fn communities<T>(
        &mut self,
        field: &str,
        listed: &[String],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut communities = vec![];
        for (index, text) in listed.iter().enumerate() {
            match read(text) {
                Ok(community) => communities.push(community),
                Err(reason) => self.fault(format!("{field}[{index}]"), reason),
            }
        }
        communities
    }

    fn selector(&mut self, field: &str, selector: Option<&LabelSelector>) -> Selector {
        let Some(selector) = selector else {
            return Selector::default();
        };
        Selector::convert(selector, field).unwrap_or_else(|fault| {
            self.faults.push(fault);
            Selector::default()
        })
    }

    fn number<T>(&mut self, field: String, value: Option<i64>, default: T, least: T, most: T) -> T
    where
        T: Copy + PartialOrd + TryFrom<i64> + std::fmt::Display,
    {
        let Some(value) = value else { return default };
        match T::try_from(value) {
            Ok(number) if least <= number && number <= most => number,
            _ => {
                self.fault(
                    field,
                    format!("{value} is out of range: write {least} to {most}"),
                );
                default
            }
        }
    }

    fn fault(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault::new(field, message));
    }

    fn note(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.notes.push(Fault::new(field, message));
    }
}

#[cfg(test)]
mod tests;
