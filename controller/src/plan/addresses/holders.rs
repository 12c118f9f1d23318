//! What each Service holds: what it keeps, what is adopted from its status, and what is on its way out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use ipam::{Allocator, Family, PoolKey};

use super::ask::Ask;
use super::pools::Pools;
use super::{AddressBook, Owner, ServiceCondition, is_ours};
use crate::cluster::{ObjectName, Service, Snapshot};
use crate::plan::Settings;

/// Stands for all Services that others serve.
pub(super) const OTHERS: Owner = 0;

/// A Service that is, or was, ours.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) name: ObjectName,
    pub(super) uid: String,
    pub(super) owner: Owner,
    pub(super) held: Vec<Held>,
    /// An address of its own that was booked in a pool that selects it. While no pool changes this need not be asked anew.
    pub(super) home: Option<(IpAddr, PoolKey)>,
    /// Whether it shares.
    pub(super) shares: bool,
    /// Not ours any more: what is left is to clean its status.
    pub(super) left: bool,
    /// The addresses last found recorded.
    pub(super) seen: Vec<IpAddr>,
    /// The addresses last planned.
    pub(super) planned: Vec<IpAddr>,
    /// Earlier plans that are not recorded yet. What is recorded, and is neither of these nor what was seen last, is the
    /// work of a stranger.
    pub(super) sent: Vec<Vec<IpAddr>>,
    /// Addresses that went to another Service in exchange while the status still shows them.
    pub(super) passed_on: Vec<IpAddr>,
    /// The condition last planned.
    pub(super) condition: Option<ServiceCondition>,
    /// Whether the condition needs no write of its own: it was recorded as planned once, or the Service came with the
    /// right addresses while we run. What a stranger does to it then waits for the next write.
    pub(super) settled: bool,
}

/// By name. Boxed, since every plan moves them through several hands.
pub(super) type Holders = Vec<Box<Holder>>;

/// An address of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) address: IpAddr,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Held, and a pool stands behind it.
    Kept,
    /// Held since the start although no pool contains it: it may belong to a block that nobody can read.
    Unjudged,
    /// Its pool is gone; it stays until then, in case a pool brings it back.
    Lost(Instant),
    /// Taken away. Nobody else gets it before the Service's status is without it.
    Leaving,
}

/// Addresses that a Service lost together with their pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    pub(super) uid: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// A Service in the course of one plan.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) service: &'a Service,
    pub(super) holder: Box<Holder>,
    pub(super) ask: Ask,
    /// Why it has not got all it asks for.
    pub(super) refusal: Option<ServiceCondition>,
    /// What it lacks is about to become free; it is told nothing until then.
    pub(super) waits: bool,
    pub(super) arrival: Arrival,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Known,
    /// Known, and it shares on other terms than before.
    Edited,
    /// It came, or came to be ours, while we run.
    New,
    /// It was there when we started.
    FromStart,
}

/// One plan under way.
pub(super) struct Planning<'a> {
    pub(super) pools: &'a Pools<'a>,
    pub(super) allocator: &'a mut Allocator<Owner>,
    pub(super) claims: &'a mut BTreeMap<ObjectName, Claim>,
    /// Our Services by name.
    pub(super) entries: Vec<Entry<'a>>,
    /// Services that are not ours any more and still have to be cleaned.
    pub(super) left: Vec<(Box<Holder>, &'a Service)>,
    /// Load balancers that others serve.
    pub(super) foreign: Vec<&'a Service>,
    /// Services of another type that carry our condition.
    pub(super) stale_conditions: Vec<(&'a ObjectName, &'a Service)>,
    /// Addresses that a status shows whose Service does not hold them any more. Nobody new shows them before.
    pub(super) leaving: BTreeSet<IpAddr>,
    /// Addresses that somebody holds and other Services' statuses show all the same: those Services.
    pub(super) contested: BTreeMap<IpAddr, Vec<Owner>>,
    /// Addresses of Services that the pool they are booked in does not select, and the pool that does.
    pub(super) elsewhere: Vec<(usize, IpAddr, PoolKey)>,
    pub(super) now: Instant,
    pub(super) again_at: Option<Instant>,
}

impl<'a> Planning<'a> {
    /// Puts Services and what is known of them side by side.
    pub(super) fn new(
        book: &'a mut AddressBook,
        pools: &'a Pools<'a>,
        snapshot: &'a Snapshot,
        settings: &Settings,
        now: Instant,
        start: bool,
    ) -> Self {
        let AddressBook {
            allocator,
            holders,
            claims,
            next_owner,
            ..
        } = book;
        let known = std::mem::take(holders);
        let mut planning = Self {
            pools,
            allocator,
            claims,
            entries: Vec::with_capacity(known.len()),
            left: Vec::new(),
            foreign: Vec::new(),
            stale_conditions: Vec::new(),
            leaving: BTreeSet::new(),
            contested: BTreeMap::new(),
            elsewhere: Vec::new(),
            now,
            again_at: None,
        };
        let mut known = known.into_iter().peekable();
        for (name, service) in &snapshot.services {
            let holder = loop {
                match known.peek().map(|holder| holder.name.cmp(name)) {
                    Some(Ordering::Equal) => break known.next(),
                    Some(Ordering::Greater) | None => break None,
                    Some(Ordering::Less) => {
                        let gone = known.next().map(|holder| holder.owner);
                        planning.allocator.forget(gone.unwrap_or(OTHERS));
                    }
                }
            };
            let holder = holder.filter(|holder| {
                let same = holder.uid == service.meta.uid;
                if !same {
                    planning.allocator.forget(holder.owner);
                }
                same
            });
            planning.sort_in(name, service, holder, settings, start, next_owner);
        }
        for gone in known {
            planning.allocator.forget(gone.owner);
        }
        planning.claims.retain(|name, claim| {
            let service = snapshot.services.get(name);
            service
                .is_some_and(|service| service.meta.uid == claim.uid && is_ours(service, settings))
        });
        planning
    }

