//! Whom this node should talk to: the one CiliumBGPPeeringPolicy that selects it, with the annotations of the Node.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_core::rib::Policy;
use bgp_core::{Asn, RouterId};

use crate::cluster::{Kind, Neighbor, Node, PeeringPolicy, Snapshot, VirtualRouter};

use super::addresses::AddressPlan;
use super::{BgpPlan, InstancePlan, PeerPlan, Settings, export, router_id, routes};

/// What annotations on a Node about its virtual routers begin with; `.` and the AS number follow.
const ANNOTATION: &str = "cilium.io/bgp-virtual-router";
/// BGP's port, which `local-port=0` stands for.
const BGP_PORT: u16 = 179;
/// Packets to internal peers may cross as many routers as there are.
const MAX_TTL: u8 = 255;
/// TCP MD5 takes no longer key (Linux, `TCP_MD5SIG_MAXKEYLEN`).
const MAX_PASSWORD: usize = 80;

/// Plans this node's BGP. Ingress addresses are those of `addresses` where it has the Service, else the recorded ones.
pub fn plan(snapshot: &Snapshot, addresses: &AddressPlan, settings: &Settings) -> BgpPlan {
    let mut plan = BgpPlan::default();
    let name = &settings.node;
    if !snapshot.complete {
        plan.hold_all = Some("not all objects have been read yet".to_owned());
        return plan;
    }
    if !settings.bgp_enabled {
        plan.notes.push("BGP is switched off".to_owned());
        return plan;
    }
    let Some(node) = snapshot.nodes.get(name) else {
        let reason = snapshot.unreadable.get(&Kind::Node).map(String::as_str);
        let reason = reason.unwrap_or("there is no Node or CiliumNode of this name");
        plan.notes
            .push(format!("waiting for Node {name}: {reason}"));
        return plan;
    };
    if node.meta.deleting {
        plan.notes.push(format!(
            "node {name}: the Node is being deleted, so everything is withdrawn"
        ));
        return plan;
    }
    let policy = match select(snapshot, node) {
        Ok(policy) => policy,
        Err(notes) => {
            plan.notes
                .extend(notes.into_iter().map(|note| format!("node {name}: {note}")));
            return plan;
        }
    };
    let mut overrides = match read_annotations(node) {
        Ok(overrides) => overrides,
        Err(reason) => {
            plan.notes.push(format!(
                "node {name}: {reason}; everything stays as it is until that is corrected"
            ));
            plan.hold_all = Some(reason);
            for router in &policy.virtual_routers {
                let routes =
                    routes::plan(snapshot, addresses, settings, node, router, &mut plan.notes);
                let may = routes.into_keys().collect();
                plan.held_routes.insert(router.local_asn.to_string(), may);
            }
            return plan;
        }
    };
    let mut policies = SharedPolicies::default();
    for router in &policy.virtual_routers {
        let overrides = overrides.remove(&router.local_asn).unwrap_or_default();
        let instance = router.local_asn.to_string();
        let routes = routes::plan(snapshot, addresses, settings, node, router, &mut plan.notes);
        match router_identity(node, router.local_asn, &overrides) {
            Ok(router_id) => {
                let planned = InstancePlan {
                    local_asn: router.local_asn,
                    router_id,
                    listen_port: overrides.local_port,
                    bind_address: node.internal_addresses().next().filter(IpAddr::is_loopback),
                    peers: peers(snapshot, node, router, &mut policies, &mut plan.notes),
                    routes,
                };
                plan.instances.insert(instance, planned);
            }
            Err(reason) => {
                plan.notes
                    .push(format!("node {name}, AS {}: {reason}", router.local_asn));
                plan.held_routes
                    .insert(instance.clone(), routes.into_keys().collect());
                plan.held.insert(instance, reason);
            }
        }
    }
    for asn in overrides.keys() {
        let policy = &policy.meta.name.name;
        plan.notes.push(format!("node {name}: the annotation {ANNOTATION}.{asn} is for an AS that {policy} does not have"));
    }
    plan
}

