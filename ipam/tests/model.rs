//! Random operations against a naive model; after each one the two must agree on every answer and every fact.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipam::{
    Allocator, Consent, Exposure, Family, Incompatible, Pool, PoolKey, PoolRange, Port, Range,
    Refusal, Request, Sharing, Wanted,
};
use proptest::prelude::*;

const OWNERS: u32 = 8;
const POOLS: u32 = 3;

#[derive(Clone, Debug)]
enum Operation {
    SetPools(Vec<(u32, Vec<PoolRange>)>),
    Assign {
        owner: u32,
        wanted: Wanted,
        pools: Vec<u32>,
        join: Vec<u32>,
    },
    Restore {
        owner: u32,
        address: IpAddr,
        pool: Option<u32>,
    },
    Release {
        owner: u32,
        address: IpAddr,
    },
    Forget {
        owner: u32,
    },
    Book {
        address: IpAddr,
        pool: Option<u32>,
    },
    SetSharing {
        owner: u32,
        sharing: Option<Sharing>,
    },
    HandOutLast(BTreeSet<IpAddr>),
}

/// The allocator as one would write it on a napkin: lists, scanned from the front.
#[derive(Default)]
struct Model {
    pools: BTreeMap<u32, Vec<PoolRange>>,
    holdings: BTreeMap<IpAddr, (Option<u32>, Vec<u32>)>,
    sharing: BTreeMap<u32, Sharing>,
    last: BTreeSet<IpAddr>,
}

impl Model {
    fn contains(&self, pool: u32, address: IpAddr) -> bool {
        let ranges = self.pools.get(&pool);
        ranges.is_some_and(|ranges| ranges.iter().any(|range| range.range.contains(address)))
    }

    fn reserves(&self, pool: u32, address: IpAddr) -> bool {
        self.pools[&pool]
            .iter()
            .any(|range| reserved(range).contains(&address))
    }

    fn may_join(&self, owner: u32, address: IpAddr) -> Result<(), Refusal> {
        let Some((_, owners)) = self.holdings.get(&address) else {
            return Ok(());
        };
        if owners.contains(&owner) {
            return Ok(());
        }
        let ours = self.sharing.get(&owner).ok_or(Refusal::InUse)?;
        for other in owners {
            let theirs = self.sharing.get(other);
            let theirs = theirs.ok_or(Refusal::Incompatible(Incompatible::Key))?;
            ours.compatible_with(theirs)
                .map_err(Refusal::Incompatible)?;
        }
        Ok(())
    }

    fn hold(&mut self, owner: u32, address: IpAddr, pool: Option<u32>) {
        let pool = pool.filter(|pool| self.contains(*pool, address));
        let holding = self.holdings.entry(address).or_insert((pool, vec![]));
        if !holding.1.contains(&owner) {
            holding.1.push(owner);
            holding.0 = holding.0.or(pool);
        }
    }

    fn assign(
        &mut self,
        owner: u32,
        wanted: Wanted,
        pools: &[u32],
        join: &[u32],
    ) -> Result<IpAddr, Refusal> {
        match wanted {
            Wanted::Address(address) => self.assign_named(owner, address, pools),
            Wanted::Any(family) => match self.address_to_join(owner, family, join) {
                Some(address) => {
                    self.hold(owner, address, None);
                    Ok(address)
                }
                None => self.assign_free(owner, family, pools),
            },
        }
    }

    fn assign_named(
        &mut self,
        owner: u32,
        address: IpAddr,
        pools: &[u32],
    ) -> Result<IpAddr, Refusal> {
        let contains = |pool: &u32| self.contains(*pool, address);
        let pool = pools
            .iter()
            .copied()
            .find(contains)
            .ok_or(Refusal::NoPool)?;
        self.may_join(owner, address)?;
        if !self.holdings.contains_key(&address) && self.reserves(pool, address) {
            return Err(Refusal::Reserved(PoolKey(pool)));
        }
        self.hold(owner, address, Some(pool));
        Ok(address)
    }

    fn address_to_join(&self, owner: u32, family: Family, join: &[u32]) -> Option<IpAddr> {
        let ours = self.sharing.get(&owner)?;
        let has_key = |other: &u32| {
            self.sharing
                .get(other)
                .is_some_and(|theirs| theirs.key == ours.key)
        };
        let fits = |address: IpAddr, pool: Option<u32>, owners: &[u32]| {
            Family::of(address) == family
                && pool.is_some()
                && join.iter().any(|pool| self.contains(*pool, address))
                && owners.iter().any(has_key)
                && !owners.contains(&owner)
                && self.may_join(owner, address).is_ok()
        };
        let mut holdings = self.holdings.iter();
        holdings
            .find(|(address, (pool, owners))| fits(**address, *pool, owners))
            .map(|(a, _)| *a)
    }

