//! The loop over an UPDATE's attributes: flags, duplicates, lengths, values, and what RFC 7606 says about each fault.

use std::net::Ipv4Addr;

use bytes::Bytes;

use super::multiprotocol::Heard;
use super::table::{self, Malformed, OPTIONAL, PARTIAL, Row, TRANSITIVE};
use super::{
    Aggregator, AsPath, Attributes, Community, ExtendedCommunity, Fault, LargeCommunity, MpReach,
    MpUnreach, NextHop, Origin, Treatment, UnknownAttribute,
};
use crate::codec::{ProtocolError, Reader, Truncated, WireContext};
use crate::types::{Asn, Reason, RouterId, UpdateSubcode};

/// What the attributes of one UPDATE said, and all that was wrong with them short of a session reset.
///
/// Faults that withdraw are recorded, not yet acted on: only the UPDATE knows all the routes.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) attributes: Attributes,
    /// Whether there was any attribute but MP_REACH_NLRI and MP_UNREACH_NLRI.
    pub(crate) has_attributes: bool,
    pub(crate) next_hop: Option<Ipv4Addr>,
    pub(crate) mp_reach: Option<MpReach>,
    pub(crate) mp_unreach: Option<MpUnreach>,
    /// Whether MP_REACH_NLRI had entries, of a family that we speak or not.
    pub(crate) mp_reachable: bool,
    pub(crate) faults: Vec<Fault>,
    seen: Seen,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
}

impl Block {
    /// Reads the whole attribute block of an UPDATE.
    ///
    /// # Errors
    /// What ends the session: a broken multiprotocol attribute, one that is there twice, or an unknown well-known one.
    pub(crate) fn decode(octets: &Bytes, context: &WireContext) -> Result<Self, ProtocolError> {
        let mut block = Self::empty();
        for raw in RawAttributes::new(octets) {
            match raw {
                Ok(raw) => block.take(&raw, octets, context)?,
                Err(overrun) => block.overrun(&overrun)?,
            }
        }
        block.merge_four_octet();
        Ok(block)
    }

    /// Records the mandatory attributes that are missing (RFC 7606 section 3 item d). For UPDATEs that announce
    /// something; `classic`: in the NLRI field, so that NEXT_HOP is mandatory too.
    pub(crate) fn require_mandatory(&mut self, classic: bool) {
        for kind in [table::ORIGIN, table::AS_PATH, table::NEXT_HOP] {
            if (classic || kind != table::NEXT_HOP) && !self.seen.has(kind) {
                let reason = Reason::Update(UpdateSubcode::MissingWellKnownAttribute);
                let error = ProtocolError::new(reason, vec![kind]);
                self.fault(error, Some(kind), Treatment::Withdraw);
            }
        }
    }

    /// Records next hops that no packet can be sent to (RFC 4271 section 6.3: such a route is to be ignored).
    pub(crate) fn require_usable_next_hop(&mut self, classic: bool) {
        let reason = Reason::Update(UpdateSubcode::InvalidNextHop);
        let v4 = self.next_hop.filter(|_| classic).map(NextHop::V4);
        if v4.is_some_and(|next_hop| !next_hop.is_usable()) {
            self.fault(reason.into(), Some(table::NEXT_HOP), Treatment::Withdraw);
        }
        if self
            .mp_reach
            .as_ref()
            .is_some_and(|reach| !reach.next_hop.is_usable())
        {
            self.fault(
                reason.into(),
                Some(table::MP_REACH_NLRI),
                Treatment::Withdraw,
            );
        }
    }

    /// The first fault that withdraws the routes.
    pub(crate) fn withdrawing(&self) -> Option<&Fault> {
        self.faults
            .iter()
            .find(|fault| fault.treatment == Treatment::Withdraw)
    }

    fn empty() -> Self {
        Self {
            attributes: Attributes::default(),
            has_attributes: false,
            next_hop: None,
            mp_reach: None,
            mp_unreach: None,
            mp_reachable: false,
            faults: vec![],
            seen: Seen::default(),
            as4_path: None,
            as4_aggregator: None,
        }
    }

