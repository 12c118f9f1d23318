//! UPDATEs of one peer -> changes of its Adj-RIB-In and of the Loc-RIB.

use std::sync::Arc;

use bytes::Bytes;

use crate::attribute::{Attributes, NextHop, NlriList};
use crate::codec::ProtocolError;
use crate::message::{Fault, RefreshKind, RouteRefresh, Treatment, Update};
use crate::peer::Session;
use crate::rib::{
    AdjRibIn, Announced, Changed, CompiledPolicy, Interner, LocRib, Policy, Route, Source, Verdict,
};
use crate::types::{Asn, Family, Nlri, PathId, PeerId, Prefix, Reason, RouterId, UpdateSubcode};

/// AS_PATH's attribute type (RFC 4271 section 5.1.2).
const AS_PATH: u8 = 2;

/// What one peer has sent, and what of it is used.
#[derive(Debug)]
pub(super) struct RoutesIn {
    table: AdjRibIn,
    import: CompiledPolicy,
}

/// The session that routes come from, as far as they depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) peer: PeerId,
    pub(super) session: &'a Session,
    pub(super) enforce_first_as: bool,
    pub(super) local_asn: Asn,
    pub(super) router_id: RouterId,
}

/// The tables that all peers share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) loc_rib: &'a mut LocRib,
    pub(super) attributes: &'a mut Interner<Attributes>,
}

/// What an input meant for routes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Now announced by the peer, or announced with something else.
    pub(super) announced: Vec<Prefix>,
    /// No longer announced by the peer.
    pub(super) withdrawn: Vec<Prefix>,
    /// Their best route is another one now.
    pub(super) best_changed: Vec<Prefix>,
    /// What was wrong and is handled.
    pub(super) faults: Vec<Fault>,
}

impl RoutesIn {
    pub(super) fn new(import: Arc<Policy>) -> Self {
        Self {
            table: AdjRibIn::new(),
            import: CompiledPolicy::new(import),
        }
    }

    pub(super) fn received(&self, family: Family) -> usize {
        self.table.received(family)
    }

    pub(super) fn accepted(&self, family: Family) -> usize {
        self.table.accepted(family)
    }

    pub(super) fn routes(&self, family: Family) -> Vec<Route> {
        self.table.routes(family).map(|(route, _)| route).collect()
    }

    /// Applies an UPDATE: first what it withdraws, then what it announces (RFC 4271 section 9).
    pub(super) fn update(
        &mut self,
        update: Update,
        origin: &Origin<'_>,
        shared: &mut Shared<'_>,
    ) -> Outcome {
        let mut outcome = Outcome {
            faults: update.faults,
            ..Outcome::default()
        };
        let unreachable = update.mp_unreach.iter().map(|unreach| &unreach.nlri);
        for list in unreachable.chain([&update.withdrawn]) {
            self.withdraw(list, origin, shared, &mut outcome);
        }
        let classic = update.next_hop.map(NextHop::V4);
        let classic = classic.map(|next_hop| (&update.announced, next_hop));
        let multiprotocol = update.mp_reach.as_ref();
        let multiprotocol = multiprotocol.map(|reach| (&reach.nlri, reach.next_hop.clone()));
        let Some(attributes) = update.attributes else {
            return outcome;
        };
        let attributes = shared.attributes.intern(attributes);
        for (list, next_hop) in classic.into_iter().chain(multiprotocol) {
            if list.is_empty() {
                continue;
            }
            if has_foreign_first_as(&attributes, origin) {
                outcome.faults.push(foreign_first_as());
                self.withdraw(list, origin, shared, &mut outcome);
            } else {
                self.announce(list, &attributes, &next_hop, origin, shared, &mut outcome);
            }
        }
        outcome
    }

