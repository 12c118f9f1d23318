use std::net::IpAddr;

use crate::{Count, Family, Range};

/// The caller's key of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey(pub u32);

/// One range of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolRange {
    /// Its addresses.
    pub range: Range,
    /// Whether its first and last address are kept back, given out to nobody. Without effect on a range of one or two.
    pub reserve_ends: bool,
}

impl PoolRange {
    /// The two addresses kept back, where any are.
    pub fn reserved(&self) -> Option<[IpAddr; 2]> {
        let reserves = self.reserve_ends && self.range.inner().is_some();
        reserves.then(|| [self.range.first(), self.range.last()])
    }

    /// The part that is given out.
    fn open(&self) -> Range {
        self.range
            .inner()
            .filter(|_| self.reserve_ends)
            .unwrap_or(self.range)
    }
}

/// Ranges that are given out together. They may overlap; whether that is sensible is the caller's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    ranges: Vec<PoolRange>,
    /// The part of each range that is given out, in the same order.
    open: Vec<Range>,
    /// The ranges by first address, each with the highest last address of it and those before it, which answers "is this
    /// address in any of them" with one binary search even where they overlap.
    sorted: Vec<(Range, IpAddr)>,
    size: Count,
    /// Whether there are IPv4 ranges, and IPv6 ranges.
    families: [bool; 2],
}

impl Pool {
    /// A pool of these ranges, served in this order.
    pub fn new(ranges: Vec<PoolRange>) -> Self {
        let mut by_first: Vec<Range> = ranges.iter().map(|range| range.range).collect();
        by_first.sort_by_key(Range::first);
        let mut sorted: Vec<(Range, IpAddr)> = by_first
            .into_iter()
            .map(|range| (range, range.last()))
            .collect();
        for index in 1..sorted.len() {
            sorted[index].1 = sorted[index].1.max(sorted[index - 1].1);
        }
        Self {
            size: ranges.iter().map(|range| range.range.size()).sum(),
            open: ranges.iter().map(PoolRange::open).collect(),
            families: [Family::V4, Family::V6]
                .map(|family| ranges.iter().any(|range| range.range.family() == family)),
            sorted,
            ranges,
        }
    }

    /// The ranges in the order given.
    pub fn ranges(&self) -> &[PoolRange] {
        &self.ranges
    }

    /// The sizes of all ranges together; what lies in two of them counts twice.
    pub fn size(&self) -> Count {
        self.size
    }

    /// Whether one of the ranges contains the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let before = self
            .sorted
            .partition_point(|(range, _)| range.first() <= address);
        // All of IPv4 orders before all of IPv6, so a reach of the other family lies below an IPv6 address.
        before > 0 && self.sorted[before - 1].1 >= address
    }

    /// Whether the pool has a range of the family.
    pub fn has_family(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.families[0],
            Family::V6 => self.families[1],
        }
    }

    /// Whether the address is kept back as the first or last one of a range.
    pub fn reserves(&self, address: IpAddr) -> bool {
        self.ranges
            .iter()
            .any(|range| range.reserved().is_some_and(|ends| ends.contains(&address)))
    }

    /// The first two ranges of this pool, in the order given, that overlap each other.
    pub fn own_overlap(&self) -> Option<(Range, Range)> {
        let collides = |pair: &[(Range, IpAddr)]| pair[0].1 >= pair[1].0.first();
        if !self.sorted.windows(2).any(collides) {
            return None;
        }
        self.ranges.iter().enumerate().find_map(|(index, ours)| {
            let later = &self.ranges[index + 1..];
            let other = later
                .iter()
                .find(|other| ours.range.overlaps(&other.range))?;
            Some((ours.range, other.range))
        })
    }

    /// The first pair of ranges, one of this pool and one of the other, that overlap: by the order of this pool's ranges,
    /// then of the other's.
    pub fn overlap(&self, other: &Self) -> Option<(Range, Range)> {
        let ours = self.ranges.iter().find(|ours| other.touches(&ours.range))?;
        let theirs = other
            .ranges
            .iter()
            .find(|theirs| ours.range.overlaps(&theirs.range))?;
        Some((ours.range, theirs.range))
    }

    /// The part of each range that is given out, in the order given.
    pub(crate) fn open(&self) -> &[Range] {
        &self.open
    }

    fn touches(&self, range: &Range) -> bool {
        let before = self
            .sorted
            .partition_point(|(ours, _)| ours.first() <= range.last());
        before > 0 && self.sorted[before - 1].1 >= range.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ranges: &[&str]) -> Pool {
        let range = |text: &&str| PoolRange {
            range: text.parse().unwrap(),
            reserve_ends: false,
        };
        Pool::new(ranges.iter().map(range).collect())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_found_in_overlapping_ranges_of_both_families() {
        let pool = pool(&["10.0.0.0/16", "10.0.3.0/24", "fd00::/64", "10.9.0.5"]);
        for inside in ["10.0.200.1", "10.0.3.4", "fd00::ffff", "10.9.0.5"] {
            assert!(pool.contains(ip(inside)), "{inside}");
        }
        for outside in [
            "10.1.0.0",
            "9.255.255.255",
            "fd00:0:0:1::",
            "::",
            "10.9.0.6",
            "::ffff:10.0.3.4",
        ] {
            assert!(!pool.contains(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn only_ranges_of_more_than_two_addresses_keep_their_ends_back() {
        let reserving = |text: &str| PoolRange {
            range: text.parse().unwrap(),
            reserve_ends: true,
        };
        assert_eq!(
            reserving("10.0.0.0/30").reserved(),
            Some([ip("10.0.0.0"), ip("10.0.0.3")])
        );
        assert_eq!(reserving("10.0.0.0/31").reserved(), None);
        assert_eq!(reserving("fd00::/128").reserved(), None);
    }

    #[test]
    fn the_first_overlap_is_told_in_the_order_of_the_ranges() {
        let tangled = pool(&["10.0.9.0/24", "10.0.0.0/25", "10.0.0.64/28", "10.0.9.9"]);
        let (ours, other) = tangled.own_overlap().unwrap();
        assert_eq!(
            (ours.to_string(), other.to_string()),
            ("10.0.9.0 - 10.0.9.255".into(), "10.0.9.9 - 10.0.9.9".into())
        );
        assert_eq!(
            pool(&["10.0.0.0/25", "10.0.0.128/25", "fd00::/64"]).own_overlap(),
            None
        );
        let (ours, theirs) = pool(&["10.1.0.0/24", "10.0.9.7"])
            .overlap(&tangled)
            .unwrap();
        assert_eq!(
            (ours.first(), theirs.first()),
            (ip("10.0.9.7"), ip("10.0.9.0"))
        );
        assert_eq!(tangled.overlap(&pool(&["10.0.0.128/25", "::/0"])), None);
    }

    #[test]
    fn overlapping_ranges_count_twice() {
        assert_eq!(
            pool(&["10.0.0.0/24", "10.0.0.0/24"]).size(),
            Count::from(512)
        );
    }
}
