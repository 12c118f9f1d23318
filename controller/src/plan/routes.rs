//! What a virtual router announces from this node.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::net::IpAddr;
use std::sync::Arc;

use bgp_core::Prefix;
use bgp_core::attribute::{Attributes, Origin};
use bgp_core::rib::Origination;

use crate::cluster::{
    EndpointSlice, IngressEntry, IngressIpMode, Kind, Node, ObjectName, Selector, Service,
    ServiceAdvertisement, Snapshot, TrafficPolicy, VirtualRouter,
};

use super::addresses::AddressPlan;
use super::{RoutePlan, Settings};

const CLASS_BGP: &str = "io.cilium/bgp-control-plane";
const NODE_SELECTOR: &str = "service.cilium.io/node-selector";
const NODE: &str = "service.cilium.io/node";
const TYPE: &str = "service.cilium.io/type";
/// How many Services a note names.
const NAMED: usize = 5;

/// Plans the routes of one virtual router on `node`; what an operator may wonder about goes into `notes`.
pub(super) fn plan(
    snapshot: &Snapshot,
    addresses: &AddressPlan,
    settings: &Settings,
    node: &Node,
    router: &VirtualRouter,
    notes: &mut Vec<String>,
) -> BTreeMap<Prefix, RoutePlan> {
    let mut routes: Vec<(Prefix, Option<&ObjectName>)> = vec![];
    if router.export_pod_cidr {
        routes.extend(node.pod_cidrs.iter().map(|cidr| (Prefix::new(*cidr), None)));
    }
    if let Some(selector) = &router.pod_ip_pool_selector {
        routes.extend(pod_pool_cidrs(snapshot, node, selector).map(|(cidr, _)| (cidr, None)));
    }
    if let Some(selector) = &router.service_selector {
        let mut silent = Silent::default();
        let mut planned = Alongside::new(&addresses.services);
        let mut endpoints = Alongside::new(&snapshot.endpoints);
        for (name, service) in &snapshot.services {
            let (planned, endpoints) = (planned.find(name), endpoints.find(name));
            if !service.is_selected_by(selector) {
                continue;
            }
            let ingress = planned.map_or(&service.ingress, |status| &status.ingress);
            let endpoints = endpoints.map_or(&[][..], |slices| slices);
            let candidate = Candidate {
                settings,
                node,
                service,
                ingress,
                endpoints,
            };
            candidate.announce(&router.service_advertisements, &mut silent, |address| {
                routes.push((Prefix::host(address), Some(name)));
            });
        }
        let unreadable = |kind| snapshot.unreadable.get(&kind);
        silent.tell(node, router, unreadable(Kind::EndpointSlice), notes);
        if let Some(reason) = unreadable(Kind::Service) {
            notes.push(format!(
                "AS {}: Services that are not known are not announced: {reason}",
                router.local_asn
            ));
        }
    } else {
        notes.push(format!(
            "AS {}: serviceSelector is absent, so no Service is announced",
            router.local_asn
        ));
    }
    routes.sort_unstable();
    routes.dedup();
    collect(routes)
}

/// The node's CIDRs from selected CiliumPodIPPools that still exist, and whether each has the length that its pool gives.
pub(super) fn pod_pool_cidrs<'a>(
    snapshot: &'a Snapshot,
    node: &'a Node,
    selector: &'a Selector,
) -> impl Iterator<Item = (Prefix, bool)> + 'a {
    node.pod_pools.iter().flat_map(move |(name, cidrs)| {
        let pool = snapshot
            .pod_ip_pools
            .get(name)
            .filter(|pool| selector.matches(&pool.selector_labels()));
        cidrs.iter().filter_map(move |cidr| {
            let prefix = Prefix::new(*cidr);
            let mask = if cidr.addr().is_ipv4() {
                pool?.ipv4_mask_size?
            } else {
                pool?.ipv6_mask_size?
            };
            Some((prefix, cidr.prefix_len() == mask))
        })
    })
}

/// One route for each prefix, however many Services cause it. Takes them sorted.
fn collect(routes: Vec<(Prefix, Option<&ObjectName>)>) -> BTreeMap<Prefix, RoutePlan> {
    let attributes = Arc::new(Attributes {
        origin: Origin::Igp,
        ..Attributes::default()
    });
    let mut plans: Vec<(Prefix, RoutePlan)> = vec![];
    for (prefix, because) in routes {
        if plans.last().is_none_or(|(last, _)| *last != prefix) {
            let origination = Origination {
                prefix,
                attributes: attributes.clone(),
                next_hop: None,
            };
            plans.push((
                prefix,
                RoutePlan {
                    origination,
                    because: vec![],
                },
            ));
        }
        if let (Some((_, plan)), Some(because)) = (plans.last_mut(), because) {
            plan.because.push(because.clone());
        }
    }
    plans.into_iter().collect()
}