    fn fault(&mut self, error: ProtocolError, attribute: Option<u8>, treatment: Treatment) {
        self.faults.push(Fault {
            error,
            attribute,
            treatment,
        });
    }

    /// Treats an attribute as RFC 7606 says.
    fn refuse(
        &mut self,
        raw: &Raw<'_>,
        block: &Bytes,
        subcode: UpdateSubcode,
        malformed: Malformed,
    ) -> Result<(), ProtocolError> {
        // `slice_ref` wants a part of `block`: the attribute was cut out of it.
        let data = block.slice_ref(raw.octets);
        let error = ProtocolError::new(Reason::Update(subcode), data);
        match malformed {
            Malformed::Reset => return Err(error),
            Malformed::Withdraw => self.fault(error, Some(raw.kind), Treatment::Withdraw),
            Malformed::Discard => self.fault(error, Some(raw.kind), Treatment::Discard),
        }
        Ok(())
    }

    fn take(
        &mut self,
        raw: &Raw<'_>,
        block: &Bytes,
        context: &WireContext,
    ) -> Result<(), ProtocolError> {
        let multiprotocol = is_multiprotocol(raw.kind);
        self.has_attributes |= !multiprotocol;
        match self.seen.count(raw.kind) {
            Times::First => {}
            _ if multiprotocol => {
                return Err(Reason::Update(UpdateSubcode::MalformedAttributeList).into());
            }
            Times::Second => {
                let subcode = UpdateSubcode::MalformedAttributeList;
                return self.refuse(raw, block, subcode, Malformed::Discard);
            }
            // Said once; a message full of them must not become a list full of faults.
            Times::Later => return Ok(()),
        }
        match table::find(raw.kind) {
            Some(row) => self.take_known(row, raw, block, context),
            None => self.take_unknown(raw, block),
        }
    }

    fn take_known(
        &mut self,
        row: &'static Row,
        raw: &Raw<'_>,
        block: &Bytes,
        context: &WireContext,
    ) -> Result<(), ProtocolError> {
        if !row.is_heard(context) {
            return match row.from {
                table::Sender::Nobody => Ok(()),
                _ => self.refuse(raw, block, UpdateSubcode::Unspecific, Malformed::Discard),
            };
        }
        if !row.allows_flags(raw.flags) {
            return self.refuse(raw, block, UpdateSubcode::AttributeFlags, row.wrong_flags());
        }
        if !row.allows_length(raw.value.len(), context) {
            let subcode = match row.malformed {
                Malformed::Reset => UpdateSubcode::OptionalAttribute,
                _ => UpdateSubcode::AttributeLength,
            };
            return self.refuse(raw, block, subcode, row.malformed);
        }
        match self.value(raw, block, context) {
            Ok(()) => Ok(()),
            Err(Bad { subcode, malformed }) => {
                self.refuse(raw, block, subcode, malformed.unwrap_or(row.malformed))
            }
        }
    }

    /// RFC 4271 section 5 and 6.3: unknown optional attributes are passed on where they are transitive and quietly
    /// dropped where they are not; a well-known one that is not known is an error.
    fn take_unknown(&mut self, raw: &Raw<'_>, block: &Bytes) -> Result<(), ProtocolError> {
        if raw.flags & OPTIONAL == 0 {
            let subcode = UpdateSubcode::UnrecognizedWellKnownAttribute;
            return self.refuse(raw, block, subcode, Malformed::Reset);
        }
        if raw.flags & TRANSITIVE != 0 {
            self.keep(raw, raw.flags | PARTIAL);
        }
        Ok(())
    }

    fn keep(&mut self, raw: &Raw<'_>, flags: u8) {
        let unknown = &mut self.attributes.unknown;
        let at = unknown.partition_point(|other| other.kind < raw.kind);
        unknown.insert(at, UnknownAttribute::received(flags, raw.kind, raw.value));
    }

