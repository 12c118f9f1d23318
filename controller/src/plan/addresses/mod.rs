//! Services x pools -> assignments and conditions (Cilium's LB-IPAM, safer where Cilium is known to hurt).
//!
//! [`AddressBook::plan`] looks at the whole snapshot every time. What it remembers between plans is in the book: who holds
//! what (also what was planned and is not recorded yet), which pools are marked as conflicting, and who may have an address
//! back. A restart rebuilds all but the last from what the objects record.
//!
//! One plan goes through these steps, in this order, so that nobody's address is given away before everybody who may keep
//! one has been heard:
//!
//! | file | step |
//! |---|---|
//! | `pools` | which spec of each pool is in force, who conflicts with whom, where an address belongs |
//! | `ask` | what each Service asks for |
//! | `contest` | which Services are left to another controller that keeps writing them |
//! | `memory` | what Services had that are gone |
//! | `holders` | what is known of each Service, side by side with it |
//! | `keep` | who keeps what: what stays, what is adopted, what has to go |
//! | `serve` | what is newly given: first claims, addresses asked for by name, any address |
//! | `exchange` | Services that name each other's addresses |
//! | `outcome` | the statuses, and what to remember |
//! | `report` | reasons and messages |
//!
//! Order: a fresh address goes first to the Service created first, then by namespace and name. Objects without a creation
//! time (manifests) count as the oldest, so among themselves the name decides.
//!
//! Most Services have what they ask for, and nothing about them changed since the last plan. They are quiet: no step looks
//! at them, and the plan does not mention them.

mod ask;
mod contest;
mod exchange;
mod holders;
mod keep;
mod memory;
mod outcome;
mod pools;
mod report;
mod serve;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipam::Allocator;

use crate::cluster::{IngressEntry, Kind, ObjectName, Service, Snapshot};

use super::Settings;
pub use memory::Memory;

use holders::{Claim, Holders, Planning};
use pools::{PoolBook, Pools};

const CLASS_BGP: &str = "io.cilium/bgp-control-plane";
const CLASS_L2: &str = "io.cilium/l2-announcer";

/// How long an address that lost its pool stays, so that the pool can be handed over or made again.
const GRACE: Duration = Duration::from_millis(500);
/// When to look again for an address that somebody is about to give up, should nothing be heard of it before.
const SOON: Duration = Duration::from_millis(100);

/// How often a plan with addresses on their way is looked at again; the second look nearly always changes nothing.
const MOST_PASSES: usize = 4;

/// A Service to the allocator: one number for each incarnation.
type Owner = u64;

/// What has to be remembered between plans; rebuilt from what the objects record after a restart.
///
/// A new leader starts with a new book.
#[derive(Debug, Default)]
pub struct AddressBook {
    /// Whether there is a pool, or something to clean after the last one.
    awake: bool,
    /// Whether there was a pool at the last plan. With the first pool everything that Services carry counts as it does at
    /// the start.
    had_pools: bool,
    allocator: Allocator<Owner>,
    pools: PoolBook,
    /// By name.
    holders: Holders,
    /// Who lost an address with its pool and has the first claim on it when a pool brings it back.
    claims: BTreeMap<ObjectName, Claim>,
    /// What Services had that are gone.
    memory: Memory,
    /// Up to which change of the memory its addresses are set aside in the allocator.
    set_aside: u64,
    /// The settings of the last plan.
    settings: Option<Settings>,
    next_owner: Owner,
}

/// What Services and pools should carry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddressPlan {
    /// Desired status of each Service that is (or was) ours, unless it has what it asks for and its record says so already;
    /// absent = do not touch.
    pub services: BTreeMap<ObjectName, ServiceStatus>,
    /// Desired conditions of each pool, complete as far as they are ours; absent = do not touch.
    pub pools: BTreeMap<String, Vec<PoolCondition>>,
    /// How many Services are ours.
    pub matching: usize,
    /// How many of these have not got all they ask for.
    pub unsatisfied: usize,
    /// Why an address goes from a Service that loses one, for Events and the log: for as long as its status shows it, or,
    /// where a stranger replaced it, until the Service changes again.
    pub departures: BTreeMap<ObjectName, Vec<Departure>>,
    /// When to plan again although nothing changed (an address kept for its pool to come back).
    pub again_at: Option<Instant>,
}

/// An address that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The address.
    pub address: IpAddr,
    /// Why, such as `no pool contains it any more`.
    pub reason: &'static str,
}

