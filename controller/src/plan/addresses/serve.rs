//! What is newly given: first claims, then addresses asked for by name, then any address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipam::{Family, PoolKey, Refusal, Request, Wanted};

use super::exchange::{Exchange, Turn};
use super::holders::{Arrival, Entry, Held, Planning, State, recorded};
use super::pools::Standing;
use super::{Owner, ServiceCondition, report};

impl Planning<'_> {
    pub(super) fn serve(&mut self) {
        self.serve_claims();
        self.serve_former_holders();
        self.serve_returning();
        let mut exchange = Exchange::default();
        let mut generic = BTreeSet::new();
        let awake = self.entries.iter().enumerate();
        for (place, entry) in awake.filter(|(_, entry)| entry.arrival != Arrival::Quiet) {
            let turn = (entry.service.meta.created, place);
            if entry.holder.ask.is_specific() {
                let held = entry.holder.held.iter().filter(|held| held.is_kept());
                if held.clone().count() != entry.holder.ask.items.len()
                    || !held
                        .clone()
                        .all(|held| entry.holder.ask.names(held.address))
                {
                    exchange.queue.insert(turn);
                }
            } else if [Family::V4, Family::V6]
                .into_iter()
                .any(|family| entry.holder.ask.wants(family) && !entry.has_any(family))
            {
                generic.insert(turn);
            }
        }
        if !exchange.queue.is_empty() {
            self.serve_named(&mut exchange);
        }
        self.set_remembered_aside();
        let free_soon = if generic.is_empty() {
            Vec::new()
        } else {
            self.free_soon()
        };
        while !generic.is_empty() {
            let mut given = false;
            for &(_, place) in &generic {
                given |= self.serve_generic(place, &free_soon);
            }
            // Who could not be served may join on an address that somebody got after it.
            generic.retain(|&(_, place)| {
                given
                    && self.entries[place].refusal.is_some()
                    && self.entries[place].holder.ask.sharing.is_some()
            });
        }
    }

    /// Gives Services that were made again what they had, as far as it is free.
    ///
    /// Whoever waited for it had it as soon as it was free. Where it is free still, or the Service was gone only while
    /// nobody looked, nobody is before it.
    fn serve_returning(&mut self) {
        if self.memory.is_empty() {
            return;
        }
        let remembered = |(place, entry): (usize, &Entry<'_>)| {
            let known = entry.arrival == Arrival::Quiet || entry.holder.ask.is_specific();
            let addresses = self.memory.addresses(&entry.service.meta.name);
            (!known && !addresses.is_empty()).then(|| self.seniority(place))
        };
        let entries = self.entries.iter().enumerate();
        let mut turns: Vec<Turn> = entries.filter_map(remembered).collect();
        turns.sort_unstable();
        for (_, place) in turns {
            let name = &self.entries[place].service.meta.name;
            for address in self.memory.addresses(name).to_vec() {
                let entry = &self.entries[place];
                let family = Family::of(address);
                if entry.holder.ask.wants(family) && !entry.has_any(family) {
                    // Who wants to share rather shares than has what nobody else has.
                    if self.allocator.holding(address).is_none() && self.joins(place, family) {
                        continue;
                    }
                    // Where somebody else has it by now it is served like any other.
                    let _ = self.take_named(place, address, &mut Exchange::default());
                }
            }
        }
    }

    /// Lets a Service have an address that those it shares with have already; false where there is none.
    fn joins(&mut self, place: usize, family: Family) -> bool {
        let entry = &self.entries[place];
        if entry.holder.ask.sharing.is_none() {
            return false;
        }
        let (_, join) = self.pools.selecting(entry.service);
        let request = Request {
            owner: entry.holder.owner,
            wanted: Wanted::Any(family),
            pools: &[],
            join: &join,
        };
        let Ok(address) = self.allocator.assign(&request) else {
            return false;
        };
        self.entries[place].holder.held.push(Held {
            address,
            state: State::Kept,
            home: None,
        });
        true
    }

    /// While there is another address nobody gets one that a Service may come back to.
    fn set_remembered_aside(&mut self) {
        if *self.set_aside != self.memory.changes() {
            *self.set_aside = self.memory.changes();
            self.allocator.hand_out_last(self.memory.all_addresses());
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
                .binary_search_by(|entry| entry.service.meta.name.cmp(name))
                .ok()
        };
        let mut turns: Vec<Turn> = names
            .filter_map(place_of)
            .map(|place| self.seniority(place))
            .collect();
        turns.sort_unstable();
        for (_, place) in turns {
            let name = self.entries[place].service.meta.name.clone();
            let Some(mut claim) = self.claims.remove(&name) else {
                continue;
            };
            claim.addresses.retain(|&address| {
                let entry = &self.entries[place];
                if entry.has_any(Family::of(address)) {
                    return false;
                }
                let asks = if entry.holder.ask.is_specific() {
                    entry.holder.ask.names(address)
                } else {
                    entry.holder.ask.tolerates(address)
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
                let held = entry.holder.held[index];
                let address = held.address;
                let family = Family::of(address);
                let asks = if entry.holder.ask.is_specific() {
                    entry.holder.ask.names(address)
                } else {
                    entry.holder.ask.wants(family) && !entry.has_any(family)
                };
                if held.is_kept() || !asks || !self.is_holder(entry.holder.owner, address) {
                    continue;
                }
                if let Ok(pool) = self.pool_for_named(place, address) {
                    // Where it may not be taken back the Service is served like any other.
                    let _ = self.take_back(place, address, pool);
                }
            }
        }
    }

    /// Gives a Service an address it names.
    pub(super) fn take_named(
        &mut self,
        place: usize,
        address: IpAddr,
        exchange: &mut Exchange,
    ) -> Result<(), ServiceCondition> {
        let pool = self.pool_for_named(place, address)?;
        let entry = &self.entries[place];
        if !entry.holder.ask.has(Family::of(address)) {
            return Err(report::wrong_family(address));
        }
        let owner = entry.holder.owner;
        if self.is_holder(owner, address) {
            return self.take_back(place, address, pool).inspect_err(|_| {
                let turn = self.seniority(place);
                exchange.waiting.entry(address).or_default().insert(turn);
            });
        }
        if self.reserves(pool, address) && !self.is_kept(address) {
            // Whoever gave it up: nobody else gets it.
            let name = self.pools.get(pool).map_or("", |view| view.name);
            return Err(report::reserved(address, name));
        }
        if exchange.given_up.contains(&address) {
            self.hand_over(address, exchange);
        }
        if self.is_contested(owner, address) {
            self.entries[place].waits = true;
            return Err(report::in_use(address));
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
                    home: None,
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
            // The pool was asked just now whether it has the address and gives it out.
            Refusal::NoPool | Refusal::Exhausted | Refusal::Reserved(_) | Refusal::InUse => {
                report::in_use(address)
            }
        })
    }

    /// The usable pool that gives this Service the address, or what stands in the way. Of several reasons the one that
    /// applies first: another pool would be the wrong advice.
    pub(super) fn pool_for_named(
        &self,
        place: usize,
        address: IpAddr,
    ) -> Result<PoolKey, ServiceCondition> {
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
        Ok(())
    }

    pub(super) fn is_holder(&self, owner: Owner, address: IpAddr) -> bool {
        let holding = self.allocator.holding(address);
        holding.is_some_and(|holding| holding.owners().any(|holder| *holder == owner))
    }

    /// Whether the status of somebody with whom the owner may not share it shows the address without right.
    pub(super) fn is_contested(&self, owner: Owner, address: IpAddr) -> bool {
        let carriers = self.contested.get(&address).into_iter().flatten();
        carriers
            .copied()
            .any(|carrier| carrier != owner && self.allocator.compatible(owner, carrier).is_err())
    }

    /// Whether an address that a Service holds, and that is not recorded as its own yet, is still shown by the status of
    /// somebody with whom it may not share it.
    pub(super) fn is_shown_elsewhere(&self, entry: &Entry<'_>, address: IpAddr) -> bool {
        let owner = entry.holder.owner;
        let left_behind =
            || self.leaving.contains(&address) && !self.in_the_way(owner, address).is_empty();
        recorded(entry.service).all(|recorded| recorded != address)
            && (left_behind() || self.is_contested(owner, address))
    }

    /// Whether any of our Services goes on holding the address.
    pub(super) fn is_kept(&self, address: IpAddr) -> bool {
        self.allocator.holding(address).is_some_and(|holding| {
            holding.owners().any(|owner| {
                let mut entries = self.entries.iter();
                entries.any(|entry| entry.holder.owner == *owner && entry.holder.keeps(address))
            })
        })
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

    /// Addresses that nobody will hold once the statuses are written, each with the pool that gives it out then.
    fn free_soon(&self) -> Vec<(IpAddr, PoolKey)> {
        if self.leaving.is_empty() {
            return Vec::new();
        }
        let by_owner = self.places_by_owner();
        let keeps = |owner: &Owner, address| {
            let place = by_owner.get(owner);
            place.is_some_and(|&place| self.entries[place].holder.keeps(address))
        };
        let pool = |address: IpAddr| {
            let holding = self.allocator.holding(address)?;
            let mut pools = self.pools.containing(self.allocator, address);
            let usable = pools.find(|view| view.standing == Standing::Usable)?;
            let given_out = !self.reserves(usable.key, address);
            (given_out && !holding.owners().any(|owner| keeps(owner, address)))
                .then_some((address, usable.key))
        };
        self.leaving.iter().copied().filter_map(pool).collect()
    }

    fn reserves(&self, pool: PoolKey, address: IpAddr) -> bool {
        self.allocator
            .pool(pool)
            .is_some_and(|pool| pool.reserves(address))
    }

    /// Gives a Service an address of each family it lacks; true where it got one.
    fn serve_generic(&mut self, place: usize, free_soon: &[(IpAddr, PoolKey)]) -> bool {
        self.entries[place].refusal = None;
        self.entries[place].waits = false;
        let mut given = false;
        let (pools, join) = self.pools.selecting(self.entries[place].service);
        for family in [Family::V4, Family::V6] {
            let entry = &self.entries[place];
            if !entry.holder.ask.wants(family) || entry.has_any(family) {
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
            let soon = |(address, key): &(IpAddr, PoolKey)| {
                Family::of(*address) == family && pools.contains(key)
            };
            let gets_one_soon = assigned.is_err() && free_soon.iter().any(soon);
            let entry = &mut self.entries[place];
            match assigned {
                Ok(address) => {
                    entry.holder.held.push(Held {
                        address,
                        state: State::Kept,
                        home: None,
                    });
                    given = true;
                }
                Err(Refusal::NoPool) => entry.refusal = Some(report::no_matching_pool()),
                Err(_) => entry.refusal = Some(report::out_of_addresses()),
            }
            entry.waits |= gets_one_soon;
        }
        given
    }
}