    fn sort_in(
        &mut self,
        name: &'a ObjectName,
        service: &'a Service,
        holder: Option<Box<Holder>>,
        settings: &Settings,
        start: bool,
        next_owner: &mut Owner,
    ) {
        if !is_ours(service, settings) {
            // Also while we clean up behind ourselves: what else its status shows is already another controller's.
            if service.is_load_balancer && !service.ingress.is_empty() {
                self.foreign.push(service);
            }
            if let Some(mut holder) = holder {
                holder.left = true;
                holder.shares = false;
                self.allocator.set_sharing(holder.owner, None);
                self.left.push((holder, service));
            } else if !service.is_load_balancer && service.recorded_condition.is_some() {
                self.stale_conditions.push((name, service));
            }
            return;
        }
        let ask = Ask::of(service, settings);
        let (mut holder, mut arrival) = match holder {
            Some(holder) if holder.left => (holder, Arrival::New),
            Some(holder) => (holder, Arrival::Known),
            // After the last pool is gone we only clean up behind ourselves.
            None if self.pools.by_age.is_empty() => return,
            None => {
                *next_owner += 1;
                let arrival = if start {
                    Arrival::FromStart
                } else {
                    Arrival::New
                };
                (
                    Box::new(Holder::new(name, service, *next_owner, !start)),
                    arrival,
                )
            }
        };
        holder.left = false;
        if (holder.shares || ask.sharing.is_some())
            && self.allocator.sharing(holder.owner) != ask.sharing.as_deref()
        {
            holder.shares = ask.sharing.is_some();
            let sharing = ask.sharing.as_deref().cloned();
            self.allocator.set_sharing(holder.owner, sharing);
            if arrival == Arrival::Known {
                arrival = Arrival::Edited;
            }
        }
        self.entries.push(Entry {
            service,
            holder,
            ask,
            refusal: None,
            waits: false,
            arrival,
        });
    }

    /// Takes an address away from a Service. It stays the Service's towards all others until its status is without it.
    pub(super) fn take_away(&mut self, place: usize, index: usize) {
        let Entry {
            holder, service, ..
        } = &mut self.entries[place];
        let held = &mut holder.held[index];
        held.state = State::Leaving;
        if recorded(service).any(|recorded| recorded == held.address) {
            self.leaving.insert(held.address);
            unbook(self.allocator, held.address);
        } else {
            self.allocator.release(holder.owner, held.address);
        }
    }

    /// The order in which Services are served.
    pub(super) fn seniority(&self, place: usize) -> (Option<i64>, usize) {
        (self.entries[place].service.meta.created, place)
    }

    pub(super) fn places_by_owner(&self) -> HashMap<Owner, usize> {
        self.entries
            .iter()
            .enumerate()
            .map(|(place, entry)| (entry.holder.owner, place))
            .collect()
    }
}

impl Entry<'_> {
    pub(super) fn has_any(&self, family: Family) -> bool {
        let mut held = self.holder.held.iter();
        held.any(|held| held.is_kept() && Family::of(held.address) == family)
    }
}

impl Holder {
    fn new(name: &ObjectName, service: &Service, owner: Owner, settled: bool) -> Self {
        Self {
            name: name.clone(),
            uid: service.meta.uid.clone(),
            owner,
            held: Vec::new(),
            home: None,
            shares: false,
            left: false,
            seen: Vec::new(),
            planned: Vec::new(),
            sent: Vec::new(),
            passed_on: Vec::new(),
            condition: None,
            settled,
        }
    }

    /// Whether it holds the address and will go on holding it.
    pub(super) fn keeps(&self, address: IpAddr) -> bool {
        self.held
            .iter()
            .any(|held| held.address == address && held.is_kept())
    }
}

impl Held {
    pub(super) fn is_kept(&self) -> bool {
        self.state != State::Leaving
    }
}

/// The addresses that the Service's status shows.
pub(super) fn recorded(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.ingress.iter().filter_map(|entry| entry.ip)
}

pub(super) fn is_recorded(condition: &ServiceCondition, service: &Service) -> bool {
    service
        .recorded_condition
        .as_ref()
        .is_some_and(|(status, reason, message, _)| {
            status == if condition.satisfied { "True" } else { "False" }
                && reason == condition.reason
                && *message == condition.message
        })
}

/// An address counts in a pool only while somebody goes on holding it; that is so where it is shared.
pub(super) fn unbook(allocator: &mut Allocator<Owner>, address: IpAddr) {
    if allocator
        .holding(address)
        .is_some_and(|holding| !holding.is_shared())
    {
        allocator.book(address, None);
    }
}
