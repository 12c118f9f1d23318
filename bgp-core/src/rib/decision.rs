//! The best path (RFC 4271 section 9.1.2) as comparisons in order; says which one decided.
//!
//! MED is comparable among routes of the same neighbour AS only, so that "better than" between two routes is not an
//! order. The RFC's form is used instead: every step removes from the whole set what is not best by it.

use std::net::IpAddr;

use crate::attribute::{Attributes, Community, SegmentKind};
use crate::types::{Asn, PathId};

use super::path::Path;
use super::{Route, Source};

/// The steps, in order. The later ones matter only among routes that the earlier ones left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Routes marked LLGR_STALE come after all others (RFC 9494 section 4.3).
    Stale,
    /// The higher LOCAL_PREF; 100 where there is none, 0 where an external peer asks for a graceful shutdown (RFC 8326).
    LocalPref,
    /// Our own routes before learned ones.
    LocallyOriginated,
    /// The shorter AS_PATH.
    AsPathLength,
    /// The lower ORIGIN.
    Origin,
    /// The lower MED among routes of the same neighbour AS; a missing one counts as 0.
    Med,
    /// External before internal.
    External,
    /// The lower cost to the next hop. Fairway knows no such costs: all are equal.
    IgpCost,
    /// The lower ORIGINATOR_ID, or BGP Identifier where there is none.
    RouterId,
    /// The shorter CLUSTER_LIST (RFC 4456 section 9).
    ClusterListLength,
    /// The lower address of the peer.
    PeerAddress,
    /// The lower path identifier, among routes of one peer.
    PathId,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::Stale,
        Self::LocalPref,
        Self::LocallyOriginated,
        Self::AsPathLength,
        Self::Origin,
        Self::Med,
        Self::External,
        Self::IgpCost,
        Self::RouterId,
        Self::ClusterListLength,
        Self::PeerAddress,
        Self::PathId,
    ];

    /// In operator's words, as a reason: "lost by ...".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Stale => "being stale",
            Self::LocalPref => "lower local preference",
            Self::LocallyOriginated => "not being originated here",
            Self::AsPathLength => "longer AS path",
            Self::Origin => "higher origin",
            Self::Med => "higher multi-exit discriminator",
            Self::External => "being learned inside the AS",
            Self::IgpCost => "higher cost to the next hop",
            Self::RouterId => "higher router identifier",
            Self::ClusterListLength => "longer cluster list",
            Self::PeerAddress => "higher peer address",
            Self::PathId => "higher path identifier",
        }
    }
}

/// The place of one route among its competitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Which one of the routes given.
    pub index: usize,
    /// The step at which it lost against the best route; `None` for the best route itself.
    pub lost_at: Option<Step>,
}

impl Ranked {
    /// Whether a router would use the route side by side with the best one: only tie breakers stand between them.
    pub fn is_equal(&self) -> bool {
        self.lost_at.is_none_or(|step| step > Step::IgpCost)
    }
}

/// Orders the routes of one prefix, best first.
pub fn rank(routes: &[Route]) -> Vec<Ranked> {
    let views: Vec<View<'_>> = routes.iter().map(View::from).collect();
    rank_views(&views)
}

/// The best of several routes and the step that decided it; `None` where there is none, no step where there is one.
pub fn best(routes: &[Route]) -> Option<(usize, Option<Step>)> {
    let views: Vec<View<'_>> = routes.iter().map(View::from).collect();
    best_view(&views)
}

/// What the comparisons look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    attributes: &'a Attributes,
    source: &'a Source,
    path_id: Option<PathId>,
}

