//! All that the writer asks of what was observed, in one place.

use std::borrow::Cow;
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
    pub(super) fn find(observed: &Observed, target: Target, name: &ObjectName) -> Option<Self> {
        let kind = match target {
            Target::Service => Kind::Service,
            Target::Pool => Kind::CiliumLoadBalancerIPPool,
        };
        let key = ObjectKey {
            kind,
            name: name.clone(),
        };
        observed.objects.find(&key).cloned().map(Self)
    }

    /// Whether both are the same version for certain: cheap, and not true of all that are.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// `metadata.uid` and `metadata.resourceVersion`; `None` where it is no object of an API server.
    pub(super) fn version(&self) -> Option<Version> {
        let (uid, resource_version) = self.0.version();
        let is_given = !uid.is_empty() && !resource_version.is_empty();
        is_given.then_some(Version {
            uid,
            resource_version,
        })
    }

    /// The whole object with the status it had.
    pub(super) fn value(&self) -> Cow<'_, Value> {
        self.0.value()
    }
}

/// All Services, by name.
pub(super) fn services(snapshot: &Snapshot) -> impl Iterator<Item = (&ObjectName, &Service)> {
    let services = snapshot.services.iter();
    services.map(|(name, service)| (name, &**service))
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
