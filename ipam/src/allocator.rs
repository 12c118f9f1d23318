use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use crate::selection::InUse;
use crate::{Count, Family, Incompatible, Pool, PoolKey, Port, Refusal, Request, Sharing, Wanted};

/// Who holds which address.
///
/// `O` is the caller's key of an owner. An address is booked in one pool, the one it came from, whatever other pools
/// contain it; it is booked in none where its pool is gone or nobody knows where it belongs.
#[derive(Clone, Debug)]
pub struct Allocator<O> {
    pools: BTreeMap<PoolKey, Bookkeeping>,
    holdings: HashMap<IpAddr, Holding<O>>,
    owners: HashMap<O, Owner>,
    /// By sharing key.
    shared: HashMap<String, Shared>,
    in_use: InUse,
    /// See [`Allocator::hand_out_last`]; `None` while there are no such addresses.
    set_aside: Option<SetAside>,
    /// How often an address became free: what was found full stays full while this stands still.
    releases: u64,
}

/// One address in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding<O> {
    pool: Option<PoolKey>,
    first: O,
    others: Vec<O>,
}

/// The counters of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All ranges together.
    pub total: Count,
    /// Addresses booked here, each once however many share it, and those kept back.
    pub used: Count,
}

#[derive(Clone, Debug)]
struct Bookkeeping {
    pool: Pool,
    booked: u64,
    /// Per family, up to which range everything is in use.
    full: [Full; 2],
}

/// Addresses handed out only where nothing else is left.
#[derive(Clone, Debug)]
struct SetAside {
    addresses: BTreeSet<IpAddr>,
    /// These, and whatever is in use.
    avoided: InUse,
}

/// What owners with one sharing key hold.
#[derive(Clone, Debug, Default)]
struct Shared {
    /// How many of them hold each address.
    addresses: BTreeMap<IpAddr, u32>,
    /// How many of them serve a port there: who wants to serve it too need not be asked whether it may join.
    taken: HashMap<Port, BTreeMap<IpAddr, u32>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Full {
    ranges: usize,
    releases: u64,
}

#[derive(Clone, Debug, Default)]
struct Owner {
    /// Few share, so that it takes little room where it is missing.
    sharing: Option<Box<Sharing>>,
    holds: Vec<IpAddr>,
}

impl Usage {
    /// What is left.
    pub fn available(&self) -> Count {
        self.total.saturating_sub(self.used)
    }
}

impl<O> Holding<O> {
    /// The pool it is booked in.
    pub fn pool(&self) -> Option<PoolKey> {
        self.pool
    }

    /// Who holds it: the first one first, then as they joined.
    pub fn owners(&self) -> impl Iterator<Item = &O> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether more than one holds it.
    pub fn is_shared(&self) -> bool {
        !self.others.is_empty()
    }
}

impl<O> Default for Allocator<O> {
    fn default() -> Self {
        Self {
            pools: BTreeMap::new(),
            holdings: HashMap::new(),
            owners: HashMap::new(),
            shared: HashMap::new(),
            in_use: InUse::default(),
            set_aside: None,
            releases: 0,
        }
    }
}

impl<O: Copy + Eq + Hash> Allocator<O> {
    /// Replaces all pools. Nobody loses an address by it; one that its pool does not contain any more is booked nowhere.
    pub fn set_pools(&mut self, pools: impl IntoIterator<Item = (PoolKey, Pool)>) {
        let bookkeeping = |pool| Bookkeeping {
            pool,
            booked: 0,
            full: [Full::default(); 2],
        };
        self.pools = pools
            .into_iter()
            .map(|(key, pool)| (key, bookkeeping(pool)))
            .collect();
        self.releases += 1;
        for (address, holding) in &mut self.holdings {
            let Some(key) = holding.pool else { continue };
            match self.pools.get_mut(&key) {
                Some(bookkeeping) if bookkeeping.pool.contains(*address) => bookkeeping.booked += 1,
                _ => holding.pool = None,
            }
        }
    }

    /// Gives an owner what it asks for, and says which address it is.
    ///
    /// An owner that already holds the address it names is told so again. One that wants any address gets another one each
    /// time.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn assign(&mut self, request: &Request<'_, O>) -> Result<IpAddr, Refusal> {
        match request.wanted {
            Wanted::Address(address) => self.assign_named(request, address),
            Wanted::Any(family) => self.assign_any(request, family),
        }
    }