/// A map that is asked for names in ascending order: one walk over it replaces a search for each.
struct Alongside<'a, T> {
    rest: Peekable<btree_map::Iter<'a, ObjectName, T>>,
}

impl<'a, T> Alongside<'a, T> {
    fn new(map: &'a BTreeMap<ObjectName, T>) -> Self {
        Self {
            rest: map.iter().peekable(),
        }
    }

    fn find(&mut self, name: &ObjectName) -> Option<&'a T> {
        while let Some((next, value)) = self.rest.peek() {
            match (*next).cmp(name) {
                Ordering::Less => self.rest.next(),
                Ordering::Equal => return Some(value),
                Ordering::Greater => return None,
            };
        }
        None
    }
}

/// A selected Service as this node sees it.
struct Candidate<'a> {
    settings: &'a Settings,
    node: &'a Node,
    service: &'a Service,
    ingress: &'a [IngressEntry],
    endpoints: &'a [Arc<EndpointSlice>],
}

impl<'a> Candidate<'a> {
    /// Announces the addresses of the wanted kinds, and counts the Service as silent for whatever keeps others back.
    fn announce(
        &self,
        kinds: &[ServiceAdvertisement],
        silent: &mut Silent<'a>,
        mut announce: impl FnMut(IpAddr),
    ) {
        let name = &self.service.meta.name;
        let (exposed, malformed) = exposure(self.service, self.node);
        silent.malformed.extend(
            malformed
                .into_iter()
                .map(|reason| format!("Service {name}: {reason}")),
        );
        if self.service.headless || self.service.ports.is_empty() {
            return silent.portless.push(name);
        }
        let Some(exposed) = exposed else {
            return silent.hidden.push(name);
        };
        for kind in kinds {
            if !exposed.allows(*kind) {
                continue;
            }
            let policy = match kind {
                ServiceAdvertisement::ClusterIp => self.service.internal_traffic_policy,
                ServiceAdvertisement::ExternalIp | ServiceAdvertisement::LoadBalancerIp => {
                    self.service.external_traffic_policy
                }
            };
            match kind {
                ServiceAdvertisement::ClusterIp => {
                    self.announce_each(
                        self.service.cluster_ips.iter().copied(),
                        policy,
                        silent,
                        &mut announce,
                    );
                }
                ServiceAdvertisement::ExternalIp => {
                    self.announce_each(
                        self.service.external_ips.iter().copied(),
                        policy,
                        silent,
                        &mut announce,
                    );
                }
                ServiceAdvertisement::LoadBalancerIp if self.is_ours() => {
                    let vips = self
                        .ingress
                        .iter()
                        .filter(|entry| entry.ip_mode != IngressIpMode::Other);
                    self.announce_each(
                        vips.filter_map(|entry| entry.ip),
                        policy,
                        silent,
                        &mut announce,
                    );
                    if self.ingress.iter().all(|entry| entry.ip.is_none()) {
                        silent.addressless.push(name);
                    }
                }
                ServiceAdvertisement::LoadBalancerIp => {}
            }
        }
    }

    fn announce_each(
        &self,
        addresses: impl Iterator<Item = IpAddr>,
        policy: TrafficPolicy,
        silent: &mut Silent<'a>,
        announce: &mut impl FnMut(IpAddr),
    ) {
        for address in addresses {
            let may = match policy {
                TrafficPolicy::Local => {
                    self.has_endpoint(address.is_ipv6(), Some(&self.node.meta.name.name))
                }
                TrafficPolicy::Cluster => {
                    self.settings.no_service_endpoints_routable
                        || self.has_endpoint(address.is_ipv6(), None)
                }
            };
            if may {
                announce(address);
            } else {
                silent.endpointless.push(&self.service.meta.name);
            }
        }
    }

    /// Whether the class leaves this Service's ingress to BGP.
    fn is_ours(&self) -> bool {
        self.service.is_load_balancer
            && self
                .service
                .class
                .as_deref()
                .is_none_or(|class| class == CLASS_BGP)
    }

