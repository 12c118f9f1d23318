//! What each Service holds: what it keeps, what is adopted from its status, and what is on its way out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipam::{Allocator, Family, PoolKey};

use super::ask::Ask;
use super::contest::{self, Contest};
use super::memory::Memory;
use super::pools::Pools;
use super::{AddressBook, Departure, Owner, ServiceCondition, is_ours, report};
use crate::cluster::{ObjectName, Service, Snapshot};
use crate::plan::Settings;

/// Stands for all Services that others serve.
pub(super) const OTHERS: Owner = 0;

/// A Service that is, or was, ours.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    /// As it was at the last plan.
    pub(super) service: Arc<Service>,
    pub(super) owner: Owner,
    pub(super) ask: Ask,
    pub(super) held: Vec<Held>,
    /// Whether it shares.
    pub(super) shares: bool,
    /// Whether it is ours, still or again.
    pub(super) part: Part,
    /// It has what it asks for, all of it is recorded and at home. While neither it nor any pool changes there is nothing
    /// to decide.
    pub(super) quiet: bool,
    /// The addresses last found recorded.
    pub(super) seen: Vec<IpAddr>,
    /// Whether entries without an address were recorded beside them.
    pub(super) seen_more: bool,
    /// The addresses last planned.
    pub(super) planned: Vec<IpAddr>,
    /// Earlier plans that are not recorded yet. What is recorded, and is neither of these nor what was seen last, is the
    /// work of a stranger.
    pub(super) sent: Vec<Vec<IpAddr>>,
    /// Addresses planned for the Service as it stands and not recorded: a write of them may be under way until then, and
    /// lands unless the Service changes first.
    pub(super) in_flight: Vec<(IpAddr, Instant)>,
    /// Addresses that went to another Service in exchange while the status still shows them.
    pub(super) passed_on: Vec<IpAddr>,
    /// Addresses that a stranger took out of the status, told until the Service changes again.
    pub(super) replaced: Vec<Departure>,
    /// A stranger that replaced what we had recorded.
    pub(super) contest: Option<Box<Contest>>,
    /// The condition last planned.
    pub(super) condition: Option<ServiceCondition>,
    /// Whether the condition needs no write of its own: it was recorded as planned once, or the Service came with the
    /// right addresses while we run. What a stranger does to it then waits for the next write.
    pub(super) settled: bool,
}

/// Whose a Service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Ours,
    /// Not ours any more: what is left is to clean its status.
    Left,
    /// Ours by what it asks, and left to a stranger for a while.
    LeftToStranger,
}

/// By name. Boxed, since every plan moves them through several hands.
pub(super) type Holders = Vec<Box<Holder>>;

/// An address of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) address: IpAddr,
    pub(super) state: State,
    /// The pool that selects the Service and where the address was booked last.
    pub(super) home: Option<PoolKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Held, and a pool stands behind it.
    Kept,
    /// Held since the start although no pool contains it: it may belong to a block that nobody can read.
    Unjudged,
    /// Its pool is gone; it stays until then, in case a pool brings it back.
    Lost(Instant),
    /// Taken away, with the reason. Nobody else gets it before the Service's status is without it.
    Leaving(&'static str),
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
    pub(super) service: &'a Arc<Service>,
    pub(super) holder: Box<Holder>,
    /// Why it has not got all it asks for.
    pub(super) refusal: Option<ServiceCondition>,
    /// What it lacks is about to become free; it is told nothing until then.
    pub(super) waits: bool,
    /// A stranger replaced what we had recorded, since the last plan.
    pub(super) disturbed: bool,
    pub(super) arrival: Arrival,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Known, and there is nothing to decide.
    Quiet,
    Known,
    /// Known, and it shares on other terms than before.
    Edited,
    /// It came, or came to be ours, while we run.
    New,
    /// It was there when we started, or was left to a stranger until now: it keeps what it may have.
    FromStart,
}