    /// Takes over what is recorded elsewhere: the owner holds the address, booked in the pool named, whether that pool
    /// gives out anything or keeps the address back.
    ///
    /// # Errors
    /// The address is in use by somebody with whom the owner may not share; nothing has changed then.
    pub fn restore(
        &mut self,
        owner: O,
        address: IpAddr,
        pool: Option<PoolKey>,
    ) -> Result<(), Refusal> {
        if self.holdings.contains_key(&address) {
            self.may_join(owner, address)?;
        }
        self.hold(owner, address, pool);
        Ok(())
    }

    /// Notes that an owner holds an address, whoever holds it already and on whatever terms: what others do cannot be refused.
    /// Nobody who may not share with this owner gets the address from now on; those who hold it keep it.
    pub fn hold_unasked(&mut self, owner: O, address: IpAddr) {
        self.hold(owner, address, None);
    }

    /// Takes an address away from an owner; it is free when nobody else holds it. False where the owner did not hold it.
    pub fn release(&mut self, owner: O, address: IpAddr) -> bool {
        if !self.leave(owner, address) {
            return false;
        }
        if let Some(state) = self.owners.get_mut(&owner) {
            state.holds.retain(|held| *held != address);
            if let Some(sharing) = &state.sharing {
                stop_sharing(&mut self.shared, sharing, address);
            } else if state.holds.is_empty() {
                self.owners.remove(&owner);
            }
        }
        true
    }

    /// Takes everything away from an owner and forgets its terms.
    pub fn forget(&mut self, owner: O) {
        let Some(state) = self.owners.remove(&owner) else {
            return;
        };
        for address in state.holds {
            self.leave(owner, address);
            if let Some(sharing) = &state.sharing {
                stop_sharing(&mut self.shared, sharing, address);
            }
        }
    }

    /// Books an address in use in another pool, or in none. A pool that does not contain it is none.
    pub fn book(&mut self, address: IpAddr, pool: Option<PoolKey>) {
        let pool = pool.filter(|key| self.pool(*key).is_some_and(|pool| pool.contains(address)));
        let Some(holding) = self.holdings.get_mut(&address) else {
            return;
        };
        let before = std::mem::replace(&mut holding.pool, pool);
        if let Some(bookkeeping) = before.and_then(|key| self.pools.get_mut(&key)) {
            bookkeeping.booked -= 1;
        }
        if let Some(bookkeeping) = pool.and_then(|key| self.pools.get_mut(&key)) {
            bookkeeping.booked += 1;
        }
    }

    /// Changes on which terms an owner shares. It keeps what it holds, also where the new terms do not suit those it shares
    /// with: who has to go then is the caller's decision, see [`Allocator::compatible`].
    pub fn set_sharing(&mut self, owner: O, sharing: Option<Sharing>) {
        let state = self.owners.entry(owner).or_default();
        let before = std::mem::replace(&mut state.sharing, sharing.map(Box::new));
        for &address in &state.holds {
            if let Some(before) = &before {
                stop_sharing(&mut self.shared, before, address);
            }
            if let Some(sharing) = &state.sharing {
                start_sharing(&mut self.shared, sharing, address);
            }
        }
        if state.holds.is_empty() && state.sharing.is_none() {
            self.owners.remove(&owner);
        }
    }

    /// The terms of an owner.
    pub fn sharing(&self, owner: O) -> Option<&Sharing> {
        self.owners.get(&owner)?.sharing.as_deref()
    }

    /// Whether the terms of two owners let them hold one address.
    ///
    /// # Errors
    /// Why not.
    pub fn compatible(&self, owner: O, other: O) -> Result<(), Incompatible> {
        match (self.sharing(owner), self.sharing(other)) {
            (Some(ours), Some(theirs)) => ours.compatible_with(theirs),
            _ => Err(Incompatible::Key),
        }
    }

