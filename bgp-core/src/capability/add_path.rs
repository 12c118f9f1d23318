//! Add-path (RFC 7911 section 4): tuples of AFI (2), SAFI (1), mode (1).

use crate::codec::{Reader, Writer};
use crate::types::{Afi, Family, Safi};

/// RFC 7911 section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddPathMode {
    /// 1
    Receive,
    /// 2
    Send,
    /// 3
    Both,
}

impl AddPathMode {
    /// Whether the sender of the capability can receive several paths.
    pub const fn receives(self) -> bool {
        matches!(self, Self::Receive | Self::Both)
    }

    /// Whether the sender of the capability wants to send several paths.
    pub const fn sends(self) -> bool {
        matches!(self, Self::Send | Self::Both)
    }
}

/// A tuple with another mode is to be ignored.
pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Vec<(Family, AddPathMode)>> {
    let mut tuples = Vec::new();
    while !reader.is_empty() {
        let afi = Afi(reader.u16().ok()?);
        let safi = Safi(reader.u8().ok()?);
        let mode = match reader.u8().ok()? {
            1 => AddPathMode::Receive,
            2 => AddPathMode::Send,
            3 => AddPathMode::Both,
            _ => continue,
        };
        tuples.push((Family { afi, safi }, mode));
    }
    Some(tuples)
}

pub(super) fn encode(tuples: &[(Family, AddPathMode)], writer: &mut Writer) {
    for (family, mode) in tuples.iter().take(super::VALUE_LIMIT / 4) {
        writer.u16(family.afi.0);
        writer.u8(family.safi.0);
        writer.u8(match mode {
            AddPathMode::Receive => 1,
            AddPathMode::Send => 2,
            AddPathMode::Both => 3,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capability;

    #[test]
    fn a_strange_mode_drops_its_tuple_alone() {
        let capability = Capability::decode(69, &[0, 1, 1, 3, 0, 2, 1, 7, 0, 2, 1, 1]);
        let tuples = vec![
            (Family::IPV4_UNICAST, AddPathMode::Both),
            (Family::IPV6_UNICAST, AddPathMode::Receive),
        ];
        assert_eq!(capability, Capability::AddPath(tuples));
    }

    #[test]
    fn modes_say_what_the_sender_does() {
        assert!(AddPathMode::Both.sends() && AddPathMode::Both.receives());
        assert!(AddPathMode::Send.sends() && !AddPathMode::Send.receives());
        assert!(!AddPathMode::Receive.sends() && AddPathMode::Receive.receives());
    }
}