/// With which settings Services are sorted, and whether they come for the first time.
struct Arriving<'a> {
    settings: &'a Settings,
    /// Those of the last plan, where they were others.
    before: Option<&'a Settings>,
    start: bool,
}

/// One plan under way.
pub(super) struct Planning<'a> {
    pub(super) pools: &'a Pools<'a>,
    pub(super) allocator: &'a mut Allocator<Owner>,
    pub(super) claims: &'a mut BTreeMap<ObjectName, Claim>,
    pub(super) memory: &'a mut Memory,
    /// Whether there is anything to remember: not where memory is switched off.
    remembers: bool,
    /// Up to which change of the memory its addresses are set aside.
    pub(super) set_aside: &'a mut u64,
    /// Our Services by name.
    pub(super) entries: Vec<Entry<'a>>,
    /// Services that are not ours any more and still have to be cleaned.
    pub(super) left: Vec<(Box<Holder>, &'a Arc<Service>)>,
    /// Services that are left to a stranger, and its name.
    pub(super) left_to_strangers: Vec<(Box<Holder>, &'a Arc<Service>, String)>,
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
            memory,
            set_aside,
            next_owner,
            settings: before,
            ..
        } = book;
        let known = std::mem::take(holders);
        let mut planning = Self {
            pools,
            allocator,
            claims,
            memory,
            remembers: !settings.address_memory.is_zero(),
            set_aside,
            entries: Vec::with_capacity(known.len()),
            left: Vec::new(),
            left_to_strangers: Vec::new(),
            foreign: Vec::new(),
            stale_conditions: Vec::new(),
            leaving: BTreeSet::new(),
            contested: BTreeMap::new(),
            elsewhere: Vec::new(),
            now,
            again_at: None,
        };
        let arriving = Arriving {
            settings,
            before: before.as_ref().filter(|before| *before != settings),
            start,
        };
        let mut known = known.into_iter().peekable();
        for (name, service) in &snapshot.services {
            let holder = loop {
                match known.peek().map(|holder| holder.order(service)) {
                    Some(Ordering::Equal) => break known.next(),
                    Some(Ordering::Greater) | None => break None,
                    Some(Ordering::Less) => {
                        known
                            .next()
                            .into_iter()
                            .for_each(|gone| planning.part_with(&gone));
                    }
                }
            };
            let holder = holder.filter(|holder| {
                let same = holder.service.meta.uid == service.meta.uid;
                if !same {
                    planning.part_with(holder);
                }
                same
            });
            planning.sort_in(name, service, holder, &arriving, next_owner);
        }
        for gone in known {
            planning.part_with(&gone);
        }
        planning.claims.retain(|name, claim| {
            let service = snapshot.services.get(name);
            service
                .is_some_and(|service| service.meta.uid == claim.uid && is_ours(service, settings))
        });
        if before.as_ref() != Some(settings) {
            *before = Some(settings.clone());
        }
        planning
    }

    /// A Service is gone; one made again under its name may have its addresses back.
    fn part_with(&mut self, gone: &Holder) {
        let held = gone.held.iter().filter(|held| held.is_kept());
        let held: Vec<IpAddr> = held.map(|held| held.address).collect();
        self.remember(&gone.service.meta.name, &held);
        self.allocator.forget(gone.owner);
    }

    fn remember(&mut self, name: &ObjectName, addresses: &[IpAddr]) {
        if self.remembers {
            self.memory.remember(name, addresses, self.now);
        }
    }

    fn sort_in(
        &mut self,
        name: &'a ObjectName,
        service: &'a Arc<Service>,
        mut holder: Option<Box<Holder>>,
        arriving: &Arriving<'_>,
        next_owner: &mut Owner,
    ) {
        if let Some(known) = &mut holder {
            known.recognise(service);
        }
        let holder = match holder {
            Some(holder)
                if holder.quiet
                    && arriving.before.is_none()
                    && self.pools.same
                    && Arc::ptr_eq(&holder.service, service) =>
            {
                return self.enter(service, holder, Arrival::Quiet);
            }
            holder => holder,
        };
        if !is_ours(service, arriving.settings) {
            return self.sort_out(name, service, holder, arriving);
        }
        let Some(holder) = self.unless_left_to_stranger(service, holder) else {
            return;
        };
        let (mut holder, mut arrival) = match holder {
            Some(holder) => {
                let arrival = match holder.part {
                    Part::Ours => Arrival::Known,
                    Part::Left => Arrival::New,
                    Part::LeftToStranger => Arrival::FromStart,
                };
                (holder, arrival)
            }
            // After the last pool is gone we only clean up behind ourselves.
            None if self.pools.by_age.is_empty() => return,
            None => {
                *next_owner += 1;
                let arrival = if arriving.start {
                    Arrival::FromStart
                } else {
                    Arrival::New
                };
                (
                    Box::new(Holder::new(service, *next_owner, !arriving.start)),
                    arrival,
                )
            }
        };
        let as_before = arrival == Arrival::Known && holder.service == *service;
        if !as_before {
            holder.replaced.clear();
            holder.in_flight.clear();
        }
        holder.part = Part::Ours;
        holder.quiet = false;
        if !as_before || arriving.before.is_some() {
            holder.ask = Ask::of(service, arriving.settings);
        }
        let sharing = holder.ask.sharing.as_deref();
        if (holder.shares || sharing.is_some()) && self.allocator.sharing(holder.owner) != sharing {
            holder.shares = sharing.is_some();
            self.allocator.set_sharing(holder.owner, sharing.cloned());
            if arrival == Arrival::Known {
                arrival = Arrival::Edited;
            }
        }
        self.enter(service, holder, arrival);
    }

    fn enter(&mut self, service: &'a Arc<Service>, holder: Box<Holder>, arrival: Arrival) {
        self.entries.push(Entry {
            service,
            holder,
            refusal: None,
            waits: false,
            disturbed: false,
            arrival,
        });
    }

    /// Puts aside a Service that is not ours, or not any more.
    fn sort_out(
        &mut self,
        name: &'a ObjectName,
        service: &'a Arc<Service>,
        holder: Option<Box<Holder>>,
        arriving: &Arriving<'_>,
    ) {
        // Also while we clean up behind ourselves: what else its status shows is already another controller's.
        if service.is_load_balancer && !service.ingress.is_empty() {
            self.foreign.push(service);
        }
        let Some(mut holder) = holder else {
            if !service.is_load_balancer && service.recorded_condition.is_some() {
                self.stale_conditions.push((name, service));
            }
            return;
        };
        // It did not leave us, it is we who serve it no more: whoever does finds it as it is.
        let handed_over = arriving
            .before
            .is_some_and(|before| is_ours(service, before));
        if handed_over {
            self.allocator.forget(holder.owner);
            return;
        }
        if !Arc::ptr_eq(&holder.service, service) {
            holder.in_flight.clear();
        }
        holder.part = Part::Left;
        holder.quiet = false;
        holder.shares = false;
        self.allocator.set_sharing(holder.owner, None);
        self.left.push((holder, service));
    }

    /// Puts aside a Service that is left to a stranger; `None` where it was.
    fn unless_left_to_stranger(
        &mut self,
        service: &'a Arc<Service>,
        mut holder: Option<Box<Holder>>,
    ) -> Option<Option<Box<Holder>>> {
        let contest = holder.as_mut().and_then(|holder| holder.contest.as_mut());
        let Some((manager, until)) = contest.and_then(|contest| contest.left_to(service, self.now))
        else {
            return Some(holder);
        };
        let manager = manager.to_owned();
        let mut holder = holder?;
        self.look_again(until);
        if holder.part != Part::LeftToStranger {
            let lost = |address: &IpAddr| recorded(service).all(|shown| shown != *address);
            let lost: Vec<IpAddr> = holder.planned.iter().copied().filter(lost).collect();
            self.remember(&service.meta.name, &lost);
            holder.leave_to_stranger(&lost);
            self.allocator.forget(holder.owner);
        } else if !Arc::ptr_eq(&holder.service, service) {
            holder.replaced.clear();
        }
        if !service.ingress.is_empty() {
            self.foreign.push(service);
        }
        self.left_to_strangers.push((holder, service, manager));
        None
    }

    /// Takes an address away from a Service. It stays the Service's towards all others until its status is without it.
    pub(super) fn take_away(&mut self, place: usize, index: usize, why: &'static str) {
        let Entry {
            holder, service, ..
        } = &mut self.entries[place];
        let held = &mut holder.held[index];
        held.state = State::Leaving(why);
        let address = held.address;
        if holder.may_show(service, address, self.now) {
            self.leaving.insert(address);
            unbook(self.allocator, address);
        } else {
            self.allocator.release(holder.owner, address);
        }
    }

    pub(super) fn look_again(&mut self, at: Instant) {
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
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
    /// Whether a status that is not ours came anew, though it says what it said before: our own may have come and gone
    /// between two looks.
    pub(super) fn is_rewritten(&self) -> bool {
        let before = &self.holder.service;
        self.holder.contest.is_some()
            && !Arc::ptr_eq(before, self.service)
            && !contest::is_our_work(self.service)
            && contest::same_but_for_status(before, self.service)
    }

    pub(super) fn has_any(&self, family: Family) -> bool {
        let mut held = self.holder.held.iter();
        held.any(|held| held.is_kept() && Family::of(held.address) == family)
    }
}

