//! All that the writer asks of what was observed, in one place.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::cluster::{Kind, Object, ObjectKey, ObjectName, Pool, Service, Snapshot};
use crate::watch::Observed;

use super::outbox::{Target, Version};

/// An object as the API server showed it, cheap to keep.
#[derive(Clone, Debug)]
pub(super) struct Seen(Arc<Object>);

impl Seen {
    /// The object, where it is one that an API server gave: with uid and resourceVersion.
    pub(super) fn find(observed: &Observed, target: Target, name: &ObjectName) -> Option<Self> {
        let kind = match target {
            Target::Service => Kind::Service,
            Target::Pool => Kind::CiliumLoadBalancerIPPool,
        };
        let key = ObjectKey {
            kind,
            name: name.clone(),
        };
        let seen = Self(Arc::clone(observed.objects.find(&key)?));
        let is_given = !seen.text("uid").is_empty() && !seen.text("resourceVersion").is_empty();
        is_given.then_some(seen)
    }

    /// Whether both are the same version for certain: cheap, and not true of all that are.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// `metadata.uid` and `metadata.resourceVersion`.
    pub(super) fn version(&self) -> Version {
        Version {
            uid: self.text("uid").to_owned(),
            resource_version: self.text("resourceVersion").to_owned(),
        }
    }

    /// `cilium.io/v2`, as the object came.
    pub(super) fn api_version(&self) -> &str {
        self.0
            .value
            .get("apiVersion")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The whole object with the status it had.
    pub(super) fn value(&self) -> &Value {
        &self.0.value
    }

    fn text(&self, field: &str) -> &str {
        let field = self
            .0
            .value
            .get("metadata")
            .and_then(|metadata| metadata.get(field));
        field.and_then(Value::as_str).unwrap_or_default()
    }
}

/// All Services, by name.
pub(super) fn services(snapshot: &Snapshot) -> impl Iterator<Item = (&ObjectName, &Service)> {
    snapshot.services.iter()
}

pub(super) fn pool<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Pool> {
    snapshot.pools.get(name)
}

/// The pool that contains an address.
pub(super) fn pool_of(snapshot: &Snapshot, address: IpAddr) -> Option<&str> {
    let contains = |pool: &Pool| {
        let blocks = pool.spec_in_force().map(|spec| &spec.blocks);
        blocks
            .into_iter()
            .flatten()
            .any(|block| block.first <= address && address <= block.last)
    };
    snapshot
        .pools
        .iter()
        .find(|(_, pool)| contains(pool))
        .map(|(name, _)| name.as_str())
}
