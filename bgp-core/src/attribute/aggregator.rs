use crate::types::{Asn, RouterId};

/// AGGREGATOR (RFC 4271 section 5.1.7), four-octet AS already merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// The AS that aggregated.
    pub asn: Asn,
    /// The speaker that aggregated; `None` where the octets were zero.
    pub router_id: Option<RouterId>,
}
