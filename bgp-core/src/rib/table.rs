//! What the tables of this room are made of: a sorted map by prefix and a list that is mostly one long.

use std::collections::BTreeMap;
use std::collections::btree_map;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::types::{Family, Prefix};

/// A map by prefix, in prefix order. IPv4 keys take five octets, IPv6 keys seventeen.
///
/// Sorted rather than hashed: the order of what is sent and shown is then the same in every run, and no choice of
/// prefixes by a peer makes it slow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrefixMap<V> {
    v4: BTreeMap<Ipv4Net, V>,
    v6: BTreeMap<Ipv6Net, V>,
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self {
            v4: BTreeMap::new(),
            v6: BTreeMap::new(),
        }
    }
}

impl<V> PrefixMap<V> {
    pub(crate) fn family_len(&self, family: Family) -> usize {
        match family {
            Family::IPV4_UNICAST => self.v4.len(),
            Family::IPV6_UNICAST => self.v6.len(),
            _ => 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(crate) fn get(&self, prefix: Prefix) -> Option<&V> {
        match prefix.net() {
            IpNet::V4(net) => self.v4.get(&net),
            IpNet::V6(net) => self.v6.get(&net),
        }
    }

    pub(crate) fn contains(&self, prefix: Prefix) -> bool {
        self.get(prefix).is_some()
    }

    pub(crate) fn insert(&mut self, prefix: Prefix, value: V) -> Option<V> {
        match prefix.net() {
            IpNet::V4(net) => self.v4.insert(net, value),
            IpNet::V6(net) => self.v6.insert(net, value),
        }
    }

    /// Adds the value unless the prefix has one, which is then changed in place.
    pub(crate) fn upsert<R>(
        &mut self,
        prefix: Prefix,
        value: V,
        change: impl FnOnce(&mut V, V) -> R,
        added: impl FnOnce() -> R,
    ) -> R {
        fn apply<K: Ord, V, R>(
            entry: btree_map::Entry<'_, K, V>,
            value: V,
            change: impl FnOnce(&mut V, V) -> R,
            added: impl FnOnce() -> R,
        ) -> R {
            match entry {
                btree_map::Entry::Occupied(mut known) => change(known.get_mut(), value),
                btree_map::Entry::Vacant(place) => {
                    place.insert(value);
                    added()
                }
            }
        }
        match prefix.net() {
            IpNet::V4(net) => apply(self.v4.entry(net), value, change, added),
            IpNet::V6(net) => apply(self.v6.entry(net), value, change, added),
        }
    }

    pub(crate) fn remove(&mut self, prefix: Prefix) -> Option<V> {
        match prefix.net() {
            IpNet::V4(net) => self.v4.remove(&net),
            IpNet::V6(net) => self.v6.remove(&net),
        }
    }

    /// All entries: IPv4 before IPv6, each in prefix order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Prefix, &V)> {
        self.v4_iter().chain(self.v6_iter())
    }

    /// The entries of one family, in prefix order.
    pub(crate) fn family_iter(&self, family: Family) -> impl Iterator<Item = (Prefix, &V)> {
        let v4 = (family == Family::IPV4_UNICAST).then(|| self.v4_iter());
        let v6 = (family == Family::IPV6_UNICAST).then(|| self.v6_iter());
        v4.into_iter().flatten().chain(v6.into_iter().flatten())
    }

    /// Keeps the entries for which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Prefix, &mut V) -> bool) {
        self.v4
            .retain(|net, value| keep(Prefix::new(IpNet::V4(*net)), value));
        self.v6
            .retain(|net, value| keep(Prefix::new(IpNet::V6(*net)), value));
    }

    fn v4_iter(&self) -> impl Iterator<Item = (Prefix, &V)> {
        self.v4
            .iter()
            .map(|(net, value)| (Prefix::new(IpNet::V4(*net)), value))
    }

    fn v6_iter(&self) -> impl Iterator<Item = (Prefix, &V)> {
        self.v6
            .iter()
            .map(|(net, value)| (Prefix::new(IpNet::V6(*net)), value))
    }
}

