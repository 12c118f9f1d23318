use std::net::Ipv4Addr;

use bytes::Bytes;

use super::TooLong;
use super::header::{self, Kind};
use crate::attribute::{Attributes, Block, Fault, MpReach, MpUnreach, NlriList, Treatment};
use crate::codec::{ProtocolError, Reader, Truncated, WireContext};
use crate::types::{Family, Reason, UpdateSubcode};

/// UPDATE (RFC 4271 section 4.3).
///
/// ```text
/// +-----------------------+------------------+-----------------------+------------+----------------+
/// | withdrawn length (2)  | withdrawn routes | attributes length (2) | attributes | NLRI           |
/// +-----------------------+------------------+-----------------------+------------+----------------+
/// ```
///
/// A decoded one is safe to apply as it stands: where RFC 7606 asks for treat-as-withdraw its reachable NLRI have been
/// moved to the withdrawn ones, discarded attributes are gone, and `faults` says so. Apply what is withdrawn before
/// what is announced: a prefix in both is announced (RFC 4271 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Withdrawn IPv4 unicast routes.
    pub withdrawn: NlriList,
    /// Withdrawn routes of MP_UNREACH_NLRI. After treat-as-withdraw there can be several.
    pub mp_unreach: Vec<MpUnreach>,
    /// The attributes of what is announced; always there where something is. `None` where the message had none besides
    /// MP_UNREACH_NLRI, and after treat-as-withdraw.
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
            update.mp_unreach.push(MpUnreach {
                nlri: NlriList::empty(family),
            });
        }
        update
    }

    /// The family that this marks the end of, if it is an End-of-RIB marker.
    pub fn is_end_of_rib(&self) -> Option<Family> {
        if self.attributes.is_some()
            || self.mp_reach.is_some()
            || !self.faults.is_empty()
            || !self.withdrawn.is_empty()
            || !self.announced.is_empty()
        {
            return None;
        }
        match self.mp_unreach.as_slice() {
            [] => Some(Family::IPV4_UNICAST),
            [one] if one.nlri.is_empty() => Some(one.nlri.family()),
            _ => None,
        }
    }

    /// Reads the body; `octets` is the message that it is a part of, so that routes need no copy.
    pub(super) fn decode(
        octets: &Bytes,
        body: &[u8],
        context: &WireContext,
    ) -> Result<Self, ProtocolError> {
        let fields =
            Fields::read(body).map_err(|_| error(UpdateSubcode::MalformedAttributeList))?;
        // `slice_ref` wants a part of `octets`: `body` is one, and the fields are parts of it.
        let withdrawn = routes(octets.slice_ref(fields.withdrawn), context)?;
        let announced = routes(octets.slice_ref(fields.nlri), context)?;
        let mut block = Block::decode(&octets.slice_ref(fields.attributes), context)?;

        let classic = !announced.is_empty();
        let reachable = classic || block.mp_reachable;
        if reachable && block.withdrawing().is_none() {
            block.require_mandatory(classic);
            block.require_usable_next_hop(classic);
        }
        if let Some(fault) = block.withdrawing()
            && !reachable
        {
            // RFC 7606 section 5.2: there is nothing to withdraw, and nobody knows what was meant.
            return Err(fault.error.clone());
        }
        let mut update = Self {
            withdrawn,
            mp_unreach: block.mp_unreach.take().into_iter().collect(),
            next_hop: block.next_hop.filter(|_| classic),
            announced,
            mp_reach: block.mp_reach.take(),
            attributes: None,
            faults: vec![],
        };
        if block.withdrawing().is_some() {
            update.withdraw_all();
        } else if block.has_attributes {
            update.attributes = Some(block.attributes);
        }
        update.faults = block.faults;
        update.ignore_unless_spoken(context);
        Ok(update)
    }

    pub(super) fn encode(&self, context: &WireContext) -> Result<Bytes, TooLong> {
        let withdrawn_family = self.mp_unreach.first().map(|one| one.nlri.family());
        if self
            .mp_unreach
            .iter()
            .any(|one| Some(one.nlri.family()) != withdrawn_family)
        {
            return Err(self.too_many_families(context));
        }
        let with_ids = context.has_path_ids(Family::IPV4_UNICAST);
        let routes = self.withdrawn.octets().len() + self.announced.octets().len();
        header::sized_message(Kind::Update, context, 256 + routes, |writer| {
            let length = writer.reserve_length();
            writer.slice(&self.withdrawn.octets_for(with_ids));
            writer.fill(length);
            let length = writer.reserve_length();
            if let Some(reach) = &self.mp_reach {
                reach.encode(context, writer);
            }
            if let Some(family) = withdrawn_family {
                MpUnreach::encode(&self.mp_unreach, family, context, writer);
            }
            if let Some(attributes) = &self.attributes {
                let next_hop = self.next_hop.filter(|_| !self.announced.is_empty());
                attributes.encode_into(context, next_hop, writer);
            }
            writer.fill(length);
            writer.slice(&self.announced.octets_for(with_ids));
        })
    }

    /// Treat-as-withdraw (RFC 7606 section 2): every reachable route becomes a withdrawn one.
    fn withdraw_all(&mut self) {
        let empty = || NlriList::empty(Family::IPV4_UNICAST);
        let announced = std::mem::replace(&mut self.announced, empty());
        let withdrawn = std::mem::replace(&mut self.withdrawn, empty());
        self.withdrawn = withdrawn.joined(announced);
        self.next_hop = None;
        if let Some(reach) = self.mp_reach.take()
            && !reach.nlri.is_empty()
        {
            self.mp_unreach.push(MpUnreach { nlri: reach.nlri });
        }
    }

    /// A session without IPv4 unicast ignores the fields that are IPv4 unicast's (RFC 4760 section 7).
    fn ignore_unless_spoken(&mut self, context: &WireContext) {
        let family = Family::IPV4_UNICAST;
        if context.speaks(family) || self.withdrawn.is_empty() && self.announced.is_empty() {
            return;
        }
        self.withdrawn = NlriList::empty(family);
        self.announced = NlriList::empty(family);
        self.next_hop = None;
        self.faults.push(Fault {
            error: error(UpdateSubcode::OptionalAttribute),
            attribute: None,
            treatment: Treatment::Discard,
        });
    }

    /// An UPDATE has one MP_UNREACH_NLRI, and that has one family. Leaving the others out would leave routes behind.
    fn too_many_families(&self, context: &WireContext) -> TooLong {
        let lists = self
            .mp_unreach
            .iter()
            .map(|one| 30 + one.nlri.octets().len());
        TooLong {
            octets: lists.sum(),
            limit: context.max_message,
        }
    }
}

/// The three variable fields.
struct Fields<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(body);
        Ok(Self {
            withdrawn: reader.counted_u16()?,
            attributes: reader.counted_u16()?,
            nlri: reader.rest(),
        })
    }
}

fn routes(octets: Bytes, context: &WireContext) -> Result<NlriList, ProtocolError> {
    let family = Family::IPV4_UNICAST;
    NlriList::from_wire(family, context.has_path_ids(family), octets)
        .map_err(|_| error(UpdateSubcode::InvalidNetworkField))
}

fn error(subcode: UpdateSubcode) -> ProtocolError {
    Reason::Update(subcode).into()
}

#[cfg(test)]
mod tests;