impl<'a> From<&'a Route> for View<'a> {
    fn from(route: &'a Route) -> Self {
        Self {
            attributes: &route.attributes,
            source: &route.source,
            path_id: route.source.path_id(),
        }
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(path: &'a Path, path_id: Option<PathId>) -> Self {
        Self {
            attributes: &path.attributes,
            source: &path.source,
            path_id,
        }
    }

    /// The neighbour AS that MED is compared within: the first of the path (RFC 4271 section 9.1.2.2 c), and ours for
    /// routes that begin inside our AS.
    fn neighbour_as(&self) -> Option<Asn> {
        let first = self.attributes.as_path.segments().iter().find(|segment| {
            !matches!(
                segment.kind,
                SegmentKind::ConfederationSequence | SegmentKind::ConfederationSet
            )
        })?;
        match first.kind {
            SegmentKind::Sequence => first.asns.first().copied(),
            _ => None,
        }
    }

    /// What the step compares; the lowest wins. MED is not here, it needs the neighbour AS.
    fn rank_at(&self, step: Step) -> u128 {
        let attributes = self.attributes;
        match step {
            Step::Stale => u128::from(attributes.communities.contains(&Community::LLGR_STALE)),
            Step::LocalPref => u128::from(u32::MAX - local_pref(attributes, self.source)),
            Step::LocallyOriginated => u128::from(*self.source != Source::Local),
            Step::AsPathLength => attributes.as_path.length() as u128,
            Step::Origin => attributes.origin as u128,
            Step::Med => u128::from(attributes.med.unwrap_or(0)),
            Step::External => u128::from(matches!(
                self.source,
                Source::Peer {
                    external: false,
                    ..
                }
            )),
            Step::IgpCost => 0,
            Step::RouterId => {
                let own = match self.source {
                    Source::Local => None,
                    Source::Peer { router_id, .. } => Some(*router_id),
                };
                attributes
                    .originator_id
                    .or(own)
                    .map_or(0, |id| u128::from(u32::from(id.as_ipv4())))
            }
            Step::ClusterListLength => attributes.cluster_list.len() as u128,
            Step::PeerAddress => match self.source {
                Source::Local => 0,
                Source::Peer {
                    address: IpAddr::V4(address),
                    ..
                } => u128::from(u32::from(*address)),
                Source::Peer {
                    address: IpAddr::V6(address),
                    ..
                } => u128::from(*address),
            },
            Step::PathId => self.path_id.map_or(0, |id| 1 + u128::from(id.0)),
        }
    }
}

/// What a route without LOCAL_PREF counts as; everybody's custom.
const LOCAL_PREF_DEFAULT: u32 = 100;

/// The preference that counts for a route, and that is told to internal peers.
pub(crate) fn local_pref(attributes: &Attributes, source: &Source) -> u32 {
    let external = matches!(source, Source::Peer { external: true, .. });
    if external
        && attributes
            .communities
            .contains(&Community::GRACEFUL_SHUTDOWN)
    {
        return 0;
    }
    attributes.local_pref.unwrap_or(LOCAL_PREF_DEFAULT)
}

