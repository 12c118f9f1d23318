//! Long-lived graceful restart (RFC 9494 section 3.1): tuples of AFI (2), SAFI (1), F and reserved (1), seconds (3).

use crate::codec::{Reader, Writer};
use crate::types::{Afi, Family, Safi};

const FORWARDING: u8 = 0x80;
const GREATEST_TIME: u32 = 0x00FF_FFFF;

pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Vec<(Family, bool, u32)>> {
    let mut tuples = Vec::new();
    while !reader.is_empty() {
        let afi = Afi(reader.u16().ok()?);
        let safi = Safi(reader.u8().ok()?);
        let forwarding = reader.u8().ok()? & FORWARDING != 0;
        let [high, mid, low] = reader.array().ok()?;
        let seconds = u32::from_be_bytes([0, high, mid, low]);
        tuples.push((Family { afi, safi }, forwarding, seconds));
    }
    Some(tuples)
}

pub(super) fn encode(tuples: &[(Family, bool, u32)], writer: &mut Writer) {
    for (family, forwarding, seconds) in tuples.iter().take(super::VALUE_LIMIT / 7) {
        let [_, high, mid, low] = (*seconds).min(GREATEST_TIME).to_be_bytes();
        writer.u16(family.afi.0);
        writer.u8(family.safi.0);
        writer.u8(if *forwarding { FORWARDING } else { 0 });
        writer.slice(&[high, mid, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capability;

    #[test]
    fn the_stale_time_has_three_octets() {
        let capability = Capability::decode(71, &[0, 2, 1, 0x80, 1, 0, 2]);
        let tuple = (Family::IPV6_UNICAST, true, 0x0001_0002);
        assert_eq!(
            capability,
            Capability::LongLivedGracefulRestart(vec![tuple])
        );
        let long =
            Capability::LongLivedGracefulRestart(vec![(Family::IPV6_UNICAST, false, u32::MAX)]);
        assert_eq!(long.octets()[2..], [0, 2, 1, 0, 0xFF, 0xFF, 0xFF]);
    }
}