/// The part of a Service's status that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<IngressEntry>,
    /// `cilium.io/IPAMRequestSatisfied`; `None`: the condition has to go (or was never there).
    pub condition: Option<ServiceCondition>,
    /// The other controller that keeps writing addresses into this Service, so that we left it alone
    /// (`fairway.dev/ForeignController`); `None`: that condition has to go.
    pub foreign: Option<String>,
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
    /// A book that knows what Services had that are gone.
    pub fn with_memory(memory: Memory) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

    /// What Services had that are gone, to be written down, or to go on with when others lead.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What Services had that are gone, for one who leads no longer and looks on from now on.
    pub fn into_memory(self) -> Memory {
        self.memory
    }

    /// Plans all addresses of the snapshot and remembers what must be remembered.
    ///
    /// While Services or pools cannot be read nothing is planned at all: what we do not see may be what matters, so nothing
    /// is given and nothing taken away, and what was planned before and is not written yet is not written. Whether any
    /// other kind can be read makes no difference to addresses.
    ///
    /// Settings may change between two plans. A Service that is ours by the former ones only is handed over as it is:
    /// nothing of it is cleaned, for it did not change.
    ///
    /// While the snapshot is not complete, or there is no pool (and nothing left to clean after the last one), nothing is
    /// planned: without any pool our own leftovers cannot be told from another controller's addresses.
    pub fn plan(&mut self, snapshot: &Snapshot, settings: &Settings, now: Instant) -> AddressPlan {
        if !Self::can_plan(snapshot) {
            return AddressPlan::default();
        }
        if !self.awake {
            self.memory.observe(snapshot, settings, now);
            self.memory.stop_observing();
        }
        self.memory.expire(now, settings.address_memory);
        if snapshot.pools.is_empty() && !self.awake {
            return AddressPlan::default();
        }
        let (mut plan, mut in_motion) = self.plan_once(snapshot, settings, now);
        for _ in 0..MOST_PASSES {
            if !in_motion {
                break;
            }
            // Where addresses change hands a second look may find what the first one made possible.
            let before = std::mem::take(&mut plan);
            (plan, in_motion) = self.plan_once(snapshot, settings, now);
            in_motion &= plan != before;
        }
        plan
    }

    /// Whether a snapshot shows enough to plan anything at all.
    pub fn can_plan(snapshot: &Snapshot) -> bool {
        let unreadable = |kind| snapshot.unreadable.contains_key(&kind);
        snapshot.complete
            && !unreadable(Kind::Service)
            && !unreadable(Kind::CiliumLoadBalancerIPPool)
    }

    /// The plan, and whether it is worth a second look.
    fn plan_once(
        &mut self,
        snapshot: &Snapshot,
        settings: &Settings,
        now: Instant,
    ) -> (AddressPlan, bool) {
        let start = !std::mem::replace(&mut self.awake, true);
        let pools = self
            .pools
            .update(&snapshot.pools, start, &mut self.allocator);
        let first_pool = !std::mem::replace(&mut self.had_pools, !snapshot.pools.is_empty());
        let mut planning = Planning::new(self, &pools, snapshot, settings, now, first_pool);
        planning.settle_holders();
        planning.serve();
        let outcome = planning.finish();
        let pools = pool_conditions(&pools, &self.allocator);
        if snapshot.pools.is_empty() && outcome.nothing_left {
            self.sleep();
            return (AddressPlan::default(), false);
        }
        self.holders = outcome.holders;
        let plan = AddressPlan {
            pools,
            ..outcome.plan
        };
        (plan, outcome.in_motion)
    }

    /// Forgets everything but the first claims, which last as long as we run.
    fn sleep(&mut self) {
        *self = Self {
            claims: std::mem::take(&mut self.claims),
            memory: std::mem::take(&mut self.memory),
            next_owner: self.next_owner,
            ..Self::default()
        };
    }
}

/// Whether a Service is served at all.
fn is_ours(service: &Service, settings: &Settings) -> bool {
    service.is_load_balancer
        && match service.class.as_deref() {
            None => settings.default_ipam,
            Some(CLASS_BGP) => settings.bgp_enabled,
            Some(CLASS_L2) => settings.l2_enabled,
            Some(_) => false,
        }
}

fn pool_conditions(
    pools: &Pools<'_>,
    allocator: &Allocator<Owner>,
) -> BTreeMap<String, Vec<PoolCondition>> {
    let conditions = |view: &pools::PoolView<'_>| {
        let mut conditions = Vec::with_capacity(5);
        // A pool whose blocks cannot all be read keeps Cilium's conditions as they stand.
        if view.takes_part {
            conditions.push(report::pool_conflict(view.conflict.as_deref()));
            conditions.extend(allocator.usage(view.key).iter().flat_map(report::counters));
        }
        conditions.extend(view.faults.map(report::invalid));
        conditions
    };
    pools
        .by_age
        .iter()
        .map(|view| (view.name.to_owned(), conditions(view)))
        .collect()
}
