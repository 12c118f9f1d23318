use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::codec::{Run, Writer};
use crate::types::{Afi, Family, Nlri, PathId, Prefix};

/// A run of NLRI as it stands on the wire, already validated, so that iterating cannot fail; cheap to clone.
///
/// ```text
/// +------------------------------+
/// | path identifier (4)          |  with add-path only (RFC 7911 section 3)
/// +------------------------------+
/// | length in bits (1)           |
/// +------------------------------+
/// | prefix (as many as needed)   |
/// +------------------------------+
/// ```
///
/// For families other than IPv4 and IPv6 unicast the octets are kept and the iterator is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NlriList {
    family: Family,
    add_path: bool,
    octets: Bytes,
}

/// Octets that are no NLRI: a prefix longer than its address, or one that the octets end in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prefix is longer than its address, or than the octets that are there")]
pub struct InvalidNlri;

impl NlriList {
    /// No entry.
    pub fn empty(family: Family) -> Self {
        Self {
            family,
            add_path: false,
            octets: Bytes::new(),
        }
    }

    /// Takes octets from the wire. Bits behind the length of a prefix, which mean nothing, become zero.
    ///
    /// # Errors
    /// The octets are not what the family's entries look like. Those of families that we parse past are taken as they
    /// are.
    pub fn from_wire(family: Family, add_path: bool, octets: Bytes) -> Result<Self, InvalidNlri> {
        let add_path = add_path && !octets.is_empty();
        let list = Self {
            family,
            add_path,
            octets,
        };
        match (family.is_unicast_ip(), family.afi) {
            (false, _) => Ok(list),
            (true, afi) => {
                let greatest = if afi == Afi::IPV4 { 32 } else { 128 };
                let ids = if add_path { PATH_ID } else { 0 };
                match scan(&list.octets, ids, greatest)? {
                    Bits::Clean => Ok(list),
                    Bits::Noisy => Ok(Self::build(family, add_path, list.iter())),
                }
            }
        }
    }

    /// Builds the wire form; path identifiers are written when `add_path` is set (0 where an entry has none). Entries
    /// of another family are left out.
    pub fn build(family: Family, add_path: bool, entries: impl IntoIterator<Item = Nlri>) -> Self {
        let entries = entries.into_iter();
        let size =
            if family.afi == Afi::IPV4 { 5 } else { 17 } + if add_path { PATH_ID } else { 0 };
        let mut writer = Writer::with_capacity(entries.size_hint().0.min(4096) * size);
        for entry in entries.filter(|entry| entry.prefix.family() == family) {
            if add_path {
                writer.u32(entry.path_id.map_or(0, |PathId(id)| id));
            }
            entry.prefix.write(&mut writer);
        }
        let octets = writer.finish();
        Self {
            family,
            add_path: add_path && !octets.is_empty(),
            octets,
        }
    }

    /// The family of all entries.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The wire form.
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// Whether every entry has a path identifier.
    pub fn has_path_ids(&self) -> bool {
        self.add_path
    }

    /// The entries.
    pub fn iter(&self) -> NlriIter<'_> {
        NlriIter {
            rest: if self.family.is_unicast_ip() {
                &self.octets
            } else {
                &[]
            },
            add_path: self.add_path,
            v4: self.family.afi == Afi::IPV4,
            run: Run::default(),
        }
    }

    /// The entries of both; both are of one family and one form.
    pub(crate) fn joined(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let mut writer = Writer::with_capacity(self.octets.len() + other.octets.len());
        writer.slice(&self.octets);
        writer.slice(&other.octets);
        Self {
            octets: writer.finish(),
            ..self
        }
    }

    /// The octets with path identifiers or without, as a session negotiated. Octets that we parse past stay as they are.
    pub(crate) fn octets_for(&self, add_path: bool) -> Cow<'_, [u8]> {
        if self.add_path == add_path || !self.family.is_unicast_ip() {
            return Cow::Borrowed(&self.octets);
        }
        Cow::Owned(
            Self::build(self.family, add_path, self.iter())
                .octets
                .to_vec(),
        )
    }
}

impl<'a> IntoIterator for &'a NlriList {
    type Item = Nlri;
    type IntoIter = NlriIter<'a>;

    fn into_iter(self) -> NlriIter<'a> {
        self.iter()
    }
}

impl fmt::Display for NlriList {
    /// The entries, or how many octets there are of a family that we parse past.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.family.is_unicast_ip() {
            return write!(f, "{} octets of {}", self.octets.len(), self.family);
        }
        for (index, entry) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            entry.fmt(f)?;
        }
        Ok(())
    }
}

/// The entries of an [`NlriList`].
#[derive(Clone, Debug)]
pub struct NlriIter<'a> {
    rest: &'a [u8],
    add_path: bool,
    v4: bool,
    run: Run,
}

