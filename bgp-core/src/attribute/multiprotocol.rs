use bytes::Bytes;

use super::table::{MP_REACH_NLRI, MP_UNREACH_NLRI, OPTIONAL};
use super::{NextHop, NlriList};
use crate::codec::{Reader, Truncated, WireContext, Writer};
use crate::types::{Afi, Family, Safi, UpdateSubcode};

/// MP_REACH_NLRI (RFC 4760 section 3).
///
/// ```text
/// +----------+----------+---------------+----------+--------------+--------+
/// | AFI (2)  | SAFI (1) | length (1)    | next hop | reserved (1) | NLRI   |
/// +----------+----------+---------------+----------+--------------+--------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MpReach {
    /// Next hop of all entries.
    pub next_hop: NextHop,
    /// Family and entries.
    pub nlri: NlriList,
}

/// MP_UNREACH_NLRI (RFC 4760 section 4).
///
/// ```text
/// +----------+----------+--------+
/// | AFI (2)  | SAFI (1) | NLRI   |
/// +----------+----------+--------+
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MpUnreach {
    /// Family and entries; no entry at all is End-of-RIB (RFC 4724).
    pub nlri: NlriList,
}

/// What a multiprotocol attribute turned out to be.
#[derive(Debug)]
pub(super) enum Heard<T> {
    Spoken(T),
    /// Of a family that was not negotiated, to be ignored (RFC 4760 section 7); whether it had any entry.
    NotSpoken {
        has_nlri: bool,
    },
}

impl MpReach {
    /// The whole attribute, header included, for a session of that context.
    pub fn octets(&self, context: &WireContext) -> Bytes {
        let mut writer = Writer::new();
        self.encode(context, &mut writer);
        writer.finish()
    }

    /// Reads the value; `block` is what it is a part of, so that the entries need no copy.
    pub(super) fn decode(
        value: &[u8],
        block: &Bytes,
        context: &WireContext,
    ) -> Result<Heard<Self>, UpdateSubcode> {
        let mut reader = Reader::new(value);
        let (family, next_hop) =
            Self::head(&mut reader).map_err(|_| UpdateSubcode::OptionalAttribute)?;
        if !context.speaks(family) {
            return Ok(Heard::NotSpoken {
                has_nlri: !reader.is_empty(),
            });
        }
        let next_hop =
            NextHop::decode(next_hop, family, context).ok_or(UpdateSubcode::OptionalAttribute)?;
        let nlri = nlri(family, &reader, block, context)?;
        Ok(Heard::Spoken(Self { next_hop, nlri }))
    }

    fn head<'a>(reader: &mut Reader<'a>) -> Result<(Family, &'a [u8]), Truncated> {
        let family = family(reader)?;
        let next_hop = reader.counted_u8()?;
        // Reserved, once the number of subnetwork points of attachment: ignored on receipt.
        reader.u8()?;
        Ok((family, next_hop))
    }

    pub(crate) fn encode(&self, context: &WireContext, writer: &mut Writer) {
        let family = self.nlri.family();
        let nlri = self.nlri.octets_for(context.has_path_ids(family));
        let length = 5 + self.next_hop.wire_length() + nlri.len();
        super::encode::header(OPTIONAL, MP_REACH_NLRI, length, writer);
        writer.u16(family.afi.0);
        writer.u8(family.safi.0);
        self.next_hop.encode(writer);
        writer.u8(0);
        writer.slice(&nlri);
    }
}

impl MpUnreach {
    pub(super) fn decode(
        value: &[u8],
        block: &Bytes,
        context: &WireContext,
    ) -> Result<Heard<Self>, UpdateSubcode> {
        let mut reader = Reader::new(value);
        let family = family(&mut reader).map_err(|_| UpdateSubcode::OptionalAttribute)?;
        if !context.speaks(family) {
            return Ok(Heard::NotSpoken {
                has_nlri: !reader.is_empty(),
            });
        }
        Ok(Heard::Spoken(Self {
            nlri: nlri(family, &reader, block, context)?,
        }))
    }

    /// Appends one attribute with the entries of all of them; they must be of one family.
    pub(crate) fn encode(all: &[Self], family: Family, context: &WireContext, writer: &mut Writer) {
        let lists: Vec<_> = all
            .iter()
            .map(|one| one.nlri.octets_for(context.has_path_ids(family)))
            .collect();
        let length = 3 + lists.iter().map(|octets| octets.len()).sum::<usize>();
        super::encode::header(OPTIONAL, MP_UNREACH_NLRI, length, writer);
        writer.u16(family.afi.0);
        writer.u8(family.safi.0);
        for octets in lists {
            writer.slice(&octets);
        }
    }
}

fn family(reader: &mut Reader<'_>) -> Result<Family, Truncated> {
    let afi = Afi(reader.u16()?);
    let safi = Safi(reader.u8()?);
    Ok(Family { afi, safi })
}

fn nlri(
    family: Family,
    reader: &Reader<'_>,
    block: &Bytes,
    context: &WireContext,
) -> Result<NlriList, UpdateSubcode> {
    // `slice_ref` wants a part of `block`: the reader walks over the value of one of its attributes.
    let octets = block.slice_ref(reader.rest());
    NlriList::from_wire(family, context.has_path_ids(family), octets)
        .map_err(|_| UpdateSubcode::InvalidNetworkField)
}
