use crate::codec::{Reader, Writer};
use crate::types::{Afi, Family, Safi};

/// The graceful restart capability (RFC 4724 section 3).
///
/// ```text
/// +-------------------------------------------+
/// | R | N | reserved | restart time (12 bits) |
/// +-------------------------------------------+
/// | AFI (2)  | SAFI (1)  | F and reserved (1) |  per family
/// +-------------------------------------------+
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// R: the sender has restarted.
    pub restarting: bool,
    /// N: NOTIFICATION does not end it (RFC 8538).
    pub notification: bool,
    /// Seconds, 0 to 4095; more is sent as 4095.
    pub restart_time: u16,
    /// Families, each with F (forwarding state preserved).
    pub families: Vec<(Family, bool)>,
}

const RESTARTING: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const TIME: u16 = 0x0FFF;
const FORWARDING: u8 = 0x80;

impl GracefulRestart {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let head = reader.u16().ok()?;
        let mut families = Vec::new();
        while !reader.is_empty() {
            let afi = Afi(reader.u16().ok()?);
            let safi = Safi(reader.u8().ok()?);
            families.push((Family { afi, safi }, reader.u8().ok()? & FORWARDING != 0));
        }
        Some(Self {
            restarting: head & RESTARTING != 0,
            notification: head & NOTIFICATION != 0,
            restart_time: head & TIME,
            families,
        })
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        let mut head = self.restart_time.min(TIME);
        if self.restarting {
            head |= RESTARTING;
        }
        if self.notification {
            head |= NOTIFICATION;
        }
        writer.u16(head);
        for (family, forwarding) in self.families.iter().take((super::VALUE_LIMIT - 2) / 4) {
            writer.u16(family.afi.0);
            writer.u8(family.safi.0);
            writer.u8(if *forwarding { FORWARDING } else { 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capability;

    #[test]
    fn flags_time_and_families_have_their_bits() {
        let capability = Capability::decode(64, &[0xC0, 120, 0, 1, 1, 0x80, 0, 2, 1, 0]);
        let graceful_restart = GracefulRestart {
            restarting: true,
            notification: true,
            restart_time: 120,
            families: vec![(Family::IPV4_UNICAST, true), (Family::IPV6_UNICAST, false)],
        };
        assert_eq!(capability, Capability::GracefulRestart(graceful_restart));
        assert_eq!(capability.octets()[2..4], [0xC0, 120]);
    }

    #[test]
    fn no_family_at_all_is_legal() {
        let capability = Capability::decode(64, &[0, 0]);
        assert_eq!(
            capability,
            Capability::GracefulRestart(GracefulRestart::default())
        );
    }

    #[test]
    fn a_time_beyond_twelve_bits_stops_at_the_greatest() {
        let graceful_restart = GracefulRestart {
            restart_time: 9999,
            ..GracefulRestart::default()
        };
        assert_eq!(
            Capability::GracefulRestart(graceful_restart).octets()[2..],
            [0x0F, 0xFF]
        );
    }
}
