//! Services that name each other's addresses.
//!
//! A Service whose request names other addresses than it holds keeps those until it can have all it names. So addresses
//! asked for by name may be held by somebody who is about to give them up in exchange for others, in chains and in rings.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipam::{Family, PoolKey, Request, Wanted};

use super::ask::Item;
use super::holders::{Entry, Held, Planning, State, recorded};
use super::{Owner, report};

/// The order in which Services are served, and the place of the Service.
pub(super) type Turn = (Option<i64>, usize);

/// What the Services that name addresses have come to so far.
#[derive(Default)]
pub(super) struct Exchange {
    /// Whose turn it is still.
    pub(super) queue: BTreeSet<Turn>,
    /// Who could not have an address because somebody holds it.
    pub(super) waiting: BTreeMap<IpAddr, BTreeSet<Turn>>,
    /// Addresses given up in this plan because their holder has what it names: whoever names them gets them at once.
    pub(super) given_up: BTreeSet<IpAddr>,
    pub(super) by_owner: HashMap<Owner, usize>,
}

impl Planning<'_> {
    pub(super) fn serve_named(&mut self, exchange: &mut Exchange) {
        let all: Vec<Turn> = exchange.queue.iter().copied().collect();
        let mut given_up = 0;
        loop {
            while let Some((_, place)) = exchange.queue.pop_first() {
                self.serve_items(place, exchange);
            }
            if self.serve_ring(&all, exchange) {
                continue;
            }
            if exchange.given_up.len() == given_up {
                return;
            }
            // Addresses changed hands: those who were refused before are told what holds now.
            given_up = exchange.given_up.len();
            let refused = |turn: &&Turn| self.entries[turn.1].refusal.is_some();
            exchange.queue.extend(all.iter().filter(refused));
        }
    }

    /// Gives one Service what it names, as far as that can be had; if it has all, what it does not name goes.
    fn serve_items(&mut self, place: usize, exchange: &mut Exchange) {
        let mut refusal = None;
        self.entries[place].waits = false;
        for index in 0..self.entries[place].holder.ask.items.len() {
            let address = match &self.entries[place].holder.ask.items[index] {
                Item::Address(address) => *address,
                Item::Unparsable(text) => {
                    refusal = Some(report::not_an_address(text));
                    continue;
                }
            };
            if self.entries[place].holder.keeps(address) {
                if self.is_shown_elsewhere(&self.entries[place], address) {
                    // It cannot be recorded here before it is gone there: until then nothing is given up for it.
                    self.entries[place].waits = true;
                    refusal = Some(report::in_use(address));
                }
            } else if let Err(condition) = self.take_named(place, address, exchange) {
                refusal = Some(condition);
            }
        }
        let complete = refusal.is_none();
        self.entries[place].refusal = refusal;
        if complete {
            self.give_up_unnamed(place, exchange);
        }
    }

    fn give_up_unnamed(&mut self, place: usize, exchange: &mut Exchange) {
        for index in 0..self.entries[place].holder.held.len() {
            let entry = &self.entries[place];
            let held = entry.holder.held[index];
            let address = held.address;
            if !held.is_kept() || entry.holder.ask.names(address) {
                continue;
            }
            self.take_away(place, index, report::NOT_NAMED);
            exchange.given_up.insert(address);
            exchange
                .queue
                .extend(exchange.waiting.remove(&address).unwrap_or_default());
        }
    }

    /// Ends what those who gave an address up in this plan still have of it.
    pub(super) fn hand_over(&mut self, address: IpAddr, exchange: &mut Exchange) {
        self.index_owners(exchange);
        let holders: Vec<Owner> = self
            .allocator
            .holding(address)
            .map_or_else(Vec::new, |holding| holding.owners().copied().collect());
        for holder in holders {
            let Some(&place) = exchange.by_owner.get(&holder) else {
                continue;
            };
            if !self.entries[place].holder.keeps(address) {
                self.pass_on(place, address);
                self.allocator.release(holder, address);
            }
        }
    }

    /// Forgets an address that goes to another Service in the same plan; the statuses may cross.
    fn pass_on(&mut self, place: usize, address: IpAddr) {
        let holder = &mut self.entries[place].holder;
        holder.held.retain(|held| held.address != address);
        holder.passed_on.push(address);
    }

    pub(super) fn is_about_to_be_free(
        &self,
        owner: Owner,
        address: IpAddr,
        exchange: &mut Exchange,
    ) -> bool {
        if !self.leaving.contains(&address) {
            return false;
        }
        self.index_owners(exchange);
        let stays = |other: Owner| {
            let place = exchange.by_owner.get(&other);
            place.is_some_and(|&place| self.entries[place].holder.keeps(address))
        };
        !self.in_the_way(owner, address).into_iter().any(stays)
    }

    fn index_owners(&self, exchange: &mut Exchange) {
        if exchange.by_owner.is_empty() {
            exchange.by_owner = self.places_by_owner();
        }
    }

    /// Finds Services that can all have what they name once each of them gives up what the others name, and serves them.
    ///
    /// Which Services have to move for one to be served follows from who holds what it names, and so on: there is nothing
    /// to choose. False where there is no such ring or chain.
    fn serve_ring(&mut self, turns: &[Turn], exchange: &mut Exchange) -> bool {
        let unsatisfied = |place: usize| self.entries[place].refusal.is_some();
        let holds_unnamed = |place: usize| {
            let entry = &self.entries[place];
            entry
                .holder
                .held
                .iter()
                .any(|held| held.is_kept() && !entry.holder.ask.names(held.address))
        };
        if !turns
            .iter()
            .any(|&(_, place)| unsatisfied(place) && holds_unnamed(place))
        {
            return false;
        }
        self.index_owners(exchange);
        let mut hopeless = BTreeSet::new();
        for &(_, place) in turns {
            if self.entries[place].refusal.is_none() || hopeless.contains(&place) {
                continue;
            }
            if let Some(ring) = self.ring_from(place, exchange, &mut hopeless)
                && self.move_together(&ring, exchange)
            {
                return true;
            }
        }
        false
    }

    /// All Services that have to move for this one to be served. Where one of them cannot be served, neither can those
    /// that depend on it; they are noted as hopeless.
    fn ring_from(
        &self,
        first: usize,
        exchange: &Exchange,
        hopeless: &mut BTreeSet<usize>,
    ) -> Option<Vec<usize>> {
        let mut depends: BTreeMap<usize, Vec<usize>> = BTreeMap::from([(first, vec![])]);
        let mut open = vec![first];
        while let Some(place) = open.pop() {
            let movers = if hopeless.contains(&place) {
                None
            } else {
                self.must_move_for(place, exchange)
            };
            let Some(movers) = movers else {
                let mut lost = vec![place];
                while let Some(place) = lost.pop() {
                    hopeless.insert(place);
                    lost.extend(depends.remove(&place).unwrap_or_default());
                }
                return None;
            };
            for mover in movers {
                let known = depends.contains_key(&mover);
                depends.entry(mover).or_default().push(place);
                if !known {
                    open.push(mover);
                }
            }
        }
        Some(depends.into_keys().collect())
    }

    /// Who has to give something up for this Service to be served in full; `None` where somebody will not.
    fn must_move_for(&self, place: usize, exchange: &Exchange) -> Option<BTreeSet<usize>> {
        let entry = &self.entries[place];
        let mut movers = BTreeSet::new();
        for item in &entry.holder.ask.items {
            let Item::Address(address) = *item else {
                return None;
            };
            if entry.holder.keeps(address) {
                if self.is_shown_elsewhere(entry, address) {
                    return None;
                }
                continue;
            }
            self.pool_for_named(place, address).ok()?;
            if !entry.holder.ask.has(Family::of(address)) {
                return None;
            }
            for other in self.in_the_way(entry.holder.owner, address) {
                let mover = *exchange.by_owner.get(&other)?;
                let theirs = &self.entries[mover];
                let gives_up = theirs.holder.ask.is_specific()
                    && !theirs.holder.ask.names(address)
                    && theirs.holder.keeps(address);
                if !gives_up {
                    return None;
                }
                movers.insert(mover);
            }
        }
        Some(movers)
    }

    /// Moves Services to what they name, all of them or, where two want the same address, none.
    fn move_together(&mut self, ring: &[usize], exchange: &mut Exchange) -> bool {
        let mut unnamed: Vec<(usize, IpAddr, Option<PoolKey>)> = Vec::new();
        for &place in ring {
            let entry = &self.entries[place];
            for held in entry
                .holder
                .held
                .iter()
                .filter(|held| held.is_kept() && !entry.holder.ask.names(held.address))
            {
                let booked = self
                    .allocator
                    .holding(held.address)
                    .and_then(ipam::Holding::pool);
                unnamed.push((place, held.address, booked));
            }
        }
        for &(place, address, _) in &unnamed {
            self.allocator
                .release(self.entries[place].holder.owner, address);
        }
        let Some(taken) = self.take_all_named(ring) else {
            for (place, address, booked) in unnamed {
                self.restore(place, address, booked);
            }
            return false;
        };
        for (place, address, _) in unnamed {
            self.pass_on(place, address);
            exchange.given_up.insert(address);
            if self.allocator.holding(address).is_some() {
                continue;
            }
            let Entry {
                service, holder, ..
            } = &mut self.entries[place];
            if recorded(service).any(|recorded| recorded == address) {
                holder.passed_on.retain(|passed| *passed != address);
                holder.held.push(Held {
                    address,
                    state: State::Leaving(report::NOT_NAMED),
                    home: None,
                });
                self.restore(place, address, None);
                self.leaving.insert(address);
            }
            let waiting = exchange.waiting.remove(&address);
            exchange.queue.extend(waiting.unwrap_or_default());
        }
        for (place, address) in taken {
            self.entries[place].holder.held.push(Held {
                address,
                state: State::Kept,
                home: None,
            });
        }
        for &place in ring {
            self.entries[place].refusal = None;
            self.entries[place].waits = false;
        }
        true
    }

    /// Assigns to each of these Services all it names and lacks; `None`, and nothing assigned, where that cannot be.
    fn take_all_named(&mut self, ring: &[usize]) -> Option<Vec<(usize, IpAddr)>> {
        let mut taken: Vec<(usize, IpAddr)> = Vec::new();
        for &place in ring {
            for index in 0..self.entries[place].holder.ask.items.len() {
                let entry = &self.entries[place];
                let Item::Address(address) = entry.holder.ask.items[index] else {
                    continue;
                };
                if entry.holder.keeps(address) {
                    continue;
                }
                let owner = entry.holder.owner;
                let pool = self.pool_for_named(place, address).ok();
                let pool = pool.filter(|_| !self.is_contested(owner, address));
                let assigned = pool.is_some_and(|pool| {
                    let wanted = Wanted::Address(address);
                    let request = Request {
                        owner,
                        wanted,
                        pools: &[pool],
                        join: &[],
                    };
                    self.allocator.assign(&request).is_ok()
                });
                if !assigned {
                    for (place, address) in taken {
                        self.allocator
                            .release(self.entries[place].holder.owner, address);
                    }
                    return None;
                }
                taken.push((place, address));
            }
        }
        Some(taken)
    }

    /// Gives back what was released a moment ago, beside those who held it too.
    fn restore(&mut self, place: usize, address: IpAddr, booked: Option<PoolKey>) {
        let owner = self.entries[place].holder.owner;
        self.allocator.hold_unasked(owner, address);
        if booked.is_some() {
            self.allocator.book(address, booked);
        }
    }
}
