//! What is to be sent to the peers of one update group (RFC 4271 section 3.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attribute::{Attributes, NextHop};
use crate::types::PeerId;
use crate::types::{Family, Prefix};

use super::table::PrefixMap;
use super::{Route, Source};

/// What the UPDATEs say of a route besides its prefix: attributes after export, next hop filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outgoing {
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) next_hop: NextHop,
    /// Without path identifier. Not told to anybody, but the peer that it names does not get the route.
    pub(crate) source: Source,
    /// Octets that a message has left for NLRI beside all this.
    pub(crate) room: usize,
}

impl Outgoing {
    /// Whether a peer that has the one needs not be told of the other.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.attributes, &other.attributes) || self.attributes == other.attributes)
            && self.next_hop == other.next_hop
    }

    /// The peer that the route came from.
    pub(crate) fn from(&self) -> Option<PeerId> {
        self.source.peer()
    }

    pub(crate) fn route(&self, prefix: Prefix) -> Route {
        Route {
            prefix,
            attributes: Arc::clone(&self.attributes),
            next_hop: Some(self.next_hop.clone()),
            source: self.source,
        }
    }
}

/// One route for every prefix that passes the export, for all peers of the group but the one that it came from.
#[derive(Debug, Default)]
pub(crate) struct AdjRibOut {
    routes: PrefixMap<Arc<Outgoing>>,
    /// How many routes came from each peer, IPv4 and IPv6: that many fewer are for itself.
    learned: BTreeMap<PeerId, [usize; 2]>,
}

/// At most one entry for each prefix.
impl FromIterator<(Prefix, Arc<Outgoing>)> for AdjRibOut {
    fn from_iter<I: IntoIterator<Item = (Prefix, Arc<Outgoing>)>>(entries: I) -> Self {
        let mut learned: BTreeMap<PeerId, [usize; 2]> = BTreeMap::new();
        let counted = entries.into_iter().inspect(|(prefix, route)| {
            if let Some(peer) = route.from() {
                learned.entry(peer).or_default()[family_index(prefix.family())] += 1;
            }
        });
        let routes = counted.collect();
        Self { routes, learned }
    }
}

impl AdjRibOut {
    /// Puts a route, or none, in the place of what there was, and gives that back.
    pub(crate) fn set(
        &mut self,
        prefix: Prefix,
        route: Option<Arc<Outgoing>>,
    ) -> Option<Arc<Outgoing>> {
        if let Some(peer) = route.as_ref().and_then(|route| route.from()) {
            self.learned.entry(peer).or_default()[family_index(prefix.family())] += 1;
        }
        let before = match route {
            Some(route) => self.routes.insert(prefix, route),
            None => self.routes.remove(prefix),
        };
        if let Some(peer) = before.as_ref().and_then(|route| route.from())
            && let Some(counts) = self.learned.get_mut(&peer)
        {
            counts[family_index(prefix.family())] -= 1;
            if *counts == [0, 0] {
                self.learned.remove(&peer);
            }
        }
        before
    }

    pub(crate) fn get(&self, prefix: Prefix) -> Option<&Arc<Outgoing>> {
        self.routes.get(prefix)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Prefix, &Arc<Outgoing>)> {
        self.routes.iter()
    }

    pub(crate) fn family_iter(
        &self,
        family: Family,
    ) -> impl Iterator<Item = (Prefix, &Arc<Outgoing>)> {
        self.routes.family_iter(family)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// How many routes of a family are for this peer.
    pub(crate) fn len_for(&self, peer: PeerId, family: Family) -> usize {
        let own = self
            .learned
            .get(&peer)
            .map_or(0, |counts| counts[family_index(family)]);
        self.routes.family_len(family).saturating_sub(own)
    }
}

/// A prefix is of one of two families.
fn family_index(family: Family) -> usize {
    usize::from(family != Family::IPV4_UNICAST)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{learned, prefix};
    use super::*;

    #[test]
    fn a_peer_is_not_counted_what_it_sent_itself() {
        let mut table = AdjRibOut::default();
        let outgoing = |n| {
            let route = learned("10.0.0.0/24", n);
            let next_hop = route.next_hop.expect("given");
            Some(Arc::new(Outgoing {
                attributes: route.attributes,
                next_hop,
                source: route.source,
                room: 100,
            }))
        };
        let v4 = Family::IPV4_UNICAST;
        table.set(prefix("10.0.0.0/24"), outgoing(1));
        table.set(prefix("10.0.1.0/24"), outgoing(2));
        assert_eq!(
            (table.len_for(PeerId(1), v4), table.len_for(PeerId(3), v4)),
            (1, 2)
        );
        table.set(prefix("10.0.0.0/24"), outgoing(2));
        assert_eq!(
            (table.len_for(PeerId(1), v4), table.len_for(PeerId(2), v4)),
            (2, 0)
        );
        table.set(prefix("10.0.0.0/24"), None);
        table.set(prefix("10.0.1.0/24"), None);
        assert!(table.learned.is_empty() && table.is_empty());
        assert_eq!(table.len_for(PeerId(2), Family::IPV6_UNICAST), 0);
    }
}
