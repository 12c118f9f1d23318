//! `advertisedPathAttributes` of a v1 neighbour as one policy.
//!
//! A v1 neighbour gets every route of its router; the entries only decorate, and all that match a route add up. A policy
//! decides by its first matching statement, so each statement here stands for one combination of entries: addresses are
//! cut into ranges at whose every point the same entries match.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_core::Prefix;
use bgp_core::rib::{Action, Match, Policy, PrefixMatch, Statement, Verdict};
use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

use crate::cluster::{AdvertisedPathAttributes, Node, PathAttributeSelector, Selector, Snapshot};

use super::routes::pod_pool_cidrs;

/// Entries that match together, by their position in the list.
type Together = BTreeSet<usize>;

/// The policy for one neighbour. LOCAL_PREF is for internal peers alone.
pub(super) fn policy(
    snapshot: &Snapshot,
    node: &Node,
    entries: &[AdvertisedPathAttributes],
    internal: bool,
) -> Policy {
    let mut policy = Policy::accept_all();
    if entries.is_empty() {
        return policy;
    }
    let ranges = host_ranges(snapshot, entries);
    let mut groups: BTreeMap<Together, Vec<PrefixMatch>> = BTreeMap::new();
    for (prefix, mut together) in exact_prefixes(snapshot, node, entries) {
        let net = prefix.net();
        if net.prefix_len() == net.max_prefix_len() {
            let address = number(net.addr());
            let around = ranges.iter().find(|range| {
                range.ipv4 == net.addr().is_ipv4()
                    && range.first <= address
                    && address <= range.last
            });
            together.extend(
                around
                    .iter()
                    .flat_map(|range| range.together.iter().copied()),
            );
        }
        let length = net.prefix_len();
        groups.entry(together).or_default().push(PrefixMatch {
            prefix,
            ge: length,
            le: length,
        });
    }
    policy.statements.extend(
        groups
            .iter()
            .filter_map(|(together, prefixes)| statement(entries, together, prefixes, internal)),
    );

    let mut groups: BTreeMap<&Together, Vec<PrefixMatch>> = BTreeMap::new();
    for range in &ranges {
        groups
            .entry(&range.together)
            .or_default()
            .extend(range.host_routes());
    }
    policy.statements.extend(
        groups
            .iter()
            .filter_map(|(together, prefixes)| statement(entries, together, prefixes, internal)),
    );
    policy
}

/// What the entries add up to for these prefixes; `None` where that is nothing.
fn statement(
    entries: &[AdvertisedPathAttributes],
    together: &Together,
    prefixes: &[PrefixMatch],
    internal: bool,
) -> Option<Statement> {
    let entries: Vec<_> = together.iter().map(|index| &entries[*index]).collect();
    let communities: BTreeSet<_> = entries
        .iter()
        .flat_map(|entry| entry.communities.iter().copied())
        .collect();
    let large: BTreeSet<_> = entries
        .iter()
        .flat_map(|entry| entry.large_communities.iter().copied())
        .collect();
    let preference = entries
        .iter()
        .filter_map(|entry| entry.local_preference)
        .max()
        .filter(|_| internal);
    let mut actions = vec![];
    actions.extend(preference.map(Action::SetLocalPref));
    if !communities.is_empty() {
        actions.push(Action::AddCommunities(communities.into_iter().collect()));
    }
    if !large.is_empty() {
        actions.push(Action::AddLargeCommunities(large.into_iter().collect()));
    }
    let positions: Vec<_> = together.iter().map(usize::to_string).collect();
    (!actions.is_empty()).then(|| Statement {
        name: format!("advertisedPathAttributes[{}]", positions.join("+")),
        matches: vec![Match::Prefix(prefixes.to_vec())],
        actions,
        verdict: Verdict::Accept,
    })
}

/// Pod CIDRs, which match at their exact length.
fn exact_prefixes(
    snapshot: &Snapshot,
    node: &Node,
    entries: &[AdvertisedPathAttributes],
) -> BTreeMap<Prefix, Together> {
    let mut prefixes: BTreeMap<Prefix, Together> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        match &entry.selector {
            PathAttributeSelector::PodCidr(selector) if selector.matches(&node.meta.labels) => {
                for cidr in &node.pod_cidrs {
                    prefixes
                        .entry(Prefix::new(*cidr))
                        .or_default()
                        .insert(index);
                }
            }
            PathAttributeSelector::PodIpPool(selector) => {
                for (prefix, _) in
                    pod_pool_cidrs(snapshot, node, selector).filter(|(_, fits)| *fits)
                {
                    prefixes.entry(prefix).or_default().insert(index);
                }
            }
            _ => {}
        }
    }
    prefixes
}

