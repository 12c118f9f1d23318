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
        Self { attributes: &route.attributes, source: &route.source, path_id: route.source.path_id() }
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(path: &'a Path, path_id: Option<PathId>) -> Self {
        Self { attributes: &path.attributes, source: &path.source, path_id }
    }

    /// The neighbour AS that MED is compared within: the first of the path (RFC 4271 section 9.1.2.2 c), and ours for
    /// routes that begin inside our AS.
    fn neighbour_as(&self) -> Option<Asn> {
        let first = self.attributes.as_path.segments().iter().find(|segment| {
            !matches!(segment.kind, SegmentKind::ConfederationSequence | SegmentKind::ConfederationSet)
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
            Step::Stale => u128::from(attributes.communities.contains(&LLGR_STALE)),
            Step::LocalPref => u128::from(u32::MAX - local_pref(attributes, self.source)),
            Step::LocallyOriginated => u128::from(*self.source != Source::Local),
            Step::AsPathLength => as_path_length(attributes) as u128,
            Step::Origin => attributes.origin as u128,
            Step::Med => u128::from(attributes.med.unwrap_or(0)),
            Step::External => u128::from(matches!(self.source, Source::Peer { external: false, .. })),
            Step::IgpCost => 0,
            Step::RouterId => {
                let own = match self.source {
                    Source::Local => None,
                    Source::Peer { router_id, .. } => Some(*router_id),
                };
                attributes.originator_id.or(own).map_or(0, |id| u128::from(u32::from(id.as_ipv4())))
            }
            Step::ClusterListLength => attributes.cluster_list.len() as u128,
            Step::PeerAddress => match self.source {
                Source::Local => 0,
                Source::Peer { address: IpAddr::V4(address), .. } => u128::from(u32::from(*address)),
                Source::Peer { address: IpAddr::V6(address), .. } => u128::from(*address),
            },
            Step::PathId => self.path_id.map_or(0, |id| 1 + u128::from(id.0)),
        }
    }
}

/// RFC 9494 section 6.
const LLGR_STALE: Community = Community(0xFFFF_0006);
/// RFC 8326 section 5.
const GRACEFUL_SHUTDOWN: Community = Community(0xFFFF_0000);
/// What a route without LOCAL_PREF counts as; everybody's custom.
const LOCAL_PREF_DEFAULT: u32 = 100;

/// The preference that counts for a route, and that is told to internal peers.
pub(crate) fn local_pref(attributes: &Attributes, source: &Source) -> u32 {
    let external = matches!(source, Source::Peer { external: true, .. });
    if external && attributes.communities.contains(&GRACEFUL_SHUTDOWN) {
        return 0;
    }
    attributes.local_pref.unwrap_or(LOCAL_PREF_DEFAULT)
}

/// A set counts as one, confederation segments as nothing (RFC 4271 section 9.1.2.2 a, RFC 5065 section 5.3).
fn as_path_length(attributes: &Attributes) -> usize {
    let length = |segment: &crate::attribute::Segment| match segment.kind {
        SegmentKind::Sequence => segment.asns.len(),
        SegmentKind::Set => 1,
        SegmentKind::ConfederationSequence | SegmentKind::ConfederationSet => 0,
    };
    attributes.as_path.segments().iter().map(length).sum()
}

pub(crate) fn best_view(views: &[View<'_>]) -> Option<(usize, Option<Step>)> {
    let mut last = None;
    let best = eliminate(views, (0..views.len()).collect(), |_, step| last = Some(step))?;
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
    let mut ranked: Vec<Ranked> =
        ranked.into_iter().map(|index| Ranked { index, lost_at: lost_at[index] }).collect();
    ranked.sort_by_key(|route| std::cmp::Reverse(route.lost_at.map_or(usize::MAX, |step| step as usize)));
    ranked
}

/// Removes step by step what is not best; tells of each removal; the first of what is left at the end.
fn eliminate(views: &[View<'_>], mut set: Vec<usize>, mut removed: impl FnMut(usize, Step)) -> Option<usize> {
    for step in Step::ALL {
        if set.len() <= 1 {
            break;
        }
        let survivors: Vec<usize> = match step {
            Step::Med => set.iter().copied().filter(|index| has_lowest_med(views, &set, *index)).collect(),
            _ => {
                let lowest = set.iter().map(|index| views[*index].rank_at(step)).min()?;
                set.iter().copied().filter(|index| views[*index].rank_at(step) == lowest).collect()
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
        other.neighbour_as() != own.neighbour_as() || own.rank_at(Step::Med) <= other.rank_at(Step::Med)
    })
}
