use std::net::Ipv4Addr;

use crate::attribute::{Attributes, MpReach, MpUnreach, NlriList};
use crate::codec::ProtocolError;
use crate::types::Family;

/// UPDATE (RFC 4271 section 4.3).
///
/// A decoded one is safe to apply as it stands: where RFC 7606 asks for treat-as-withdraw its reachable NLRI have been
/// moved to the withdrawn ones, discarded attributes are gone, and `faults` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Withdrawn IPv4 unicast routes.
    pub withdrawn: NlriList,
    /// Withdrawn routes of MP_UNREACH_NLRI. After treat-as-withdraw there can be several.
    pub mp_unreach: Vec<MpUnreach>,
    /// The attributes of what is announced; `None` where nothing is.
    pub attributes: Option<Attributes>,
    /// NEXT_HOP of the IPv4 unicast routes in `announced`.
    pub next_hop: Option<Ipv4Addr>,
    /// Announced IPv4 unicast routes.
    pub announced: NlriList,
    /// Announced routes of MP_REACH_NLRI.
    pub mp_reach: Option<MpReach>,
    /// What was wrong and did not end the session (RFC 7606). Never encoded.
    pub faults: Vec<Fault>,
}

/// A fault of an UPDATE that does not end the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What would have been sent if it did.
    pub error: ProtocolError,
    /// The attribute type concerned, where it is one.
    pub attribute: Option<u8>,
    /// What was done.
    pub treatment: Treatment,
}

/// RFC 7606 section 2, in ascending strength; a session reset is an `Err` instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// The attribute was dropped.
    Discard,
    /// The routes were handled as withdrawn.
    Withdraw,
}

impl Update {
    /// Nothing in it: what End-of-RIB of IPv4 unicast is on the wire.
    pub fn empty() -> Self {
        Self {
            withdrawn: NlriList::empty(Family::IPV4_UNICAST),
            mp_unreach: vec![],
            attributes: None,
            next_hop: None,
            announced: NlriList::empty(Family::IPV4_UNICAST),
            mp_reach: None,
            faults: vec![],
        }
    }

    /// The End-of-RIB marker of a family (RFC 4724 section 2).
    pub fn end_of_rib(family: Family) -> Self {
        let mut update = Self::empty();
        if family != Family::IPV4_UNICAST {
            update.mp_unreach.push(MpUnreach { nlri: NlriList::empty(family) });
        }
        update
    }

    /// The family that this marks the end of, if it is an End-of-RIB marker.
    pub fn is_end_of_rib(&self) -> Option<Family> {
        if self.attributes.is_some() || !self.faults.is_empty() || !self.withdrawn.is_empty() || !self.announced.is_empty() {
            return None;
        }
        match self.mp_unreach.as_slice() {
            [] => Some(Family::IPV4_UNICAST),
            [one] if one.nlri.is_empty() => Some(one.nlri.family()),
            _ => None,
        }
    }
}
