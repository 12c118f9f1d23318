//! Path attributes (RFC 4271 section 5): one file per family of attributes, holding type, decode, encode and tests.
//!
//! `table` has one row per attribute that we interpret, `decode` is the loop that applies it (RFC 7606 and all),
//! `encode` writes them in the order that RFC 7606 section 5.1 asks for.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod aggregator;
mod as_path;
mod communities;
mod decode;
mod encode;
mod fault;
mod multiprotocol;
mod next_hop;
mod nlri;
mod origin;
mod table;
mod unknown;

pub use aggregator::Aggregator;
pub use as_path::{AsPath, Segment, SegmentKind};
pub use communities::{Community, ExtendedCommunity, LargeCommunity, ParseCommunityError};
pub(crate) use decode::Block;
pub use fault::{Fault, Treatment};
pub use multiprotocol::{MpReach, MpUnreach};
pub use next_hop::NextHop;
pub use nlri::{InvalidNlri, NlriIter, NlriList};
pub use origin::Origin;
pub use table::name;
pub use unknown::UnknownAttribute;

use crate::types::{Asn, RouterId};

/// What a route carries besides its prefix and its next hop: the RIB shares one value among all routes that have it.
///
/// MP_REACH_NLRI, MP_UNREACH_NLRI and NEXT_HOP are not here: they say *which* routes and *where to*, and stand in
/// [`Update`](crate::message::Update). AS4_PATH and AS4_AGGREGATOR are merged at decoding (RFC 6793 section 4.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// ORIGIN, type 1.
    pub origin: Origin,
    /// AS_PATH, type 2.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC, type 4.
    pub med: Option<u32>,
    /// LOCAL_PREF, type 5; on internal sessions only.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE, type 6.
    pub atomic_aggregate: bool,
    /// AGGREGATOR, type 7.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES, type 8 (RFC 1997), in the order received.
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID, type 9 (RFC 4456); on internal sessions only.
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST, type 10 (RFC 4456); on internal sessions only.
    pub cluster_list: Vec<u32>,
    /// EXTENDED COMMUNITIES, type 16 (RFC 4360).
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITY, type 32 (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
    /// ONLY_TO_CUSTOMER, type 35 (RFC 9234).
    pub only_to_customer: Option<Asn>,
    /// Optional transitive attributes that we do not interpret, kept octet for octet, in ascending type order.
    pub unknown: Vec<UnknownAttribute>,
}

impl Attributes {
    /// About how many octets the value takes in memory, what it points to included.
    pub fn octets_in_memory(&self) -> usize {
        let segments = self.as_path.segments();
        let asns: usize = segments.iter().map(|segment| segment.asns.len()).sum();
        let unknown = self.unknown.iter().map(|attribute| attribute.value.len());
        size_of::<Self>()
            + size_of_val(segments)
            + asns * size_of::<Asn>()
            + size_of_val(self.communities.as_slice())
            + size_of_val(self.cluster_list.as_slice())
            + size_of_val(self.extended_communities.as_slice())
            + size_of_val(self.large_communities.as_slice())
            + size_of_val(self.unknown.as_slice())
            + unknown.sum::<usize>()
    }
}
