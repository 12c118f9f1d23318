//! One update group: peers that are to get the same routes in the same octets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::WireContext;
use crate::rib::{AdjRibOut, Outgoing, Policy, PrefixMap, Route};
use crate::speaker::PeerId;
use crate::speaker::routes_out::{Exporter, Refusal};
use crate::types::{Asn, Family, Prefix};

use super::cohort::{Cohort, seen_by};
use super::member::{End, EndKind, Member, begin_of_refresh, markers};
use super::plan::Before;

/// What makes two peers get the same octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupKey {
    pub(super) local_asn: Asn,
    pub(super) policy: Arc<Policy>,
    pub(super) originated_only: bool,
    pub(super) context: WireContext,
    pub(super) local_address: IpAddr,
}

/// The table that is wanted, and cohorts of peers by how far they are from it. No peer has a queue: memory is bounded by
/// the table for each cohort, and by a short log.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    exporter: Exporter,
    table: AdjRibOut,
    /// Routes that stay behind although nobody wanted that.
    unsent: PrefixMap<Refusal>,
    members: BTreeMap<PeerId, Member>,
    cohorts: BTreeMap<u64, Cohort>,
    next_cohort: u64,
}

/// A peer between two groups: what it has, and its markers.
pub(super) struct Leaver {
    member: Member,
    /// `None`: nothing at all.
    has: Option<PrefixMap<Arc<Outgoing>>>,
    asked_again: Vec<Prefix>,
}

