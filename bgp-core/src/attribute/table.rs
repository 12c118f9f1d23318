//! One row per attribute that we interpret: what it must look like and what becomes of it when it does not.

use super::Aggregator;
use crate::codec::WireContext;

/// Flag bit: optional, not well-known.
pub(crate) const OPTIONAL: u8 = 0x80;
/// Flag bit: passed on by those who do not know it.
pub(crate) const TRANSITIVE: u8 = 0x40;
/// Flag bit: somebody on the way did not know it.
pub(crate) const PARTIAL: u8 = 0x20;
/// Flag bit: the length has two octets.
pub(crate) const EXTENDED: u8 = 0x10;

pub(crate) const ORIGIN: u8 = 1;
pub(crate) const AS_PATH: u8 = 2;
pub(crate) const NEXT_HOP: u8 = 3;
pub(crate) const MULTI_EXIT_DISC: u8 = 4;
pub(crate) const LOCAL_PREF: u8 = 5;
pub(crate) const ATOMIC_AGGREGATE: u8 = 6;
pub(crate) const AGGREGATOR: u8 = 7;
pub(crate) const COMMUNITIES: u8 = 8;
pub(crate) const ORIGINATOR_ID: u8 = 9;
pub(crate) const CLUSTER_LIST: u8 = 10;
pub(crate) const MP_REACH_NLRI: u8 = 14;
pub(crate) const MP_UNREACH_NLRI: u8 = 15;
pub(crate) const EXTENDED_COMMUNITIES: u8 = 16;
pub(crate) const AS4_PATH: u8 = 17;
pub(crate) const AS4_AGGREGATOR: u8 = 18;
pub(crate) const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
pub(crate) const AIGP: u8 = 26;
pub(crate) const LARGE_COMMUNITY: u8 = 32;
pub(crate) const ONLY_TO_CUSTOMER: u8 = 35;

/// An attribute that we interpret.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) kind: u8,
    pub(crate) name: &'static str,
    /// Optional and Transitive as they must be.
    pub(crate) flags: u8,
    pub(crate) length: Length,
    /// RFC 7606's answer to a wrong length or value.
    pub(crate) malformed: Malformed,
    pub(crate) from: Sender,
}

/// How many octets the value may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Any,
    Exactly(usize),
    AtLeast(usize),
    /// One or more entries of that size.
    Entries(usize),
    /// An AS number as wide as negotiated, and an identifier.
    Aggregator,
}

/// What RFC 7606 does about a malformed attribute, in ascending strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Malformed {
    Discard,
    Withdraw,
    Reset,
}

/// Whose attribute is heard; from others it is dropped before anything else is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Anyone,
    /// RFC 7606 sections 7.5, 7.9 and 7.10.
    InternalPeer,
    /// RFC 6793 section 4.1.
    TwoOctetPeer,
    /// An attribute that only sessions configured for it may use (RFC 7311 section 3.3); we configure none.
    Nobody,
}

const WELL_KNOWN: u8 = TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;
const OPTIONAL_NON_TRANSITIVE: u8 = OPTIONAL;

