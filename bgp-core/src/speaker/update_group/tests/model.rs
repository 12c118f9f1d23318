//! The other end of a session: decodes what it gets, keeps a table and objects to what nobody had to tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::attribute::{Attributes, NextHop};
use crate::message::{Framer, Message, RefreshKind, Update, WireContext};
use crate::peer::{ConnectionId, Session};
use crate::rib::Policy;
use crate::types::{Asn, Family, HoldTime, Prefix, RouterId};

use super::super::{Export, PeerId, UpdateGroups};

pub(super) const V4: Family = Family::IPV4_UNICAST;
pub(super) const V6: Family = Family::IPV6_UNICAST;
pub(super) const US: Asn = Asn(64512);

pub(super) fn export(policy: Arc<Policy>, originated_only: bool) -> Export {
    Export {
        local_asn: US,
        policy,
        originated_only,
    }
}

/// An external session with both families, from this address of ours.
pub(super) fn session(local: &str) -> Session {
    let context = WireContext {
        four_octet_as: true,
        families: vec![V4, V6],
        ..WireContext::initial()
    };
    Session {
        connection: ConnectionId(1),
        local: SocketAddr::new(local.parse().expect("an address"), 179),
        remote: SocketAddr::new(local.parse().expect("an address"), 4000),
        peer_asn: Asn(64513),
        peer_router_id: RouterId::new([192, 0, 2, 2].into()).expect("not zero"),
        external: true,
        hold_time: HoldTime::DEFAULT,
        keepalive: Duration::from_secs(30),
        receive: context.clone(),
        send: context,
        local_capabilities: vec![],
        remote_capabilities: vec![],
        route_refresh: true,
        enhanced_route_refresh: true,
        #[expect(clippy::disallowed_methods, reason = "nothing here looks at it")]
        since: Instant::now(),
    }
}

/// What one peer knows of us.
#[derive(Debug)]
pub(super) struct Receiver {
    peer: PeerId,
    context: WireContext,
    enhanced_refresh: bool,
    pub(super) table: BTreeMap<Prefix, (Attributes, NextHop)>,
    /// Prefixes that may be told again although nothing changed.
    again: BTreeSet<Prefix>,
    /// It asked for a table whose beginning it will not be told, so anything may come again.
    asked_unmarked: bool,
    /// Not heard again since the beginning of a refresh.
    stale: BTreeMap<Family, BTreeSet<Prefix>>,
    /// Messages with routes.
    pub(super) updates: usize,
    pub(super) ends_of_rib: Vec<Family>,
    pub(super) begins: Vec<Family>,
    pub(super) ends: Vec<Family>,
}

impl Receiver {
    pub(super) fn new(peer: PeerId, session: &Session) -> Self {
        Self {
            peer,
            context: session.send.clone(),
            enhanced_refresh: session.enhanced_route_refresh,
            table: BTreeMap::new(),
            again: BTreeSet::new(),
            asked_unmarked: false,
            stale: BTreeMap::new(),
            updates: 0,
            ends_of_rib: vec![],
            begins: vec![],
            ends: vec![],
        }
    }

    /// Takes all there is.
    pub(super) fn drain(&mut self, groups: &mut UpdateGroups) {
        while self.read(groups, usize::MAX) {}
        assert!(!groups.is_dirty(self.peer), "after None nothing is dirty");
    }

    /// Takes once; whether there was something.
    pub(super) fn read(&mut self, groups: &mut UpdateGroups, budget: usize) -> bool {
        let was_dirty = groups.is_dirty(self.peer);
        let Some(octets) = groups.next_octets(self.peer, budget) else {
            return false;
        };
        assert!(was_dirty, "octets for a peer that is not dirty");
        assert!(!octets.is_empty());
        assert!(octets.len() <= budget.max(2 * self.context.max_message));
        let mut framer = Framer::new(self.context.max_message);
        framer.push(&octets);
        while let Some(message) = framer.next_message().expect("well-formed messages") {
            self.hear(message);
        }
        let table = [V4, V6].map(|family| groups.advertised(self.peer, family));
        let advertised: BTreeMap<Prefix, (Attributes, NextHop)> = table
            .iter()
            .flatten()
            .map(|route| {
                (
                    route.prefix,
                    (
                        (*route.attributes).clone(),
                        route.next_hop.clone().expect("filled in"),
                    ),
                )
            })
            .collect();
        assert_eq!(
            advertised, self.table,
            "what was sent is what we say that we sent"
        );
        for (family, routes) in [V4, V6].iter().zip(&table) {
            assert_eq!(groups.advertised_count(self.peer, *family), routes.len());
        }
        true
    }

