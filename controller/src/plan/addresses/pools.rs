//! The pools as they are in force: which spec counts, which pools conflict, and where an address belongs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipam::{Allocator, Pool, PoolKey, PoolRange, Range};

use super::{Owner, report};
use crate::cluster::{self, Block, PoolFaults, Selector, Service};

const POOL_CONFLICT: &str = "cilium.io/PoolConflict";

/// What is remembered of pools from plan to plan.
#[derive(Debug, Default)]
pub(super) struct PoolBook {
    pools: BTreeMap<String, Remembered>,
    /// What mattered to Services at the last plan.
    offers: Vec<Offer>,
    next_key: u32,
}

#[derive(Debug)]
struct Remembered {
    key: PoolKey,
    uid: String,
    created: Option<i64>,
    blocks: Vec<Block>,
    reserve_first_last: bool,
    takes_part: bool,
    pool: Pool,
    /// Why it is marked as conflicting.
    conflict: Option<String>,
    /// Marked, whatever the reason; settled anew whenever pools change.
    marked: bool,
}

/// What a pool is to a Service.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    key: PoolKey,
    standing: Standing,
    selector: Option<Selector>,
    takes_part: bool,
}

/// All pools of one plan.
#[derive(Debug)]
pub(super) struct Pools<'a> {
    /// Oldest first; among equally old ones by name. A pool without a creation time counts as the oldest.
    pub(super) by_age: Vec<PoolView<'a>>,
    /// Places in `by_age`: usable pools first, then disabled, conflicting, broken ones, each oldest first.
    by_standing: Vec<usize>,
    by_key: BTreeMap<PoolKey, usize>,
    /// Whether some pool has a block that nobody can read, so that an address may belong there.
    pub(super) any_unreadable: bool,
    /// Whether addresses may have lost their pool since the last plan.
    pub(super) changed: bool,
    /// Whether to Services everything about pools is as it was at the last plan.
    pub(super) same: bool,
}

/// One pool of one plan.
#[derive(Debug)]
pub(super) struct PoolView<'a> {
    pub(super) key: PoolKey,
    pub(super) name: &'a str,
    pub(super) standing: Standing,
    /// Why it is marked, also where it is disabled beside that.
    pub(super) conflict: Option<String>,
    pub(super) faults: Option<&'a PoolFaults>,
    /// Whether its blocks are all known, so that it takes part in conflicts and has counters.
    pub(super) takes_part: bool,
    /// `None` where the selector is the broken part: it is not asked then.
    selector: Option<&'a Selector>,
    created: Option<i64>,
}

/// What a pool may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Gives out addresses.
    Usable,
    /// Switched off.
    Disabled,
    /// Overlaps another pool or itself.
    Conflicting,
    /// Not valid, and never was since we started.
    Broken,
}

/// The spec in force.
struct InForce<'a> {
    blocks: &'a [Block],
    selector: Option<&'a Selector>,
    reserve_first_last: bool,
    disabled: bool,
    broken: bool,
    unreadable: bool,
    faults: Option<&'a PoolFaults>,
}