/// Addresses of one family at each of which the same entries match.
struct Range {
    ipv4: bool,
    first: u128,
    last: u128,
    together: Together,
}

impl Range {
    /// The host routes of the range, in as few patterns as there can be.
    fn host_routes(&self) -> impl Iterator<Item = PrefixMatch> + use<> {
        let nets = if self.ipv4 {
            // IPv4 addresses were widened from 32 bits by `number`.
            let narrow = |number: u128| Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX));
            IpSubnets::V4(Ipv4Subnets::new(narrow(self.first), narrow(self.last), 0))
        } else {
            IpSubnets::V6(Ipv6Subnets::new(
                Ipv6Addr::from(self.first),
                Ipv6Addr::from(self.last),
                0,
            ))
        };
        nets.map(|net: IpNet| {
            let length = net.max_prefix_len();
            PrefixMatch {
                prefix: Prefix::new(net),
                ge: length,
                le: length,
            }
        })
    }
}

/// The blocks of selected pools, cut where the matching entries change. Disabled pools are left out.
fn host_ranges(snapshot: &Snapshot, entries: &[AdvertisedPathAttributes]) -> Vec<Range> {
    let mut ranges = vec![];
    for ipv4 in [true, false] {
        let mut blocks: Vec<(u128, u128, usize)> = vec![];
        for (index, entry) in entries.iter().enumerate() {
            let PathAttributeSelector::LoadBalancerPool(selector) = &entry.selector else {
                continue;
            };
            blocks.extend(
                selected_blocks(snapshot, selector, ipv4).map(|(first, last)| (first, last, index)),
            );
        }
        cut(&blocks, ipv4, &mut ranges);
    }
    ranges
}

fn selected_blocks<'a>(
    snapshot: &'a Snapshot,
    selector: &'a Selector,
    ipv4: bool,
) -> impl Iterator<Item = (u128, u128)> + 'a {
    let pools = snapshot
        .pools
        .values()
        .filter(|pool| selector.matches(&pool.meta.labels));
    let specs = pools
        .filter_map(|pool| pool.spec_in_force())
        .filter(|spec| !spec.disabled);
    let blocks = specs
        .flat_map(|spec| &spec.blocks)
        .filter(move |block| block.first.is_ipv4() == ipv4);
    blocks.map(|block| (number(block.first), number(block.last)))
}

/// Cuts overlapping blocks (first, last, entry) into ranges that do not overlap, in one pass over their ends.
fn cut(blocks: &[(u128, u128, usize)], ipv4: bool, ranges: &mut Vec<Range>) {
    // Where the set of matching entries changes: the first address of a block, and the one after its last; `None` is
    // after the very last address there is.
    let mut begins: BTreeMap<u128, Vec<usize>> = BTreeMap::new();
    let mut ends: BTreeMap<u128, Vec<usize>> = BTreeMap::new();
    for (first, last, entry) in blocks {
        begins.entry(*first).or_default().push(*entry);
        if let Some(after) = last.checked_add(1) {
            ends.entry(after).or_default().push(*entry);
        }
    }
    let points: BTreeSet<u128> = begins.keys().chain(ends.keys()).copied().collect();
    let points: Vec<u128> = points.into_iter().collect();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, point) in points.iter().enumerate() {
        for entry in begins.get(point).into_iter().flatten() {
            *counts.entry(*entry).or_default() += 1;
        }
        for entry in ends.get(point).into_iter().flatten() {
            let count = counts.entry(*entry).or_default();
            *count = count.saturating_sub(1);
        }
        counts.retain(|_, count| *count > 0);
        if !counts.is_empty() {
            let last = points.get(at + 1).map_or(u128::MAX, |next| next - 1);
            ranges.push(Range {
                ipv4,
                first: *point,
                last,
                together: counts.keys().copied().collect(),
            });
        }
    }
}

/// An address as a number, so that ranges of both families are cut alike.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests;