    fn assign_free(
        &mut self,
        owner: u32,
        family: Family,
        pools: &[u32],
    ) -> Result<IpAddr, Refusal> {
        let mut refusal = Refusal::NoPool;
        for last_too in [false, true] {
            for pool in pools {
                for range in self.pools.get(pool).into_iter().flatten() {
                    if range.range.family() != family {
                        continue;
                    }
                    refusal = Refusal::Exhausted;
                    let ends = reserved(range);
                    let free = |address: &IpAddr| {
                        !self.holdings.contains_key(address)
                            && !ends.contains(address)
                            && (last_too || !self.last.contains(address))
                    };
                    if let Some(address) = range.range.addresses().find(free) {
                        self.hold(owner, address, Some(*pool));
                        return Ok(address);
                    }
                }
            }
        }
        Err(refusal)
    }

    fn release(&mut self, owner: u32, address: IpAddr) -> bool {
        let Some((_, owners)) = self.holdings.get_mut(&address) else {
            return false;
        };
        let Some(place) = owners.iter().position(|other| *other == owner) else {
            return false;
        };
        owners.remove(place);
        if owners.is_empty() {
            self.holdings.remove(&address);
        }
        true
    }

    fn used(&self, pool: u32) -> usize {
        let booked = self
            .holdings
            .values()
            .filter(|(booked, _)| *booked == Some(pool))
            .count();
        let kept_back = self.pools[&pool].iter().flat_map(reserved);
        booked
            + kept_back
                .filter(|address| !self.holdings.contains_key(address))
                .count()
    }
}

fn reserved(range: &PoolRange) -> Vec<IpAddr> {
    let addresses: Vec<IpAddr> = range.range.addresses().collect();
    if range.reserve_ends && addresses.len() > 2 {
        vec![addresses[0], addresses[addresses.len() - 1]]
    } else {
        vec![]
    }
}

fn apply(allocator: &mut Allocator<u32>, model: &mut Model, operation: Operation) {
    match operation {
        Operation::SetPools(pools) => {
            let set = pools
                .iter()
                .map(|(key, ranges)| (PoolKey(*key), Pool::new(ranges.clone())));
            allocator.set_pools(set);
            model.pools = pools.into_iter().collect();
            let mut holdings = std::mem::take(&mut model.holdings);
            for (address, (booked, _)) in &mut holdings {
                *booked = booked.filter(|pool| model.contains(*pool, *address));
            }
            model.holdings = holdings;
        }
        Operation::Assign {
            owner,
            wanted,
            pools,
            join,
        } => {
            let keys = |pools: &[u32]| pools.iter().copied().map(PoolKey).collect::<Vec<_>>();
            let (allowed, joinable) = (keys(&pools), keys(&join));
            let request = Request {
                owner,
                wanted,
                pools: &allowed,
                join: &joinable,
            };
            let answer = allocator.assign(&request);
            assert_eq!(answer, model.assign(owner, wanted, &pools, &join));
        }
        Operation::Restore {
            owner,
            address,
            pool,
        } => {
            let allowed = model.may_join(owner, address);
            assert_eq!(
                allocator.restore(owner, address, pool.map(PoolKey)),
                allowed
            );
            if allowed.is_ok() {
                model.hold(owner, address, pool);
            }
        }
        Operation::Release { owner, address } => release(allocator, model, owner, address),
        Operation::Forget { owner } => {
            allocator.forget(owner);
            for address in model.holdings.keys().copied().collect::<Vec<_>>() {
                model.release(owner, address);
            }
            model.sharing.remove(&owner);
        }
        Operation::HandOutLast(addresses) => {
            allocator.hand_out_last(addresses.clone());
            model.last = addresses;
        }
        Operation::Book { address, pool } => {
            allocator.book(address, pool.map(PoolKey));
            let pool = pool.filter(|pool| model.contains(*pool, address));
            if let Some((booked, _)) = model.holdings.get_mut(&address) {
                *booked = pool;
            }
        }
        Operation::SetSharing { owner, sharing } => {
            // New terms take nothing away; the caller releases what does not suit any more.
            allocator.set_sharing(owner, sharing.clone());
            model.sharing.remove(&owner);
            model
                .sharing
                .extend(sharing.map(|sharing| (owner, sharing)));
            for address in allocator.held_by(owner).to_vec() {
                let holding = allocator.holding(address).expect("held");
                let suits =
                    |other: &u32| *other == owner || allocator.compatible(owner, *other).is_ok();
                if !holding.owners().all(suits) {
                    release(allocator, model, owner, address);
                }
            }
        }
    }
    check(allocator, model);
}

fn release(allocator: &mut Allocator<u32>, model: &mut Model, owner: u32, address: IpAddr) {
    assert_eq!(
        allocator.release(owner, address),
        model.release(owner, address)
    );
}

