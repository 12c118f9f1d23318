//! Which addresses are in use, and which free one is taken next.
//!
//! Addresses in use are kept as maximal runs, neighbours merged. So the lowest free address of a range is either its first
//! or the one behind the run that covers its first: one lookup, whether the range is empty or full to 99 %, and a /64 costs
//! no more than the runs in it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::range::{at, position};
use crate::{Family, Range};

/// The addresses in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse {
    /// First position of each run -> its last.
    v4: BTreeMap<u128, u128>,
    v6: BTreeMap<u128, u128>,
}

impl InUse {
    /// The lowest address of the range that is not in use.
    pub(crate) fn lowest_free(&self, range: &Range) -> Option<IpAddr> {
        let first = position(range.first());
        let runs = self.runs(range.family());
        let covering = runs
            .range(..=first)
            .next_back()
            .filter(|&(_, &last)| last >= first);
        let free = match covering {
            None => first,
            Some((_, &last)) => last.checked_add(1)?,
        };
        (free <= position(range.last())).then(|| at(range.family(), free))
    }

    /// Marks an address that is not in use.
    pub(crate) fn insert(&mut self, address: IpAddr) {
        let place = position(address);
        let runs = self.runs_mut(Family::of(address));
        let behind = place.checked_add(1).and_then(|next| runs.remove(&next));
        let last = behind.unwrap_or(place);
        match runs.range_mut(..place).next_back() {
            Some((_, end)) if *end + 1 == place => *end = last,
            _ => {
                runs.insert(place, last);
            }
        }
    }

    /// Frees an address that is in use.
    pub(crate) fn remove(&mut self, address: IpAddr) {
        let place = position(address);
        let runs = self.runs_mut(Family::of(address));
        let Some((&first, last)) = runs.range_mut(..=place).next_back() else {
            return;
        };
        let end = *last;
        if end < place {
            return;
        }
        if first == place {
            runs.remove(&first);
        } else {
            *last = place - 1;
        }
        if place < end {
            runs.insert(place + 1, end);
        }
    }

    fn runs(&self, family: Family) -> &BTreeMap<u128, u128> {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn runs_mut(&mut self, family: Family) -> &mut BTreeMap<u128, u128> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn runs_merge_and_split() {
        let mut in_use = InUse::default();
        for last in [1, 3, 2, 0] {
            in_use.insert(IpAddr::from([10, 0, 0, last]));
        }
        assert_eq!(in_use.v4.len(), 1);
        let range: Range = "10.0.0.0/29".parse().unwrap();
        assert_eq!(in_use.lowest_free(&range), Some(ip("10.0.0.4")));
        in_use.remove(ip("10.0.0.2"));
        assert_eq!(in_use.v4.len(), 2);
        assert_eq!(in_use.lowest_free(&range), Some(ip("10.0.0.2")));
        in_use.remove(ip("10.0.0.0"));
        in_use.remove(ip("10.0.0.3"));
        assert_eq!(in_use.lowest_free(&range), Some(ip("10.0.0.0")));
        assert_eq!(
            in_use.v4,
            BTreeMap::from([(position(ip("10.0.0.1")), position(ip("10.0.0.1")))])
        );
    }

    #[test]
    fn the_ends_of_the_address_space_are_addresses_like_others() {
        let mut in_use = InUse::default();
        for text in [
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "255.255.255.255",
        ] {
            let whole: Range = text.parse().unwrap();
            assert_eq!(in_use.lowest_free(&whole), Some(ip(text)));
            in_use.insert(ip(text));
            assert_eq!(in_use.lowest_free(&whole), None);
        }
        for text in [
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "255.255.255.255",
        ] {
            in_use.remove(ip(text));
        }
        assert!(in_use.v4.is_empty() && in_use.v6.is_empty());
    }

    #[test]
    fn an_ipv4_mapped_address_is_not_the_ipv4_address() {
        let mut in_use = InUse::default();
        in_use.insert(ip("10.0.0.1"));
        assert!(in_use.lowest_free(&"::a00:1".parse().unwrap()).is_some());
        assert!(
            in_use
                .lowest_free(&"::ffff:10.0.0.1".parse().unwrap())
                .is_some()
        );
    }
}