    /// It asked for the family again.
    pub(super) fn asked(&mut self) {
        self.asked_unmarked |= !self.enhanced_refresh;
    }

    fn may_come_again(&mut self, family: Family) {
        let own = self.table.keys().filter(|prefix| prefix.family() == family);
        self.again.extend(own);
    }

    fn hear(&mut self, octets: Bytes) {
        assert!(octets.len() <= self.context.max_message);
        match Message::decode(octets, &self.context).expect("a correct message") {
            Message::Update(update) => self.hear_update(update),
            Message::RouteRefresh(refresh) if refresh.kind == RefreshKind::Begin => {
                assert!(self.enhanced_refresh);
                self.begins.push(refresh.family);
                self.may_come_again(refresh.family);
                let own = self
                    .table
                    .keys()
                    .copied()
                    .filter(|prefix| prefix.family() == refresh.family);
                self.stale.insert(refresh.family, own.collect());
            }
            Message::RouteRefresh(refresh) => {
                assert_eq!(refresh.kind, RefreshKind::End);
                self.ends.push(refresh.family);
                let stale = self
                    .stale
                    .remove(&refresh.family)
                    .expect("a beginning before the end");
                assert!(stale.is_empty(), "all routes came again: {stale:?}");
            }
            other => panic!("not expected: {other:?}"),
        }
    }

    fn hear_update(&mut self, update: Update) {
        assert_eq!(update.faults, []);
        if let Some(family) = update.is_end_of_rib() {
            self.ends_of_rib.push(family);
            return;
        }
        self.updates += 1;
        let parts = [
            !update.withdrawn.is_empty(),
            !update.announced.is_empty(),
            update.mp_reach.is_some(),
            !update.mp_unreach.is_empty(),
        ];
        assert_eq!(
            parts.iter().filter(|part| **part).count(),
            1,
            "one kind of routes in one message"
        );
        for nlri in update
            .withdrawn
            .iter()
            .chain(update.mp_unreach.iter().flat_map(|lost| lost.nlri.iter()))
        {
            let had = self.table.remove(&nlri.prefix);
            assert!(
                had.is_some(),
                "{} was withdrawn and never announced",
                nlri.prefix
            );
            self.heard_again(nlri.prefix);
        }
        let classic = update.next_hop.map(NextHop::V4);
        for nlri in update.announced.iter() {
            self.announced(nlri.prefix, update.attributes.as_ref(), classic.as_ref());
        }
        if let Some(reach) = &update.mp_reach {
            for nlri in reach.nlri.iter() {
                self.announced(
                    nlri.prefix,
                    update.attributes.as_ref(),
                    Some(&reach.next_hop),
                );
            }
        }
    }

    fn announced(
        &mut self,
        prefix: Prefix,
        attributes: Option<&Attributes>,
        next_hop: Option<&NextHop>,
    ) {
        let route = (
            attributes.expect("attributes").clone(),
            next_hop.expect("a next hop").clone(),
        );
        let may_repeat = self.asked_unmarked || self.again.contains(&prefix);
        self.heard_again(prefix);
        let before = self.table.insert(prefix, route);
        assert!(
            may_repeat || before.as_ref() != self.table.get(&prefix),
            "{prefix} was told twice"
        );
    }

    fn heard_again(&mut self, prefix: Prefix) {
        self.again.remove(&prefix);
        for stale in self.stale.values_mut() {
            stale.remove(&prefix);
        }
    }
}
