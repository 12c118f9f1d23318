//! What one peer has sent and not withdrawn, before the import policy (RFC 4271 section 3.2).

use std::mem;
use std::sync::Arc;

use crate::types::{Family, Nlri, PathId, Prefix};

use super::path::{Path, Paths};
use super::table::{Few, PrefixMap};
use super::{Route, Verdict};

/// The routes of one peer by prefix and path identifier, as received, each with what the import policy said of it.
///
/// Grows with what the peer sends; the speaker's `max_prefixes` bounds that.
#[derive(Debug, Default)]
pub struct AdjRibIn {
    routes: PrefixMap<Few<Entry>>,
    paths: Paths,
    v4: Tally,
    v6: Tally,
}

/// What an announcement was for the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The peer had not announced this prefix and path identifier.
    New,
    /// It replaces another route, which the import policy had judged like this.
    Replaced(Verdict),
    /// The very same route and verdict were there; nothing needs to be done.
    Same,
}

/// One route without its prefix. The identifier is taken apart so that an entry has no more than sixteen octets.
#[derive(Clone, Debug)]
struct Entry {
    path: Arc<Path>,
    id: u32,
    has_id: bool,
    accepted: bool,
    /// The round of its family in which it was last heard; in an earlier one than the present, it is stale.
    round: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    received: usize,
    accepted: usize,
    /// Not stale.
    fresh: usize,
    round: u16,
}

impl AdjRibIn {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an announced route (of a peer, so that [`Route::source`] holds its path identifier) and what the import
    /// policy said of it. It is no longer stale.
    pub fn announce(&mut self, route: &Route, verdict: Verdict) -> Announced {
        let path_id = route.source.path_id();
        let round = self.tally(route.prefix.family()).round;
        let entry = Entry {
            path: self.paths.of(route),
            id: path_id.map_or(0, |id| id.0),
            has_id: path_id.is_some(),
            accepted: verdict == Verdict::Accept,
            round,
        };
        let accepted = entry.accepted;
        let mut was_fresh = false;
        let change = self.routes.upsert(
            route.prefix,
            Few::One(entry),
            |few, new| replace_or_add(few, new, &mut was_fresh),
            || Announced::New,
        );
        let tally = self.tally_mut(route.prefix.family());
        tally.fresh += usize::from(!was_fresh);
        match change {
            Announced::New => tally.received += 1,
            Announced::Replaced(before) => tally.accepted -= usize::from(before == Verdict::Accept),
            Announced::Same => return change,
        }
        tally.accepted += usize::from(accepted);
        change
    }

    /// Removes a route; what the import policy had said of it, or `None` where there was none.
    pub fn withdraw(&mut self, nlri: Nlri) -> Option<Verdict> {
        let few = self.routes.remove(nlri.prefix)?;
        let mut removed = None;
        let rest = few.without(|entry| {
            let is_it = entry.path_id() == nlri.path_id;
            if is_it {
                removed = Some((entry.verdict(), entry.round));
            }
            is_it
        });
        if let Some(rest) = rest {
            self.routes.insert(nlri.prefix, rest);
        }
        let (verdict, round) = removed?;
        let tally = self.tally_mut(nlri.prefix.family());
        tally.received -= 1;
        tally.accepted -= usize::from(verdict == Verdict::Accept);
        tally.fresh -= usize::from(round == tally.round);
        Some(verdict)
    }

    /// How many routes of a family there are.
    pub fn received(&self, family: Family) -> usize {
        self.tally(family).received
    }

    /// How many of them the import policy has passed.
    pub fn accepted(&self, family: Family) -> usize {
        self.tally(family).accepted
    }

