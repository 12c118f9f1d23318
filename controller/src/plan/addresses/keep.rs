//! Who keeps what, decided before anything new is given: what stays, what is adopted, and what has to go.

use std::collections::HashMap;
use std::net::IpAddr;

use ipam::{Family, Request, Wanted};

use super::holders::{
    Arrival, Entry, Held, OTHERS, Planning, State, is_recorded, recorded, unbook,
};
use super::{Departure, GRACE, Owner, contest, report};

impl Planning<'_> {
    /// Decides what everybody keeps, before anything new is given to anybody.
    pub(super) fn settle_holders(&mut self) {
        self.allocator.forget(OTHERS);
        if self.pools.changed {
            self.notice_lost();
        }
        let awake = |(place, entry): (usize, &Entry<'_>)| {
            (entry.arrival != Arrival::Quiet).then_some(place)
        };
        let places: Vec<usize> = self.entries.iter().enumerate().filter_map(awake).collect();
        for &place in &places {
            self.judge(place);
        }
        self.separate_edited();
        self.adopt_from_start();
        self.clean_left();
        self.respect_others();
        for &place in &places {
            self.follow_recorded(place);
        }
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
                service, holder, ..
            } = &mut self.entries[place];
            let Held { address, state, .. } = holder.held[index];
            if matches!(state, State::Leaving(_)) {
                if holder.may_show(service, address, self.now) {
                    self.leaving.insert(address);
                    index += 1;
                } else {
                    self.allocator.release(holder.owner, address);
                    holder.held.remove(index);
                }
                continue;
            }
            if !holder.ask.tolerates(address) {
                self.take_away(place, index, report::FAMILY_NOT_WANTED);
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
        if let Some(key) = held.home
            && !self.pools.changed
            && held.state == State::Kept
            && self
                .pools
                .get(key)
                .is_some_and(|view| view.selects(service))
        {
            return;
        }
        let Some(holding) = self.allocator.holding(held.address) else {
            return;
        };
        let booked = holding.pool().and_then(|key| self.pools.get(key));
        if let Some(view) = booked.filter(|view| view.selects(service)) {
            held.state = State::Kept;
            held.home = Some(view.key);
            return;
        }
        let lost = booked.is_none() || held.state != State::Kept;
        if let Some(home) = self.pools.home(self.allocator, held.address, service) {
            held.state = State::Kept;
            if booked.is_none() {
                held.home = Some(home);
                self.allocator.book(held.address, Some(home));
            } else {
                held.home = None;
                self.elsewhere.push((place, held.address, home));
            }
            return;
        }
        if !lost {
            self.take_away(place, index, report::NOT_SELECTED);
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
        let claim = self.claims.entry(service.meta.name.clone()).or_default();
        claim.uid.clone_from(&service.meta.uid);
        if !claim.addresses.contains(&held.address) {
            claim.addresses.push(held.address);
        }
        let why = match held.home {
            None => report::IN_NO_POOL,
            Some(key) if self.pools.get(key).is_some() => report::BLOCK_REMOVED,
            Some(_) => report::POOL_DELETED,
        };
        self.take_away(place, index, why);
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
                let held = self.entries[place].holder.held[index];
                if !held.is_kept() {
                    continue;
                }
                let address = held.address;
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
                    self.take_away(place, index, report::MAY_NOT_SHARE);
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
                    !entry.holder.ask.names(address),
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
            let adopted = entry.holder.ask.tolerates(address)
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
                entry.holder.held.push(Held {
                    address,
                    state,
                    home,
                });
            }
        }
    }

    /// What another controller's Service shows is in use, whatever our pools say. One of ours that has it already keeps it,
    /// unless it was only about to have it.
    fn respect_others(&mut self) {
        let foreign = std::mem::take(&mut self.foreign);
        for address in foreign.iter().flat_map(|service| recorded(service)) {
            self.withhold(address);
            let of_interest = self
                .pools
                .containing(self.allocator, address)
                .next()
                .is_some();
            if of_interest || self.allocator.holding(address).is_some() {
                self.allocator.hold_unasked(OTHERS, address);
            }
        }
        self.foreign = foreign;
    }

    /// Takes back what was planned and is recorded nowhere yet.
    fn withhold(&mut self, address: IpAddr) {
        let Some(holding) = self.allocator.holding(address) else {
            return;
        };
        let owners: Vec<Owner> = holding
            .owners()
            .copied()
            .filter(|owner| *owner != OTHERS)
            .collect();
        let place_of = |owner: &Owner| {
            let mut entries = self.entries.iter();
            entries.position(|entry| entry.holder.owner == *owner)
        };
        let places: Vec<usize> = owners.iter().filter_map(place_of).collect();
        let shown = |place: &usize| {
            recorded(self.entries[*place].service).any(|recorded| recorded == address)
        };
        let places: Vec<usize> = places.into_iter().filter(|place| !shown(place)).collect();
        for place in places {
            let holder = &mut self.entries[place].holder;
            holder.held.retain(|held| held.address != address);
            self.allocator.release(holder.owner, address);
        }
    }

    fn hold_strays(&mut self, place: usize) {
        let Entry {
            service, holder, ..
        } = &mut self.entries[place];
        let shown = |address: &IpAddr| recorded(service).any(|recorded| recorded == *address);
        holder.passed_on.retain(shown);
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
        let why = self.why_stray(place, address);
        let holder = &mut self.entries[place].holder;
        if self.allocator.holding(address).is_some() {
            if !holder.passed_on.contains(&address) {
                let carriers = self.contested.entry(address).or_default();
                carriers.push(holder.owner);
            }
            return;
        }
        if self.allocator.restore(holder.owner, address, None).is_ok() {
            holder.held.push(Held {
                address,
                state: State::Leaving(why),
                home: None,
            });
            self.leaving.insert(address);
        }
    }

    fn why_stray(&self, place: usize, address: IpAddr) -> &'static str {
        let Entry {
            service, holder, ..
        } = &self.entries[place];
        let mut pools = self.pools.containing(self.allocator, address).peekable();
        if !holder.ask.tolerates(address) {
            report::FAMILY_NOT_WANTED
        } else if pools.peek().is_none() {
            report::IN_NO_POOL
        } else if !pools.any(|view| view.selects(service)) {
            report::NOT_SELECTED
        } else if holder.ask.is_specific() && !holder.ask.names(address) {
            report::NOT_NAMED
        } else {
            report::FROM_STRANGER
        }
    }

    /// Compares what is recorded with what was planned, and takes up what a stranger changed.
    fn follow_recorded(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        let (service, holder) = (entry.service, &mut entry.holder);
        let more = recorded(service).count() != service.ingress.len();
        let as_planned = !more && recorded(service).eq(holder.planned.iter().copied());
        let as_seen = more == holder.seen_more && recorded(service).eq(holder.seen.iter().copied());
        if as_planned {
            let condition = holder.condition.as_ref();
            holder.settled |= condition.is_some_and(|condition| is_recorded(condition, service));
        }
        if as_planned && !as_seen {
            holder.sent.clear();
        }
        if !as_seen {
            holder.seen = recorded(service).collect();
            holder.seen_more = more;
        }
        match entry.arrival {
            Arrival::Quiet => return,
            Arrival::FromStart => return self.hold_strays(place),
            Arrival::New => {}
            Arrival::Known | Arrival::Edited => {
                if as_planned {
                    return self.hold_strays(place);
                }
                if as_seen {
                    entry.disturbed = entry.is_rewritten();
                    return self.hold_strays(place);
                }
                let ours = holder.sent.iter().position(|sent| *sent == holder.seen);
                if let Some(ours) = ours.filter(|_| !more) {
                    holder.sent.drain(..=ours);
                    return self.hold_strays(place);
                }
                entry.disturbed = !contest::is_our_work(service);
            }
        }
        let is_new = entry.arrival == Arrival::New;
        for address in self.entries[place].holder.seen.clone() {
            self.adopt_from_stranger(place, address);
        }
        if !is_new {
            self.drop_unrecorded(place);
        }
    }

    /// Adopts an address that appeared in the status while we run: only where a usable pool would give it to this Service.
    fn adopt_from_stranger(&mut self, place: usize, address: IpAddr) {
        let Entry {
            service, holder, ..
        } = &mut self.entries[place];
        if holder.held.iter().any(|held| held.address == address) {
            return;
        }
        let ask = &holder.ask;
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
                home: None,
            });
        } else {
            self.hold_stray(place, address);
        }
    }

    /// Frees what a stranger took out of the status, unless the Service would then lack it: what it names, and what it has
    /// of a family of which nothing is left in the status.
    fn drop_unrecorded(&mut self, place: usize) {
        let holder = &mut *self.entries[place].holder;
        let ask = &holder.ask;
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
        let stays = |held: &Held| {
            !held.is_kept() || holder.seen.contains(&held.address) || needed(held.address)
        };
        let (stay, go): (Vec<Held>, Vec<Held>) = holder.held.iter().partition(|held| stays(held));
        for Held { address, .. } in go {
            self.allocator.release(holder.owner, address);
            if holder.planned.contains(&address) {
                let reason = report::REPLACED;
                holder.replaced.push(Departure { address, reason });
            }
        }
        holder.held = stay;
    }

    /// Services that are not ours any more: their addresses are free once their status is without them.
    fn clean_left(&mut self) {
        for (holder, service) in &mut self.left {
            let why = if service.is_load_balancer {
                report::OTHER_CLASS
            } else {
                report::NO_LOAD_BALANCER
            };
            let mut index = 0;
            while index < holder.held.len() {
                let address = holder.held[index].address;
                if holder.may_show(service, address, self.now) {
                    holder.held[index].state = State::Leaving(why);
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
}