impl Iterator for NlriIter<'_> {
    type Item = Nlri;

    #[inline]
    fn next(&mut self) -> Option<Nlri> {
        let mut rest = self.rest;
        let mut path_id = None;
        if self.add_path {
            let (id, behind) = rest.split_first_chunk::<PATH_ID>()?;
            path_id = Some(PathId(u32::from_be_bytes(*id)));
            rest = behind;
        }
        let (prefix, rest) = match self.v4 {
            true => Prefix::read_v4(rest, &mut self.run),
            false => Prefix::read_v6(rest, &mut self.run),
        }
        .ok()?;
        self.rest = rest;
        Some(Nlri { prefix, path_id })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, greatest) = match (self.add_path, self.v4) {
            (false, true) => (1, 5),
            (false, false) => (1, 17),
            (true, true) => (5, 9),
            (true, false) => (5, 21),
        };
        (self.rest.len() / greatest, Some(self.rest.len() / least))
    }
}

impl std::iter::FusedIterator for NlriIter<'_> {}

/// Octets of a path identifier.
const PATH_ID: usize = 4;

/// Whether the bits behind the lengths are all zero.
enum Bits {
    Clean,
    Noisy,
}

/// Walks over all entries once, so that nobody has to check them again.
fn scan(octets: &[u8], ids: usize, greatest: u8) -> Result<Bits, InvalidNlri> {
    let mut rest = octets;
    let mut noise = 0;
    let mut run = Run::default();
    while !rest.is_empty() {
        let (&length, behind) = rest
            .get(ids..)
            .and_then(<[u8]>::split_first)
            .ok_or(InvalidNlri)?;
        if length > greatest {
            return Err(InvalidNlri);
        }
        let (address, behind) = behind
            .split_at_checked(run.significant(length))
            .ok_or(InvalidNlri)?;
        if length % 8 != 0
            && let Some(last) = address.last()
        {
            noise |= last << (length % 8);
        }
        rest = behind;
    }
    Ok(if noise == 0 { Bits::Clean } else { Bits::Noisy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(octets: &'static [u8]) -> Result<NlriList, InvalidNlri> {
        NlriList::from_wire(Family::IPV4_UNICAST, false, Bytes::from_static(octets))
    }

    #[test]
    fn entries_read_back_as_built() {
        for add_path in [false, true] {
            for texts in [["10.0.0.0/8", "0.0.0.0/0"], ["::/0", "2001:db8::1/128"]] {
                let entries: Vec<Nlri> = texts
                    .iter()
                    .zip(7..)
                    .map(|(text, id)| Nlri {
                        prefix: text.parse().unwrap(),
                        path_id: add_path.then_some(PathId(id)),
                    })
                    .collect();
                let family = entries[0].prefix.family();
                let list = NlriList::build(family, add_path, entries.clone());
                assert_eq!(list.iter().collect::<Vec<_>>(), entries);
                let again = NlriList::from_wire(family, add_path, list.octets().clone()).unwrap();
                assert_eq!(again, list);
            }
        }
    }

    #[test]
    fn noise_behind_a_prefix_is_cleared_so_that_equal_routes_are_equal_octets() {
        let noisy = v4(&[9, 10, 0xFF, 32, 1, 2, 3, 4]).unwrap();
        assert_eq!(noisy, v4(&[9, 10, 0x80, 32, 1, 2, 3, 4]).unwrap());
        assert_eq!(noisy.to_string(), "10.128.0.0/9 1.2.3.4/32");
    }

    #[test]
    fn invalid_octets_are_refused_wherever_they_stand() {
        for octets in [
            &[33, 1, 2, 3, 4, 5][..],
            &[24, 1, 2],
            &[0, 0, 8],
            &[8, 1, 255],
        ] {
            assert_eq!(v4(octets), Err(InvalidNlri), "{octets:?}");
        }
        let short_id = Bytes::from_static(&[0, 0, 1]);
        assert_eq!(
            NlriList::from_wire(Family::IPV4_UNICAST, true, short_id),
            Err(InvalidNlri)
        );
    }

    #[test]
    fn families_that_we_parse_past_keep_their_octets() {
        let evpn = Family {
            afi: Afi(25),
            safi: crate::types::Safi(70),
        };
        let list = NlriList::from_wire(evpn, false, Bytes::from_static(&[255; 9])).unwrap();
        assert_eq!(
            (list.iter().count(), list.octets().len(), list.is_empty()),
            (0, 9, false)
        );
    }

    #[test]
    fn path_identifiers_can_be_added_and_dropped() {
        let list = v4(&[8, 10]).unwrap();
        assert_eq!(list.octets_for(true).as_ref(), [0, 0, 0, 0, 8, 10]);
        let with = NlriList::build(Family::IPV4_UNICAST, true, list.iter());
        assert_eq!(with.octets_for(false).as_ref(), [8, 10]);
    }

    #[test]
    fn entries_of_another_family_are_left_out() {
        let entries =
            ["10.0.0.0/8", "::/0"].map(|text| Nlri::from(text.parse::<Prefix>().unwrap()));
        assert_eq!(
            NlriList::build(Family::IPV6_UNICAST, false, entries)
                .octets()
                .as_ref(),
            [0]
        );
    }
}
