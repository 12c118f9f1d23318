use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use crate::types::{Family, Nlri};

/// Where traffic for a route is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// The NEXT_HOP attribute, or four octets in MP_REACH_NLRI.
    V4(Ipv4Addr),
    /// A global IPv6 address, or a link-local one alone.
    V6(Ipv6Addr),
    /// A global and a link-local address (RFC 2545).
    V6LinkLocal {
        /// Global address.
        global: Ipv6Addr,
        /// Link-local address.
        link_local: Ipv6Addr,
    },
    /// The next hop of a family that we parse past.
    Opaque(Bytes),
}

/// A run of NLRI as it stands on the wire, already validated, so that iterating cannot fail; cheap to clone.
///
/// For families other than IPv4 and IPv6 unicast the octets are kept and the iterator is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NlriList {
    family: Family,
    add_path: bool,
    octets: Bytes,
}

impl NlriList {
    /// No entry.
    pub fn empty(family: Family) -> Self {
        Self { family, add_path: false, octets: Bytes::new() }
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
    pub fn iter(&self) -> impl Iterator<Item = Nlri> + '_ {
        todo!();
        #[expect(unreachable_code)]
        std::iter::empty()
    }
    /// Builds the wire form; path identifiers are written when `add_path` is set (0 where an entry has none).
    pub fn build(family: Family, add_path: bool, entries: impl IntoIterator<Item = Nlri>) -> Self {
        let _ = (family, add_path, entries.into_iter().count());
        todo!()
    }
}

/// MP_REACH_NLRI (RFC 4760 section 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MpReach {
    /// Next hop of all entries.
    pub next_hop: NextHop,
    /// Family and entries.
    pub nlri: NlriList,
}

/// MP_UNREACH_NLRI (RFC 4760 section 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MpUnreach {
    /// Family and entries; no entry at all is End-of-RIB (RFC 4724).
    pub nlri: NlriList,
}
