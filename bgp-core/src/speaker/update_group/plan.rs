//! Changes sorted into the messages that carry them.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use crate::message::WireContext;
use crate::rib::{AdjRibOut, Outgoing, PrefixMap};
use crate::speaker::routes_out::{nlri_octets, withdrawal_room};
use crate::types::{Family, Prefix};

/// What a peer has of a prefix that is dirty for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing.
    Nothing,
    /// This route.
    Sent(Arc<Outgoing>),
    /// This route, and it asked for it again.
    Again(Arc<Outgoing>),
}

impl Before {
    pub(super) fn of(route: Option<&Arc<Outgoing>>) -> Self {
        route.map_or(Self::Nothing, |route| Self::Sent(Arc::clone(route)))
    }

    pub(super) fn route(&self) -> Option<&Arc<Outgoing>> {
        match self {
            Self::Nothing => None,
            Self::Sent(route) | Self::Again(route) => Some(route),
        }
    }

    /// The same route from the same source is what is wanted: nothing is left to do.
    pub(super) fn is_settled_by(&self, wanted: Option<&Arc<Outgoing>>) -> bool {
        match (self, wanted) {
            (Self::Nothing, None) => true,
            (Self::Sent(before), Some(wanted)) => {
                Arc::ptr_eq(before, wanted)
                    || (before.says_the_same(wanted) && before.source == wanted.source)
            }
            _ => false,
        }
    }

    /// Whether a peer that is the source of neither has to be told.
    fn needs_telling(&self, wanted: Option<&Arc<Outgoing>>) -> bool {
        match (self, wanted) {
            (Self::Sent(before), Some(wanted)) => !before.says_the_same(wanted),
            (Self::Nothing, None) => false,
            _ => true,
        }
    }
}

/// All that was dirty when the plan was made, by what it becomes. What changes again leaves the plan.
#[derive(Debug, Default)]
pub(super) struct Plan {
    buckets: Vec<Bucket>,
    by_wanted: HashMap<BucketKey, usize>,
    /// Buckets before this one are done.
    current: usize,
    /// What has left the plan or was sent is no longer counted.
    left: usize,
    pub(super) number: u64,
}

/// The address of the wanted route, which its bucket keeps alive; zero for none.
type BucketKey = (Family, usize);

/// Prefixes of one family that get the same route, or lose theirs. In prefix order.
#[derive(Debug)]
struct Bucket {
    wanted: Option<Arc<Outgoing>>,
    family: Family,
    prefixes: Vec<Prefix>,
    befores: Befores,
    /// Entries before this one are done.
    next: usize,
}

/// A peer that joins has nothing of all the prefixes, which needs no list.
#[derive(Debug)]
enum Befores {
    Nothing,
    /// `None`: the prefix has left the plan.
    Each(Vec<Option<Before>>),
}

/// A stretch of one bucket that fits one message.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) wanted: Option<Arc<Outgoing>>,
    pub(super) family: Family,
    /// Octets of the NLRI of those that a peer without part in the routes is told of. Zero where there are none.
    pub(super) octets: usize,
    pub(super) changes: Vec<Change>,
}

/// One prefix of a batch.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) prefix: Prefix,
    pub(super) before: Before,
    /// Whether a peer that is the source of neither route has to be told.
    pub(super) is_told: bool,
}

impl Plan {
    /// Everything in the table, for peers that have nothing.
    pub(super) fn of_everything(number: u64, table: &AdjRibOut) -> Self {
        let mut plan = Self {
            number,
            ..Self::default()
        };
        for (prefix, wanted) in table.iter() {
            plan.bucket(prefix.family(), Some(wanted))
                .prefixes
                .push(prefix);
            plan.left += 1;
        }
        plan
    }

    /// These changes.
    pub(super) fn of(number: u64, dirty: PrefixMap<Before>, table: &AdjRibOut) -> Self {
        let mut plan = Self {
            number,
            ..Self::default()
        };
        // Withdrawals first: they make room at the peer.
        plan.bucket(Family::IPV4_UNICAST, None);
        plan.bucket(Family::IPV6_UNICAST, None);
        for (prefix, before) in dirty {
            let bucket = plan.bucket(prefix.family(), table.get(prefix));
            bucket.befores.push(bucket.prefixes.len(), before);
            bucket.prefixes.push(prefix);
            plan.left += 1;
        }
        plan
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// About the octets that the rest takes, rather too many.
    pub(super) fn octets_at_most(&self) -> usize {
        self.left.saturating_mul(24).saturating_add(512)
    }

    /// Takes a prefix out, given what was wanted of it until now.
    pub(super) fn remove(
        &mut self,
        prefix: Prefix,
        wanted: Option<&Arc<Outgoing>>,
    ) -> Option<Before> {
        if self.is_empty() {
            return None;
        }
        let index = *self.by_wanted.get(&key(prefix.family(), wanted))?;
        let bucket = self.buckets.get_mut(index)?;
        let place = bucket.next
            + bucket
                .prefixes
                .get(bucket.next..)?
                .binary_search(&prefix)
                .ok()?;
        let before = bucket.befores.take(place, bucket.prefixes.len())?;
        self.left -= 1;
        Some(before)
    }

    /// What is still to be sent: prefix, what the peers have, what is wanted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, &Before, Option<&Arc<Outgoing>>)> {
        self.buckets.iter().flat_map(|bucket| {
            (bucket.next..bucket.prefixes.len()).filter_map(move |place| {
                Some((
                    bucket.prefixes[place],
                    bucket.befores.get(place)?,
                    bucket.wanted.as_ref(),
                ))
            })
        })
    }