impl PoolBook {
    /// Takes the pools as they are now, settles conflicts, and tells the allocator where anything changed.
    ///
    /// At the start the marks of the pools' own conditions are taken over first.
    pub(super) fn update<'a>(
        &mut self,
        pools: &'a BTreeMap<String, cluster::Pool>,
        start: bool,
        allocator: &mut Allocator<Owner>,
    ) -> Pools<'a> {
        let before = self.pools.len();
        let came_back = |name: &String, known: &Remembered| {
            pools
                .get(name)
                .is_some_and(|pool| pool.meta.uid != known.uid)
        };
        let recreated: Vec<String> = self
            .pools
            .iter()
            .filter(|(name, known)| came_back(name, known))
            .map(|(name, _)| name.clone())
            .collect();
        self.pools.retain(|name, _| pools.contains_key(name));
        let mut changed = start || self.pools.len() != before;
        if !recreated.is_empty() {
            // A pool that was deleted and made again is a new one to the others, however briefly it was gone.
            let mut gone = BTreeMap::new();
            for name in &recreated {
                gone.extend(self.pools.remove_entry(name));
            }
            self.settle();
            self.pools.extend(gone.into_iter().map(|(name, known)| {
                (
                    name,
                    Remembered {
                        marked: false,
                        ..known
                    },
                )
            }));
            changed = true;
        }
        for (name, pool) in pools {
            changed |= self.remember(name, pool, start);
        }
        if changed {
            self.settle();
            allocator.set_pools(
                self.pools
                    .values()
                    .map(|known| (known.key, known.pool.clone())),
            );
        }
        let mut view = self.view(pools, changed);
        view.same = !changed && view.by_age.iter().eq(&self.offers);
        if !view.same {
            self.offers = view.by_age.iter().map(PoolView::offer).collect();
        }
        view
    }

    /// Brings what is remembered of one pool up to date; true where anything changed that others depend on.
    fn remember(&mut self, name: &str, pool: &cluster::Pool, start: bool) -> bool {
        let spec = in_force(pool);
        let takes_part = !spec.unreadable;
        if let Some(known) = self.pools.get_mut(name) {
            let same_ranges =
                known.blocks == spec.blocks && known.reserve_first_last == spec.reserve_first_last;
            let same_pool = known.uid == pool.meta.uid && known.created == pool.meta.created;
            if same_ranges && same_pool && known.takes_part == takes_part {
                return false;
            }
            if !same_ranges {
                known.pool = ranges(&spec);
                known.blocks = spec.blocks.to_vec();
                known.reserve_first_last = spec.reserve_first_last;
            }
            known.uid.clone_from(&pool.meta.uid);
            known.created = pool.meta.created;
            known.takes_part = takes_part;
            return true;
        }
        let is_mark = |condition: &cluster::RecordedCondition| {
            condition.kind == POOL_CONFLICT && condition.status == "True"
        };
        self.next_key += 1;
        let known = Remembered {
            key: PoolKey(self.next_key),
            uid: pool.meta.uid.clone(),
            created: pool.meta.created,
            blocks: spec.blocks.to_vec(),
            reserve_first_last: spec.reserve_first_last,
            takes_part,
            pool: ranges(&spec),
            conflict: None,
            marked: start && pool.recorded_conditions.iter().any(is_mark),
        };
        self.pools.insert(name.to_owned(), known);
        true
    }

    /// Marks and un-marks. New conflicts are looked for among the unmarked only and cost the younger one its place, so a
    /// marked pool takes no third one down with it. Then marked ones are looked at again, oldest first, and serve once they
    /// collide with no unmarked pool and not with themselves: of pools that merely collide with each other the oldest
    /// serves.
    fn settle(&mut self) {
        let mut names: Vec<String> = self.pools.keys().cloned().collect();
        names.sort_by(|a, b| (self.pools[a].created, a).cmp(&(self.pools[b].created, b)));
        names.retain(|name| self.pools[name].takes_part);
        let mut serving: Vec<&String> = Vec::new();
        for marked in [false, true] {
            for name in names
                .iter()
                .filter(|name| self.pools[*name].marked == marked)
            {
                if self.collision(name, &serving).is_none() {
                    serving.push(name);
                }
            }
        }
        serving.sort_by(|a, b| (self.pools[*a].created, *a).cmp(&(self.pools[*b].created, *b)));
        let serving: Vec<String> = serving.into_iter().cloned().collect();
        for name in &names {
            let others: Vec<&String> = serving.iter().filter(|other| *other != name).collect();
            let conflict = self.collision(name, &others);
            if let Some(known) = self.pools.get_mut(name) {
                known.marked = conflict.is_some();
                known.conflict = conflict;
            }
        }
    }

    /// The message of a pool that collides with itself or, else, with the first of the others.
    fn collision(&self, name: &String, others: &[&String]) -> Option<String> {
        let pool = &self.pools[name].pool;
        if let Some((ours, other)) = pool.own_overlap() {
            return Some(report::conflict(ours, other, name));
        }
        others.iter().find_map(|other| {
            let (ours, theirs) = pool.overlap(&self.pools[*other].pool)?;
            Some(report::conflict(ours, theirs, other))
        })
    }

    fn view<'a>(&self, pools: &'a BTreeMap<String, cluster::Pool>, changed: bool) -> Pools<'a> {
        let mut any_unreadable = false;
        let mut by_age: Vec<PoolView<'a>> = pools
            .iter()
            .filter_map(|(name, pool)| {
                let known = self.pools.get(name)?;
                let spec = in_force(pool);
                any_unreadable |= spec.unreadable;
                let standing = if spec.disabled {
                    Standing::Disabled
                } else if known.marked {
                    Standing::Conflicting
                } else if spec.broken {
                    Standing::Broken
                } else {
                    Standing::Usable
                };
                Some(PoolView {
                    key: known.key,
                    name,
                    standing,
                    conflict: known.conflict.clone(),
                    faults: spec.faults,
                    takes_part: known.takes_part,
                    selector: spec.selector,
                    created: known.created,
                })
            })
            .collect();
        by_age.sort_by(|a, b| (a.created, a.name).cmp(&(b.created, b.name)));
        let mut by_standing: Vec<usize> = (0..by_age.len()).collect();
        by_standing.sort_by_key(|&place| by_age[place].standing);
        let by_key = by_age
            .iter()
            .enumerate()
            .map(|(place, view)| (view.key, place))
            .collect();
        Pools {
            by_age,
            by_standing,
            by_key,
            any_unreadable,
            changed,
            same: false,
        }
    }
}