#[rustfmt::skip]
static TABLE: [Row; 19] = {
    use Length::{Any, AtLeast, Entries, Exactly};
    use Malformed::{Discard, Reset, Withdraw};
    [
        row(ORIGIN, "ORIGIN", WELL_KNOWN, Exactly(1), Withdraw, Sender::Anyone),
        row(AS_PATH, "AS_PATH", WELL_KNOWN, Any, Withdraw, Sender::Anyone),
        row(NEXT_HOP, "NEXT_HOP", WELL_KNOWN, Exactly(4), Withdraw, Sender::Anyone),
        row(MULTI_EXIT_DISC, "MULTI_EXIT_DISC", OPTIONAL_NON_TRANSITIVE, Exactly(4), Withdraw, Sender::Anyone),
        row(LOCAL_PREF, "LOCAL_PREF", WELL_KNOWN, Exactly(4), Withdraw, Sender::InternalPeer),
        row(ATOMIC_AGGREGATE, "ATOMIC_AGGREGATE", WELL_KNOWN, Exactly(0), Discard, Sender::Anyone),
        row(AGGREGATOR, "AGGREGATOR", OPTIONAL_TRANSITIVE, Length::Aggregator, Discard, Sender::Anyone),
        row(COMMUNITIES, "COMMUNITIES", OPTIONAL_TRANSITIVE, Entries(4), Withdraw, Sender::Anyone),
        row(ORIGINATOR_ID, "ORIGINATOR_ID", OPTIONAL_NON_TRANSITIVE, Exactly(4), Withdraw, Sender::InternalPeer),
        row(CLUSTER_LIST, "CLUSTER_LIST", OPTIONAL_NON_TRANSITIVE, Entries(4), Withdraw, Sender::InternalPeer),
        row(MP_REACH_NLRI, "MP_REACH_NLRI", OPTIONAL_NON_TRANSITIVE, AtLeast(5), Reset, Sender::Anyone),
        row(MP_UNREACH_NLRI, "MP_UNREACH_NLRI", OPTIONAL_NON_TRANSITIVE, AtLeast(3), Reset, Sender::Anyone),
        row(EXTENDED_COMMUNITIES, "EXTENDED_COMMUNITIES", OPTIONAL_TRANSITIVE, Entries(8), Withdraw, Sender::Anyone),
        row(AS4_PATH, "AS4_PATH", OPTIONAL_TRANSITIVE, Any, Discard, Sender::TwoOctetPeer),
        row(AS4_AGGREGATOR, "AS4_AGGREGATOR", OPTIONAL_TRANSITIVE, Exactly(8), Discard, Sender::TwoOctetPeer),
        row(IPV6_EXTENDED_COMMUNITIES, "IPV6_EXTENDED_COMMUNITIES", OPTIONAL_TRANSITIVE, Entries(20), Withdraw, Sender::Anyone),
        row(AIGP, "AIGP", OPTIONAL_NON_TRANSITIVE, Any, Discard, Sender::Nobody),
        row(LARGE_COMMUNITY, "LARGE_COMMUNITY", OPTIONAL_TRANSITIVE, Entries(12), Withdraw, Sender::Anyone),
        row(ONLY_TO_CUSTOMER, "ONLY_TO_CUSTOMER", OPTIONAL_TRANSITIVE, Exactly(4), Withdraw, Sender::Anyone),
    ]
};

const fn row(
    kind: u8,
    name: &'static str,
    flags: u8,
    length: Length,
    malformed: Malformed,
    from: Sender,
) -> Row {
    Row {
        kind,
        name,
        flags,
        length,
        malformed,
        from,
    }
}

/// The row of an attribute type.
pub(crate) fn find(kind: u8) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.kind == kind)
}

/// The RFC's name of an attribute type, where it is one that we interpret.
pub fn name(kind: u8) -> Option<&'static str> {
    find(kind).map(|row| row.name)
}

/// Whether the type has a field of its own in [`Attributes`](super::Attributes) or
/// [`Update`](crate::message::Update), so that it has no place among the unknown ones.
pub(crate) fn is_interpreted(kind: u8) -> bool {
    kind != IPV6_EXTENDED_COMMUNITIES && find(kind).is_some()
}

impl Row {
    pub(crate) fn allows_length(&self, octets: usize, context: &WireContext) -> bool {
        match self.length {
            Length::Any => true,
            Length::Exactly(length) => octets == length,
            Length::AtLeast(length) => octets >= length,
            Length::Entries(size) => octets > 0 && octets.is_multiple_of(size),
            Length::Aggregator => octets == Aggregator::length(context.four_octet_as),
        }
    }

    pub(crate) fn allows_flags(&self, flags: u8) -> bool {
        flags & (OPTIONAL | TRANSITIVE) == self.flags
    }

    pub(crate) fn is_heard(&self, context: &WireContext) -> bool {
        match self.from {
            Sender::Anyone => true,
            Sender::InternalPeer => !context.external,
            Sender::TwoOctetPeer => !context.four_octet_as,
            Sender::Nobody => false,
        }
    }

    /// Wrong Optional or Transitive bits withdraw the routes whatever the attribute (RFC 7606 section 3 item c), except
    /// where even that is not safe.
    pub(crate) fn wrong_flags(&self) -> Malformed {
        self.malformed.max(Malformed::Withdraw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_ascending_order_so_that_no_type_has_two() {
        assert!(
            TABLE
                .iter()
                .zip(TABLE.iter().skip(1))
                .all(|(one, next)| one.kind < next.kind)
        );
    }

    #[test]
    fn only_as_path_and_atomic_aggregate_may_be_empty() {
        let context = WireContext::initial();
        let empty: Vec<_> = TABLE
            .iter()
            .filter(|row| row.allows_length(0, &context))
            .map(|row| row.name)
            .collect();
        // The last two are never a reason to withdraw anything.
        assert_eq!(empty, ["AS_PATH", "ATOMIC_AGGREGATE", "AS4_PATH", "AIGP"]);
    }

    #[test]
    fn only_the_multiprotocol_attributes_reset_the_session() {
        let reset: Vec<_> = TABLE
            .iter()
            .filter(|row| row.malformed == Malformed::Reset)
            .map(|row| row.kind)
            .collect();
        assert_eq!(reset, [MP_REACH_NLRI, MP_UNREACH_NLRI]);
    }
}