    /// The routes of a family in prefix order, each with what the import policy said.
    pub fn routes(&self, family: Family) -> impl Iterator<Item = (Route, Verdict)> + '_ {
        self.routes.family_iter(family).flat_map(|(prefix, few)| {
            few.as_slice()
                .iter()
                .map(move |entry| (entry.route(prefix), entry.verdict()))
        })
    }

    /// One route.
    pub fn route(&self, nlri: Nlri) -> Option<(Route, Verdict)> {
        let entries = self.routes.get(nlri.prefix)?.as_slice();
        let entry = entries
            .iter()
            .find(|entry| entry.path_id() == nlri.path_id)?;
        Some((entry.route(nlri.prefix), entry.verdict()))
    }

    /// Judges every route again, after the import policy changed.
    pub fn reconsider(&mut self, mut judge: impl FnMut(&Route) -> Verdict) {
        let (mut v4, mut v6) = (0, 0);
        self.routes.retain(|prefix, few| {
            for entry in few.as_mut_slice() {
                entry.accepted = judge(&entry.route(prefix)) == Verdict::Accept;
                let accepted = if prefix.family() == Family::IPV4_UNICAST {
                    &mut v4
                } else {
                    &mut v6
                };
                *accepted += usize::from(entry.accepted);
            }
            true
        });
        self.v4.accepted = v4;
        self.v6.accepted = v6;
    }

    /// Removes everything, as when the session ends; what it was.
    pub fn clear(&mut self) -> Vec<Nlri> {
        let routes = mem::take(self).routes;
        let nlri = |(prefix, few): (Prefix, Few<Entry>)| {
            let entries = few.as_slice().iter().map(|entry| Nlri {
                prefix,
                path_id: entry.path_id(),
            });
            entries.collect::<Vec<_>>()
        };
        routes.into_iter().flat_map(nlri).collect()
    }

    /// Marks the routes of a family as not heard again yet: the peer begins to send all of them anew (RFC 7313
    /// section 4), or its session was lost and it is waited for (RFC 4724 section 4.2).
    ///
    /// Costs nothing however many routes there are: a peer may say it as often as it likes.
    pub fn mark_stale(&mut self, family: Family) {
        if !family.is_unicast_ip() {
            return;
        }
        let tally = self.tally_mut(family);
        tally.fresh = 0;
        tally.round = tally.round.wrapping_add(1);
        if tally.round == 0 {
            self.begin_rounds_anew(family);
        }
    }

    /// Removes what is still stale of a family; what it was.
    pub fn sweep_stale(&mut self, family: Family) -> Vec<Nlri> {
        let mut stale = vec![];
        let Tally {
            received,
            fresh,
            round,
            ..
        } = self.tally(family);
        if fresh == received {
            return stale;
        }
        for (prefix, few) in self.routes.family_iter(family) {
            let entries = few.as_slice().iter().filter(|entry| entry.round != round);
            stale.extend(entries.map(|entry| Nlri {
                prefix,
                path_id: entry.path_id(),
            }));
        }
        for nlri in &stale {
            self.withdraw(*nlri);
        }
        stale
    }

    /// The numbers are used up: everything is as stale as it can be, in the round before the first.
    fn begin_rounds_anew(&mut self, family: Family) {
        self.tally_mut(family).round = 1;
        self.routes.retain(|prefix, few| {
            if prefix.family() == family {
                few.as_mut_slice()
                    .iter_mut()
                    .for_each(|entry| entry.round = 0);
            }
            true
        });
    }

    fn tally(&self, family: Family) -> Tally {
        match family {
            Family::IPV4_UNICAST => self.v4,
            Family::IPV6_UNICAST => self.v6,
            _ => Tally::default(),
        }
    }

    /// A prefix is of one of the two families, so there is no third.
    fn tally_mut(&mut self, family: Family) -> &mut Tally {
        if family == Family::IPV4_UNICAST {
            &mut self.v4
        } else {
            &mut self.v6
        }
    }
}

impl Entry {
    fn path_id(&self) -> Option<PathId> {
        self.has_id.then_some(PathId(self.id))
    }

    fn verdict(&self) -> Verdict {
        if self.accepted {
            Verdict::Accept
        } else {
            Verdict::Reject
        }
    }

    fn route(&self, prefix: Prefix) -> Route {
        self.path.route(prefix, self.path_id())
    }
}