    /// Sets addresses aside, in place of those set aside before: who wants any address gets one of them only when its pools
    /// have no other left. Who names one gets it as ever.
    pub fn hand_out_last(&mut self, addresses: BTreeSet<IpAddr>) {
        if addresses.is_empty() {
            self.set_aside = None;
            return;
        }
        let mut avoided = self.in_use.clone();
        for address in &addresses {
            if !self.holdings.contains_key(address) {
                avoided.insert(*address);
            }
        }
        self.set_aside = Some(SetAside { addresses, avoided });
    }

    /// Who holds the address, and where it is booked; `None` where it is free.
    pub fn holding(&self, address: IpAddr) -> Option<&Holding<O>> {
        self.holdings.get(&address)
    }

    /// What an owner holds, in the order obtained.
    pub fn held_by(&self, owner: O) -> &[IpAddr] {
        self.owners.get(&owner).map_or(&[], |state| &state.holds)
    }

    /// How many addresses are in use.
    pub fn len(&self) -> usize {
        self.holdings.len()
    }

    /// Whether nobody holds anything.
    pub fn is_empty(&self) -> bool {
        self.holdings.is_empty()
    }

    /// A pool as it was set.
    pub fn pool(&self, key: PoolKey) -> Option<&Pool> {
        self.pools.get(&key).map(|bookkeeping| &bookkeeping.pool)
    }

    /// The counters of a pool. An address kept back counts as such while it is booked nowhere.
    pub fn usage(&self, key: PoolKey) -> Option<Usage> {
        let bookkeeping = self.pools.get(&key)?;
        let ends = bookkeeping
            .pool
            .ranges()
            .iter()
            .filter_map(|range| range.reserved())
            .flatten();
        let reserved = ends
            .filter(|address| !self.holdings.contains_key(address))
            .count();
        let used = Count::from(u128::from(bookkeeping.booked)) + Count::from(reserved as u128);
        Some(Usage {
            total: bookkeeping.pool.size(),
            used,
        })
    }

    fn assign_named(
        &mut self,
        request: &Request<'_, O>,
        address: IpAddr,
    ) -> Result<IpAddr, Refusal> {
        let contains = |key: &&PoolKey| self.pool(**key).is_some_and(|pool| pool.contains(address));
        let key = *request.pools.iter().find(contains).ok_or(Refusal::NoPool)?;
        if self.holdings.contains_key(&address) {
            self.may_join(request.owner, address)?;
        } else if self.pool(key).is_some_and(|pool| pool.reserves(address)) {
            return Err(Refusal::Reserved(key));
        }
        self.hold(request.owner, address, Some(key));
        Ok(address)
    }

    fn assign_any(&mut self, request: &Request<'_, O>, family: Family) -> Result<IpAddr, Refusal> {
        if let Some(address) = self.address_to_join(request, family) {
            self.hold(request.owner, address, None);
            return Ok(address);
        }
        if let Some((key, address)) = self.address_not_set_aside(request.pools, family) {
            self.hold(request.owner, address, Some(key));
            return Ok(address);
        }
        let mut refusal = Refusal::NoPool;
        for key in request.pools {
            let Some(bookkeeping) = self.pools.get_mut(key) else {
                continue;
            };
            if !bookkeeping.pool.has_family(family) {
                continue;
            }
            if let Some(address) = bookkeeping.lowest_free(family, &self.in_use, self.releases) {
                self.hold(request.owner, address, Some(*key));
                return Ok(address);
            }
            refusal = Refusal::Exhausted;
        }
        Err(refusal)
    }

    /// The lowest free address of the first pool that has one besides those set aside; `None` where nothing is set aside.
    fn address_not_set_aside(
        &self,
        pools: &[PoolKey],
        family: Family,
    ) -> Option<(PoolKey, IpAddr)> {
        let avoided = &self.set_aside.as_ref()?.avoided;
        pools.iter().find_map(|&key| {
            let mut ranges = self.pool(key)?.open().iter();
            let address = ranges.find_map(|range| {
                let free = (range.family() == family).then(|| avoided.lowest_free(range));
                free.flatten()
            })?;
            Some((key, address))
        })
    }