fn check(allocator: &Allocator<u32>, model: &Model) {
    assert_eq!(allocator.len(), model.holdings.len());
    for (address, (pool, owners)) in &model.holdings {
        let holding = allocator
            .holding(*address)
            .expect("the model says it is held");
        assert_eq!(
            holding.owners().copied().collect::<Vec<_>>(),
            *owners,
            "{address}"
        );
        assert_eq!(holding.pool(), pool.map(PoolKey), "{address}");
        for (index, owner) in owners.iter().enumerate() {
            for other in &owners[index + 1..] {
                let verdict = allocator.compatible(*owner, *other);
                assert_eq!(verdict, Ok(()), "two holders of {address} may not share");
            }
        }
    }
    for owner in 0..OWNERS {
        let mut held = allocator.held_by(owner).to_vec();
        held.sort();
        let expected = model
            .holdings
            .iter()
            .filter(|(_, (_, owners))| owners.contains(&owner));
        assert_eq!(
            held,
            expected.map(|(address, _)| *address).collect::<Vec<_>>()
        );
    }
    for &pool in model.pools.keys() {
        let usage = allocator
            .usage(PoolKey(pool))
            .expect("the model has the pool");
        assert_eq!(usage.used.to_string(), model.used(pool).to_string());
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        5 => (0..24u8).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        1 => (0..6u16).prop_map(v6),
    ]
}

fn v6(last: u16) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])
}

fn pool_range() -> impl Strategy<Value = PoolRange> {
    let v4 = |(first, more): (u8, u8)| {
        Range::new([10, 0, 0, first].into(), [10, 0, 0, first + more].into()).unwrap()
    };
    let range = prop_oneof![
        5 => (0..20u8, 0..6u8).prop_map(v4),
        1 => (0..3u16, 0..4u16).prop_map(|(first, more)| Range::new(v6(first), v6(first + more)).unwrap()),
    ];
    (range, any::<bool>()).prop_map(|(range, reserve_ends)| PoolRange {
        range,
        reserve_ends,
    })
}

fn sharing() -> impl Strategy<Value = Option<Sharing>> {
    let ports = prop::collection::vec((80..84u16, any::<bool>()), 1..3);
    let terms = (0..2u8, 0..2u8, any::<bool>(), ports, 0..4u8);
    prop::option::weighted(0.8, terms.prop_map(terms_of))
}

fn terms_of(
    (key, group, everybody, ports, exposure): (u8, u8, bool, Vec<(u16, bool)>, u8),
) -> Sharing {
    let port = |(number, tcp): (u16, bool)| Port {
        number,
        protocol: if tcp { "TCP" } else { "UDP" }.to_owned(),
    };
    let label = |value: &str| BTreeMap::from([("app".to_owned(), value.to_owned())]);
    let consent = if everybody {
        Consent::Everybody
    } else {
        Consent::Groups(vec!["group-0".to_owned()])
    };
    let mut sharing = Sharing {
        key: format!("key-{key}"),
        group: format!("group-{group}"),
        consent,
        ports: ports.into_iter().map(port).collect(),
        exposure: match exposure {
            0 => Exposure::WithBackends(label("x")),
            1 => Exposure::WithBackends(BTreeMap::new()),
            _ => Exposure::Everywhere,
        },
    };
    sharing.sort_ports();
    sharing
}

fn operation() -> impl Strategy<Value = Operation> {
    let owner = || 0..OWNERS;
    let pool = || prop::option::of(0..POOLS);
    let pools = || {
        let all = (0..POOLS).collect::<Vec<_>>();
        prop::sample::subsequence(all, 0..=POOLS as usize).prop_shuffle()
    };
    let wanted = prop_oneof![
        2 => address().prop_map(Wanted::Address),
        3 => Just(Wanted::Any(Family::V4)),
        1 => Just(Wanted::Any(Family::V6)),
    ];
    prop_oneof![
        1 => set_pools(0).prop_map(Operation::SetPools),
        9 => (owner(), wanted, pools(), pools())
            .prop_map(|(owner, wanted, pools, join)| Operation::Assign { owner, wanted, pools, join }),
        2 => (owner(), address(), pool())
            .prop_map(|(owner, address, pool)| Operation::Restore { owner, address, pool }),
        4 => (owner(), address()).prop_map(|(owner, address)| Operation::Release { owner, address }),
        1 => owner().prop_map(|owner| Operation::Forget { owner }),
        1 => prop::collection::btree_set(address(), 0..12).prop_map(Operation::HandOutLast),
        1 => (address(), pool()).prop_map(|(address, pool)| Operation::Book { address, pool }),
        3 => (owner(), sharing()).prop_map(|(owner, sharing)| Operation::SetSharing { owner, sharing }),
    ]
}

fn set_pools(at_least: usize) -> impl Strategy<Value = Vec<(u32, Vec<PoolRange>)>> {
    let ranges = prop::collection::vec(pool_range(), at_least..4);
    prop::collection::btree_map(0..POOLS, ranges, at_least..=POOLS as usize)
        .prop_map(|pools| pools.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_allocator_does_what_the_naive_model_does(
        first in set_pools(1),
        operations in prop::collection::vec(operation(), 0..120),
    ) {
        let (mut allocator, mut model) = (Allocator::default(), Model::default());
        apply(&mut allocator, &mut model, Operation::SetPools(first));
        for operation in operations {
            apply(&mut allocator, &mut model, operation);
        }
    }
}