    /// Reads the value of an attribute whose flags and length are right.
    fn value(&mut self, raw: &Raw<'_>, block: &Bytes, context: &WireContext) -> Result<(), Bad> {
        let attributes = &mut self.attributes;
        let mut reader = Reader::new(raw.value);
        match raw.kind {
            table::ORIGIN => {
                let origin = Origin::from_octet(reader.u8()?);
                attributes.origin = origin.ok_or(UpdateSubcode::InvalidOrigin)?;
            }
            table::AS_PATH => {
                let path = AsPath::decode(raw.value, context.four_octet_as);
                attributes.as_path = path.ok_or(UpdateSubcode::MalformedAsPath)?;
                check_path(&attributes.as_path)?;
            }
            table::NEXT_HOP => self.next_hop = Some(Ipv4Addr::from(reader.u32()?)),
            table::MULTI_EXIT_DISC => attributes.med = Some(reader.u32()?),
            table::LOCAL_PREF => attributes.local_pref = Some(reader.u32()?),
            table::ATOMIC_AGGREGATE => attributes.atomic_aggregate = true,
            table::AGGREGATOR => {
                attributes.aggregator = Some(aggregator(raw.value, context.four_octet_as)?);
            }
            table::COMMUNITIES => attributes.communities = Community::decode_list(raw.value),
            table::ORIGINATOR_ID => {
                let id = RouterId::new(Ipv4Addr::from(reader.u32()?));
                attributes.originator_id = Some(id.ok_or(UpdateSubcode::OptionalAttribute)?);
            }
            table::CLUSTER_LIST => {
                let (clusters, _) = raw.value.as_chunks();
                attributes.cluster_list = clusters
                    .iter()
                    .map(|cluster| u32::from_be_bytes(*cluster))
                    .collect();
            }
            table::MP_REACH_NLRI => match MpReach::decode(raw.value, block, context)? {
                Heard::Spoken(reach) => {
                    self.mp_reachable = !reach.nlri.is_empty();
                    self.mp_reach = Some(reach);
                }
                Heard::NotSpoken { has_nlri } => {
                    self.mp_reachable = has_nlri;
                    return Err(Bad::not_spoken());
                }
            },
            table::MP_UNREACH_NLRI => match MpUnreach::decode(raw.value, block, context)? {
                Heard::Spoken(unreach) => self.mp_unreach = Some(unreach),
                Heard::NotSpoken { .. } => return Err(Bad::not_spoken()),
            },
            table::EXTENDED_COMMUNITIES => {
                attributes.extended_communities = ExtendedCommunity::decode_list(raw.value);
            }
            table::AS4_PATH => {
                let path = AsPath::decode(raw.value, true);
                let path = path
                    .ok_or(UpdateSubcode::OptionalAttribute)?
                    .without_confederation();
                check_path(&path)?;
                self.as4_path = Some(path);
            }
            table::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(raw.value, true)?),
            table::LARGE_COMMUNITY => {
                attributes.large_communities = LargeCommunity::decode_list(raw.value);
            }
            table::ONLY_TO_CUSTOMER => {
                attributes.only_to_customer = Some(Asn(reader.u32()?));
            }
            // Known by its length rule alone and carried along as it is.
            _ => self.keep(raw, raw.flags),
        }
        Ok(())
    }

    /// The block ends in the middle of an attribute. RFC 7606 section 4: its length and that of the block disagree;
    /// the routes in the NLRI field are still where the block ends, so they can be withdrawn.
    fn overrun(&mut self, overrun: &Overrun) -> Result<(), ProtocolError> {
        let error = Reason::Update(UpdateSubcode::MalformedAttributeList).into();
        if overrun.kind.is_some_and(is_multiprotocol) {
            return Err(error);
        }
        self.has_attributes = true;
        self.fault(error, overrun.kind, Treatment::Withdraw);
        Ok(())
    }

    /// RFC 6793 section 4.2.3: puts together what a speaker of two-octet AS numbers passed on from others.
    fn merge_four_octet(&mut self) {
        let as4_path = self.as4_path.take();
        let as4_aggregator = self.as4_aggregator.take();
        if let (Some(aggregator), Some(as4)) = (&mut self.attributes.aggregator, as4_aggregator) {
            if aggregator.asn != Asn::TRANS {
                // Somebody aggregated anew without knowing of the AS4 attributes: they are stale.
                return;
            }
            *aggregator = as4;
        }
        if let Some(as4_path) = as4_path {
            let path = std::mem::take(&mut self.attributes.as_path);
            self.attributes.as_path = path.merged_with(as4_path);
        }
    }
}