/// `was_fresh` tells of the route that was there.
fn replace_or_add(few: &mut Few<Entry>, new: Few<Entry>, was_fresh: &mut bool) -> Announced {
    let Few::One(new) = new else {
        return Announced::Same;
    };
    if let Some(known) = few
        .as_mut_slice()
        .iter_mut()
        .find(|entry| entry.path_id() == new.path_id())
    {
        let is_same = known.path.means_the_same(&new.path) && known.accepted == new.accepted;
        let before = known.verdict();
        *was_fresh = known.round == new.round;
        *known = new;
        return if is_same {
            Announced::Same
        } else {
            Announced::Replaced(before)
        };
    }
    few.push(new);
    Announced::New
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "costs are compared")]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use super::super::testing::{learned, prefix};
    use super::*;

    const V4: Family = Family::IPV4_UNICAST;

    #[test]
    fn an_entry_is_sixteen_octets() {
        assert_eq!(size_of::<Few<Entry>>(), 16);
    }

    #[test]
    fn counts_follow_every_change() {
        let mut table = AdjRibIn::new();
        let route = learned("10.0.0.0/24", 1);
        assert_eq!(table.announce(&route, Verdict::Reject), Announced::New);
        assert_eq!((table.received(V4), table.accepted(V4)), (1, 0));
        assert_eq!(
            table.announce(&route, Verdict::Accept),
            Announced::Replaced(Verdict::Reject)
        );
        assert_eq!(table.announce(&route, Verdict::Accept), Announced::Same);
        assert_eq!((table.received(V4), table.accepted(V4)), (1, 1));
        assert_eq!(
            table.announce(&learned("2001:db8::/64", 1), Verdict::Accept),
            Announced::New
        );
        assert_eq!(table.received(Family::IPV6_UNICAST), 1);
        assert_eq!(table.withdraw(route.prefix.into()), Some(Verdict::Accept));
        assert_eq!(table.withdraw(route.prefix.into()), None);
        assert_eq!((table.received(V4), table.accepted(V4)), (0, 0));
    }

    #[test]
    fn path_identifiers_are_routes_of_their_own() {
        let mut table = AdjRibIn::new();
        for id in [Some(PathId(7)), Some(PathId(0)), None] {
            let mut route = learned("10.0.0.0/24", 1);
            route.source = route.source.with_path_id(id);
            assert_eq!(table.announce(&route, Verdict::Accept), Announced::New);
        }
        assert_eq!(table.received(V4), 3);
        let one = Nlri {
            prefix: prefix("10.0.0.0/24"),
            path_id: Some(PathId(0)),
        };
        assert!(table.route(one).is_some());
        assert_eq!(table.withdraw(one), Some(Verdict::Accept));
        assert!(table.route(one).is_none());
        assert_eq!(table.routes(V4).count(), 2);
        assert_eq!(table.clear().len(), 2);
        assert_eq!((table.received(V4), table.accepted(V4)), (0, 0));
    }

    #[test]
    fn stale_routes_that_are_not_heard_again_go() {
        let mut table = AdjRibIn::new();
        let (kept, gone) = (learned("10.0.0.0/24", 1), learned("10.0.1.0/24", 1));
        let other = learned("2001:db8::/64", 1);
        for route in [&kept, &gone, &other] {
            table.announce(route, Verdict::Accept);
        }
        table.mark_stale(V4);
        table.announce(&kept, Verdict::Accept);
        assert_eq!(table.sweep_stale(V4), [Nlri::from(gone.prefix)]);
        assert_eq!(
            (table.received(V4), table.received(Family::IPV6_UNICAST)),
            (1, 1)
        );
    }

    #[test]
    fn what_was_stale_and_went_or_came_again_is_not_swept() {
        let mut table = AdjRibIn::new();
        let routes = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"].map(|text| learned(text, 1));
        for route in &routes {
            table.announce(route, Verdict::Accept);
        }
        assert_eq!(table.sweep_stale(V4), []);
        for _ in 0..2 {
            table.mark_stale(V4);
            table.announce(&routes[0], Verdict::Accept);
        }
        table.withdraw(routes[1].prefix.into());
        assert_eq!(table.sweep_stale(V4), [Nlri::from(routes[2].prefix)]);
        assert_eq!(table.sweep_stale(V4), []);
        assert_eq!((table.received(V4), table.accepted(V4)), (1, 1));
    }

    #[test]
    fn more_beginnings_than_there_are_numbers_leave_stale_what_is() {
        let mut table = AdjRibIn::new();
        let (kept, gone) = (learned("10.0.0.0/24", 1), learned("10.0.1.0/24", 1));
        for beginnings in [65_534, 65_535, 65_536, 65_537] {
            table.announce(&gone, Verdict::Accept);
            for _ in 0..beginnings {
                table.mark_stale(V4);
            }
            table.announce(&kept, Verdict::Accept);
            assert_eq!(table.sweep_stale(V4), [Nlri::from(gone.prefix)]);
        }
        assert_eq!(table.received(V4), 1);
    }

    #[test]
    fn a_beginning_costs_the_same_however_many_routes_there_are() {
        let mut table = AdjRibIn::new();
        let begin = Instant::now();
        for index in 0..20_000_u32 {
            let address = Ipv4Addr::from(0x0A00_0000 + index);
            table.announce(&learned(&format!("{address}/32"), 1), Verdict::Accept);
        }
        let filled = Instant::now();
        for _ in 0..2_000 {
            table.mark_stale(V4);
        }
        assert!(filled.elapsed() < filled - begin);
    }

    #[test]
    fn a_changed_import_policy_changes_what_is_accepted() {
        let mut table = AdjRibIn::new();
        table.announce(&learned("10.0.0.0/24", 1), Verdict::Accept);
        table.announce(&learned("10.0.1.0/24", 1), Verdict::Reject);
        table.reconsider(|route| {
            if route.prefix == prefix("10.0.1.0/24") {
                Verdict::Accept
            } else {
                Verdict::Reject
            }
        });
        assert_eq!(table.accepted(V4), 1);
        assert_eq!(
            table.withdraw(prefix("10.0.1.0/24").into()),
            Some(Verdict::Accept)
        );
        assert_eq!((table.received(V4), table.accepted(V4)), (1, 0));
    }
}
