//! The cluster in our own words: what the sources of objects fill, and all that `plan` looks at.
//!
//! One file per kind converts an API object into our struct or says why it is invalid. Nobody further in sees the API's
//! types. An object that turns invalid stays in force as it was last valid; `problems` says so.

mod advice;
mod communities;
mod document;
mod endpoints;
mod fault;
mod l2_policy;
mod labels;
mod meta;
mod node;
mod objects;
mod peering_policy;
mod pod_ip_pool;
mod pool;
mod secret;
mod selector;
mod service;
mod shared;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub use document::Document;
pub use endpoints::{Endpoint, EndpointPort, EndpointSlice};
pub use fault::Fault;
pub use l2_policy::L2Policy;
pub use labels::Labels;
pub use node::{Node, NodeAddress};
pub use objects::{Kind, Lines, Object, ObjectKey, Objects, Place};
pub use peering_policy::{
    AdvertisedPathAttributes, Neighbor, PathAttributeSelector, PeeringPolicy, ServiceAdvertisement,
    VirtualRouter,
};
pub use pod_ip_pool::PodIpPool;
pub use pool::{Block, Pool, PoolFaults, PoolSpec, RecordedCondition};
pub use selector::{Requirement, Selector};
pub(crate) use service::MANAGED_INGRESS;
pub use service::{IngressEntry, IngressIpMode, Service, ServicePort, TrafficPolicy, Writer};
pub use shared::{Name, Shared};
pub use store::{RecordedStatuses, Store};

/// Namespace and name; for cluster-scoped objects the namespace is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace, `default` where a namespaced object says none.
    pub namespace: Name,
    /// Name.
    pub name: Name,
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What is common to all objects, as far as anything depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`; empty where the source has none (manifests).
    pub uid: String,
    /// `metadata.generation`; 0 where the source has none.
    pub generation: i64,
    /// `metadata.creationTimestamp` in seconds since 1970; `None` where the source has none.
    pub created: Option<i64>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// Whether a deletion timestamp is set.
    pub deleting: bool,
}

/// The cluster at one moment. A clone costs next to nothing: the maps are shared until one of them changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Whether every kind was listed in full at least once. Nothing is allocated, written or withdrawn before.
    pub complete: bool,
    /// Nodes by name. A node that is known only by its CiliumNode is here too (its labels, addresses and pod CIDRs).
    pub nodes: Shared<BTreeMap<String, Node>>,
    /// Services.
    pub services: Shared<BTreeMap<ObjectName, Arc<Service>>>,
    /// EndpointSlices by the Service they belong to, by their own name.
    pub endpoints: Shared<BTreeMap<ObjectName, Arc<[Arc<EndpointSlice>]>>>,
    /// CiliumLoadBalancerIPPools by name.
    pub pools: Shared<BTreeMap<String, Pool>>,
    /// CiliumBGPPeeringPolicies by name.
    pub peering_policies: Shared<BTreeMap<String, PeeringPolicy>>,
    /// CiliumL2AnnouncementPolicies by name.
    pub l2_policies: Shared<BTreeMap<String, L2Policy>>,
    /// CiliumPodIPPools by name.
    pub pod_ip_pools: Shared<BTreeMap<String, PodIpPool>>,
    /// Secrets of the BGP secrets namespace, by name, key `password` only; `None` where the Secret lacks that key.
    pub passwords: Shared<BTreeMap<String, Option<Password>>>,
    /// Kinds that the API server refuses to show us, with what it said. Such a kind counts as listed, so that the rest
    /// works; of a kind that was readable before, the objects known last stay.
    pub unreadable: BTreeMap<Kind, String>,
    /// What is wrong with objects that could not be taken as they stand.
    pub problems: Vec<Problem>,
}

/// A TCP MD5 password. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// An object, or a file, that could not be taken as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Kind and name (`CiliumLoadBalancerIPPool primary-pool`), or empty where a file could not be parsed at all.
    pub object: String,
    /// File and line (`bgp.yaml:12`), where it came from a file.
    pub place: Option<String>,
    /// The field's path, such as `spec.blocks[1].cidr`; empty where there is none.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether an earlier, valid version of the object stays in force.
    pub last_valid_in_force: bool,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [
            self.place.as_deref().unwrap_or_default(),
            &self.object,
            &self.field,
        ] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)?;
        if self.last_valid_in_force {
            f.write_str(" (the last valid version stays in force)")?;
        }
        Ok(())
    }
}

/// The object without its status, which is read leniently: whoever wrote it, it is no reason to refuse the rest.
fn without_status(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    object
}

/// `status.conditions`; what is no condition is left out.
fn recorded_conditions(status: &Value) -> Vec<RecordedCondition> {
    let text = |condition: &Value, key: &str| {
        condition
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .map(|condition| RecordedCondition {
            kind: text(condition, "type"),
            status: text(condition, "status"),
            reason: text(condition, "reason"),
            message: text(condition, "message"),
            observed_generation: condition.get("observedGeneration").and_then(Value::as_i64),
            last_transition_time: text(condition, "lastTransitionTime"),
        })
        .filter(|condition| !condition.kind.is_empty())
        .collect()
}