pub(crate) fn best_view(views: &[View<'_>]) -> Option<(usize, Option<Step>)> {
    let mut last = None;
    let best = eliminate(views, (0..views.len()).collect(), |_, step| {
        last = Some(step)
    })?;
    Some((best, last))
}

pub(crate) fn rank_views(views: &[View<'_>]) -> Vec<Ranked> {
    let mut lost_at: Vec<Option<Step>> = vec![None; views.len()];
    let mut remaining: Vec<usize> = (0..views.len()).collect();
    let mut ranked = Vec::with_capacity(views.len());
    while let Some(best) = eliminate(views, remaining.clone(), |index, step| {
        // Only the first round, against the best of all, says why a route is not best.
        if ranked.is_empty() {
            lost_at[index] = Some(step);
        }
    }) {
        ranked.push(best);
        remaining.retain(|index| *index != best);
    }
    // A route that lost late against the best comes before one that lost early, whatever MED says between the two.
    let mut ranked: Vec<Ranked> = ranked
        .into_iter()
        .map(|index| Ranked {
            index,
            lost_at: lost_at[index],
        })
        .collect();
    ranked.sort_by_key(|route| {
        std::cmp::Reverse(route.lost_at.map_or(usize::MAX, |step| step as usize))
    });
    ranked
}

/// Removes step by step what is not best; tells of each removal; the first of what is left at the end.
fn eliminate(
    views: &[View<'_>],
    mut set: Vec<usize>,
    mut removed: impl FnMut(usize, Step),
) -> Option<usize> {
    for step in Step::ALL {
        if set.len() <= 1 {
            break;
        }
        let survivors: Vec<usize> = match step {
            Step::Med => set
                .iter()
                .copied()
                .filter(|index| has_lowest_med(views, &set, *index))
                .collect(),
            _ => {
                let lowest = set.iter().map(|index| views[*index].rank_at(step)).min()?;
                set.iter()
                    .copied()
                    .filter(|index| views[*index].rank_at(step) == lowest)
                    .collect()
            }
        };
        for index in &set {
            if !survivors.contains(index) {
                removed(*index, step);
            }
        }
        set = survivors;
    }
    set.first().copied()
}

fn has_lowest_med(views: &[View<'_>], set: &[usize], index: usize) -> bool {
    let own = views[index];
    set.iter().map(|other| views[*other]).all(|other| {
        other.neighbour_as() != own.neighbour_as()
            || own.rank_at(Step::Med) <= other.rank_at(Step::Med)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::attribute::{AsPath, Origin, Segment};
    use crate::types::RouterId;

    use super::super::testing::{learned, local};
    use super::*;

    fn route(peer: u8, change: impl FnOnce(&mut Attributes)) -> Route {
        let mut route = learned("10.0.0.0/24", peer);
        change(Arc::make_mut(&mut route.attributes));
        route
    }

    fn internal(mut route: Route) -> Route {
        if let Source::Peer { external, .. } = &mut route.source {
            *external = false;
        }
        route
    }

    fn path(asns: &[u32]) -> AsPath {
        AsPath::sequence(asns.iter().copied().map(Asn))
    }

    /// The second of the two wins, by this step.
    fn assert_second_wins(first: Route, second: Route, step: Step) {
        assert_eq!(
            best(&[first.clone(), second.clone()]),
            Some((1, Some(step)))
        );
        assert_eq!(best(&[second, first]), Some((0, Some(step))));
    }

    #[test]
    fn each_step_decides_where_the_ones_before_it_do_not() {
        // Without the difference that a step looks at, the first one would win by its router identifier.
        let plain = |peer| route(peer, |_| {});
        assert_second_wins(
            route(1, |own| own.communities.push(Community::LLGR_STALE)),
            plain(2),
            Step::Stale,
        );
        assert_second_wins(
            plain(1),
            route(2, |own| own.local_pref = Some(101)),
            Step::LocalPref,
        );
        assert_second_wins(
            route(1, |own| own.as_path = AsPath::default()),
            local("10.0.0.0/24"),
            Step::LocallyOriginated,
        );
        assert_second_wins(
            route(1, |own| own.as_path = path(&[65001, 65009])),
            plain(2),
            Step::AsPathLength,
        );
        assert_second_wins(
            route(1, |own| own.origin = Origin::Incomplete),
            plain(2),
            Step::Origin,
        );
        let same_neighbour = |peer, med| {
            route(peer, |own| {
                own.as_path = path(&[65001]);
                own.med = med;
            })
        };
        assert_second_wins(
            same_neighbour(1, Some(1)),
            same_neighbour(2, None),
            Step::Med,
        );
        assert_second_wins(internal(plain(1)), plain(2), Step::External);
        assert_second_wins(plain(2), plain(1), Step::RouterId);
        let reflected = |peer, clusters| {
            internal(route(peer, |own| {
                own.originator_id = RouterId::new([9, 9, 9, 9].into());
                own.cluster_list = vec![1; clusters];
            }))
        };
        assert_second_wins(reflected(1, 2), reflected(2, 1), Step::ClusterListLength);
        assert_second_wins(reflected(2, 1), reflected(1, 1), Step::PeerAddress);
        let with_id = |id| {
            let mut route = plain(1);
            route.source = route.source.with_path_id(Some(PathId(id)));
            route
        };
        assert_second_wins(with_id(8), with_id(7), Step::PathId);
    }

    #[test]
    fn a_graceful_shutdown_of_an_external_peer_is_the_least_preferred() {
        let leaving = route(1, |own| {
            own.communities.push(Community::GRACEFUL_SHUTDOWN);
            own.local_pref = Some(500);
        });
        assert_second_wins(
            leaving,
            route(2, |own| own.local_pref = Some(1)),
            Step::LocalPref,
        );
    }

    #[test]
    fn med_is_compared_within_one_neighbour_as_only() {
        let from = |peer, asn, med| {
            route(peer, |own| {
                own.as_path = path(&[asn]);
                own.med = Some(med);
            })
        };
        // The classic triangle: 1 beats 2 by identifier, 2 beats 3 by identifier, 3 beats 1 by MED.
        let routes = [from(1, 65001, 10), from(2, 65002, 0), from(3, 65001, 5)];
        for order in [
            [0, 1, 2],
            [2, 1, 0],
            [1, 0, 2],
            [1, 2, 0],
            [0, 2, 1],
            [2, 0, 1],
        ] {
            let routes = order.map(|index: usize| routes[index].clone());
            let (index, _) = best(&routes).expect("three routes");
            assert_eq!(routes[index], from(2, 65002, 0), "in the order {order:?}");
        }
    }

    #[test]
    fn a_path_that_begins_with_a_set_has_no_neighbour_as() {
        let set = |peer, med| {
            route(peer, |own| {
                let segment = Segment {
                    kind: SegmentKind::Set,
                    asns: vec![Asn(65001)],
                };
                own.as_path = AsPath::from_segments([segment]);
                own.med = Some(med);
            })
        };
        assert_second_wins(set(1, 7), set(2, 3), Step::Med);
    }

    #[test]
    fn only_tie_breakers_leave_routes_equal() {
        let routes = [
            route(3, |_| {}),
            route(1, |own| own.as_path = path(&[65001, 65009])),
            route(2, |_| {}),
        ];
        let ranked = rank(&routes);
        assert_eq!(
            ranked.iter().map(|one| one.index).collect::<Vec<_>>(),
            [2, 0, 1]
        );
        assert_eq!(
            ranked.iter().map(Ranked::is_equal).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert_eq!(ranked[2].lost_at, Some(Step::AsPathLength));
        assert_eq!((best(&[]), best(&routes[..1])), (None, Some((0, None))));
    }

    fn any_route() -> impl Strategy<Value = Route> {
        (
            1_u8..5,
            0_u32..3,
            65001_u32..65003,
            0_usize..3,
            any::<bool>(),
            0_u32..3,
        )
            .prop_map(|(peer, preference, neighbour, more, is_internal, med)| {
                let route = route(peer, |own| {
                    own.local_pref = Some(100 + preference / 2);
                    own.as_path = path(&[&[neighbour][..], &vec![65009; more / 2]].concat());
                    own.med = med.checked_sub(1);
                });
                if is_internal { internal(route) } else { route }
            })
    }

    proptest! {
        #[test]
        fn the_best_route_does_not_depend_on_the_order(
            mut routes in prop::collection::vec(any_route(), 1..8),
            turn in 0_usize..8,
        ) {
            for (route, id) in routes.iter_mut().zip(0..) {
                route.source = route.source.with_path_id(Some(PathId(id)));
            }
            let (index, _) = best(&routes).expect("at least one");
            let mut turned = routes.clone();
            turned.rotate_left(turn % routes.len());
            turned.reverse();
            let (other, _) = best(&turned).expect("at least one");
            prop_assert_eq!(&routes[index], &turned[other]);
            let ranked = rank(&routes);
            prop_assert_eq!(ranked[0], Ranked { index, lost_at: None });
            let mut all: Vec<usize> = ranked.iter().map(|one| one.index).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..routes.len()).collect::<Vec<_>>());
        }
    }
}