/// A value that is not what it should be.
struct Bad {
    subcode: UpdateSubcode,
    /// Where it differs from the attribute's row.
    malformed: Option<Malformed>,
}

impl Bad {
    /// Routes of a family that the session does not carry are ignored (RFC 4760 section 7).
    const fn not_spoken() -> Self {
        Self {
            subcode: UpdateSubcode::OptionalAttribute,
            malformed: Some(Malformed::Discard),
        }
    }
}

impl From<UpdateSubcode> for Bad {
    fn from(subcode: UpdateSubcode) -> Self {
        Self {
            subcode,
            malformed: None,
        }
    }
}

impl From<Truncated> for Bad {
    fn from(_: Truncated) -> Self {
        Self {
            subcode: UpdateSubcode::AttributeLength,
            malformed: None,
        }
    }
}

/// AS 0 (RFC 7607) and sets (RFC 9774) withdraw the routes, in AS4_PATH too.
fn check_path(path: &AsPath) -> Result<(), Bad> {
    if path.has_set() || path.contains(Asn(0)) {
        let malformed = Some(Malformed::Withdraw);
        return Err(Bad {
            subcode: UpdateSubcode::MalformedAsPath,
            malformed,
        });
    }
    Ok(())
}

fn aggregator(value: &[u8], four_octet_as: bool) -> Result<Aggregator, Bad> {
    let aggregator = Aggregator::decode(value, four_octet_as)?;
    if aggregator.asn == Asn(0) {
        return Err(UpdateSubcode::OptionalAttribute.into());
    }
    Ok(aggregator)
}

const fn is_multiprotocol(kind: u8) -> bool {
    matches!(kind, table::MP_REACH_NLRI | table::MP_UNREACH_NLRI)
}

/// An attribute as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) flags: u8,
    pub(super) kind: u8,
    pub(super) value: &'a [u8],
    /// All of it: flags, type, length, value.
    pub(super) octets: &'a [u8],
}

/// The octets end in the middle of an attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overrun {
    /// Its type, where that much was there.
    kind: Option<u8>,
}

/// Cuts an attribute block into attributes; an overrun is the last item.
#[derive(Debug)]
pub(super) struct RawAttributes<'a> {
    rest: Reader<'a>,
}

impl<'a> RawAttributes<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self {
            rest: Reader::new(octets),
        }
    }

    fn cut(reader: &mut Reader<'a>) -> Result<Raw<'a>, Truncated> {
        let start = reader.rest();
        let flags = reader.u8()?;
        let kind = reader.u8()?;
        let value = if flags & table::EXTENDED != 0 {
            reader.counted_u16()
        } else {
            reader.counted_u8()
        }?;
        let octets = start.get(..start.len() - reader.len()).ok_or(Truncated)?;
        Ok(Raw {
            flags,
            kind,
            value,
            octets,
        })
    }
}

impl<'a> Iterator for RawAttributes<'a> {
    type Item = Result<Raw<'a>, Overrun>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = self.rest.rest();
        Some(Self::cut(&mut self.rest).map_err(|_| {
            self.rest = Reader::new(&[]);
            Overrun {
                kind: whole.get(1).copied(),
            }
        }))
    }
}

/// Which attribute types were there already, and how often.
#[derive(Debug)]
struct Seen([u8; 256]);

enum Times {
    First,
    Second,
    Later,
}

impl Default for Seen {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl Seen {
    fn has(&self, kind: u8) -> bool {
        self.0
            .get(usize::from(kind))
            .is_some_and(|times| *times > 0)
    }