/// The policy that selects a node, or what there is to say where it is not exactly one.
fn select<'a>(snapshot: &'a Snapshot, node: &Node) -> Result<&'a PeeringPolicy, Vec<String>> {
    let selects = |policy: &&PeeringPolicy| policy.node_selector.matches(&node.meta.labels);
    let selecting: Vec<_> = snapshot.peering_policies.values().filter(selects).collect();
    match selecting[..] {
        [policy] => Ok(policy),
        [] => Err(why_none_selects(snapshot)),
        _ => {
            let names: Vec<_> = selecting
                .iter()
                .map(|policy| policy.meta.name.name.as_str())
                .collect();
            Err(vec![format!(
                "the CiliumBGPPeeringPolicies {} all select it, and only one may: there is no session until one does",
                names.join(" and ")
            )])
        }
    }
}

fn why_none_selects(snapshot: &Snapshot) -> Vec<String> {
    let mut notes = vec![];
    let wishes: Vec<_> = snapshot
        .peering_policies
        .values()
        .map(|policy| format!("{} wants {}", policy.meta.name.name, policy.node_selector))
        .collect();
    let unreadable = snapshot.unreadable.get(&Kind::CiliumBGPPeeringPolicy);
    if let Some(reason) = unreadable {
        notes.push(format!("there is no session: {reason}"));
    } else if wishes.is_empty() {
        notes.push("there is no valid CiliumBGPPeeringPolicy, so there is no session".to_owned());
    } else {
        notes.push(format!(
            "no CiliumBGPPeeringPolicy selects it ({})",
            wishes.join("; ")
        ));
    }
    for problem in &snapshot.problems {
        let invalid = problem.object.strip_prefix("CiliumBGPPeeringPolicy ");
        if invalid.is_some_and(|name| !snapshot.peering_policies.contains_key(name)) {
            notes.push(problem.to_string());
        }
    }
    notes
}

/// What annotations say of one virtual router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Overrides {
    router_id: Option<Ipv4Addr>,
    local_port: Option<u16>,
}

/// Reads all annotations about virtual routers; one that is malformed spoils them all, for nobody can tell which router
/// its author had in mind.
fn read_annotations(node: &Node) -> Result<BTreeMap<Asn, Overrides>, String> {
    let mut routers = BTreeMap::new();
    for (key, value) in &node.meta.annotations {
        let Some(rest) = key.strip_prefix(ANNOTATION) else {
            continue;
        };
        let asn = rest
            .strip_prefix('.')
            .filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
        let Some(asn) = asn.and_then(|digits| digits.parse().ok()) else {
            return Err(format!(
                "the annotation {key} must end in one AS number: {ANNOTATION}.64512"
            ));
        };
        let mut overrides = Overrides::default();
        for item in value.split(',') {
            let parts: Vec<_> = item.split('=').map(str::trim).collect();
            match parts[..] {
                ["router-id", text] => {
                    let id = text
                        .parse()
                        .ok()
                        .filter(|id: &Ipv4Addr| !id.is_unspecified());
                    let wrong = || {
                        format!(
                            "the annotation {key} has router-id={text}, which is not of the form 192.168.10.21"
                        )
                    };
                    overrides.router_id = Some(id.ok_or_else(wrong)?);
                }
                ["local-port", text] => {
                    let port = text.parse().map_err(|_| {
                        format!("the annotation {key} has local-port={text}, which is not a number from 0 to 65535")
                    })?;
                    overrides.local_port = Some(if port == 0 { BGP_PORT } else { port });
                }
                _ => {}
            }
        }
        routers.insert(Asn(asn), overrides);
    }
    Ok(routers)
}

fn router_identity(node: &Node, asn: Asn, overrides: &Overrides) -> Result<RouterId, String> {
    if asn == Asn(0) {
        return Err(
            "localASN 0 is no AS number that a router can have (RFC 7607): give it its own"
                .to_owned(),
        );
    }
    let ipv4 = |address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let found = overrides
        .router_id
        .or_else(|| node.internal_addresses().find_map(ipv4));
    found.and_then(router_id).ok_or_else(|| {
        format!("there is no router ID, for the Node has no IPv4 InternalIP: set the annotation {ANNOTATION}.{asn} to router-id=...")
    })
}

