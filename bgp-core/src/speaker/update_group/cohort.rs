//! Peers of one group that have been sent the same, up to a few messages.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::Writer;
use crate::message::WireContext;
use crate::rib::{AdjRibOut, Outgoing, PrefixMap};
use crate::speaker::PeerId;
use crate::speaker::routes_out::{EncodedPath, nlri_octets, write_announcement, write_withdrawal};
use crate::types::{Family, Prefix};

use super::plan::{Batch, Before, Change, Plan};

/// What the peers of a cohort have is the group's table, except for what is dirty: the plan and what changed since it
/// was made. Messages that some of them have taken and others not are kept in a short log.
///
/// A prefix is in at most one of plan, moved, pending and the part of the log that somebody has not taken yet: when a prefix
/// of the log changes, those who have not taken it leave for a cohort of their own.
#[derive(Debug, Default)]
pub(super) struct Cohort {
    pub(super) members: BTreeSet<PeerId>,
    /// Nothing was sent yet: everything in the table is dirty, and no list says so.
    pub(super) has_nothing: bool,
    plan: Plan,
    /// What changed again while it was in the plan. Still a part of it, so that a marker behind the plan waits for it.
    moved: PrefixMap<Before>,
    /// What became dirty since the plan was made.
    pending: PrefixMap<Before>,
    log: VecDeque<Logged>,
    /// Position of the first message of the log.
    first: u64,
    log_octets: usize,
    /// The number of the last plan that was sent to its end.
    pub(super) completed: u64,
}

/// One message that all members take, or took.
#[derive(Debug)]
struct Logged {
    /// Holds this message and others.
    run: Bytes,
    start: usize,
    end: usize,
    wanted: Option<Arc<Outgoing>>,
    family: Family,
    changes: Vec<Change>,
    /// The members that one of the routes came from: they get something else.
    involved: BTreeSet<PeerId>,
}

/// Octets that the log may hold before those who are furthest behind have to go. A few send windows.
const LOG_OCTETS: usize = 256 * 1024;
/// The most octets that are encoded at a time.
const RUN_OCTETS: usize = 64 * 1024;

impl Cohort {
    /// Peers that have nothing yet.
    pub(super) fn of_newcomers() -> Self {
        Self {
            has_nothing: true,
            ..Self::default()
        }
    }

    /// Peers that have the table except for this.
    pub(super) fn of_dirty(pending: PrefixMap<Before>) -> Self {
        Self {
            pending,
            ..Self::default()
        }
    }