    fn count(&mut self, kind: u8) -> Times {
        let Some(times) = self.0.get_mut(usize::from(kind)) else {
            return Times::Later;
        };
        *times = times.saturating_add(1);
        match *times {
            1 => Times::First,
            2 => Times::Second,
            _ => Times::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Family;

    fn internal() -> WireContext {
        WireContext {
            four_octet_as: true,
            external: false,
            families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
            ..WireContext::initial()
        }
    }

    fn decode(octets: &[u8], context: &WireContext) -> Result<Block, ProtocolError> {
        Block::decode(&Bytes::copy_from_slice(octets), context)
    }

    /// The one fault that an internal peer's attribute of four-octet AS numbers makes.
    fn fault_of(octets: &[u8]) -> (UpdateSubcode, Treatment) {
        fault_in(octets, &internal())
    }

    fn fault_in(octets: &[u8], context: &WireContext) -> (UpdateSubcode, Treatment) {
        let block = decode(octets, context).unwrap();
        let [fault] = block.faults.as_slice() else {
            panic!("not one fault: {:?}", block.faults)
        };
        let Reason::Update(subcode) = fault.error.reason else {
            panic!("{fault:?}")
        };
        assert_eq!(fault.attribute, Some(octets[1]));
        (subcode, fault.treatment)
    }

    use Treatment::{Discard, Withdraw};
    use UpdateSubcode::{
        AttributeFlags, AttributeLength, InvalidOrigin, MalformedAsPath, MalformedAttributeList,
        OptionalAttribute, Unspecific,
    };

    #[test]
    fn a_wrong_length_is_treated_as_each_attribute_wants() {
        let treatments: [(&[u8], Treatment); 12] = [
            (&[0x40, 1, 2, 0, 0], Withdraw),
            (&[0x40, 3, 5, 1, 2, 3, 4, 5], Withdraw),
            (&[0x80, 4, 3, 1, 2, 3], Withdraw),
            (&[0x40, 5, 0], Withdraw),
            (&[0x40, 6, 1, 0], Discard),
            (&[0xC0, 7, 6, 0, 1, 1, 2, 3, 4], Discard),
            (&[0xC0, 8, 0], Withdraw),
            (&[0xC0, 16, 7, 0, 0, 0, 0, 0, 0, 0], Withdraw),
            (&[0xC0, 25, 1, 0], Withdraw),
            (&[0xC0, 32, 8, 0, 0, 0, 0, 0, 0, 0, 0], Withdraw),
            (&[0xC0, 35, 2, 0, 0], Withdraw),
            (&[0x80, 10, 3, 0, 0, 0], Withdraw),
        ];
        for (octets, treatment) in treatments {
            assert_eq!(fault_of(octets), (AttributeLength, treatment), "{octets:?}");
        }
    }

    #[test]
    fn wrong_flags_withdraw_the_route() {
        assert_eq!(fault_of(&[0xC0, 1, 1, 0]), (AttributeFlags, Withdraw));
        assert_eq!(
            fault_of(&[0x40, 8, 4, 0, 0, 0, 0]),
            (AttributeFlags, Withdraw)
        );
        assert_eq!(fault_of(&[0xC0, 6, 0]), (AttributeFlags, Withdraw));
    }

    #[test]
    fn partial_and_the_low_bits_are_no_flag_errors() {
        assert!(
            decode(&[0x6F, 1, 1, 0, 0xE0, 8, 4, 0, 0, 0, 7], &internal())
                .unwrap()
                .faults
                .is_empty()
        );
    }

    #[test]
    fn bad_values_withdraw_the_route() {
        assert_eq!(fault_of(&[0x40, 1, 1, 3]), (InvalidOrigin, Withdraw));
        assert_eq!(fault_of(&[0x40, 2, 2, 2, 0]), (MalformedAsPath, Withdraw));
        assert_eq!(
            fault_of(&[0x40, 2, 6, 9, 1, 0, 0, 0, 1]),
            (MalformedAsPath, Withdraw)
        );
        assert_eq!(
            fault_of(&[0x80, 9, 4, 0, 0, 0, 0]),
            (OptionalAttribute, Withdraw)
        );
    }

    #[test]
    fn as_zero_and_sets_in_a_path_withdraw_the_route() {
        assert_eq!(
            fault_of(&[0x40, 2, 6, 2, 1, 0, 0, 0, 0]),
            (MalformedAsPath, Withdraw)
        );
        assert_eq!(
            fault_of(&[0x40, 2, 6, 1, 1, 0, 0, 0, 1]),
            (MalformedAsPath, Withdraw)
        );
        assert_eq!(
            fault_of(&[0x40, 2, 6, 4, 1, 0, 0, 0, 1]),
            (MalformedAsPath, Withdraw)
        );
        let old = WireContext {
            four_octet_as: false,
            ..internal()
        };
        assert_eq!(
            fault_in(&[0xC0, 17, 6, 2, 1, 0, 0, 0, 0], &old),
            (MalformedAsPath, Withdraw)
        );
    }

    #[test]
    fn as_zero_in_an_aggregator_discards_it() {
        assert_eq!(
            fault_of(&[0xC0, 7, 8, 0, 0, 0, 0, 1, 2, 3, 4]),
            (OptionalAttribute, Discard)
        );
    }

    #[test]
    fn what_only_internal_peers_may_say_is_discarded_from_external_ones() {
        let external = WireContext {
            external: true,
            ..internal()
        };
        // Even with wrong flags or length: it is not looked at.
        for octets in [
            &[0x40, 5, 4, 0, 0, 0, 1][..],
            &[0x80, 9, 1, 0],
            &[0xC0, 10, 4, 0, 0, 0, 1],
        ] {
            assert_eq!(
                fault_in(octets, &external),
                (Unspecific, Discard),
                "{octets:?}"
            );
        }
    }

    #[test]
    fn four_octet_attributes_are_discarded_from_peers_that_need_none() {
        assert_eq!(
            fault_of(&[0xC0, 17, 6, 2, 1, 0, 0, 0, 1]),
            (Unspecific, Discard)
        );
        let old = WireContext {
            four_octet_as: false,
            ..internal()
        };
        assert_eq!(
            fault_in(&[0xC0, 17, 3, 2, 1, 0], &old),
            (OptionalAttribute, Discard)
        );
        assert_eq!(
            fault_in(&[0xC0, 18, 6, 0, 0, 0, 1, 0, 0], &old),
            (AttributeLength, Discard)
        );
    }

    #[test]
    fn the_first_of_two_counts_and_the_second_is_said_once() {
        let octets = [
            0x80, 4, 4, 0, 0, 0, 1, 0x80, 4, 4, 0, 0, 0, 2, 0x80, 4, 4, 0, 0, 0, 3,
        ];
        let block = decode(&octets, &internal()).unwrap();
        assert_eq!(block.attributes.med, Some(1));
        assert_eq!(block.faults.len(), 1);
        assert_eq!(block.faults[0].treatment, Discard);
        assert_eq!(
            block.faults[0].error.reason,
            Reason::Update(MalformedAttributeList)
        );
    }

    #[test]
    fn all_faults_of_a_message_are_collected() {
        let octets = [
            0x40, 1, 1, 9, 0xC0, 6, 0, 0x40, 5, 1, 0, 0x80, 4, 4, 0, 0, 0, 1,
        ];
        let block = decode(&octets, &internal()).unwrap();
        assert_eq!(block.faults.len(), 3);
        assert_eq!(block.attributes.med, Some(1));
        assert_eq!(block.withdrawing().unwrap().attribute, Some(1));
    }

    #[test]
    fn the_faulty_attribute_is_the_data_of_the_error() {
        let octets = [0x40, 1, 1, 0, 0x40, 3, 2, 1, 2];
        let block = decode(&octets, &internal()).unwrap();
        assert_eq!(block.faults[0].error.data, [0x40, 3, 2, 1, 2].as_slice());
    }

    #[test]
    fn broken_multiprotocol_attributes_end_the_session() {
        let broken: [(&[u8], UpdateSubcode); 6] = [
            (&[0x80, 14, 4, 0, 2, 1, 0], OptionalAttribute),
            (&[0x80, 14, 5, 0, 2, 1, 0, 0], OptionalAttribute),
            (&[0x80, 14, 6, 0, 2, 1, 9, 0, 0], OptionalAttribute),
            (&[0x80, 15, 2, 0, 2], OptionalAttribute),
            (&[0xC0, 15, 3, 0, 2, 1], AttributeFlags),
            (
                &[0x80, 15, 4, 0, 2, 1, 129],
                UpdateSubcode::InvalidNetworkField,
            ),
        ];
        for (octets, subcode) in broken {
            let error = decode(octets, &internal()).unwrap_err();
            assert_eq!(error.reason, Reason::Update(subcode), "{octets:?}");
        }
        let twice = [0x80, 15, 3, 0, 2, 1, 0x80, 15, 3, 0, 2, 1];
        let error = decode(&twice, &internal()).unwrap_err();
        assert_eq!(error.reason, Reason::Update(MalformedAttributeList));
    }

    #[test]
    fn an_unknown_well_known_attribute_ends_the_session() {
        let error = decode(&[0x40, 99, 1, 7], &internal()).unwrap_err();
        assert_eq!(
            error.reason,
            Reason::Update(UpdateSubcode::UnrecognizedWellKnownAttribute)
        );
        assert_eq!(error.data, [0x40, 99, 1, 7].as_slice());
    }

    #[test]
    fn unknown_transitive_attributes_are_kept_in_order_and_marked_partial() {
        let octets = [0xD0, 200, 0, 1, 7, 0x80, 99, 1, 8, 0xC0, 40, 1, 9];
        let block = decode(&octets, &internal()).unwrap();
        let kept: Vec<_> = block
            .attributes
            .unknown
            .iter()
            .map(|unknown| (unknown.flags, unknown.kind, unknown.value.as_ref()))
            .collect();
        assert_eq!(kept, [(0xE0, 40, &[9][..]), (0xE0, 200, &[7][..])]);
        assert!(block.faults.is_empty());
    }

    #[test]
    fn aigp_is_dropped_without_a_word() {
        let block = decode(&[0x80, 26, 1, 7, 0xC0, 26, 1, 7], &internal()).unwrap();
        assert!(block.attributes.unknown.is_empty());
    }

    #[test]
    fn an_attribute_that_runs_past_the_block_withdraws() {
        let overruns: [&[u8]; 4] = [&[0x80, 4, 4, 0, 0], &[0x80], &[0x80, 4], &[0x90, 4, 0]];
        for octets in overruns {
            let block = decode(octets, &internal()).unwrap();
            assert_eq!(
                block.withdrawing().unwrap().error.reason,
                Reason::Update(MalformedAttributeList)
            );
        }
        assert!(decode(&[0x80, 14, 200, 0], &internal()).is_err());
    }

    #[test]
    fn families_that_the_session_does_not_carry_are_ignored_and_said() {
        let octets = [
            0x80, 14, 11, 0, 1, 128, 0, 0, 1, 2, 3, 4, 5, 6, 0x80, 15, 3, 0, 1, 128,
        ];
        let block = decode(&octets, &internal()).unwrap();
        assert!(block.mp_reach.is_none() && block.mp_unreach.is_none() && block.mp_reachable);
        assert!(block.faults.iter().all(|fault| fault.treatment == Discard));
        assert_eq!(block.faults.len(), 2);
    }

    #[test]
    fn an_aggregator_that_is_not_as_trans_makes_both_as4_attributes_stale() {
        let old = WireContext {
            four_octet_as: false,
            ..internal()
        };
        let octets = |aggregator: u8| {
            let mut octets = vec![0x40, 2, 4, 2, 1, 0x5B, 0xA0];
            octets.extend([0xC0, 7, 6, 0x5B, aggregator, 1, 1, 1, 1]);
            octets.extend([0xC0, 17, 6, 2, 1, 0, 1, 0x11, 0x70]);
            octets.extend([0xC0, 18, 8, 0, 1, 0x11, 0x71, 2, 2, 2, 2]);
            octets
        };
        let block = decode(&octets(0xA0), &old).unwrap();
        assert_eq!(block.attributes.as_path.to_string(), "70000");
        assert_eq!(
            block.attributes.aggregator.unwrap().to_string(),
            "70001 2.2.2.2"
        );
        let block = decode(&octets(0xA1), &old).unwrap();
        assert_eq!(block.attributes.as_path.to_string(), "23456");
        assert_eq!(
            block.attributes.aggregator.unwrap().to_string(),
            "23457 1.1.1.1"
        );
    }
}
