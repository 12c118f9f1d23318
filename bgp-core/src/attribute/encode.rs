//! Attributes to octets, in ascending type order (RFC 7606 section 5.1).

use std::iter::Peekable;
use std::net::Ipv4Addr;
use std::slice;

use bytes::Bytes;

use super::decode::RawAttributes;
use super::table::{self, EXTENDED};
use super::{
    Aggregator, Attributes, Community, ExtendedCommunity, LargeCommunity, NextHop, UnknownAttribute,
};
use crate::codec::{WireContext, Writer};
use crate::types::RouterId;

impl Attributes {
    /// Appends all path attributes but MP_REACH_NLRI and MP_UNREACH_NLRI, which stand in front of these.
    ///
    /// `next_hop` becomes NEXT_HOP. A peer of two-octet AS numbers gets AS_TRANS and, where it says more, AS4_PATH and
    /// AS4_AGGREGATOR (RFC 6793 section 4.2.2). An external peer does not get LOCAL_PREF, ORIGINATOR_ID and
    /// CLUSTER_LIST, which mean nothing to it (RFC 4271 section 5.1.5, RFC 4456 section 8).
    pub fn encode_into(
        &self,
        context: &WireContext,
        next_hop: Option<Ipv4Addr>,
        writer: &mut Writer,
    ) {
        let mut out = InOrder {
            writer,
            unknown: self.unknown.iter().peekable(),
        };
        self.encode_path(context, next_hop, &mut out);
        if !context.external {
            self.encode_local_pref(&mut out);
        }
        self.encode_aggregation(context, &mut out);
        if !self.communities.is_empty() {
            let writer = out.attribute(table::COMMUNITIES, 4 * self.communities.len());
            Community::encode_list(&self.communities, writer);
        }
        if !context.external {
            self.encode_reflection(&mut out);
        }
        if !self.extended_communities.is_empty() {
            let length = 8 * self.extended_communities.len();
            let writer = out.attribute(table::EXTENDED_COMMUNITIES, length);
            ExtendedCommunity::encode_list(&self.extended_communities, writer);
        }
        if !context.four_octet_as {
            self.encode_four_octet(&mut out);
        }
        if !self.large_communities.is_empty() {
            let length = 12 * self.large_communities.len();
            let writer = out.attribute(table::LARGE_COMMUNITY, length);
            LargeCommunity::encode_list(&self.large_communities, writer);
        }
        if let Some(asn) = self.only_to_customer {
            out.attribute(table::ONLY_TO_CUSTOMER, 4).u32(asn.0);
        }
        out.finish();
    }

    /// Each attribute by itself, header included, in the order of [`Self::encode_into`]: for those who show them.
    ///
    /// An IPv4 next hop becomes NEXT_HOP. Any other belongs to [`MpReach`](super::MpReach), which has
    /// [`octets`](super::MpReach::octets) of its own.
    pub fn attribute_octets(
        &self,
        context: &WireContext,
        next_hop: Option<&NextHop>,
    ) -> Vec<Bytes> {
        let next_hop = match next_hop {
            Some(NextHop::V4(address)) => Some(*address),
            _ => None,
        };
        let mut writer = Writer::new();
        self.encode_into(context, next_hop, &mut writer);
        let whole = writer.finish();
        // `slice_ref` wants a part of `whole`: that is what the iterator cuts.
        RawAttributes::new(&whole)
            .map_while(Result::ok)
            .map(|raw| whole.slice_ref(raw.octets))
            .collect()
    }

    fn encode_path(
        &self,
        context: &WireContext,
        next_hop: Option<Ipv4Addr>,
        out: &mut InOrder<'_>,
    ) {
        out.attribute(table::ORIGIN, 1).u8(self.origin.octet());
        let length = self.as_path.wire_length(context.four_octet_as);
        let writer = out.attribute(table::AS_PATH, length);
        self.as_path.encode(context.four_octet_as, writer);
        if let Some(next_hop) = next_hop {
            out.attribute(table::NEXT_HOP, 4).slice(&next_hop.octets());
        }
        if let Some(med) = self.med {
            out.attribute(table::MULTI_EXIT_DISC, 4).u32(med);
        }
    }

    fn encode_local_pref(&self, out: &mut InOrder<'_>) {
        if let Some(local_pref) = self.local_pref {
            out.attribute(table::LOCAL_PREF, 4).u32(local_pref);
        }
    }

    fn encode_aggregation(&self, context: &WireContext, out: &mut InOrder<'_>) {
        if self.atomic_aggregate {
            out.attribute(table::ATOMIC_AGGREGATE, 0);
        }
        if let Some(aggregator) = &self.aggregator {
            let length = Aggregator::length(context.four_octet_as);
            let writer = out.attribute(table::AGGREGATOR, length);
            aggregator.encode(context.four_octet_as, writer);
        }
    }

    /// What route reflectors add (RFC 4456 section 8).
    fn encode_reflection(&self, out: &mut InOrder<'_>) {
        if let Some(id) = self.originator_id {
            out.attribute(table::ORIGINATOR_ID, 4)
                .slice(&RouterId::as_ipv4(id).octets());
        }
        if !self.cluster_list.is_empty() {
            let writer = out.attribute(table::CLUSTER_LIST, 4 * self.cluster_list.len());
            for cluster in &self.cluster_list {
                writer.u32(*cluster);
            }
        }
    }

