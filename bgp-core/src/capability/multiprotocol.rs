//! Multiprotocol extensions (RFC 4760 section 8) and extended next hop encoding (RFC 8950 section 4).

use crate::codec::{Reader, Writer};
use crate::types::{Afi, Family, Safi};

/// AFI (2), reserved (1), SAFI (1).
pub(super) fn decode_family(reader: &mut Reader<'_>) -> Option<Family> {
    let afi = Afi(reader.u16().ok()?);
    reader.u8().ok()?;
    let safi = Safi(reader.u8().ok()?);
    Some(Family { afi, safi })
}

pub(super) fn encode_family(family: Family, writer: &mut Writer) {
    writer.u16(family.afi.0);
    writer.u8(0);
    writer.u8(family.safi.0);
}

/// Tuples of AFI (2), SAFI (2), next hop AFI (2).
pub(super) fn decode_next_hops(reader: &mut Reader<'_>) -> Option<Vec<(Family, Afi)>> {
    let mut tuples = Vec::new();
    while !reader.is_empty() {
        let afi = Afi(reader.u16().ok()?);
        let safi = Safi(u8::try_from(reader.u16().ok()?).ok()?);
        tuples.push((Family { afi, safi }, Afi(reader.u16().ok()?)));
    }
    Some(tuples)
}

pub(super) fn encode_next_hops(tuples: &[(Family, Afi)], writer: &mut Writer) {
    for (family, next_hop) in tuples.iter().take(super::VALUE_LIMIT / 6) {
        writer.u16(family.afi.0);
        writer.u16(u16::from(family.safi.0));
        writer.u16(next_hop.0);
    }
}

#[cfg(test)]
mod tests {
    use crate::capability::Capability;
    use crate::types::{Afi, Family};

    #[test]
    fn the_reserved_octet_is_ignored() {
        let capability = Capability::decode(1, &[0, 2, 77, 1]);
        assert_eq!(capability, Capability::Multiprotocol(Family::IPV6_UNICAST));
    }

    #[test]
    fn a_safi_of_two_octets_is_read() {
        let capability = Capability::decode(5, &[0, 1, 0, 1, 0, 2]);
        let tuples = vec![(Family::IPV4_UNICAST, Afi::IPV6)];
        assert_eq!(capability, Capability::ExtendedNextHop(tuples));
        assert!(matches!(
            Capability::decode(5, &[0, 1, 1, 1, 0, 2]),
            Capability::Unknown { .. }
        ));
    }
}
