//! Peers that get the same octets share them; who is behind, and what is still dirty for whom.

mod cohort;
mod group;
mod member;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::peer::Session;
use crate::rib::{CompiledPolicy, Policy, Route};
use crate::types::{Asn, Family, Prefix};

use super::PeerId;
use super::routes_out::{ExportRules, Exporter, Refusal};
use group::{Group, GroupKey};
use member::Member;

/// All Adj-RIB-Outs of a speaker, one for each group of peers that get the same.
#[derive(Debug, Default)]
pub(crate) struct UpdateGroups {
    groups: BTreeMap<u64, Group>,
    /// The group of each peer.
    places: BTreeMap<PeerId, u64>,
    next_group: u64,
    /// Numbers the plans of all groups, so that a marker can say behind which one it comes.
    plans: u64,
}

/// What decides, besides the session, whether two peers get the same octets.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// Our AS.
    pub(crate) local_asn: Asn,
    /// The peer's export policy.
    pub(crate) policy: Arc<Policy>,
    /// Only locally originated routes go out.
    pub(crate) originated_only: bool,
}

impl UpdateGroups {
    /// A session came up: all of the Loc-RIB is dirty for it, End-of-RIB of each negotiated family is due after it.
    pub(crate) fn join(
        &mut self,
        peer: PeerId,
        session: &Session,
        export: Export,
        loc_rib: impl Iterator<Item = Route>,
    ) {
        self.leave(peer);
        let key = GroupKey {
            local_asn: export.local_asn,
            policy: export.policy,
            originated_only: export.originated_only,
            context: session.send.clone(),
            local_address: session.local.ip(),
        };
        let id = self.group(key, loc_rib);
        let member = Member::new(
            &session.send.families,
            session.enhanced_route_refresh,
            self.plans,
        );
        if let Some(group) = self.groups.get_mut(&id) {
            group.join(peer, member);
            self.places.insert(peer, id);
        }
    }

    /// The session is gone.
    pub(crate) fn leave(&mut self, peer: PeerId) {
        let Some(id) = self.places.remove(&peer) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(&id) {
            group.leave(peer, false);
        }
        self.drop_if_empty(id);
    }

    /// The export policy changed: the difference becomes dirty.
    pub(crate) fn set_policy(
        &mut self,
        peer: PeerId,
        policy: Arc<Policy>,
        loc_rib: impl Iterator<Item = Route>,
    ) {
        let Some(old) = self.places.get(&peer).copied() else {
            return;
        };
        let Some(group) = self.groups.get_mut(&old) else {
            return;
        };
        if group.key.policy == policy {
            return;
        }
        let key = GroupKey {
            policy,
            ..group.key.clone()
        };
        let Some(leaver) = group.leave(peer, true) else {
            return;
        };
        self.drop_if_empty(old);
        let new = self.group(key, loc_rib);
        if let Some(group) = self.groups.get_mut(&new) {
            group.join_from(peer, leaver);
            self.places.insert(peer, new);
        }
    }

    /// The best route of a prefix changed (`None`: there is none any more).
    pub(crate) fn route_changed(&mut self, prefix: Prefix, best: Option<&Route>) {
        for group in self.groups.values_mut() {
            group.change(prefix, best);
        }
    }

    /// The peer asked for all routes of a family again (RFC 2918; BoRR and EoRR around them where RFC 7313 is agreed).
    pub(crate) fn refresh(&mut self, peer: PeerId, family: Family) {
        let plans = self.plans;
        if let Some(group) = self.group_of_mut(peer) {
            group.refresh(peer, family, plans);
        }
    }

    /// Whether [`Self::next_octets`] has something to look at. It may find that this peer needs none of it.
    pub(crate) fn is_dirty(&self, peer: PeerId) -> bool {
        self.group_of(peer)
            .is_some_and(|group| group.is_dirty(peer))
    }

    /// The next messages for the peer, at most about `budget` octets (at least one message where anything is due). After
    /// `None` the peer is not dirty.
    pub(crate) fn next_octets(&mut self, peer: PeerId, budget: usize) -> Option<Bytes> {
        let group = self.groups.get_mut(self.places.get(&peer)?)?;
        group.next_octets(peer, budget, &mut self.plans)
    }

    /// What the peer was sent and not withdrawn from, as sent.
    pub(crate) fn advertised(&self, peer: PeerId, family: Family) -> Vec<Route> {
        let has = self
            .group_of(peer)
            .map(|group| group.advertised(peer))
            .unwrap_or_default();
        has.family_iter(family)
            .map(|(prefix, outgoing)| outgoing.route(prefix))
            .collect()
    }

    /// How many that are. One look where the peer has everything, a walk over what is dirty otherwise.
    pub(crate) fn advertised_count(&self, peer: PeerId, family: Family) -> usize {
        self.group_of(peer)
            .map_or(0, |group| group.advertised_count(peer, family))
    }

    /// What stays behind although no policy wanted that: next hops that the session cannot express, routes too big.
    pub(crate) fn unsent(&self, peer: PeerId) -> Vec<(Prefix, Refusal)> {
        let group = self.group_of(peer);
        group
            .map(|group| group.unsent().iter().map(|(at, why)| (at, *why)).collect())
            .unwrap_or_default()
    }

    /// What is sent of a route to an established peer, or why nothing is; `None` where there is no session.
    pub(crate) fn explain(&self, peer: PeerId, route: &Route) -> Option<Result<Route, Refusal>> {
        self.group_of(peer).map(|group| group.explain(peer, route))
    }

    /// The group with this key, made where there is none.
    fn group(&mut self, key: GroupKey, loc_rib: impl Iterator<Item = Route>) -> u64 {
        if let Some((id, _)) = self.groups.iter().find(|(_, group)| group.key == key) {
            return *id;
        }
        let exporter = Exporter::new(ExportRules {
            local_asn: key.local_asn,
            policy: CompiledPolicy::new(Arc::clone(&key.policy)),
            originated_only: key.originated_only,
            context: key.context.clone(),
            local_address: key.local_address,
        });
        let id = self.next_group;
        self.next_group += 1;
        self.groups.insert(id, Group::new(key, exporter, loc_rib));
        id
    }

    fn drop_if_empty(&mut self, id: u64) {
        if self.groups.get(&id).is_some_and(Group::is_empty) {
            self.groups.remove(&id);
        }
    }

    fn group_of(&self, peer: PeerId) -> Option<&Group> {
        self.groups.get(self.places.get(&peer)?)
    }

    fn group_of_mut(&mut self, peer: PeerId) -> Option<&mut Group> {
        self.groups.get_mut(self.places.get(&peer)?)
    }
}

#[cfg(test)]
mod tests;