    /// Whether a ready endpoint of the family stands behind one of the Service's ports, on `node` where one is given.
    /// Ports belong together by protocol, and by name where both have one. An endpoint without node is everywhere.
    fn has_endpoint(&self, ipv6: bool, node: Option<&str>) -> bool {
        self.endpoints
            .iter()
            .filter(|slice| slice.ipv6 == ipv6)
            .any(|slice| {
                let has_port = slice.ports.iter().any(|offered| {
                    self.service.ports.iter().any(|port| {
                        port.protocol == offered.protocol
                            && (port.name.is_empty()
                                || offered.name.is_empty()
                                || port.name == offered.name)
                    })
                });
                let is_here = |its: &Option<String>| match (node, its) {
                    (Some(node), Some(its)) => node == its,
                    _ => true,
                };
                has_port
                    && slice
                        .endpoints
                        .iter()
                        .any(|endpoint| endpoint.ready && is_here(&endpoint.node))
            })
    }
}

/// Which kinds of address an annotation leaves exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exposed {
    All,
    ClusterIp,
    NodePort,
    LoadBalancer,
}

impl Exposed {
    fn allows(self, kind: ServiceAdvertisement) -> bool {
        match kind {
            ServiceAdvertisement::ExternalIp => true,
            ServiceAdvertisement::ClusterIp => matches!(self, Self::All | Self::ClusterIp),
            ServiceAdvertisement::LoadBalancerIp => matches!(self, Self::All | Self::LoadBalancer),
        }
    }
}

/// What three annotations leave of a Service on a node; `None`: nothing. And what was malformed and therefore ignored.
fn exposure(service: &Service, node: &Node) -> (Option<Exposed>, Option<String>) {
    let annotations = &service.meta.annotations;
    if annotations.is_empty() {
        return (Some(Exposed::All), None);
    }
    let mut malformed = None;
    let here = if let Some(text) = annotations.get(NODE_SELECTOR) {
        match Selector::parse(text) {
            Ok(selector) => selector.matches(&node.meta.labels),
            Err(reason) => {
                malformed = Some(format!(
                    "the annotation {NODE_SELECTOR} is ignored: {reason}"
                ));
                true
            }
        }
    } else if let Some(wanted) = annotations.get(NODE) {
        node.meta.labels.get(NODE) == Some(wanted)
    } else {
        true
    };
    if !here {
        return (None, malformed);
    }
    let exposed = match annotations.get(TYPE).map(String::as_str) {
        None => Exposed::All,
        Some("ClusterIP") => Exposed::ClusterIp,
        Some("NodePort") => Exposed::NodePort,
        Some("LoadBalancer") => Exposed::LoadBalancer,
        Some(other) => {
            let reason = format!(
                "the annotation {TYPE} is ignored: {other:?} is not one of ClusterIP, NodePort, LoadBalancer"
            );
            malformed.get_or_insert(reason);
            Exposed::All
        }
    };
    (Some(exposed), malformed)
}

/// Selected Services that are not announced, by what keeps them.
#[derive(Default)]
struct Silent<'a> {
    addressless: Vec<&'a ObjectName>,
    endpointless: Vec<&'a ObjectName>,
    portless: Vec<&'a ObjectName>,
    hidden: Vec<&'a ObjectName>,
    malformed: Vec<String>,
}

impl Silent<'_> {
    fn tell(
        mut self,
        node: &Node,
        router: &VirtualRouter,
        endpoints_unreadable: Option<&String>,
        notes: &mut Vec<String>,
    ) {
        let node = &node.meta.name;
        self.endpointless.dedup();
        let endpointless = match endpoints_unreadable {
            Some(reason) => format!("has no endpoint that is known of ({reason})"),
            None => "has no ready endpoint that its traffic policy lets this node use".to_owned(),
        };
        for (names, reason) in [
            (&self.addressless, "has no address yet"),
            (&self.endpointless, &*endpointless),
            (&self.portless, "has no ports or is headless"),
            (&self.hidden, "is kept from this node by an annotation"),
        ] {
            if names.is_empty() {
                continue;
            }
            let mut named = names
                .iter()
                .take(NAMED)
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
                .join(", ");
            if names.len() > NAMED {
                named.push_str(&format!(" and {} more", names.len() - NAMED));
            }
            notes.push(format!(
                "node {node}, AS {}: not announced because it {reason}: {named}",
                router.local_asn
            ));
        }
        self.malformed.truncate(NAMED);
        notes.extend(self.malformed);
    }
}

#[cfg(test)]
mod tests;