    /// What two octets could not say.
    fn encode_four_octet(&self, out: &mut InOrder<'_>) {
        if let Some(path) = self.as_path.for_as4_path() {
            path.encode(true, out.attribute(table::AS4_PATH, path.wire_length(true)));
        }
        if let Some(aggregator) = self.aggregator.filter(|one| !one.asn.is_two_octet()) {
            aggregator.encode(
                true,
                out.attribute(table::AS4_AGGREGATOR, Aggregator::length(true)),
            );
        }
    }
}

/// Weaves the unknown attributes in among the known ones.
struct InOrder<'a> {
    writer: &'a mut Writer,
    unknown: Peekable<slice::Iter<'a, UnknownAttribute>>,
}

impl InOrder<'_> {
    /// Starts the attribute; the caller appends `length` octets.
    fn attribute(&mut self, kind: u8, length: usize) -> &mut Writer {
        while let Some(unknown) = self.unknown.next_if(|unknown| unknown.kind < kind) {
            encode_unknown(unknown, self.writer);
        }
        let flags = table::find(kind).map_or(0, |row| row.flags);
        header(flags, kind, length, self.writer);
        self.writer
    }

    fn finish(self) {
        for unknown in self.unknown {
            encode_unknown(unknown, self.writer);
        }
    }
}

/// An unknown attribute of a type that has a field of its own would be a duplicate or a forgery.
fn encode_unknown(unknown: &UnknownAttribute, writer: &mut Writer) {
    if !table::is_interpreted(unknown.kind) {
        unknown.encode(writer);
    }
}

/// Flags, type and length, the latter in one octet where that is enough.
pub(super) fn header(flags: u8, kind: u8, length: usize, writer: &mut Writer) {
    if length > 255 {
        writer.u8(flags | EXTENDED);
        writer.u8(kind);
        writer.length_u16(length);
    } else {
        writer.u8(flags & !EXTENDED);
        writer.u8(kind);
        writer.length_u8(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::AsPath;
    use crate::types::Asn;

    fn internal() -> WireContext {
        WireContext {
            four_octet_as: true,
            external: false,
            ..WireContext::initial()
        }
    }

    fn kinds(attributes: &Attributes, context: &WireContext) -> Vec<u8> {
        attributes
            .attribute_octets(context, None)
            .iter()
            .map(|octets| octets[1])
            .collect()
    }

    fn everything() -> Attributes {
        let unknown = |kind| UnknownAttribute {
            flags: 0xE0,
            kind,
            value: Bytes::from_static(&[1, 2, 3]),
        };
        Attributes {
            as_path: AsPath::sequence([Asn(4_200_000_001)]),
            med: Some(1),
            local_pref: Some(2),
            atomic_aggregate: true,
            aggregator: Some(Aggregator {
                asn: Asn(70_000),
                router_id: None,
            }),
            communities: vec![Community::NO_EXPORT],
            originator_id: "192.0.2.1".parse().ok(),
            cluster_list: vec![1],
            extended_communities: vec![ExtendedCommunity([0; 8])],
            large_communities: vec![LargeCommunity {
                global: 1,
                local1: 2,
                local2: 3,
            }],
            only_to_customer: Some(Asn(1)),
            unknown: vec![unknown(0), unknown(11), unknown(22), unknown(200)],
            ..Attributes::default()
        }
    }

    #[test]
    fn attributes_go_out_in_ascending_order() {
        assert_eq!(
            kinds(&everything(), &internal()),
            [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 16, 22, 32, 35, 200]
        );
    }

    #[test]
    fn an_old_peer_gets_the_four_octet_attributes_beside() {
        let old = WireContext {
            four_octet_as: false,
            ..internal()
        };
        let octets = everything().attribute_octets(&old, None);
        let find = |kind| {
            octets
                .iter()
                .find(|octets| octets[1] == kind)
                .unwrap()
                .as_ref()
        };
        assert_eq!(find(2), [0x40, 2, 4, 2, 1, 0x5B, 0xA0]);
        assert_eq!(find(17), [0xC0, 17, 6, 2, 1, 0xFA, 0x56, 0xEA, 0x01]);
        assert_eq!(find(7), [0xC0, 7, 6, 0x5B, 0xA0, 0, 0, 0, 0]);
        assert_eq!(find(18), [0xC0, 18, 8, 0, 1, 0x11, 0x70, 0, 0, 0, 0]);
    }

    #[test]
    fn an_external_peer_gets_nothing_that_is_internal() {
        let external = WireContext {
            external: true,
            ..internal()
        };
        let sent = kinds(&everything(), &external);
        assert!(
            [5, 9, 10].iter().all(|kind| !sent.contains(kind)),
            "{sent:?}"
        );
    }

    #[test]
    fn a_long_value_gets_a_long_length() {
        let attributes = Attributes {
            communities: vec![Community(7); 64],
            ..Attributes::default()
        };
        let octets = attributes.attribute_octets(&internal(), None);
        let last = octets.last().unwrap();
        assert_eq!(last[..4], [0xD0, 8, 1, 0]);
        assert_eq!(last.len(), 4 + 256);
    }

    #[test]
    fn the_next_hop_is_an_attribute_where_it_is_ipv4() {
        let octets = |next_hop: NextHop| {
            Attributes::default()
                .attribute_octets(&internal(), Some(&next_hop))
                .len()
        };
        assert_eq!(octets(NextHop::V4([192, 0, 2, 1].into())), 3);
        assert_eq!(octets(NextHop::V6("2001:db8::1".parse().unwrap())), 2);
    }
}