    /// The beginning and the end of what the peer sends again (RFC 7313 section 4): what was not among it is gone.
    pub(super) fn refreshed(
        &mut self,
        refresh: RouteRefresh,
        origin: &Origin<'_>,
        shared: &mut Shared<'_>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        match refresh.kind {
            RefreshKind::Begin => self.table.mark_stale(refresh.family),
            RefreshKind::End => {
                for nlri in self.table.sweep_stale(refresh.family) {
                    outcome.withdrawn.push(nlri.prefix);
                    remove(nlri, origin, shared, &mut outcome);
                }
            }
            RefreshKind::Request | RefreshKind::Unknown(_) => {}
        }
        outcome
    }

    /// The session is gone, and its routes with it: their memory too, for nobody knows when as many come again.
    pub(super) fn clear(&mut self, origin: &Origin<'_>, shared: &mut Shared<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        for nlri in self.table.clear() {
            outcome.withdrawn.push(nlri.prefix);
            remove(nlri, origin, shared, &mut outcome);
        }
        let gone = outcome.withdrawn.len();
        shared.loc_rib.sweep_after(gone);
        shared.attributes.sweep_after(gone);
        outcome
    }

    /// Another import policy. What it judges is the Adj-RIB-In, so the peer need not send anything again.
    pub(super) fn set_import(
        &mut self,
        import: Arc<Policy>,
        origin: Option<&Origin<'_>>,
        shared: &mut Shared<'_>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        self.import = CompiledPolicy::new(import);
        // Without a session there is no route either.
        let Some(origin) = origin else {
            return outcome;
        };
        let mut judge = Judge::new(&self.import, origin);
        self.table.reconsider(|route| {
            let nlri = Nlri {
                prefix: route.prefix,
                path_id: route.source.path_id(),
            };
            match judge.judge(route, shared.attributes) {
                Some(route) => {
                    insert(&route, shared, &mut outcome);
                    Verdict::Accept
                }
                None => {
                    remove(nlri, origin, shared, &mut outcome);
                    Verdict::Reject
                }
            }
        });
        outcome
    }

    fn announce(
        &mut self,
        list: &NlriList,
        attributes: &Arc<Attributes>,
        next_hop: &NextHop,
        origin: &Origin<'_>,
        shared: &mut Shared<'_>,
        outcome: &mut Outcome,
    ) {
        if !is_negotiated(list, origin) {
            return;
        }
        let mut judge = Judge::new(&self.import, origin);
        for nlri in list.iter() {
            let route = Route {
                prefix: nlri.prefix,
                attributes: Arc::clone(attributes),
                next_hop: Some(next_hop.clone()),
                source: origin.source(nlri.path_id),
            };
            let usable = judge.judge(&route, shared.attributes);
            let verdict = match usable {
                Some(_) => Verdict::Accept,
                None => Verdict::Reject,
            };
            let before = self.table.announce(&route, verdict);
            if before == Announced::Same {
                continue;
            }
            outcome.announced.push(nlri.prefix);
            match usable {
                Some(route) => insert(&route, shared, outcome),
                None => remove(nlri, origin, shared, outcome),
            }
        }
    }

    fn withdraw(
        &mut self,
        list: &NlriList,
        origin: &Origin<'_>,
        shared: &mut Shared<'_>,
        outcome: &mut Outcome,
    ) {
        for nlri in list.iter() {
            if self.table.withdraw(nlri).is_some() {
                outcome.withdrawn.push(nlri.prefix);
                remove(nlri, origin, shared, outcome);
            }
        }
    }
}

impl Origin<'_> {
    fn source(&self, path_id: Option<PathId>) -> Source {
        Source::Peer {
            peer: self.peer,
            address: self.session.remote.ip(),
            asn: self.session.peer_asn,
            router_id: self.session.peer_router_id,
            external: self.session.external,
            path_id,
        }
    }
}

/// Judges routes one after another. Most of the answer is the same for those that differ in the prefix only, and a peer
/// decides how much work each answer is and how many ask for it: so it is found once, and its attributes are kept once.
struct Judge<'a> {
    import: &'a CompiledPolicy,
    origin: &'a Origin<'a>,
    /// What the answers below are about.
    about: Option<(Arc<Attributes>, Option<NextHop>)>,
    is_eligible: bool,
    /// The attributes that each effect of the import policy leaves.
    imported: Vec<(Option<usize>, Arc<Attributes>)>,
}