impl Holder {
    /// Keeps no more room than it needs: most are at rest for most of the time.
    pub(super) fn shrink(&mut self) {
        self.held.shrink_to_fit();
        self.sent.shrink_to_fit();
        self.in_flight.shrink_to_fit();
        self.passed_on.shrink_to_fit();
    }

    fn new(service: &Arc<Service>, owner: Owner, settled: bool) -> Self {
        Self {
            service: Arc::clone(service),
            owner,
            ask: Ask::default(),
            held: Vec::new(),
            shares: false,
            part: Part::Ours,
            quiet: false,
            seen: Vec::new(),
            seen_more: false,
            planned: Vec::new(),
            sent: Vec::new(),
            in_flight: Vec::new(),
            passed_on: Vec::new(),
            replaced: Vec::new(),
            contest: None,
            condition: None,
            settled,
        }
    }

    /// Its place among the Services, by name.
    fn order(&self, service: &Arc<Service>) -> Ordering {
        if Arc::ptr_eq(&self.service, service) {
            return Ordering::Equal;
        }
        self.service.meta.name.cmp(&service.meta.name)
    }

    /// The same Service read again, such as by another list, is no change. Where there is a contest it may be one, see
    /// [`Entry::is_rewritten`].
    fn recognise(&mut self, service: &Arc<Service>) {
        if self.contest.is_none()
            && !Arc::ptr_eq(&self.service, service)
            && self.service == *service
        {
            self.service = Arc::clone(service);
        }
    }

    /// Gives up everything but the memory of what happened.
    fn leave_to_stranger(&mut self, lost: &[IpAddr]) {
        let departure = |address: &IpAddr| Departure {
            address: *address,
            reason: report::LEFT_TO_STRANGER,
        };
        self.replaced = lost.iter().map(departure).collect();
        self.part = Part::LeftToStranger;
        self.quiet = false;
        self.shares = false;
        self.held.clear();
        self.planned.clear();
        self.sent.clear();
        self.in_flight.clear();
        self.passed_on.clear();
        self.condition = None;
        self.settled = false;
    }

    /// Whether the Service's status shows the address, or may show it any moment.
    pub(super) fn may_show(&self, service: &Service, address: IpAddr, now: Instant) -> bool {
        let is_under_way =
            |(planned, until): &(IpAddr, Instant)| *planned == address && now < *until;
        recorded(service).any(|shown| shown == address) || self.in_flight.iter().any(is_under_way)
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
        !matches!(self.state, State::Leaving(_))
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
