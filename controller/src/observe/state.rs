//! Where the run loop leaves what others may see.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use super::cluster::ClusterNumbers;
use super::processing::Processing;
use crate::net::changes::Changes;
use crate::net::driver::{InstanceHandle, InstanceStatus};
use crate::plan::addresses::AddressPlan;
use crate::watch::Observed;

/// What the local API, the health endpoint and the metrics show.
#[derive(Debug)]
pub struct State {
    node: String,
    changes: Changes,
    instances: RwLock<BTreeMap<String, InstanceHandle>>,
    view: RwLock<Arc<ClusterView>>,
    processing: RwLock<Processing>,
    cluster: OnceLock<ClusterNumbers>,
}

/// The cluster after the last plan.
#[derive(Debug, Default)]
pub struct ClusterView {
    /// Whether the objects were complete and a plan of them was applied.
    pub ready: bool,
    /// The objects, with the statuses on record.
    pub observed: Observed,
    /// What an operator should know about this node's BGP.
    pub notes: Vec<String>,
    /// The statuses and conditions as planned, for the metrics.
    pub addresses: AddressPlan,
}

impl State {
    /// Nothing is known yet.
    pub fn new(node: String, changes: Changes) -> Self {
        Self {
            node,
            changes,
            instances: RwLock::default(),
            view: RwLock::default(),
            processing: RwLock::default(),
            cluster: OnceLock::new(),
        }
    }

    /// The node we speak for.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Counts what changes.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The running instances are these.
    pub fn set_instances(&self, instances: BTreeMap<String, InstanceHandle>) {
        *self
            .instances
            .write()
            .unwrap_or_else(PoisonError::into_inner) = instances;
        self.changes.announce();
    }

    /// The objects come from an API server, and these are its numbers. Only the first call counts.
    pub fn set_cluster(&self, numbers: ClusterNumbers) {
        let _first = self.cluster.set(numbers);
    }

    pub(super) fn cluster(&self) -> Option<&ClusterNumbers> {
        self.cluster.get()
    }

    /// Notes what was planned, and how long it took.
    pub fn note_processing(&self, note: impl FnOnce(&mut Processing)) {
        note(
            &mut self
                .processing
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    pub(super) fn processing(&self) -> RwLockReadGuard<'_, Processing> {
        self.processing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster looks like this.
    pub fn set_view(&self, view: ClusterView) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        self.changes.announce();
    }

    pub(super) fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn instances(&self) -> BTreeMap<String, InstanceHandle> {
        self.instances
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The status of every instance by name; one that is just ending is left out.
    pub(super) async fn statuses(&self) -> Vec<(String, InstanceStatus)> {
        let mut statuses = vec![];
        for (name, instance) in self.instances() {
            if let Ok(status) = instance.status().await {
                statuses.push((name, status));
            }
        }
        statuses
    }
}