impl PartialEq<&Offer> for &PoolView<'_> {
    fn eq(&self, offer: &&Offer) -> bool {
        self.key == offer.key
            && self.standing == offer.standing
            && self.takes_part == offer.takes_part
            && self.selector == offer.selector.as_ref()
    }
}

impl<'a> Pools<'a> {
    pub(super) fn get(&self, key: PoolKey) -> Option<&PoolView<'a>> {
        self.by_key.get(&key).map(|&place| &self.by_age[place])
    }

    /// Where an address that a Service carries is booked: in the first pool, by standing and age, that contains it and
    /// selects the Service.
    pub(super) fn home(
        &self,
        allocator: &Allocator<Owner>,
        address: IpAddr,
        service: &Service,
    ) -> Option<PoolKey> {
        let mut containing = self.containing(allocator, address);
        containing
            .find(|view| view.selects(service))
            .map(|view| view.key)
    }

    /// The pools that contain an address, by standing and age.
    pub(super) fn containing<'s>(
        &'s self,
        allocator: &'s Allocator<Owner>,
        address: IpAddr,
    ) -> impl Iterator<Item = &'s PoolView<'a>> {
        let views = self.by_standing.iter().map(|&place| &self.by_age[place]);
        views.filter(move |view| {
            allocator
                .pool(view.key)
                .is_some_and(|pool| pool.contains(address))
        })
    }

    /// The pools that select a Service: those that give out addresses, and all, each oldest first.
    pub(super) fn selecting(&self, service: &Service) -> (Vec<PoolKey>, Vec<PoolKey>) {
        let (mut usable, mut all) = (Vec::new(), Vec::new());
        for view in self.by_age.iter().filter(|view| view.selects(service)) {
            all.push(view.key);
            if view.standing == Standing::Usable {
                usable.push(view.key);
            }
        }
        (usable, all)
    }
}

impl PoolView<'_> {
    fn offer(&self) -> Offer {
        Offer {
            key: self.key,
            standing: self.standing,
            selector: self.selector.cloned(),
            takes_part: self.takes_part,
        }
    }

    pub(super) fn selects(&self, service: &Service) -> bool {
        self.selector
            .is_none_or(|selector| service.is_selected_by(selector))
    }
}

fn in_force(pool: &cluster::Pool) -> InForce<'_> {
    let faults = pool.spec.as_ref().err();
    match (&pool.spec, &pool.last_valid) {
        (Ok(spec), _) | (Err(_), Some(spec)) => InForce {
            blocks: &spec.blocks,
            selector: Some(&spec.selector),
            reserve_first_last: spec.reserve_first_last,
            disabled: spec.disabled,
            broken: false,
            unreadable: false,
            faults,
        },
        (Err(broken), None) => InForce {
            blocks: &broken.readable,
            selector: broken
                .readable_selector
                .as_ref()
                .filter(|_| broken.selector.is_none()),
            reserve_first_last: broken.reserve_first_last,
            disabled: broken.disabled,
            broken: true,
            unreadable: !broken.blocks.is_empty(),
            faults,
        },
    }
}

fn ranges(spec: &InForce<'_>) -> Pool {
    let range = |block: &Block| {
        let range = Range::new(block.first, block.last).ok()?;
        Some(PoolRange {
            range,
            reserve_ends: spec.reserve_first_last && block.is_cidr,
        })
    };
    Pool::new(spec.blocks.iter().filter_map(range).collect())
}