    /// The next message's worth. Its changes are no longer in the plan.
    pub(super) fn next_batch(&mut self, context: &WireContext) -> Option<Batch> {
        loop {
            let bucket = self.buckets.get_mut(self.current)?;
            if let Some(batch) = bucket.next_batch(context) {
                self.left -= batch.changes.len();
                return Some(batch);
            }
            bucket.give_back_memory();
            self.current += 1;
        }
    }

    fn bucket(&mut self, family: Family, wanted: Option<&Arc<Outgoing>>) -> &mut Bucket {
        let next = self.buckets.len();
        if let Some(last) = next.checked_sub(1)
            && self.buckets[last].is_for(family, wanted)
        {
            return &mut self.buckets[last];
        }
        let index = *self.by_wanted.entry(key(family, wanted)).or_insert(next);
        if index == next {
            self.buckets.push(Bucket {
                wanted: wanted.cloned(),
                family,
                prefixes: vec![],
                befores: Befores::Nothing,
                next: 0,
            });
        }
        &mut self.buckets[index]
    }
}

fn key(family: Family, wanted: Option<&Arc<Outgoing>>) -> BucketKey {
    (family, wanted.map_or(0, |route| Arc::as_ptr(route).addr()))
}

impl Bucket {
    fn is_for(&self, family: Family, wanted: Option<&Arc<Outgoing>>) -> bool {
        self.family == family
            && match (&self.wanted, wanted) {
                (Some(own), Some(wanted)) => Arc::ptr_eq(own, wanted),
                (None, None) => true,
                _ => false,
            }
    }

    fn next_batch(&mut self, context: &WireContext) -> Option<Batch> {
        let room = match &self.wanted {
            Some(route) => route.room,
            None => withdrawal_room(context, self.family),
        };
        let mut octets = 0;
        // What is not told to most peers is told to some, and their message has to fit as well.
        let mut most_octets = 0;
        let mut changes = vec![];
        while let Some(prefix) = self.prefixes.get(self.next).copied() {
            let Some(before) = self.befores.get(self.next) else {
                self.next += 1;
                continue;
            };
            let is_told = before.needs_telling(self.wanted.as_ref());
            let more = nlri_octets(context, prefix);
            // The export refused what does not fit a message alone, and a withdrawal always does.
            if most_octets + more > room && !changes.is_empty() {
                break;
            }
            most_octets += more;
            octets += if is_told { more } else { 0 };
            changes.push(Change {
                prefix,
                before: before.clone(),
                is_told,
            });
            self.next += 1;
        }
        if changes.is_empty() {
            return None;
        }
        Some(Batch {
            wanted: self.wanted.clone(),
            family: self.family,
            octets,
            changes,
        })
    }

    fn give_back_memory(&mut self) {
        self.prefixes = vec![];
        self.befores = Befores::Nothing;
        self.next = 0;
    }
}

impl Befores {
    fn get(&self, place: usize) -> Option<&Before> {
        match self {
            Self::Nothing => Some(&Before::Nothing),
            Self::Each(befores) => befores.get(place)?.as_ref(),
        }
    }

    /// Adds the value for the place behind the last one.
    fn push(&mut self, place: usize, before: Before) {
        if matches!(self, Self::Nothing) {
            if before == Before::Nothing {
                return;
            }
            self.spell_out(place);
        }
        if let Self::Each(befores) = self {
            befores.push(Some(before));
        }
    }

    fn take(&mut self, place: usize, places: usize) -> Option<Before> {
        self.spell_out(places);
        match self {
            Self::Nothing => None,
            Self::Each(befores) => befores.get_mut(place).and_then(mem::take),
        }
    }

    fn spell_out(&mut self, places: usize) {
        if matches!(self, Self::Nothing) {
            *self = Self::Each(vec![Some(Before::Nothing); places]);
        }
    }
}
