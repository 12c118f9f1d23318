//! What is newly given: first claims, then addresses asked for by name, then any address.
//!
//! A Service whose request names other addresses than it holds keeps those until it can have all it names. So addresses
//! asked for by name may be held by somebody who is about to give them up in exchange for others, in chains and in rings.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipam::{Family, PoolKey, Refusal, Request, Wanted};

use super::ask::Item;
use super::holders::{Held, Planning, State};
use super::pools::Standing;
use super::{Owner, ServiceCondition, report};

/// The order in which Services are served, and the place of the Service.
type Turn = (Option<i64>, usize);

/// What the Services that name addresses have come to so far.
#[derive(Default)]
struct Exchange {
    /// Whose turn it is still.
    queue: BTreeSet<Turn>,
    /// Who could not have an address because somebody holds it.
    waiting: BTreeMap<IpAddr, BTreeSet<Turn>>,
    /// Addresses given up in this plan because their holder has what it names: whoever names them gets them at once.
    given_up: BTreeSet<IpAddr>,
    by_owner: HashMap<Owner, usize>,
}

impl Planning<'_> {
    pub(super) fn serve(&mut self) {
        self.serve_claims();
        self.serve_former_holders();
        let mut exchange = Exchange::default();
        let mut generic = BTreeSet::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let turn = (entry.service.meta.created, place);
            if entry.ask.is_specific() {
                let held = entry.holder.held.iter().filter(|held| held.is_kept());
                if held.clone().count() != entry.ask.items.len()
                    || !held.clone().all(|held| entry.ask.names(held.address))
                {
                    exchange.queue.insert(turn);
                }
            } else if [Family::V4, Family::V6]
                .into_iter()
                .any(|family| entry.ask.wants(family) && !entry.has_any(family))
            {
                generic.insert(turn);
            }
        }
        if !exchange.queue.is_empty() {
            self.serve_named(&mut exchange);
        }
        while !generic.is_empty() {
            let mut given = false;
            for &(_, place) in &generic {
                given |= self.serve_generic(place);
            }
            // Who could not be served may join on an address that somebody got after it.
            generic.retain(|&(_, place)| {
                given
                    && self.entries[place].refusal.is_some()
                    && self.entries[place].ask.sharing.is_some()
            });
        }
    }

    /// Gives back what was lost together with its pool, before anybody else is heard.
    fn serve_claims(&mut self) {
        if self.claims.is_empty() {
            return;
        }
        let names = self.claims.keys();
        let place_of = |name| {
            self.entries
                .binary_search_by(|entry| entry.holder.name.cmp(name))
                .ok()
        };
        let mut turns: Vec<Turn> = names
            .filter_map(place_of)
            .map(|place| self.seniority(place))
            .collect();
        turns.sort_unstable();
        for (_, place) in turns {
            let name = self.entries[place].holder.name.clone();
            let Some(mut claim) = self.claims.remove(&name) else {
                continue;
            };
            claim.addresses.retain(|&address| {
                let entry = &self.entries[place];
                if entry.has_any(Family::of(address)) {
                    return false;
                }
                let asks = if entry.ask.is_specific() {
                    entry.ask.names(address)
                } else {
                    entry.ask.tolerates(address)
                };
                !(asks
                    && self
                        .take_named(place, address, &mut Exchange::default())
                        .is_ok())
            });
            if !claim.addresses.is_empty() {
                self.claims.insert(name, claim);
            }
        }
    }

    /// Lets Services keep what was taken from them, is still in their status, and is theirs again by what has changed since.
    fn serve_former_holders(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let has_former = |place: &usize| {
            self.entries[*place]
                .holder
                .held
                .iter()
                .any(|held| !held.is_kept())
        };
        let mut turns: Vec<Turn> = (0..self.entries.len())
            .filter(has_former)
            .map(|place| self.seniority(place))
            .collect();
        turns.sort_unstable();
        for (_, place) in turns {
            for index in 0..self.entries[place].holder.held.len() {
                let entry = &self.entries[place];
                let Held { address, state } = entry.holder.held[index];
                let family = Family::of(address);
                let asks = if entry.ask.is_specific() {
                    entry.ask.names(address)
                } else {
                    entry.ask.wants(family) && !entry.has_any(family)
                };
                if state != State::Leaving || !asks || !self.is_holder(entry.holder.owner, address)
                {
                    continue;
                }
                if let Ok(pool) = self.pool_for_named(place, address) {
                    // Where it may not be taken back the Service is served like any other.
                    let _ = self.take_back(place, address, pool);
                }
            }
        }
    }

    fn serve_named(&mut self, exchange: &mut Exchange) {
        let all: Vec<Turn> = exchange.queue.iter().copied().collect();
        loop {
            while let Some((_, place)) = exchange.queue.pop_first() {
                self.serve_items(place, exchange);
            }
            if !self.serve_ring(&all, exchange) {
                return;
            }
        }
    }

    /// Gives one Service what it names, as far as that can be had; if it has all, what it does not name goes.
    fn serve_items(&mut self, place: usize, exchange: &mut Exchange) {
        let mut refusal = None;
        self.entries[place].waits = false;
        for index in 0..self.entries[place].ask.items.len() {
            let address = match &self.entries[place].ask.items[index] {
                Item::Address(address) => *address,
                Item::Unparsable(text) => {
                    refusal = Some(report::not_an_address(text));
                    continue;
                }
            };
            if !self.entries[place].holder.keeps(address)
                && let Err(condition) = self.take_named(place, address, exchange)
            {
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
            let Held { address, state } = entry.holder.held[index];
            if state == State::Leaving || entry.ask.names(address) {
                continue;
            }
            self.take_away(place, index);
            exchange.given_up.insert(address);
            exchange
                .queue
                .extend(exchange.waiting.remove(&address).unwrap_or_default());
        }
    }

    /// Gives a Service an address it names.
    fn take_named(
        &mut self,
        place: usize,
        address: IpAddr,
        exchange: &mut Exchange,
    ) -> Result<(), ServiceCondition> {
        let pool = self.pool_for_named(place, address)?;
        let entry = &self.entries[place];
        if !entry.ask.has(Family::of(address)) {
            return Err(report::wrong_family(address));
        }
        let owner = entry.holder.owner;
        if self.is_holder(owner, address) {
            return self.take_back(place, address, pool);
        }
        if exchange.given_up.contains(&address) {
            self.hand_over(address, exchange);
        }
        let request = Request {
            owner,
            wanted: Wanted::Address(address),
            pools: &[pool],
            join: &[],
        };
        let refusal = match self.allocator.assign(&request) {
            Ok(address) => {
                self.entries[place].holder.held.push(Held {
                    address,
                    state: State::Kept,
                });
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        if matches!(refusal, Refusal::InUse | Refusal::Incompatible(_)) {
            let turn = self.seniority(place);
            exchange.waiting.entry(address).or_default().insert(turn);
            self.entries[place].waits |= self.is_about_to_be_free(owner, address, exchange);
        }
        Err(match refusal {
            Refusal::Incompatible(why) => report::incompatible(address, why),
            Refusal::Reserved(key) => {
                report::reserved(address, self.pools.get(key).map_or("", |view| view.name))
            }
            Refusal::NoPool | Refusal::Exhausted | Refusal::InUse => report::in_use(address),
        })
    }

    /// The usable pool that gives this Service the address, or what stands in the way. Of several reasons the one that
    /// applies first: another pool would be the wrong advice.
    fn pool_for_named(&self, place: usize, address: IpAddr) -> Result<PoolKey, ServiceCondition> {
        let service = self.entries[place].service;
        let mut unusable = None;
        let mut not_selected = false;
        for view in self.pools.containing(self.allocator, address) {
            match view.standing {
                Standing::Usable if view.selects(service) => return Ok(view.key),
                Standing::Usable => not_selected = true,
                standing => unusable = unusable.or(Some(standing)),
            }
        }
        if not_selected {
            return Err(report::not_selected(address));
        }
        Err(match unusable {
            Some(Standing::Disabled) => report::pool_is("disabled", address),
            Some(Standing::Conflicting) => report::pool_is("conflicting", address),
            Some(Standing::Broken) => report::pool_is("invalid", address),
            Some(Standing::Usable) | None => report::no_pool_with(address),
        })
    }

    /// Lets a Service keep after all what was taken away from it and is still in its status.
    fn take_back(
        &mut self,
        place: usize,
        address: IpAddr,
        pool: PoolKey,
    ) -> Result<(), ServiceCondition> {
        let owner = self.entries[place].holder.owner;
        if let Some(holding) = self.allocator.holding(address) {
            let others: Vec<Owner> = holding
                .owners()
                .copied()
                .filter(|other| *other != owner)
                .collect();
            if !others.is_empty() {
                let by_owner = self.places_by_owner();
                let stays = |other: &Owner| {
                    by_owner
                        .get(other)
                        .is_some_and(|&place| self.entries[place].holder.keeps(address))
                };
                for other in others.iter().filter(|other| stays(other)) {
                    if let Err(why) = self.allocator.compatible(owner, *other) {
                        return Err(report::incompatible(address, why));
                    }
                }
            }
            if holding.pool().is_none() {
                self.allocator.book(address, Some(pool));
            }
        }
        let held = self.entries[place]
            .holder
            .held
            .iter_mut()
            .find(|held| held.address == address);
        if let Some(held) = held {
            held.state = State::Kept;
        }
        self.leaving.remove(&address);
        Ok(())
    }

    /// Ends what those who gave an address up in this plan still have of it.
    fn hand_over(&mut self, address: IpAddr, exchange: &mut Exchange) {
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
                self.entries[place]
                    .holder
                    .held
                    .retain(|held| held.address != address);
                self.allocator.release(holder, address);
            }
        }
        self.leaving.remove(&address);
    }

    fn is_holder(&self, owner: Owner, address: IpAddr) -> bool {
        let holding = self.allocator.holding(address);
        holding.is_some_and(|holding| holding.owners().any(|holder| *holder == owner))
    }

    fn is_about_to_be_free(&self, owner: Owner, address: IpAddr, exchange: &mut Exchange) -> bool {
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

    /// The holders of an address with whom the owner may not share it.
    pub(super) fn in_the_way(&self, owner: Owner, address: IpAddr) -> Vec<Owner> {
        let Some(holding) = self.allocator.holding(address) else {
            return Vec::new();
        };
        let clashes =
            |other: &Owner| *other != owner && self.allocator.compatible(owner, *other).is_err();
        holding.owners().copied().filter(clashes).collect()
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
                .any(|held| held.is_kept() && !entry.ask.names(held.address))
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
        for item in &entry.ask.items {
            let Item::Address(address) = *item else {
                return None;
            };
            if entry.holder.keeps(address) {
                continue;
            }
            self.pool_for_named(place, address).ok()?;
            if !entry.ask.has(Family::of(address)) {
                return None;
            }
            for other in self.in_the_way(entry.holder.owner, address) {
                let mover = *exchange.by_owner.get(&other)?;
                let theirs = &self.entries[mover];
                let gives_up = theirs.ask.is_specific()
                    && !theirs.ask.names(address)
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
                .filter(|held| held.is_kept() && !entry.ask.names(held.address))
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
            self.entries[place]
                .holder
                .held
                .retain(|held| held.address != address);
            if self.allocator.holding(address).is_none() {
                self.restore(place, address, None);
                self.entries[place].holder.held.push(Held {
                    address,
                    state: State::Leaving,
                });
                self.leaving.insert(address);
                exchange.given_up.insert(address);
                exchange
                    .queue
                    .extend(exchange.waiting.remove(&address).unwrap_or_default());
            }
        }
        for (place, address) in taken {
            self.entries[place].holder.held.push(Held {
                address,
                state: State::Kept,
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
            for index in 0..self.entries[place].ask.items.len() {
                let entry = &self.entries[place];
                let Item::Address(address) = entry.ask.items[index] else {
                    continue;
                };
                if entry.holder.keeps(address) {
                    continue;
                }
                let assigned = self.pool_for_named(place, address).is_ok_and(|pool| {
                    let wanted = Wanted::Address(address);
                    let request = Request {
                        owner: entry.holder.owner,
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

    /// Books again what was released a moment ago and is free, or held only by those who shared it.
    fn restore(&mut self, place: usize, address: IpAddr, booked: Option<PoolKey>) {
        let restored = self
            .allocator
            .restore(self.entries[place].holder.owner, address, booked);
        debug_assert_eq!(restored, Ok(()), "nobody took it meanwhile");
    }

    /// Gives a Service an address of each family it lacks; true where it got one.
    fn serve_generic(&mut self, place: usize) -> bool {
        self.entries[place].refusal = None;
        self.entries[place].waits = false;
        let mut given = false;
        let (pools, join) = self.pools.selecting(self.entries[place].service);
        for family in [Family::V4, Family::V6] {
            let entry = &self.entries[place];
            if !entry.ask.wants(family) || entry.has_any(family) {
                continue;
            }
            let owner = self.entries[place].holder.owner;
            let request = Request {
                owner,
                wanted: Wanted::Any(family),
                pools: &pools,
                join: &join,
            };
            let assigned = self.allocator.assign(&request);
            let leaving_soon = assigned.is_err()
                && self.leaving.iter().any(|&address| {
                    Family::of(address) == family
                        && self.allocator.holding(address).is_some()
                        && self.pool_for_named(place, address).is_ok()
                });
            let entry = &mut self.entries[place];
            match assigned {
                Ok(address) => {
                    entry.holder.held.push(Held {
                        address,
                        state: State::Kept,
                    });
                    given = true;
                }
                Err(Refusal::NoPool) => entry.refusal = Some(report::no_matching_pool()),
                Err(_) => entry.refusal = Some(report::out_of_addresses()),
            }
            entry.waits |= leaving_soon;
        }
        given
    }
}
