//! The routes that we use: all candidates of every prefix, and which one is best (RFC 4271 section 3.2).

use std::sync::Arc;

use crate::types::PeerId;
use crate::types::{Family, PathId, Prefix};

use super::decision::{self, Ranked, Step, View};
use super::path::{Path, Paths};
use super::table::{Few, PrefixMap};
use super::{Route, Source};

/// All candidate routes by prefix. What comes from one peer under one path identifier, or from ourselves, is one
/// candidate.
#[derive(Debug, Default)]
pub struct LocRib {
    /// The best candidate is the first.
    routes: PrefixMap<Few<Candidate>>,
    paths: Paths,
}

/// What a change of candidates meant for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Another route is best now, the best one carries something else, or there is none any more: [`LocRib::best`] says.
    Best,
    /// Only candidates behind the best one.
    Others,
    /// Nothing.
    Nothing,
}

#[derive(Clone, Debug)]
struct Candidate {
    path: Arc<Path>,
    path_id: Option<PathId>,
}

impl LocRib {
    /// No route.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a route in place of what the same source (and path identifier) had for the prefix.
    pub fn insert(&mut self, route: &Route) -> Changed {
        let candidate = Candidate {
            path: self.paths.of(route),
            path_id: route.source.path_id(),
        };
        self.routes
            .upsert(route.prefix, Few::One(candidate), replace_or_add, || {
                Changed::Best
            })
    }

    /// Removes the route of a prefix that came from there; the path identifier of the source counts.
    pub fn remove(&mut self, prefix: Prefix, source: &Source) -> Changed {
        let Some(few) = self.routes.get(prefix) else {
            return Changed::Nothing;
        };
        let key = (source.peer(), source.path_id());
        let Some(place) = few
            .as_slice()
            .iter()
            .position(|candidate| candidate.key() == key)
        else {
            return Changed::Nothing;
        };
        // The entry was found a moment ago.
        let Some(few) = self.routes.remove(prefix) else {
            return Changed::Nothing;
        };
        if let Some(mut rest) = few.without(|candidate| candidate.key() == key) {
            // Where the best route leaves, or MED made the one removed stand in another's way, the first may change.
            let first = Arc::clone(&rest.as_slice()[0].path);
            let first_id = rest.as_slice()[0].path_id;
            put_best_first(&mut rest);
            let best = &rest.as_slice()[0];
            let is_other =
                place == 0 || !Arc::ptr_eq(&best.path, &first) || best.path_id != first_id;
            self.routes.insert(prefix, rest);
            return if is_other {
                Changed::Best
            } else {
                Changed::Others
            };
        }
        Changed::Best
    }

    /// Gives back what so many removed routes had in common with others, where they were a good part of all.
    pub fn sweep_after(&mut self, gone: usize) {
        self.paths.sweep_after(gone);
    }

    /// The best route of a prefix.
    pub fn best(&self, prefix: Prefix) -> Option<Route> {
        let few = self.routes.get(prefix)?;
        few.as_slice()
            .first()
            .map(|candidate| candidate.route(prefix))
    }

    /// The best route of every prefix: IPv4 before IPv6, each in prefix order.
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes
            .iter()
            .filter_map(|(prefix, few)| Some(few.as_slice().first()?.route(prefix)))
    }

    /// The best route of every prefix of one family, in prefix order.
    pub fn family_routes(&self, family: Family) -> impl Iterator<Item = Route> + '_ {
        self.routes
            .family_iter(family)
            .filter_map(|(prefix, few)| Some(few.as_slice().first()?.route(prefix)))
    }

    /// All routes of a prefix, best first, each with the step at which it lost.
    pub fn candidates(&self, prefix: Prefix) -> Vec<(Route, Ranked)> {
        let Some(few) = self.routes.get(prefix) else {
            return vec![];
        };
        let candidates = few.as_slice();
        let views: Vec<View<'_>> = candidates.iter().map(Candidate::view).collect();
        let ranked = decision::rank_views(&views);
        ranked
            .into_iter()
            .map(|ranked| (candidates[ranked.index].route(prefix), ranked))
            .collect()
    }

    /// The step that made the best route of a prefix best; `None` where it is the only one or there is none.
    pub fn decided_by(&self, prefix: Prefix) -> Option<Step> {
        let views: Vec<View<'_>> = self
            .routes
            .get(prefix)?
            .as_slice()
            .iter()
            .map(Candidate::view)
            .collect();
        decision::best_view(&views)?.1
    }

    /// How many prefixes of a family have a route.
    pub fn len(&self, family: Family) -> usize {
        self.routes.family_len(family)
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

impl Candidate {
    fn key(&self) -> (Option<PeerId>, Option<PathId>) {
        (self.path.source.peer(), self.path_id)
    }

    fn view(&self) -> View<'_> {
        View::new(&self.path, self.path_id)
    }

    fn route(&self, prefix: Prefix) -> Route {
        self.path.route(prefix, self.path_id)
    }
}

