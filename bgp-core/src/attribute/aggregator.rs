use std::fmt;
use std::net::Ipv4Addr;

use crate::codec::{Reader, Truncated, Writer};
use crate::types::{Asn, RouterId};

/// AGGREGATOR (RFC 4271 section 5.1.7), four-octet AS already merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// The AS that aggregated.
    pub asn: Asn,
    /// The speaker that aggregated; `None` where the octets were zero.
    pub router_id: Option<RouterId>,
}

impl Aggregator {
    pub(super) fn decode(value: &[u8], four_octet_as: bool) -> Result<Self, Truncated> {
        let mut reader = Reader::new(value);
        let asn = if four_octet_as {
            reader.u32()?
        } else {
            u32::from(reader.u16()?)
        };
        let router_id = RouterId::new(Ipv4Addr::from(reader.u32()?));
        Ok(Self {
            asn: Asn(asn),
            router_id,
        })
    }

    pub(super) fn encode(&self, four_octet_as: bool, writer: &mut Writer) {
        if four_octet_as {
            writer.u32(self.asn.0);
        } else {
            writer.u16(self.asn.two_octet());
        }
        writer.u32(self.router_id.map_or(0, |id| u32::from(id.as_ipv4())));
    }

    /// Octets of the value: the AS number and the identifier.
    pub(super) const fn length(four_octet_as: bool) -> usize {
        if four_octet_as { 8 } else { 6 }
    }
}

impl fmt::Display for Aggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self
            .router_id
            .map_or(Ipv4Addr::UNSPECIFIED, RouterId::as_ipv4);
        write!(f, "{} {id}", self.asn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_widths_read_back_as_written() {
        let aggregator = Aggregator {
            asn: Asn(65001),
            router_id: "192.0.2.1".parse().ok(),
        };
        for four_octet_as in [false, true] {
            let mut writer = Writer::new();
            aggregator.encode(four_octet_as, &mut writer);
            assert_eq!(writer.len(), Aggregator::length(four_octet_as));
            assert_eq!(
                Aggregator::decode(&writer.finish(), four_octet_as),
                Ok(aggregator)
            );
        }
        assert_eq!(aggregator.to_string(), "65001 192.0.2.1");
    }

    #[test]
    fn a_large_as_is_as_trans_to_an_old_peer() {
        let aggregator = Aggregator {
            asn: Asn(4_200_000_001),
            router_id: None,
        };
        let mut writer = Writer::new();
        aggregator.encode(false, &mut writer);
        assert_eq!(writer.finish(), [0x5B, 0xA0, 0, 0, 0, 0].as_slice());
    }
}