/// Faster than one insertion after another where the entries come in order.
impl<V> FromIterator<(Prefix, V)> for PrefixMap<V> {
    fn from_iter<I: IntoIterator<Item = (Prefix, V)>>(entries: I) -> Self {
        let (mut v4, mut v6) = (vec![], vec![]);
        for (prefix, value) in entries {
            match prefix.net() {
                IpNet::V4(net) => v4.push((net, value)),
                IpNet::V6(net) => v6.push((net, value)),
            }
        }
        Self {
            v4: v4.into_iter().collect(),
            v6: v6.into_iter().collect(),
        }
    }
}

impl<V> IntoIterator for PrefixMap<V> {
    type Item = (Prefix, V);
    type IntoIter = IntoIter<V>;

    fn into_iter(self) -> Self::IntoIter {
        IntoIter {
            v4: self.v4.into_iter(),
            v6: self.v6.into_iter(),
        }
    }
}

/// The entries of a map that is given up, in order.
#[derive(Debug)]
pub(crate) struct IntoIter<V> {
    v4: btree_map::IntoIter<Ipv4Net, V>,
    v6: btree_map::IntoIter<Ipv6Net, V>,
}

impl<V> Iterator for IntoIter<V> {
    type Item = (Prefix, V);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((net, value)) = self.v4.next() {
            return Some((Prefix::new(IpNet::V4(net)), value));
        }
        self.v6
            .next()
            .map(|(net, value)| (Prefix::new(IpNet::V6(net)), value))
    }
}

/// At least one value; the common case of exactly one takes no allocation.
#[derive(Clone, Debug)]
pub(crate) enum Few<T> {
    One(T),
    #[expect(
        clippy::box_collection,
        reason = "the rare case must not make the common one bigger"
    )]
    Many(Box<Vec<T>>),
}

impl<T> Few<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::One(value) => std::slice::from_mut(value),
            Self::Many(values) => values,
        }
    }

    pub(crate) fn push(&mut self, value: T) {
        match self {
            Self::Many(values) => values.push(value),
            Self::One(_) => {
                let one = std::mem::replace(self, Self::Many(Box::new(Vec::with_capacity(2))));
                if let (Self::Many(values), Self::One(first)) = (self, one) {
                    values.extend([first, value]);
                }
            }
        }
    }

    /// Without the values for which `is_gone` says so; `None` where none is left.
    pub(crate) fn without(self, mut is_gone: impl FnMut(&T) -> bool) -> Option<Self> {
        match self {
            Self::One(value) => (!is_gone(&value)).then_some(Self::One(value)),
            Self::Many(mut values) => {
                values.retain(|value| !is_gone(value));
                if values.len() > 1 {
                    Some(Self::Many(values))
                } else {
                    values.pop().map(Self::One)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text.parse().expect("a prefix"))
    }

    #[test]
    fn entries_come_in_prefix_order_and_by_family() {
        let mut map = PrefixMap::default();
        for text in ["10.0.1.0/24", "2001:db8::/32", "10.0.0.0/8", "9.0.0.0/8"] {
            map.insert(prefix(text), text);
        }
        let order: Vec<&str> = map.iter().map(|(_, text)| *text).collect();
        assert_eq!(
            order,
            ["9.0.0.0/8", "10.0.0.0/8", "10.0.1.0/24", "2001:db8::/32"]
        );
        assert_eq!(map.family_iter(Family::IPV6_UNICAST).count(), 1);
        assert_eq!(map.family_len(Family::IPV4_UNICAST), 3);
        assert_eq!(map.into_iter().count(), 4);
    }

    #[test]
    fn few_grows_and_shrinks() {
        let mut few = Few::One(1);
        few.push(2);
        few.push(3);
        assert_eq!(few.as_slice(), [1, 2, 3]);
        let few = few.without(|value| *value != 2).expect("one is left");
        assert!(matches!(few, Few::One(2)));
        assert!(few.without(|_| true).is_none());
    }
}
