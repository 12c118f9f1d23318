//! Services x pools -> assignments and conditions (spec: Cilium's LB-IPAM with the listed improvements).
// helper "addresses"

use std::collections::BTreeMap;
use std::time::Instant;

use crate::cluster::{IngressEntry, ObjectName, RecordedCondition, Snapshot};

use super::Settings;

/// What has to be remembered between plans; rebuilt from what the objects record after a restart.
#[derive(Debug, Default)]
pub struct AddressBook {}

/// What Services and pools should carry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddressPlan {
    /// Desired status of each Service that is (or was) ours; absent = do not touch.
    pub services: BTreeMap<ObjectName, ServiceStatus>,
    /// Desired conditions of each pool, complete as far as they are ours; absent = do not touch.
    pub pools: BTreeMap<String, Vec<PoolCondition>>,
    /// When to plan again although nothing changed (an address kept for its pool to come back).
    pub again_at: Option<Instant>,
}

/// The part of a Service's status that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<IngressEntry>,
    /// `cilium.io/IPAMRequestSatisfied`; `None`: the condition has to go (or was never there).
    pub condition: Option<ServiceCondition>,
}

/// `cilium.io/IPAMRequestSatisfied`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCondition {
    /// True or False.
    pub satisfied: bool,
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: String,
}

/// A condition of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolCondition {
    /// `type`.
    pub kind: &'static str,
    /// `status`: `True`, `False`, `Unknown`.
    pub status: &'static str,
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: String,
}

impl AddressBook {
    /// Plans all addresses of the snapshot and remembers what must be remembered.
    pub fn plan(&mut self, snapshot: &Snapshot, settings: &Settings, now: Instant) -> AddressPlan {
        let _ = (snapshot, settings, now, None::<RecordedCondition>);
        todo!()
    }
}