    /// The lowest address held under the owner's sharing key on which it may join all holders.
    fn address_to_join(&self, request: &Request<'_, O>, family: Family) -> Option<IpAddr> {
        let sharing = self.sharing(request.owner)?;
        let shared = self.shared.get(&sharing.key)?;
        let taken = sharing
            .ports
            .iter()
            .filter_map(|port| shared.taken.get(port));
        let taken: Vec<&BTreeMap<IpAddr, u32>> = taken.collect();
        let addresses = &shared.addresses;
        if taken.iter().any(|taken| taken.len() == addresses.len()) {
            return None;
        }
        let v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let of_family = match family {
            Family::V4 => addresses.range(..v6),
            Family::V6 => addresses.range(v6..),
        };
        let contains = |address| {
            move |key: &PoolKey| self.pool(*key).is_some_and(|pool| pool.contains(address))
        };
        let mut untaken = of_family
            .map(|(address, _)| *address)
            .filter(|address| !taken.iter().any(|taken| taken.contains_key(address)));
        untaken.find(|&address| {
            self.holdings.get(&address).is_some_and(|holding| {
                holding.pool.is_some()
                    && request.join.iter().any(contains(address))
                    && !holding.owners().any(|holder| *holder == request.owner)
                    && self.may_join(request.owner, address).is_ok()
            })
        })
    }

    fn may_join(&self, owner: O, address: IpAddr) -> Result<(), Refusal> {
        let Some(holding) = self.holdings.get(&address) else {
            return Ok(());
        };
        if holding.owners().any(|holder| *holder == owner) {
            return Ok(());
        }
        let sharing = self.sharing(owner).ok_or(Refusal::InUse)?;
        holding.owners().try_for_each(|holder| {
            let theirs = self
                .sharing(*holder)
                .ok_or(Refusal::Incompatible(Incompatible::Key))?;
            sharing
                .compatible_with(theirs)
                .map_err(Refusal::Incompatible)
        })
    }

    /// Makes the owner a holder. The pool counts where the address is booked nowhere yet.
    fn hold(&mut self, owner: O, address: IpAddr, pool: Option<PoolKey>) {
        match self.holdings.get_mut(&address) {
            Some(holding) => {
                if holding.owners().any(|holder| *holder == owner) {
                    return;
                }
                holding.others.push(owner);
                if holding.pool.is_none() && pool.is_some() {
                    self.book(address, pool);
                }
            }
            None => {
                self.in_use.insert(address);
                if let Some(aside) = &mut self.set_aside
                    && !aside.addresses.contains(&address)
                {
                    aside.avoided.insert(address);
                }
                self.holdings.insert(
                    address,
                    Holding {
                        pool: None,
                        first: owner,
                        others: Vec::new(),
                    },
                );
                self.book(address, pool);
            }
        }
        let state = self.owners.entry(owner).or_default();
        state.holds.push(address);
        if let Some(sharing) = &state.sharing {
            start_sharing(&mut self.shared, sharing, address);
        }
    }

    /// Ends a holding, as far as the address goes; false where there is none.
    fn leave(&mut self, owner: O, address: IpAddr) -> bool {
        let Some(holding) = self.holdings.get_mut(&address) else {
            return false;
        };
        if holding.first == owner {
            if holding.others.is_empty() {
                self.free(address);
            } else {
                holding.first = holding.others.remove(0);
            }
        } else if let Some(place) = holding.others.iter().position(|other| *other == owner) {
            holding.others.remove(place);
        } else {
            return false;
        }
        true
    }

    fn free(&mut self, address: IpAddr) {
        self.book(address, None);
        self.holdings.remove(&address);
        self.in_use.remove(address);
        if let Some(aside) = &mut self.set_aside
            && !aside.addresses.contains(&address)
        {
            aside.avoided.remove(address);
        }
        self.releases += 1;
    }
}

/// Notes that an owner with these terms holds the address.
fn start_sharing(shared: &mut HashMap<String, Shared>, sharing: &Sharing, address: IpAddr) {
    let shared = shared.entry(sharing.key.clone()).or_default();
    *shared.addresses.entry(address).or_default() += 1;
    for port in &sharing.ports {
        let taken = shared.taken.entry(port.clone()).or_default();
        *taken.entry(address).or_default() += 1;
    }
}

/// Notes that it does not any longer.
fn stop_sharing(all: &mut HashMap<String, Shared>, sharing: &Sharing, address: IpAddr) {
    let Some(shared) = all.get_mut(&sharing.key) else {
        return;
    };
    count_down(&mut shared.addresses, address);
    for port in &sharing.ports {
        if let Some(taken) = shared.taken.get_mut(port) {
            count_down(taken, address);
            if taken.is_empty() {
                shared.taken.remove(port);
            }
        }
    }
    if shared.addresses.is_empty() {
        all.remove(&sharing.key);
    }
}