    /// The position of a peer that has taken everything.
    pub(super) fn tail(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    pub(super) fn is_dirty(&self, table: &AdjRibOut) -> bool {
        !self.plan.is_empty()
            || !self.moved.is_empty()
            || !self.pending.is_empty()
            || (self.has_nothing && !table.is_empty())
    }

    /// Nothing dirty and nothing in the log: all members have the table.
    pub(super) fn is_idle(&self, table: &AdjRibOut) -> bool {
        !self.is_dirty(table) && self.log.is_empty()
    }

    /// Whether the members at the tail have the table except for exactly this.
    pub(super) fn differs_by(&self, dirty: &PrefixMap<Before>) -> bool {
        !self.has_nothing && self.plan.is_empty() && self.moved.is_empty() && self.pending == *dirty
    }

    /// The wanted route of a prefix changed. The prefix is not in the log beyond any member's position.
    pub(super) fn change(
        &mut self,
        prefix: Prefix,
        old: Option<&Arc<Outgoing>>,
        new: Option<&Arc<Outgoing>>,
    ) {
        if self.has_nothing {
            return;
        }
        let planned = self
            .plan
            .remove(prefix, old)
            .or_else(|| self.moved.remove(prefix));
        let place = if planned.is_some() {
            &mut self.moved
        } else {
            &mut self.pending
        };
        let before = planned
            .or_else(|| place.remove(prefix))
            .unwrap_or_else(|| Before::of(old));
        if !before.is_settled_by(new) {
            place.insert(prefix, before);
        }
    }

    /// The position of the last message of the log that has the prefix.
    pub(super) fn logged(&self, prefix: Prefix) -> Option<u64> {
        // Changes are in prefix order, as their bucket was.
        let has = |logged: &Logged| {
            logged
                .changes
                .binary_search_by_key(&prefix, |change| change.prefix)
                .is_ok()
        };
        self.log
            .iter()
            .rposition(has)
            .map(|index| self.first + index as u64)
    }

    /// What a peer at this position has otherwise than the table says. Not for newcomers, who have nothing at all.
    pub(super) fn dirty_from(&self, position: u64) -> PrefixMap<Before> {
        let planned = self
            .dirty_iter(position)
            .map(|(prefix, before, _)| (prefix, before));
        let others = self.moved.iter().chain(self.pending.iter());
        planned
            .chain(others)
            .map(|(prefix, before)| (prefix, before.clone()))
            .collect()
    }

    /// How many more routes of a family a peer at this position has, as it sees them, than are wanted for it.
    pub(super) fn surplus(
        &self,
        peer: PeerId,
        position: u64,
        family: Family,
        table: &AdjRibOut,
    ) -> isize {
        let weigh = |before: &Before, wanted: Option<&Arc<Outgoing>>| {
            isize::from(seen_by(peer, before.route()).is_some())
                - isize::from(seen_by(peer, wanted).is_some())
        };
        let in_order = self
            .dirty_iter(position)
            .filter(|(prefix, ..)| prefix.family() == family);
        let pending = self
            .moved
            .family_iter(family)
            .chain(self.pending.family_iter(family));
        in_order
            .map(|(_, before, wanted)| weigh(before, wanted))
            .sum::<isize>()
            + pending
                .map(|(prefix, before)| weigh(before, table.get(prefix)))
                .sum::<isize>()
    }

    fn dirty_iter(
        &self,
        position: u64,
    ) -> impl Iterator<Item = (Prefix, &Before, Option<&Arc<Outgoing>>)> {
        let log = self
            .log
            .iter()
            .skip(self.index(position))
            .flat_map(|logged| {
                logged
                    .changes
                    .iter()
                    .map(|change| (change.prefix, &change.before, logged.wanted.as_ref()))
            });
        log.chain(self.plan.iter())
    }

    fn index(&self, position: u64) -> usize {
        usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// Whether the log is so long that those at its beginning have to go.
    pub(super) fn is_log_full(&self) -> bool {
        self.log_octets > LOG_OCTETS
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Forgets the messages that everybody has taken.
    pub(super) fn trim(&mut self, slowest: u64) {
        while self.first < slowest
            && let Some(logged) = self.log.pop_front()
        {
            self.log_octets -= logged.octets();
            self.first += 1;
        }
    }

    /// Encodes more of what is dirty into the log: about `budget` octets, at least one message where there is one.
    pub(super) fn cut(
        &mut self,
        context: &WireContext,
        budget: usize,
        table: &AdjRibOut,
        plans: &mut u64,
    ) {
        self.plan_if_needed(table, plans);
        let budget = budget.min(RUN_OCTETS);
        let mut writer = Writer::with_capacity(budget.min(self.plan.octets_at_most()));
        let mut batches: Vec<(Batch, usize, usize)> = vec![];
        let mut path = None;
        while writer.is_empty() || writer.len() + context.max_message <= budget {
            let Some(batch) = self.plan.next_batch(context) else {
                break;
            };
            let start = writer.len();
            write_batch(&mut writer, context, &batch, &mut path);
            batches.push((batch, start, writer.len()));
        }
        if self.plan.is_empty() && self.moved.is_empty() {
            self.completed = self.completed.max(self.plan.number);
            self.plan = Plan::default();
        }
        let run = writer.finish();
        for (batch, start, end) in batches {
            let involved = self.involved(&batch);
            let Batch {
                wanted,
                family,
                changes,
                ..
            } = batch;
            let logged = Logged {
                run: run.clone(),
                start,
                end,
                wanted,
                family,
                changes,
                involved,
            };
            self.log_octets += logged.octets();
            self.log.push_back(logged);
        }
    }

    /// As many messages of the log as follow each other in one buffer and fit the budget, at least one. How far the
    /// peer is then, and the octets; none where the messages say nothing to it.
    pub(super) fn take(
        &self,
        peer: PeerId,
        position: u64,
        budget: usize,
        context: &WireContext,
    ) -> Option<(u64, Bytes)> {
        let mut messages = self.log.iter().skip(self.index(position));
        let first = messages.next()?;
        if first.involved.contains(&peer) {
            return Some((position + 1, first.octets_for(peer, context)));
        }
        let mut end = first.end;
        let mut taken = 1;
        for next in messages {
            let is_same_run = next.start == end && next.run.as_ptr() == first.run.as_ptr();
            if !is_same_run || next.involved.contains(&peer) || next.end - first.start > budget {
                break;
            }
            end = next.end;
            taken += 1;
        }
        Some((position + taken, first.run.slice(first.start..end)))
    }

    fn plan_if_needed(&mut self, table: &AdjRibOut, plans: &mut u64) {
        if !self.plan.is_empty() || !self.is_dirty(table) {
            return;
        }
        if !self.moved.is_empty() {
            self.plan = Plan::of(self.plan.number, std::mem::take(&mut self.moved), table);
            return;
        }
        *plans += 1;
        self.plan = if self.has_nothing {
            self.has_nothing = false;
            Plan::of_everything(*plans, table)
        } else {
            Plan::of(*plans, std::mem::take(&mut self.pending), table)
        };
    }

    fn involved(&self, batch: &Batch) -> BTreeSet<PeerId> {
        let befores = batch
            .changes
            .iter()
            .filter_map(|change| change.before.route()?.from());
        let sources = befores.chain(batch.wanted.as_ref().and_then(|route| route.from()));
        sources.filter(|peer| self.members.contains(peer)).collect()
    }
}

/// What of a route is there for a peer: nothing of its own routes.
pub(super) fn seen_by(peer: PeerId, route: Option<&Arc<Outgoing>>) -> Option<&Arc<Outgoing>> {
    route.filter(|route| route.from() != Some(peer))
}

impl Logged {
    /// What it counts for the log's bound. A message that says nothing to most peers has changes all the same.
    fn octets(&self) -> usize {
        self.end - self.start + self.changes.len()
    }

    /// The message as it is for a peer that some of the routes came from: at most one withdrawal and one announcement.
    fn octets_for(&self, peer: PeerId, context: &WireContext) -> Bytes {
        let wanted = seen_by(peer, self.wanted.as_ref());
        let mut withdrawn = vec![];
        let mut announced = vec![];
        for change in &self.changes {
            match (seen_by(peer, change.before.route()), wanted) {
                (None, None) => {}
                (Some(_), None) => withdrawn.push(change.prefix),
                (None, Some(_)) => announced.push(change.prefix),
                (Some(_), Some(_)) if change.is_told => announced.push(change.prefix),
                (Some(_), Some(_)) => {}
            }
        }
        let octets = |prefixes: &[Prefix]| {
            prefixes
                .iter()
                .map(|prefix| nlri_octets(context, *prefix))
                .sum()
        };
        let mut writer = Writer::default();
        if !withdrawn.is_empty() {
            write_withdrawal(
                &mut writer,
                context,
                self.family,
                octets(&withdrawn),
                withdrawn.into_iter(),
            );
        }
        if let Some(wanted) = wanted
            && !announced.is_empty()
        {
            let path = EncodedPath::of(context, self.family, wanted);
            write_announcement(
                &mut writer,
                context,
                &path,
                octets(&announced),
                announced.into_iter(),
            );
        }
        writer.finish()
    }
}

/// What the message before had in common with others.
struct LastPath {
    wanted: Arc<Outgoing>,
    family: Family,
    encoded: EncodedPath,
}

/// Appends the message of a batch, or nothing where it tells nobody anything but the sources of its routes.
fn write_batch(
    writer: &mut Writer,
    context: &WireContext,
    batch: &Batch,
    path: &mut Option<LastPath>,
) {
    if batch.octets == 0 {
        return;
    }
    let told = batch
        .changes
        .iter()
        .filter(|change| change.is_told)
        .map(|change| change.prefix);
    let Some(wanted) = &batch.wanted else {
        write_withdrawal(writer, context, batch.family, batch.octets, told);
        return;
    };
    let is_known = path
        .as_ref()
        .is_some_and(|known| Arc::ptr_eq(&known.wanted, wanted) && known.family == batch.family);
    if !is_known {
        let encoded = EncodedPath::of(context, batch.family, wanted);
        *path = Some(LastPath {
            wanted: Arc::clone(wanted),
            family: batch.family,
            encoded,
        });
    }
    if let Some(LastPath { encoded: path, .. }) = path {
        write_announcement(writer, context, path, batch.octets, told);
    }
}
