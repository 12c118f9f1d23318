//! What each Service holds: what it keeps, what is adopted from its status, and what is on its way out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use ipam::{Allocator, Family, PoolKey, Request, Wanted};

use super::ask::Ask;
use super::pools::Pools;
use super::{
    AddressBook, AddressPlan, GRACE, Owner, SOON, ServiceCondition, ServiceStatus, is_ours, report,
};
use crate::cluster::{IngressEntry, IngressIpMode, ObjectName, Service, Snapshot};
use crate::plan::Settings;

/// Stands for all Services that others serve.
const OTHERS: Owner = 0;
/// Writes that may be under way for one Service at most; more are forgotten, oldest first.
const MOST_SENT: usize = 8;

/// A Service that is, or was, ours.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) name: ObjectName,
    uid: String,
    pub(super) owner: Owner,
    pub(super) held: Vec<Held>,
    /// An address of its own that was booked in a pool that selects it. While no pool changes this need not be asked anew.
    home: Option<(IpAddr, PoolKey)>,
    /// Whether it shares.
    shares: bool,
    /// Not ours any more: what is left is to clean its status.
    left: bool,
    /// The addresses last found recorded.
    seen: Vec<IpAddr>,
    /// The addresses last planned.
    planned: Vec<IpAddr>,
    /// Earlier plans that are not recorded yet. What is recorded, and is neither of these nor what was seen last, is the
    /// work of a stranger.
    sent: Vec<Vec<IpAddr>>,
    /// The condition last planned.
    condition: Option<ServiceCondition>,
    /// Whether the condition needs no write of its own: it was recorded as planned once, or the Service came with the
    /// right addresses while we run. What a stranger does to it then waits for the next write.
    settled: bool,
}

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
    arrival: Arrival,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
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
    left: Vec<(Box<Holder>, &'a Service)>,
    /// Load balancers that others serve.
    foreign: Vec<&'a Service>,
    /// Services of another type that carry our condition.
    stale_conditions: Vec<(&'a ObjectName, &'a Service)>,
    /// Addresses that a status shows whose Service does not hold them any more. Nobody new shows them before.
    pub(super) leaving: BTreeSet<IpAddr>,
    /// Addresses of Services that the pool they are booked in does not select, and the pool that does.
    elsewhere: Vec<(usize, IpAddr, PoolKey)>,
    pub(super) now: Instant,
    again_at: Option<Instant>,
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
            if let Some(mut holder) = holder {
                holder.left = true;
                holder.shares = false;
                self.allocator.set_sharing(holder.owner, None);
                self.left.push((holder, service));
            } else if !service.is_load_balancer && service.recorded_condition.is_some() {
                self.stale_conditions.push((name, service));
            } else if service.is_load_balancer && !service.ingress.is_empty() {
                self.foreign.push(service);
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
                let arrival = if start { Arrival::FromStart } else { Arrival::New };
                (Box::new(Holder::new(name, service, *next_owner, !start)), arrival)
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

    /// Decides what everybody keeps, before anything new is given to anybody.
    pub(super) fn settle_holders(&mut self) {
        self.allocator.forget(OTHERS);
        if self.pools.changed {
            self.notice_lost();
        }
        for place in 0..self.entries.len() {
            self.judge(place);
        }
        self.separate_edited();
        self.adopt_from_start();
        self.respect_others();
        for place in 0..self.entries.len() {
            self.follow_recorded(place);
        }
        self.clean_left();
    }

    /// Notes what lost its pool, before anything is booked anew: sharers of an address are to be judged alike.
    fn notice_lost(&mut self) {
        let until = self.now + GRACE;
        for held in self
            .entries
            .iter_mut()
            .flat_map(|entry| &mut entry.holder.held)
        {
            let booked = self
                .allocator
                .holding(held.address)
                .and_then(ipam::Holding::pool);
            if held.state == State::Kept && booked.is_none() {
                held.state = State::Lost(until);
            }
        }
    }

    /// Takes away what its Service may not hold any more, and books anew what lost its pool.
    fn judge(&mut self, place: usize) {
        let mut index = 0;
        while index < self.entries[place].holder.held.len() {
            let Entry {
                service,
                holder,
                ask,
                ..
            } = &mut self.entries[place];
            let Held { address, state } = holder.held[index];
            if state == State::Leaving {
                if recorded(service).any(|recorded| recorded == address) {
                    self.leaving.insert(address);
                    index += 1;
                } else {
                    self.allocator.release(holder.owner, address);
                    holder.held.remove(index);
                }
                continue;
            }
            if !ask.tolerates(address) {
                self.take_away(place, index);
            } else {
                self.judge_pool(place, index);
            }
            index += 1;
        }
    }

    fn judge_pool(&mut self, place: usize, index: usize) {
        let Entry {
            service, holder, ..
        } = &mut self.entries[place];
        let held = &mut holder.held[index];
        if let Some((address, key)) = holder.home
            && !self.pools.changed
            && (address, State::Kept) == (held.address, held.state)
            && self.pools.get(key).is_some_and(|view| view.selects(service))
        {
            return;
        }
        let Some(holding) = self.allocator.holding(held.address) else {
            return;
        };
        let booked = holding.pool().and_then(|key| self.pools.get(key));
        if let Some(view) = booked.filter(|view| view.selects(service)) {
            held.state = State::Kept;
            holder.home = (!holding.is_shared()).then_some((held.address, view.key));
            return;
        }
        let lost = booked.is_none() || held.state != State::Kept;
        if let Some(home) = self.pools.home(self.allocator, held.address, service) {
            held.state = State::Kept;
            if booked.is_none() {
                self.allocator.book(held.address, Some(home));
            } else {
                self.elsewhere.push((place, held.address, home));
            }
            return;
        }
        if !lost {
            // The pool is there and does not select the Service.
            self.take_away(place, index);
            return;
        }
        if held.state == State::Unjudged && self.pools.any_unreadable {
            return;
        }
        let until = match held.state {
            State::Lost(until) => until,
            _ => self.now + GRACE,
        };
        if self.now < until {
            held.state = State::Lost(until);
            return;
        }
        let claim = self.claims.entry(holder.name.clone()).or_default();
        claim.uid.clone_from(&holder.uid);
        if !claim.addresses.contains(&held.address) {
            claim.addresses.push(held.address);
        }
        self.take_away(place, index);
    }

    /// A Service that was edited so that it may not share any more gives way to those it shared with.
    fn separate_edited(&mut self) {
        let mut edited: Vec<usize> = (0..self.entries.len())
            .filter(|&place| self.entries[place].arrival == Arrival::Edited)
            .collect();
        if edited.is_empty() {
            return;
        }
        edited.sort_by_key(|&place| self.seniority(place));
        let mut not_heard: HashMap<Owner, usize> = edited
            .iter()
            .map(|&place| (self.entries[place].holder.owner, place))
            .collect();
        let by_owner = self.places_by_owner();
        for place in edited {
            let owner = self.entries[place].holder.owner;
            not_heard.remove(&owner);
            for index in 0..self.entries[place].holder.held.len() {
                let Held { address, state } = self.entries[place].holder.held[index];
                if state == State::Leaving {
                    continue;
                }
                let Some(holding) = self.allocator.holding(address) else {
                    continue;
                };
                let stands = |other: &Owner| {
                    let other_keeps = by_owner
                        .get(other)
                        .is_some_and(|&place| self.entries[place].holder.keeps(address));
                    *other != owner && !not_heard.contains_key(other) && other_keeps
                };
                let clashes = |other: &Owner| self.allocator.compatible(owner, *other).is_err();
                if holding
                    .owners()
                    .any(|other| stands(other) && clashes(other))
                {
                    self.take_away(place, index);
                }
            }
        }
    }

    /// Adopts what Services carry at the start. Of several carriers that may not share an address the one that names it
    /// keeps it, else the most senior one.
    fn adopt_from_start(&mut self) {
        let mut carried: Vec<(IpAddr, bool, Option<i64>, usize)> = Vec::new();
        for (place, entry) in self.entries.iter().enumerate() {
            if entry.arrival != Arrival::FromStart {
                continue;
            }
            for address in recorded(entry.service) {
                carried.push((
                    address,
                    !entry.ask.names(address),
                    entry.service.meta.created,
                    place,
                ));
            }
        }
        carried.sort_unstable();
        carried.dedup();
        for (address, _, _, place) in carried {
            let entry = &mut self.entries[place];
            let home = self.pools.home(self.allocator, address, entry.service);
            let in_no_pool = || {
                self.pools
                    .containing(self.allocator, address)
                    .next()
                    .is_none()
            };
            let unjudged = home.is_none() && self.pools.any_unreadable && in_no_pool();
            let adopted = entry.ask.tolerates(address)
                && (home.is_some() || unjudged)
                && self
                    .allocator
                    .restore(entry.holder.owner, address, home)
                    .is_ok();
            if adopted {
                let state = if unjudged {
                    State::Unjudged
                } else {
                    State::Kept
                };
                entry.holder.held.push(Held { address, state });
            }
        }
    }

    /// What another controller's Service shows is in use, whatever our pools say, unless one of ours has it already.
    fn respect_others(&mut self) {
        for address in self.foreign.iter().flat_map(|service| recorded(service)) {
            let of_interest = self
                .pools
                .containing(self.allocator, address)
                .next()
                .is_some();
            if of_interest && self.allocator.holding(address).is_none() {
                let held = self.allocator.restore(OTHERS, address, None);
                debug_assert_eq!(held, Ok(()), "a free address can be held");
            }
        }
    }

    fn hold_strays(&mut self, place: usize) {
        let Entry {
            service, holder, ..
        } = &self.entries[place];
        let is_held = |address: IpAddr| holder.held.iter().any(|held| held.address == address);
        let strays: Vec<IpAddr> = recorded(service)
            .filter(|&address| !is_held(address))
            .collect();
        for address in strays {
            self.hold_stray(place, address);
        }
    }

    /// An address that a Service carries and may not hold. Nobody else gets it while the status still shows it.
    fn hold_stray(&mut self, place: usize, address: IpAddr) {
        if self.allocator.holding(address).is_some() {
            return;
        }
        let holder = &mut self.entries[place].holder;
        if self.allocator.restore(holder.owner, address, None).is_ok() {
            holder.held.push(Held {
                address,
                state: State::Leaving,
            });
            self.leaving.insert(address);
        }
    }

    /// Compares what is recorded with what was planned, and takes up what a stranger changed.
    fn follow_recorded(&mut self, place: usize) {
        let Entry {
            service,
            holder,
            arrival,
            ..
        } = &mut self.entries[place];
        let as_planned = recorded(service).eq(holder.planned.iter().copied());
        let as_seen = recorded(service).eq(holder.seen.iter().copied());
        if as_planned {
            let condition = holder.condition.as_ref();
            holder.settled |= condition.is_some_and(|condition| is_recorded(condition, service));
        }
        if as_planned && !as_seen {
            holder.sent.clear();
        }
        if !as_seen {
            holder.seen = recorded(service).collect();
        }
        match arrival {
            Arrival::FromStart => return self.hold_strays(place),
            Arrival::New => {}
            Arrival::Known | Arrival::Edited => {
                if as_planned || as_seen {
                    return self.hold_strays(place);
                }
                if let Some(ours) = holder.sent.iter().position(|sent| *sent == holder.seen) {
                    holder.sent.drain(..=ours);
                    return self.hold_strays(place);
                }
            }
        }
        let is_new = *arrival == Arrival::New;
        for address in holder.seen.clone() {
            self.adopt_from_stranger(place, address);
        }
        if !is_new {
            self.drop_unrecorded(place);
        }
    }

    /// Adopts an address that appeared in the status while we run: only where a usable pool would give it to this Service.
    fn adopt_from_stranger(&mut self, place: usize, address: IpAddr) {
        let Entry {
            service,
            holder,
            ask,
            ..
        } = &mut self.entries[place];
        if holder.held.iter().any(|held| held.address == address) {
            return;
        }
        let family = Family::of(address);
        let wanted = if ask.is_specific() {
            ask.names(address) && (ask.has(family) || ask.wants(family))
        } else {
            ask.wants(family)
        };
        let (pools, join) = self.pools.selecting(service);
        let request = Request {
            owner: holder.owner,
            wanted: Wanted::Address(address),
            pools: &pools,
            join: &join,
        };
        if wanted && self.allocator.assign(&request).is_ok() {
            holder.held.push(Held {
                address,
                state: State::Kept,
            });
        } else {
            self.hold_stray(place, address);
        }
    }

    /// Frees what a stranger took out of the status, unless the Service would then lack it: what it names, and what it has
    /// of a family of which nothing is left in the status.
    fn drop_unrecorded(&mut self, place: usize) {
        let Entry { holder, ask, .. } = &mut self.entries[place];
        let left_in_status = |family| {
            holder.held.iter().any(|held| {
                let recorded = holder.seen.contains(&held.address);
                held.is_kept() && recorded && Family::of(held.address) == family
            })
        };
        let left = [left_in_status(Family::V4), left_in_status(Family::V6)];
        let needed = |address: IpAddr| {
            if ask.is_specific() {
                ask.names(address)
            } else {
                !left[usize::from(address.is_ipv6())]
            }
        };
        let (owner, seen) = (holder.owner, &holder.seen);
        holder.held.retain(|held| {
            let stays = !held.is_kept() || seen.contains(&held.address) || needed(held.address);
            if !stays {
                self.allocator.release(owner, held.address);
            }
            stays
        });
    }

    /// Services that are not ours any more: their addresses are free once their status is without them.
    fn clean_left(&mut self) {
        for (holder, service) in &mut self.left {
            let mut index = 0;
            while index < holder.held.len() {
                let address = holder.held[index].address;
                if recorded(service).any(|recorded| recorded == address) {
                    holder.held[index].state = State::Leaving;
                    unbook(self.allocator, address);
                    self.leaving.insert(address);
                    index += 1;
                } else {
                    self.allocator.release(holder.owner, address);
                    holder.held.remove(index);
                }
            }
        }
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

    fn look_again(&mut self, at: Instant) {
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Books an address in a pool that selects its holder, unless the pool it is booked in selects another one.
    fn book_elsewhere(&mut self) {
        for (place, address, home) in std::mem::take(&mut self.elsewhere) {
            let Some(holding) = self.allocator.holding(address) else {
                continue;
            };
            let booked = holding.pool().and_then(|key| self.pools.get(key));
            let keepers: Vec<usize> = if holding.is_shared() {
                let by_owner = self.places_by_owner();
                let places = holding
                    .owners()
                    .filter_map(|owner| by_owner.get(owner).copied());
                places
                    .filter(|&place| self.entries[place].holder.keeps(address))
                    .collect()
            } else {
                vec![place]
            };
            let selected = |&place: &usize| {
                booked.is_some_and(|view| view.selects(self.entries[place].service))
            };
            if keepers.contains(&place) && !keepers.iter().any(selected) {
                self.allocator.book(address, Some(home));
            }
        }
    }

    /// What a Service has been given and the status of somebody it may not share with still shows.
    fn blocked(&self, entry: &Entry<'_>) -> Vec<IpAddr> {
        if self.leaving.is_empty() {
            return Vec::new();
        }
        let Entry {
            service, holder, ..
        } = entry;
        let new = holder
            .held
            .iter()
            .filter(|held| held.is_kept())
            .map(|held| held.address);
        let new = new.filter(|address| recorded(service).all(|recorded| recorded != *address));
        let shown_elsewhere = new.filter(|address| self.leaving.contains(address));
        shown_elsewhere
            .filter(|&address| !self.in_the_way(holder.owner, address).is_empty())
            .collect()
    }

    /// The plan, what to remember, and whether nothing is held and nothing left to write.
    pub(super) fn finish(mut self) -> (AddressPlan, Vec<Box<Holder>>, bool) {
        self.book_elsewhere();
        let mut statuses: Vec<(ObjectName, ServiceStatus)> = Vec::with_capacity(self.entries.len());
        let mut holders = Vec::with_capacity(self.entries.len() + self.left.len());
        let mut nothing_left = true;
        for mut entry in std::mem::take(&mut self.entries) {
            let blocked = self.blocked(&entry);
            entry.waits |= !blocked.is_empty();
            if entry.waits {
                self.look_again(self.now + SOON);
            }
            for held in &entry.holder.held {
                if let State::Lost(until) = held.state {
                    self.look_again(until);
                }
            }
            let (holder, status) = entry.finish(&blocked);
            nothing_left &= holder.held.is_empty() && holder.settled;
            if let Some(status) = status {
                statuses.push((holder.name.clone(), status));
            }
            holders.push(holder);
        }
        let cleaning = !self.left.is_empty();
        for (holder, service) in self.left {
            let status = clean_status(&holder, service);
            if status.ingress.len() == service.ingress.len() && service.recorded_condition.is_none()
            {
                self.allocator.forget(holder.owner);
                continue;
            }
            nothing_left = false;
            statuses.push((holder.name.clone(), status));
            holders.push(holder);
        }
        for (name, service) in self.stale_conditions {
            let ingress = service.ingress.clone();
            statuses.push((
                name.clone(),
                ServiceStatus {
                    ingress,
                    condition: None,
                },
            ));
        }
        if cleaning {
            holders.sort_by(|one: &Box<Holder>, other: &Box<Holder>| one.name.cmp(&other.name));
        }
        let plan = AddressPlan {
            services: statuses.into_iter().collect(),
            pools: BTreeMap::new(),
            again_at: self.again_at,
        };
        (plan, holders, nothing_left)
    }
}

impl Entry<'_> {
    pub(super) fn has_any(&self, family: Family) -> bool {
        let mut held = self.holder.held.iter();
        held.any(|held| held.is_kept() && Family::of(held.address) == family)
    }

    /// The desired status; `None` where the Service is to be left as it stands.
    fn finish(self, blocked: &[IpAddr]) -> (Box<Holder>, Option<ServiceStatus>) {
        let Self {
            service,
            mut holder,
            refusal,
            waits,
            arrival,
            ..
        } = self;
        holder.held.retain(|held| {
            held.is_kept() || recorded(service).any(|recorded| recorded == held.address)
        });
        let condition = refusal.unwrap_or_else(report::satisfied);
        let ingress = ingress(service, &holder, blocked);
        let same_ingress = ingress.len() == service.ingress.len()
            && ingress
                .iter()
                .zip(&service.ingress)
                .all(|(ours, recorded)| ours.ip == recorded.ip);
        if waits && same_ingress {
            // What it lacks is about to become free: it is told when that is settled.
            holder.settled = false;
            return (holder, None);
        }
        let addresses = || ingress.iter().filter_map(|entry| entry.ip);
        if !addresses().eq(holder.planned.iter().copied()) {
            holder.planned = addresses().collect();
        }
        if !same_ingress && holder.sent.last() != Some(&holder.planned) {
            holder.sent.push(holder.planned.clone());
            let surplus = holder.sent.len().saturating_sub(MOST_SENT);
            holder.sent.drain(..surplus);
        }
        let as_before = holder
            .condition
            .as_ref()
            .is_none_or(|before| *before == condition);
        let left_alone = condition.satisfied
            && same_ingress
            && holder.settled
            && as_before
            && arrival != Arrival::FromStart;
        if !left_alone {
            holder.settled = same_ingress && is_recorded(&condition, service);
        }
        holder.condition = Some(condition.clone());
        let status = ServiceStatus {
            ingress,
            condition: Some(condition),
        };
        let untrue = left_alone
            && !status
                .condition
                .as_ref()
                .is_some_and(|condition| is_recorded(condition, service));
        (holder, (!untrue).then_some(status))
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
fn recorded(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.ingress.iter().filter_map(|entry| entry.ip)
}

fn is_recorded(condition: &ServiceCondition, service: &Service) -> bool {
    service
        .recorded_condition
        .as_ref()
        .is_some_and(|(status, reason, message, _)| {
            status == if condition.satisfied { "True" } else { "False" }
                && reason == condition.reason
                && *message == condition.message
        })
}

/// The recorded entries that stay, as they stand and in their order, then what is new in the order obtained, without what
/// is blocked.
fn ingress(service: &Service, holder: &Holder, blocked: &[IpAddr]) -> Vec<IngressEntry> {
    let mut ingress: Vec<IngressEntry> = Vec::with_capacity(holder.held.len());
    for entry in &service.ingress {
        let stays = entry.ip.is_some_and(|ip| holder.keeps(ip));
        if stays && ingress.iter().all(|other| other.ip != entry.ip) {
            ingress.push(entry.clone());
        }
    }
    for held in holder.held.iter().filter(|held| held.is_kept()) {
        let is_new = ingress.iter().all(|other| other.ip != Some(held.address));
        if is_new && !blocked.contains(&held.address) {
            ingress.push(IngressEntry {
                ip: Some(held.address),
                hostname: None,
                ip_mode: IngressIpMode::Vip,
            });
        }
    }
    ingress
}

/// A Service that is not ours any more loses what we gave it; what somebody else put there meanwhile stays.
fn clean_status(holder: &Holder, service: &Service) -> ServiceStatus {
    let given = |entry: &&IngressEntry| {
        entry
            .ip
            .is_some_and(|ip| holder.held.iter().any(|held| held.address == ip))
    };
    let ingress = service
        .ingress
        .iter()
        .filter(|entry| !given(entry))
        .cloned()
        .collect();
    ServiceStatus {
        ingress,
        condition: None,
    }
}

/// An address counts in a pool only while somebody goes on holding it; that is so where it is shared.
fn unbook(allocator: &mut Allocator<Owner>, address: IpAddr) {
    if allocator
        .holding(address)
        .is_some_and(|holding| !holding.is_shared())
    {
        allocator.book(address, None);
    }
}