impl Group {
    pub(super) fn new(
        key: GroupKey,
        exporter: Exporter,
        loc_rib: impl Iterator<Item = Route>,
    ) -> Self {
        let mut exporter = exporter;
        let mut unsent = vec![];
        let table = loc_rib
            .filter_map(|route| match exporter.export(&route) {
                Ok(outgoing) => Some((route.prefix, outgoing)),
                Err(refusal) => {
                    if refusal.is_unwanted() {
                        unsent.push((route.prefix, refusal));
                    }
                    None
                }
            })
            .collect();
        Self {
            key,
            exporter,
            table,
            unsent: unsent.into_iter().collect(),
            members: BTreeMap::new(),
            cohorts: BTreeMap::new(),
            next_cohort: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes in a peer that has nothing.
    pub(super) fn join(&mut self, peer: PeerId, member: Member) {
        let newcomers = self
            .cohorts
            .iter()
            .find(|(_, cohort)| cohort.has_nothing)
            .map(|(id, _)| *id);
        let idle = || {
            self.cohorts
                .iter()
                .find(|(_, cohort)| cohort.is_idle(&self.table))
                .map(|(id, _)| *id)
        };
        let place = newcomers.or_else(|| if self.table.is_empty() { idle() } else { None });
        let cohort = place.unwrap_or_else(|| self.add_cohort(Cohort::of_newcomers()));
        self.settle(peer, member, cohort);
    }

    /// Takes in a peer that comes from another group. Only the difference becomes dirty.
    pub(super) fn join_from(&mut self, peer: PeerId, leaver: Leaver) {
        let Some(has) = leaver.has else {
            self.join(peer, leaver.member);
            return;
        };
        let mut dirty = PrefixMap::default();
        for (prefix, wanted) in self.table.iter() {
            if !has.contains(prefix) && seen_by(peer, Some(wanted)).is_some() {
                dirty.insert(prefix, Before::Nothing);
            }
        }
        for (prefix, route) in has {
            let before = Before::Sent(route);
            let wanted = seen_by(peer, self.table.get(prefix));
            let is_same = matches!((&before, wanted), (Before::Sent(has), Some(wanted)) if has.says_the_same(wanted));
            if !is_same {
                dirty.insert(prefix, before);
            }
        }
        for prefix in leaver.asked_again {
            let known = dirty.remove(prefix);
            let before = known.unwrap_or_else(|| Before::of(self.table.get(prefix)));
            dirty.insert(prefix, again(before));
        }
        let has_markers = !leaver.member.ends.is_empty();
        let fits =
            |cohort: &Cohort| (dirty.is_empty() || !has_markers) && cohort.differs_by(&dirty);
        let place = self
            .cohorts
            .iter()
            .find(|(_, cohort)| fits(cohort))
            .map(|(id, _)| *id);
        let cohort = place.unwrap_or_else(|| self.add_cohort(Cohort::of_dirty(dirty)));
        self.settle(peer, leaver.member, cohort);
    }

    /// Lets a peer go. What it has is given only where it is `wanted`, which costs a walk over the table.
    pub(super) fn leave(&mut self, peer: PeerId, wanted: bool) -> Option<Leaver> {
        let member = self.members.remove(&peer)?;
        let leaver = wanted.then(|| self.leaver(peer, member.clone()));
        self.unsettle(peer, member.cohort);
        leaver
    }

    /// The best route of a prefix is another one, or there is none.
    pub(super) fn change(&mut self, prefix: Prefix, best: Option<&Route>) {
        let Some((old, new)) = self.set(prefix, best) else {
            return;
        };
        let ids: Vec<u64> = self.cohorts.keys().copied().collect();
        for id in ids {
            if let Some(position) = self
                .cohorts
                .get(&id)
                .and_then(|cohort| cohort.logged(prefix))
            {
                self.split(id, position);
            }
        }
        for cohort in self.cohorts.values_mut() {
            cohort.change(prefix, old.as_ref(), new.as_ref());
        }
    }

    /// All routes of a family become dirty for a peer that asked for them (RFC 2918), with beginning and end where
    /// both sides know these (RFC 7313). What is asked for while a table is still on its way waits for its end: no
    /// beginning may come before End-of-RIB (RFC 7313 section 4), and a peer that asks again and again is served one
    /// table after another.
    pub(super) fn refresh(&mut self, peer: PeerId, family: Family, plans: u64) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        if !self.key.context.families.contains(&family) || member.deferred.contains(&family) {
            return;
        }
        if member.ends.iter().any(|end| end.family == family) {
            member.deferred.push(family);
            return;
        }
        member.ends.push(End {
            kind: EndKind::Refresh,
            family,
            plan: plans + 1,
        });
        if member.enhanced_refresh {
            member.begins.push(family);
        }
        self.make_dirty_again(peer, family);
    }

    pub(super) fn is_dirty(&self, peer: PeerId) -> bool {
        let Some((member, cohort)) = self.place(peer) else {
            return false;
        };
        member.position < cohort.tail()
            || cohort.is_dirty(&self.table)
            || !member.begins.is_empty()
            || !member.ends.is_empty()
            || !member.deferred.is_empty()
    }

    /// The next octets for a peer; see [`super::UpdateGroups::next_octets`].
    pub(super) fn next_octets(
        &mut self,
        peer: PeerId,
        budget: usize,
        plans: &mut u64,
    ) -> Option<Bytes> {
        loop {
            let member = self.members.get_mut(&peer)?;
            let id = member.cohort;
            let cohort = self.cohorts.get_mut(&id)?;
            if !member.begins.is_empty() {
                let begins = std::mem::take(&mut member.begins);
                return Some(markers(
                    begins.into_iter().map(begin_of_refresh),
                    &self.key.context,
                ));
            }
            if let Some((position, octets)) =
                cohort.take(peer, member.position, budget, &self.key.context)
            {
                member.position = position;
                self.trim(id);
                if octets.is_empty() {
                    continue;
                }
                return Some(octets);
            }
            let is_due = |end: &End| !cohort.is_dirty(&self.table) || cohort.completed >= end.plan;
            let (due, later): (Vec<End>, Vec<End>) =
                member.ends.iter().partition(|end| is_due(end));
            if !due.is_empty() {
                member.ends = later;
                let is_told = |end: &End| end.kind == EndKind::Rib || member.enhanced_refresh;
                let told: Vec<End> = due.into_iter().filter(is_told).collect();
                let octets = markers(told.into_iter().map(End::message), &self.key.context);
                self.begin_deferred(peer, *plans);
                if octets.is_empty() {
                    continue;
                }
                return Some(octets);
            }
            if !cohort.is_dirty(&self.table) {
                self.merge(id);
                return None;
            }
            self.make_room_in_log(id);
            self.cohorts
                .get_mut(&id)?
                .cut(&self.key.context, budget, &self.table, plans);
        }
    }

    /// What the peer has.
    pub(super) fn advertised(&self, peer: PeerId) -> PrefixMap<Arc<Outgoing>> {
        match self.place(peer) {
            Some((member, cohort)) if !cohort.has_nothing => {
                has(peer, &self.table, &cohort.dirty_from(member.position))
            }
            _ => PrefixMap::default(),
        }
    }

    /// How many routes of a family that are.
    pub(super) fn advertised_count(&self, peer: PeerId, family: Family) -> usize {
        let Some((member, cohort)) = self.place(peer) else {
            return 0;
        };
        if cohort.has_nothing {
            return 0;
        }
        let wanted = self.table.len_for(peer, family);
        wanted.saturating_add_signed(cohort.surplus(peer, member.position, family, &self.table))
    }

    /// What stays behind although nobody wanted that.
    pub(super) fn unsent(&self) -> &PrefixMap<Refusal> {
        &self.unsent
    }

    /// What is wanted to be sent of a route, or why nothing is.
    pub(super) fn explain(&self, peer: PeerId, route: &Route) -> Result<Route, Refusal> {
        if route.source.peer() == Some(peer) {
            return Err(Refusal::OwnRoute);
        }
        self.exporter
            .rules()
            .explain(route)
            .map(|outgoing| outgoing.route(route.prefix))
    }

    /// How many cohorts there are, for tests of what is shared.
    #[cfg(test)]
    pub(super) fn cohorts(&self) -> usize {
        self.cohorts.len()
    }

    /// Changes the wanted table; what was and what is wanted where that differs.
    #[expect(clippy::type_complexity, reason = "before and after")]
    fn set(
        &mut self,
        prefix: Prefix,
        best: Option<&Route>,
    ) -> Option<(Option<Arc<Outgoing>>, Option<Arc<Outgoing>>)> {
        let answer = best.map(|route| self.exporter.export(route));
        match answer {
            Some(Err(refusal)) if refusal.is_unwanted() => {
                self.unsent.insert(prefix, refusal);
            }
            _ if self.unsent.is_empty() => {}
            _ => {
                self.unsent.remove(prefix);
            }
        }
        let new = answer.and_then(Result::ok);
        let old = self.table.set(prefix, new.clone());
        let is_same = match (&old, &new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        (!is_same).then_some((old, new))
    }

    fn place(&self, peer: PeerId) -> Option<(&Member, &Cohort)> {
        let member = self.members.get(&peer)?;
        Some((member, self.cohorts.get(&member.cohort)?))
    }

    fn add_cohort(&mut self, cohort: Cohort) -> u64 {
        let id = self.next_cohort;
        self.next_cohort += 1;
        self.cohorts.insert(id, cohort);
        id
    }

    /// Puts a peer at the tail of a cohort.
    fn settle(&mut self, peer: PeerId, mut member: Member, id: u64) {
        if let Some(cohort) = self.cohorts.get_mut(&id) {
            cohort.members.insert(peer);
            member.cohort = id;
            member.position = cohort.tail();
            self.members.insert(peer, member);
        }
    }

    fn unsettle(&mut self, peer: PeerId, id: u64) {
        let Some(cohort) = self.cohorts.get_mut(&id) else {
            return;
        };
        cohort.members.remove(&peer);
        if cohort.members.is_empty() {
            self.cohorts.remove(&id);
        } else {
            self.trim(id);
        }
    }

    /// Those who have not taken the message at this position, or an earlier one, go their own way: together where they
    /// stand at the same place.
    fn split(&mut self, id: u64, position: u64) {
        let Some(cohort) = self.cohorts.get(&id) else {
            return;
        };
        let mut leaving: BTreeMap<u64, Vec<PeerId>> = BTreeMap::new();
        for peer in &cohort.members {
            if let Some(member) = self.members.get(peer)
                && member.position <= position
            {
                leaving.entry(member.position).or_default().push(*peer);
            }
        }
        for (position, peers) in leaving {
            self.move_out(id, position, &peers);
        }
    }

    /// Moves peers that stand at one position into a cohort of their own.
    fn move_out(&mut self, id: u64, position: u64, peers: &[PeerId]) -> u64 {
        let dirty = self
            .cohorts
            .get(&id)
            .map(|cohort| cohort.dirty_from(position))
            .unwrap_or_default();
        let own = self.add_cohort(Cohort::of_dirty(dirty));
        for peer in peers {
            if let Some(member) = self.members.remove(peer) {
                self.unsettle(*peer, id);
                self.settle(*peer, member, own);
            }
        }
        own
    }

    fn trim(&mut self, id: u64) {
        let Some(cohort) = self.cohorts.get_mut(&id) else {
            return;
        };
        let positions = cohort
            .members
            .iter()
            .filter_map(|peer| self.members.get(peer))
            .map(|member| member.position);
        if let Some(slowest) = positions.min() {
            cohort.trim(slowest);
        }
    }

    fn make_room_in_log(&mut self, id: u64) {
        while let Some(cohort) = self.cohorts.get(&id)
            && cohort.is_log_full()
        {
            let first = cohort.first();
            self.split(id, first);
        }
    }

    /// Joins an idle cohort with another one: all their peers have the table.
    fn merge(&mut self, id: u64) {
        let is_idle = |cohort: &Cohort| cohort.is_idle(&self.table);
        if !self.cohorts.get(&id).is_some_and(is_idle) {
            return;
        }
        let other = self
            .cohorts
            .iter()
            .find(|(other, cohort)| **other != id && is_idle(cohort));
        let Some(other) = other.map(|(other, _)| *other) else {
            return;
        };
        let Some(cohort) = self.cohorts.remove(&id) else {
            return;
        };
        for peer in cohort.members {
            if let Some(member) = self.members.remove(&peer) {
                self.settle(peer, member, other);
            }
        }
    }

    fn make_dirty_again(&mut self, peer: PeerId, family: Family) {
        let Some((member, cohort)) = self.place(peer) else {
            return;
        };
        if cohort.has_nothing {
            return;
        }
        let mut dirty = cohort.dirty_from(member.position);
        let (id, member) = (member.cohort, member.clone());
        // What is to be withdrawn as well: it may come back before it went.
        dirty.retain(|prefix, before| {
            if prefix.family() == family {
                *before = again(std::mem::replace(before, Before::Nothing));
            }
            true
        });
        for (prefix, wanted) in self.table.family_iter(family) {
            if !dirty.contains(prefix) {
                dirty.insert(prefix, Before::Again(Arc::clone(wanted)));
            }
        }
        let own = self.add_cohort(Cohort::of_dirty(dirty));
        self.members.remove(&peer);
        self.unsettle(peer, id);
        self.settle(peer, member, own);
    }

    /// Refreshes that waited for a marker which has just gone out.
    fn begin_deferred(&mut self, peer: PeerId, plans: u64) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        for family in std::mem::take(&mut member.deferred) {
            self.refresh(peer, family, plans);
        }
    }

    fn leaver(&self, peer: PeerId, member: Member) -> Leaver {
        let mut asked_again = vec![];
        let cohort = self
            .cohorts
            .get(&member.cohort)
            .filter(|cohort| !cohort.has_nothing);
        let has = cohort.map(|cohort| {
            let dirty = cohort.dirty_from(member.position);
            asked_again.extend(
                dirty
                    .iter()
                    .filter(|(_, before)| matches!(before, Before::Again(_)))
                    .map(|(at, _)| at),
            );
            has(peer, &self.table, &dirty)
        });
        Leaver {
            member,
            has,
            asked_again,
        }
    }
}

fn has(peer: PeerId, table: &AdjRibOut, dirty: &PrefixMap<Before>) -> PrefixMap<Arc<Outgoing>> {
    let clean = table.iter().filter(|(prefix, _)| !dirty.contains(*prefix));
    let clean = clean.map(|(prefix, route)| (prefix, Some(route)));
    let dirty = dirty
        .iter()
        .map(|(prefix, before)| (prefix, before.route()));
    clean
        .chain(dirty)
        .filter_map(|(prefix, route)| Some((prefix, Arc::clone(seen_by(peer, route)?))))
        .collect()
}

fn again(before: Before) -> Before {
    match before {
        Before::Nothing => Before::Nothing,
        Before::Sent(route) | Before::Again(route) => Before::Again(route),
    }
}