fn replace_or_add(few: &mut Few<Candidate>, new: Few<Candidate>) -> Changed {
    let Few::One(new) = new else {
        return Changed::Nothing;
    };
    let before = few.as_slice()[0].clone();
    match few
        .as_mut_slice()
        .iter_mut()
        .find(|candidate| candidate.key() == new.key())
    {
        Some(known) if known.path.means_the_same(&new.path) => {
            // The same value from a fresher allocation: keep the fresher one, so that the older can go.
            *known = new;
            return Changed::Nothing;
        }
        Some(known) => *known = new,
        None => few.push(new),
    }
    put_best_first(few);
    let best = &few.as_slice()[0];
    let is_same = best.key() == before.key() && best.path.means_the_same(&before.path);
    if is_same {
        Changed::Others
    } else {
        Changed::Best
    }
}

fn put_best_first(few: &mut Few<Candidate>) {
    let candidates = few.as_mut_slice();
    if candidates.len() < 2 {
        return;
    }
    let views: Vec<View<'_>> = candidates.iter().map(Candidate::view).collect();
    let Some((best, _)) = decision::best_view(&views) else {
        return;
    };
    candidates.swap(0, best);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{learned, local, prefix};
    use super::*;

    #[test]
    fn an_entry_is_sixteen_octets() {
        assert_eq!(size_of::<Few<Candidate>>(), 16);
    }

    #[test]
    fn the_best_route_changes_only_where_it_does() {
        let mut rib = LocRib::new();
        let net = prefix("10.0.0.0/24");
        assert_eq!(rib.insert(&learned("10.0.0.0/24", 2)), Changed::Best);
        assert_eq!(rib.insert(&learned("10.0.0.0/24", 2)), Changed::Nothing);
        assert_eq!(rib.insert(&learned("10.0.0.0/24", 3)), Changed::Others);
        assert_eq!(rib.insert(&learned("10.0.0.0/24", 1)), Changed::Best);
        assert_eq!(rib.best(net), Some(learned("10.0.0.0/24", 1)));
        assert_eq!(rib.decided_by(net), Some(Step::RouterId));
        assert_eq!(
            rib.remove(net, &learned("10.0.0.0/24", 3).source),
            Changed::Others
        );
        assert_eq!(
            rib.remove(net, &learned("10.0.0.0/24", 3).source),
            Changed::Nothing
        );
        assert_eq!(
            rib.remove(net, &learned("10.0.0.0/24", 1).source),
            Changed::Best
        );
        assert_eq!(rib.best(net), Some(learned("10.0.0.0/24", 2)));
        assert_eq!(
            rib.remove(net, &learned("10.0.0.0/24", 2).source),
            Changed::Best
        );
        assert_eq!(rib.best(net), None);
        assert!(rib.is_empty());
    }

    #[test]
    fn our_own_route_comes_first_and_equal_ones_are_told_apart() {
        let mut rib = LocRib::new();
        let net = prefix("10.0.0.0/24");
        for peer in [2, 1] {
            rib.insert(&learned("10.0.0.0/24", peer));
        }
        let equal: Vec<bool> = rib
            .candidates(net)
            .iter()
            .map(|(_, ranked)| ranked.is_equal())
            .collect();
        assert_eq!(equal, [true, true]);
        rib.insert(&local("10.0.0.0/24"));
        let candidates = rib.candidates(net);
        assert_eq!(candidates[0].0.source, Source::Local);
        assert_eq!(candidates[1].1.lost_at, Some(Step::LocallyOriginated));
        assert_eq!(rib.decided_by(net), Some(Step::LocallyOriginated));
    }

    #[test]
    fn routes_come_in_prefix_order() {
        let mut rib = LocRib::new();
        for text in ["2001:db8::/64", "10.0.1.0/24", "10.0.0.0/24"] {
            rib.insert(&local(text));
        }
        let order: Vec<String> = rib.routes().map(|route| route.prefix.to_string()).collect();
        assert_eq!(order, ["10.0.0.0/24", "10.0.1.0/24", "2001:db8::/64"]);
        assert_eq!(rib.family_routes(Family::IPV6_UNICAST).count(), 1);
        assert_eq!(rib.len(Family::IPV4_UNICAST), 2);
    }
}