fn peers(
    snapshot: &Snapshot,
    node: &Node,
    router: &VirtualRouter,
    policies: &mut SharedPolicies,
    notes: &mut Vec<String>,
) -> BTreeMap<String, PeerPlan> {
    let mut peers = BTreeMap::new();
    for neighbor in &router.neighbors {
        let internal = neighbor.asn == router.local_asn;
        let name = neighbor.address.to_string();
        let (password, mut blocked) = match password(snapshot, neighbor) {
            Ok(password) => (password, None),
            Err(reason) => (None, Some(reason)),
        };
        if neighbor.families.is_empty() {
            blocked = Some("its families name neither ipv4/unicast nor ipv6/unicast".to_owned());
        }
        if let Some(reason) = &blocked {
            notes.push(format!(
                "node {}, peer {name}: not dialled: {reason}",
                node.meta.name
            ));
        }
        if !internal && neighbor.ebgp_multihop_ttl == 1 {
            notes.extend(looks_far_away(node, neighbor.address));
        }
        let local = node
            .internal_addresses()
            .find(|address| address.is_ipv4() == neighbor.address.is_ipv4());
        let export = export::policy(snapshot, node, &neighbor.path_attributes, internal);
        peers.insert(
            name,
            PeerPlan {
                address: neighbor.address,
                port: neighbor.port,
                asn: (neighbor.asn != Asn(0)).then_some(neighbor.asn),
                local_address: local.filter(IpAddr::is_loopback),
                ttl: if internal {
                    MAX_TTL
                } else {
                    neighbor.ebgp_multihop_ttl
                },
                password,
                blocked,
                hold_time: neighbor.hold_time,
                keepalive: neighbor.keepalive,
                connect_retry: neighbor.connect_retry,
                graceful_restart: neighbor.graceful_restart,
                families: neighbor.families.clone(),
                export: policies.share(export),
            },
        );
    }
    peers
}

/// The peer's password, nothing where none is asked for, or why there is none: without it the session cannot come up, and
/// nobody would know why.
fn password(
    snapshot: &Snapshot,
    neighbor: &Neighbor,
) -> Result<Option<crate::cluster::Password>, String> {
    let Some(secret) = &neighbor.auth_secret else {
        return Ok(None);
    };
    match snapshot.passwords.get(secret) {
        Some(Some(password)) if password.0.len() > MAX_PASSWORD => Err(format!(
            "the password in Secret {secret} is longer than the {MAX_PASSWORD} octets that TCP MD5 takes"
        )),
        Some(Some(password)) => Ok(Some(password.clone())),
        Some(None) => Err(format!("Secret {secret} has no usable key `password`")),
        None => Err(match snapshot.unreadable.get(&Kind::Secret) {
            Some(reason) => format!("the password in Secret {secret} is not known: {reason}"),
            None => format!("there is no Secret {secret} in the namespace of the BGP secrets"),
        }),
    }
}

/// A peer on another network, as far as one can tell without knowing the mask.
fn looks_far_away(node: &Node, peer: IpAddr) -> Option<String> {
    let IpAddr::V4(peer) = peer else { return None };
    let ours: Vec<Ipv4Addr> = node
        .internal_addresses()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    let near = |ours: &Ipv4Addr| ours.is_loopback() || ours.octets()[..3] == peer.octets()[..3];
    if peer.is_loopback() || ours.iter().any(near) {
        return None;
    }
    let ours = ours.first()?;
    Some(format!(
        "node {}, peer {peer}: it does not look like a neighbour of {ours}; with eBGPMultihopTTL 1 only a router on the same \
         network is reached, so name the router's address there, or raise the TTL",
        node.meta.name
    ))
}

/// Peers whose policies are equal share one, so that they can share what is encoded for them.
#[derive(Default)]
struct SharedPolicies(Vec<Arc<Policy>>);

impl SharedPolicies {
    fn share(&mut self, policy: Policy) -> Arc<Policy> {
        if let Some(known) = self.0.iter().find(|known| ***known == policy) {
            return known.clone();
        }
        let policy = Arc::new(policy);
        self.0.push(policy.clone());
        policy
    }
}

#[cfg(test)]
mod tests;