impl<'a> Judge<'a> {
    fn new(import: &'a CompiledPolicy, origin: &'a Origin<'a>) -> Self {
        Self {
            import,
            origin,
            about: None,
            is_eligible: false,
            imported: vec![],
        }
    }

    /// What the import policy leaves of a route that may be used at all.
    fn judge(&mut self, route: &Route, interner: &mut Interner<Attributes>) -> Option<Route> {
        if !self.is_about(route) {
            self.about = Some((Arc::clone(&route.attributes), route.next_hop.clone()));
            self.is_eligible = is_eligible(route, self.origin);
            self.imported.clear();
        }
        if !self.is_eligible {
            return None;
        }
        let statement = self.import.statement(route.prefix, &route.attributes);
        let effect = self.import.effect(statement);
        let policy = self.import.policy();
        if policy.verdict(effect) == Verdict::Reject {
            return None;
        }
        let known = self.imported.iter().find(|(known, _)| *known == effect);
        let attributes = match known {
            Some((_, attributes)) => Arc::clone(attributes),
            None => {
                let applied = policy.apply(effect, &route.attributes, self.origin.local_asn);
                let attributes = interner.intern_shared(&applied);
                self.imported.push((effect, Arc::clone(&attributes)));
                attributes
            }
        };
        Some(Route {
            attributes,
            ..route.clone()
        })
    }

    fn is_about(&self, route: &Route) -> bool {
        self.about.as_ref().is_some_and(|(attributes, next_hop)| {
            Arc::ptr_eq(attributes, &route.attributes) && *next_hop == route.next_hop
        })
    }
}

/// Loops (RFC 4271 section 9.1.2, RFC 4456 section 8) and next hops that lead nowhere (RFC 4271 section 6.3) are no
/// errors: such routes are kept and not used.
fn is_eligible(route: &Route, origin: &Origin<'_>) -> bool {
    let attributes = &route.attributes;
    let is_loop = attributes.as_path.contains(origin.local_asn)
        || attributes.originator_id == Some(origin.router_id)
        || attributes
            .cluster_list
            .contains(&u32::from(origin.router_id.as_ipv4()));
    let own = origin.session.local.ip();
    let leads_somewhere = match &route.next_hop {
        Some(NextHop::V4(address)) => {
            !address.is_multicast() && !address.is_unspecified() && own != *address
        }
        Some(
            NextHop::V6(address)
            | NextHop::V6LinkLocal {
                global: address, ..
            },
        ) => !address.is_multicast() && !address.is_unspecified() && own != *address,
        Some(NextHop::Opaque(_)) | None => false,
    };
    !is_loop && leads_somewhere
}

/// Routes of a family that was not agreed on are ignored (RFC 4760 section 6).
fn is_negotiated(list: &NlriList, origin: &Origin<'_>) -> bool {
    origin.session.receive.families.contains(&list.family())
}

fn has_foreign_first_as(attributes: &Attributes, origin: &Origin<'_>) -> bool {
    origin.enforce_first_as
        && origin.session.external
        && attributes.as_path.first() != Some(origin.session.peer_asn)
}

fn foreign_first_as() -> Fault {
    Fault {
        error: ProtocolError {
            reason: Reason::Update(UpdateSubcode::MalformedAsPath),
            data: Bytes::new(),
        },
        attribute: Some(AS_PATH),
        treatment: Treatment::Withdraw,
    }
}

fn insert(route: &Route, shared: &mut Shared<'_>, outcome: &mut Outcome) {
    if shared.loc_rib.insert(route) == Changed::Best {
        outcome.best_changed.push(route.prefix);
    }
}

fn remove(nlri: Nlri, origin: &Origin<'_>, shared: &mut Shared<'_>, outcome: &mut Outcome) {
    let source = origin.source(nlri.path_id);
    if shared.loc_rib.remove(nlri.prefix, &source) == Changed::Best {
        outcome.best_changed.push(nlri.prefix);
    }
}
