//! The same answers as [`Policy::evaluate`] gives, for many routes.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::attribute::Attributes;
use crate::types::{Asn, Prefix};

use super::super::Route;
use super::{Action, Decision, Match, Policy, PrefixMatch, Verdict};

/// A policy with its prefixes indexed, so that one route costs a few look-ups however many statements there are.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    policy: Arc<Policy>,
    by_prefix: HashMap<Prefix, Vec<Indexed>>,
    /// Which lengths `by_prefix` has, ascending; IPv4 and IPv6.
    lengths: [Vec<u8>; 2],
    /// Statements without a condition on the prefix, ascending.
    unindexed: Vec<usize>,
    /// For each statement the first one that does the same with a route.
    same_effect: Vec<usize>,
}

/// One prefix of one statement. The other conditions of the statement are checked besides.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    ge: u8,
    le: u8,
    statement: usize,
    condition: usize,
}

impl CompiledPolicy {
    /// Indexes the prefixes of a policy.
    pub fn new(policy: Arc<Policy>) -> Self {
        let mut by_prefix: HashMap<Prefix, Vec<Indexed>> = HashMap::new();
        let mut unindexed = vec![];
        for (statement, rule) in policy.statements.iter().enumerate() {
            let first =
                rule.matches
                    .iter()
                    .enumerate()
                    .find_map(|(condition, found)| match found {
                        Match::Prefix(prefixes) => Some((condition, prefixes)),
                        Match::Community(_) | Match::AsPathContains(_) => None,
                    });
            let Some((condition, prefixes)) = first else {
                unindexed.push(statement);
                continue;
            };
            for PrefixMatch { prefix, ge, le } in prefixes.iter().copied() {
                by_prefix.entry(prefix).or_default().push(Indexed {
                    ge,
                    le,
                    statement,
                    condition,
                });
            }
        }
        let lengths = [true, false].map(|is_v4| {
            let nets = by_prefix.keys().map(|prefix| prefix.net());
            let mut lengths: Vec<u8> = nets
                .filter(|net| net.addr().is_ipv4() == is_v4)
                .map(|net| net.prefix_len())
                .collect();
            lengths.sort_unstable();
            lengths.dedup();
            lengths
        });
        let mut effects: HashMap<(&[Action], Verdict), usize> = HashMap::new();
        let same_effect = policy.statements.iter().enumerate();
        let same_effect = same_effect
            .map(|(index, rule)| {
                *effects
                    .entry((&rule.actions, rule.verdict))
                    .or_insert(index)
            })
            .collect();
        Self {
            policy,
            by_prefix,
            lengths,
            unindexed,
            same_effect,
        }
    }

    /// The policy itself.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// As [`Policy::evaluate`].
    pub fn evaluate(&self, route: &Route, local_asn: Asn) -> Decision {
        self.policy.decided(
            route,
            self.statement(route.prefix, &route.attributes),
            local_asn,
        )
    }

    /// The first statement that matches.
    pub(crate) fn statement(&self, prefix: Prefix, attributes: &Attributes) -> Option<usize> {
        let indexed = self.first_by_prefix(prefix, attributes);
        let mut others = self
            .unindexed
            .iter()
            .copied()
            .take_while(|index| indexed.is_none_or(|found| *index < found));
        others
            .find(|index| self.holds(*index, None, prefix, attributes))
            .or(indexed)
    }

    /// A statement that stands for all those that do the same with a route.
    pub(crate) fn effect(&self, statement: Option<usize>) -> Option<usize> {
        self.same_effect.get(statement?).copied()
    }

    fn first_by_prefix(&self, prefix: Prefix, attributes: &Attributes) -> Option<usize> {
        let net = prefix.net();
        let lengths = &self.lengths[usize::from(net.addr().is_ipv6())];
        let covering = lengths
            .iter()
            .take_while(|length| **length <= net.prefix_len());
        let mut first: Option<usize> = None;
        for length in covering {
            // No length here is greater than the prefix's own, which is a valid one.
            let Ok(cover) = IpNet::new(net.addr(), *length) else {
                continue;
            };
            let candidates = self
                .by_prefix
                .get(&Prefix::new(cover))
                .map_or(&[][..], Vec::as_slice);
            // Within one prefix the entries are in the order of their statements.
            let found = candidates
                .iter()
                .take_while(|one| first.is_none_or(|index| one.statement < index))
                .find(|one| {
                    (one.ge..=one.le).contains(&net.prefix_len())
                        && self.holds(one.statement, Some(one.condition), prefix, attributes)
                });
            first = found.map(|one| one.statement).or(first);
        }
        first
    }

    /// Whether all conditions but the one that is known to hold do.
    fn holds(
        &self,
        statement: usize,
        known: Option<usize>,
        prefix: Prefix,
        attributes: &Attributes,
    ) -> bool {
        let conditions = self.policy.statements[statement].matches.iter().enumerate();
        conditions
            .filter(|(index, _)| Some(*index) != known)
            .all(|(_, condition)| condition.holds(prefix, attributes))
    }
}