fn count_down(counts: &mut BTreeMap<IpAddr, u32>, address: IpAddr) {
    if let Some(count) = counts.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&address);
        }
    }
}

impl Bookkeeping {
    fn lowest_free(&mut self, family: Family, in_use: &InUse, releases: u64) -> Option<IpAddr> {
        let full = &mut self.full[usize::from(family == Family::V6)];
        if full.releases != releases {
            *full = Full {
                ranges: 0,
                releases,
            };
        }
        let open = self.pool.open();
        while let Some(range) = open.get(full.ranges) {
            if range.family() == family
                && let Some(address) = in_use.lowest_free(range)
            {
                return Some(address);
            }
            full.ranges += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Consent, Exposure, PoolRange, Port};

    const A: PoolKey = PoolKey(1);
    const B: PoolKey = PoolKey(2);

    fn pool(ranges: &[&str], reserve_ends: bool) -> Pool {
        Pool::new(
            ranges
                .iter()
                .map(|text| PoolRange {
                    range: text.parse().unwrap(),
                    reserve_ends,
                })
                .collect(),
        )
    }

    fn allocator(pools: &[(PoolKey, &[&str])]) -> Allocator<u32> {
        let mut allocator = Allocator::default();
        allocator.set_pools(
            pools
                .iter()
                .map(|&(key, ranges)| (key, pool(ranges, false))),
        );
        allocator
    }

    fn any(
        allocator: &mut Allocator<u32>,
        owner: u32,
        pools: &[PoolKey],
    ) -> Result<String, Refusal> {
        let request = Request {
            owner,
            wanted: Wanted::Any(Family::V4),
            pools,
            join: pools,
        };
        allocator
            .assign(&request)
            .map(|address| address.to_string())
    }

    fn named(
        allocator: &mut Allocator<u32>,
        owner: u32,
        address: &str,
        pools: &[PoolKey],
    ) -> Result<(), Refusal> {
        let request = Request {
            owner,
            wanted: Wanted::Address(ip(address)),
            pools,
            join: pools,
        };
        allocator
            .assign(&request)
            .map(|assigned| assert_eq!(assigned, ip(address)))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn terms(key: &str, port: u16) -> Option<Sharing> {
        Some(Sharing {
            key: key.into(),
            group: "t".into(),
            consent: Consent::Groups(vec![]),
            ports: vec![Port {
                number: port,
                protocol: "TCP".into(),
            }],
            exposure: Exposure::Everywhere,
        })
    }

    fn used(allocator: &Allocator<u32>, key: PoolKey) -> String {
        allocator.usage(key).unwrap().used.to_string()
    }

    #[test]
    fn the_lowest_free_address_is_taken_range_by_range_and_pool_by_pool() {
        let mut allocator =
            allocator(&[(A, &["10.0.9.0/31", "10.0.1.0/32"]), (B, &["10.0.0.0/31"])]);
        let order: Vec<_> = (0..5)
            .map(|owner| any(&mut allocator, owner, &[A, B]).unwrap())
            .collect();
        assert_eq!(
            order,
            ["10.0.9.0", "10.0.9.1", "10.0.1.0", "10.0.0.0", "10.0.0.1"]
        );
        assert_eq!(any(&mut allocator, 9, &[A, B]), Err(Refusal::Exhausted));
        assert!(allocator.release(1, ip("10.0.9.1")));
        assert_eq!(any(&mut allocator, 9, &[B, A]).unwrap(), "10.0.9.1");
        assert_eq!(any(&mut allocator, 9, &[]), Err(Refusal::NoPool));
    }

    #[test]
    fn an_address_in_two_pools_has_one_holder_and_is_counted_in_the_pool_it_came_from() {
        let mut allocator = allocator(&[(A, &["10.0.0.0/31"]), (B, &["10.0.0.0/30"])]);
        assert_eq!(any(&mut allocator, 1, &[A]).unwrap(), "10.0.0.0");
        assert_eq!(any(&mut allocator, 2, &[B]).unwrap(), "10.0.0.1");
        assert_eq!(
            named(&mut allocator, 3, "10.0.0.0", &[B]),
            Err(Refusal::InUse)
        );
        assert_eq!(
            (used(&allocator, A), used(&allocator, B)),
            ("1".into(), "1".into())
        );
    }

    #[test]
    fn reserved_ends_are_given_to_nobody_and_counted_unless_somebody_holds_them() {
        let mut allocator = Allocator::default();
        allocator.set_pools([(A, pool(&["10.0.0.0/30"], true))]);
        assert_eq!(used(&allocator, A), "2");
        assert_eq!(
            named(&mut allocator, 1, "10.0.0.0", &[A]),
            Err(Refusal::Reserved(A))
        );
        allocator.set_sharing(1, terms("k", 80));
        assert_eq!(
            named(&mut allocator, 1, "10.0.0.3", &[A]),
            Err(Refusal::Reserved(A))
        );
        allocator.restore(7, ip("10.0.0.3"), Some(A)).unwrap();
        assert_eq!(used(&allocator, A), "2");
        assert_eq!(
            named(&mut allocator, 2, "10.0.0.3", &[A]),
            Err(Refusal::InUse)
        );
        assert_eq!(any(&mut allocator, 3, &[A]).unwrap(), "10.0.0.1");
        assert_eq!(any(&mut allocator, 4, &[A]).unwrap(), "10.0.0.2");
        assert_eq!(any(&mut allocator, 5, &[A]), Err(Refusal::Exhausted));
        allocator.release(7, ip("10.0.0.3"));
        assert_eq!(used(&allocator, A), "4", "reserved again");
        assert_eq!(any(&mut allocator, 5, &[A]), Err(Refusal::Exhausted));
    }

    #[test]
    fn sharers_join_and_the_address_lives_as_long_as_its_last_user() {
        let mut allocator = allocator(&[(A, &["10.0.0.0/30"])]);
        for (owner, port) in [(1, 80), (2, 80), (3, 81), (4, 82)] {
            allocator.set_sharing(owner, terms("k", port));
        }
        assert_eq!(any(&mut allocator, 1, &[A]).unwrap(), "10.0.0.0");
        assert_eq!(any(&mut allocator, 2, &[A]).unwrap(), "10.0.0.1");
        assert_eq!(any(&mut allocator, 3, &[A]).unwrap(), "10.0.0.0");
        assert_eq!(named(&mut allocator, 4, "10.0.0.1", &[A]), Ok(()));
        assert_eq!(used(&allocator, A), "2");
        allocator.release(1, ip("10.0.0.0"));
        assert_eq!(any(&mut allocator, 5, &[A]).unwrap(), "10.0.0.2");
        allocator.release(3, ip("10.0.0.0"));
        assert_eq!(any(&mut allocator, 6, &[A]).unwrap(), "10.0.0.0");
    }

    #[test]
    fn a_generic_sharer_joins_only_where_it_may_be_served() {
        let mut allocator = allocator(&[(A, &["10.0.0.0/30"]), (B, &["10.0.1.0/30"])]);
        allocator.set_sharing(1, terms("k", 80));
        allocator.set_sharing(2, terms("k", 81));
        assert_eq!(any(&mut allocator, 1, &[A]).unwrap(), "10.0.0.0");
        assert_eq!(any(&mut allocator, 2, &[B]).unwrap(), "10.0.1.0");
        let closed = Request {
            owner: 3,
            wanted: Wanted::Any(Family::V4),
            pools: &[],
            join: &[A],
        };
        allocator.set_sharing(3, terms("k", 82));
        assert_eq!(
            allocator.assign(&closed),
            Ok(ip("10.0.0.0")),
            "a pool that gives out nothing new can be joined"
        );
    }

    #[test]
    fn a_changed_key_moves_the_holder_to_the_other_key() {
        let mut allocator = allocator(&[(A, &["10.0.0.0/30"])]);
        assert_eq!(any(&mut allocator, 1, &[A]).unwrap(), "10.0.0.0");
        allocator.set_sharing(1, terms("k", 80));
        allocator.set_sharing(2, terms("k", 81));
        assert_eq!(any(&mut allocator, 2, &[A]).unwrap(), "10.0.0.0");
        allocator.set_sharing(2, terms("l", 81));
        assert_eq!(allocator.compatible(1, 2), Err(Incompatible::Key));
        assert_eq!(allocator.held_by(2), [ip("10.0.0.0")]);
        allocator.forget(1);
        allocator.set_sharing(3, terms("k", 82));
        assert_eq!(any(&mut allocator, 3, &[A]).unwrap(), "10.0.0.1");
        assert!(allocator.holding(ip("10.0.0.0")).is_some());
    }

    #[test]
    fn new_pools_take_nothing_away() {
        let mut allocator = allocator(&[(A, &["10.0.0.0/30"])]);
        assert_eq!(any(&mut allocator, 1, &[A]).unwrap(), "10.0.0.0");
        allocator.set_pools([(B, pool(&["10.0.0.0/31"], false))]);
        assert_eq!(allocator.holding(ip("10.0.0.0")).unwrap().pool(), None);
        assert_eq!(any(&mut allocator, 2, &[B]).unwrap(), "10.0.0.1");
        allocator.book(ip("10.0.0.0"), Some(B));
        assert_eq!(used(&allocator, B), "2");
    }

    #[test]
    fn an_ipv6_pool_of_any_size_costs_its_runs_only() {
        let mut allocator = Allocator::default();
        allocator.set_pools([(A, pool(&["::/0"], true))]);
        let request = Request {
            owner: 1,
            wanted: Wanted::Any(Family::V6),
            pools: &[A],
            join: &[A],
        };
        assert_eq!(allocator.assign(&request), Ok(ip("::1")));
        assert_eq!(
            allocator.usage(A).unwrap().available().to_string(),
            "340282366920938463463374607431768211453"
        );
    }

    #[test]
    fn what_is_set_aside_is_handed_out_when_nothing_else_is_left_or_to_who_names_it() {
        let mut allocator = allocator(&[(A, &["10.0.0.0/30"]), (B, &["10.0.1.0/31"])]);
        allocator.hand_out_last(["10.0.0.0", "10.0.0.1", "10.0.1.1"].map(ip).into());
        assert_eq!(any(&mut allocator, 1, &[A]).as_deref(), Ok("10.0.0.2"));
        allocator.release(1, ip("10.0.0.2"));
        assert_eq!(any(&mut allocator, 1, &[A, B]).as_deref(), Ok("10.0.0.2"));
        assert_eq!(any(&mut allocator, 2, &[A, B]).as_deref(), Ok("10.0.0.3"));
        assert_eq!(
            any(&mut allocator, 3, &[A, B]).as_deref(),
            Ok("10.0.1.0"),
            "a younger pool has one that is not set aside"
        );
        assert_eq!(named(&mut allocator, 4, "10.0.0.1", &[A, B]), Ok(()));
        assert_eq!(any(&mut allocator, 5, &[A, B]).as_deref(), Ok("10.0.0.0"));
        assert_eq!(any(&mut allocator, 6, &[A, B]).as_deref(), Ok("10.0.1.1"));
        assert_eq!(any(&mut allocator, 7, &[A, B]), Err(Refusal::Exhausted));
        allocator.release(4, ip("10.0.0.1"));
        allocator.release(2, ip("10.0.0.3"));
        assert_eq!(any(&mut allocator, 7, &[A]).as_deref(), Ok("10.0.0.3"));
        allocator.hand_out_last(BTreeSet::new());
        assert_eq!(any(&mut allocator, 8, &[A]).as_deref(), Ok("10.0.0.1"));
    }

    #[test]
    fn who_holds_unasked_keeps_others_from_joining() {
        let mut allocator = allocator(&[(A, &["10.0.0.0/32"])]);
        for (owner, port) in [(1, 80), (2, 81)] {
            allocator.set_sharing(owner, terms("k", port));
        }
        assert_eq!(named(&mut allocator, 1, "10.0.0.0", &[A]), Ok(()));
        allocator.hold_unasked(9, ip("10.0.0.0"));
        assert!(named(&mut allocator, 2, "10.0.0.0", &[A]).is_err());
        assert!(any(&mut allocator, 2, &[A]).is_err());
        allocator.forget(9);
        assert_eq!(any(&mut allocator, 2, &[A]).as_deref(), Ok("10.0.0.0"));
    }
}
