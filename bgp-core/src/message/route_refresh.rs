use bytes::Bytes;

use crate::codec::{ProtocolError, Reader, Truncated, Writer};
use crate::types::{Afi, Family, HeaderSubcode, Reason, RefreshSubcode, Safi};

/// ROUTE-REFRESH (RFC 2918, RFC 7313).
///
/// ```text
/// +---------+-------------+----------+
/// | AFI (2) | subtype (1) | SAFI (1) |
/// +---------+-------------+----------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family.
    pub family: Family,
    /// The subtype octet.
    pub kind: RefreshKind,
}

/// RFC 7313 section 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// 0: please send all again.
    Request,
    /// 1: beginning of a refresh.
    Begin,
    /// 2: end of a refresh.
    End,
    /// Any other: to be ignored.
    Unknown(u8),
}

impl RouteRefresh {
    /// Reads the body; `octets` is the whole message, which an error tells back (RFC 7313 section 5).
    ///
    /// A request may be longer: what follows would be outbound route filters (RFC 5291), which nobody negotiates here.
    pub(super) fn decode(octets: &Bytes, body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let Ok(refresh) = Self::fields(&mut reader) else {
            return Err(Reason::Header(HeaderSubcode::BadLength).into());
        };
        if matches!(refresh.kind, RefreshKind::Begin | RefreshKind::End) && !reader.is_empty() {
            let reason = Reason::Refresh(RefreshSubcode::InvalidMessageLength);
            return Err(ProtocolError::new(reason, octets.clone()));
        }
        Ok(refresh)
    }

    fn fields(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let afi = Afi(reader.u16()?);
        let kind = RefreshKind::from_octet(reader.u8()?);
        let safi = Safi(reader.u8()?);
        Ok(Self {
            family: Family { afi, safi },
            kind,
        })
    }

    pub(super) fn encode(self, writer: &mut Writer) {
        writer.u16(self.family.afi.0);
        writer.u8(self.kind.octet());
        writer.u8(self.family.safi.0);
    }
}

impl RefreshKind {
    const fn from_octet(octet: u8) -> Self {
        match octet {
            0 => Self::Request,
            1 => Self::Begin,
            2 => Self::End,
            _ => Self::Unknown(octet),
        }
    }

    const fn octet(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Begin => 1,
            Self::End => 2,
            Self::Unknown(octet) => octet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, WireContext};

    fn message(body: &[u8]) -> Bytes {
        let mut octets = vec![0xFF; 16];
        octets.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
        octets.push(5);
        octets.extend(body);
        octets.into()
    }

    fn decode(body: &[u8]) -> Result<Message, ProtocolError> {
        Message::decode(message(body), &WireContext::initial())
    }

    #[test]
    fn a_longer_begin_or_end_is_told_back_whole() {
        for subtype in [1, 2] {
            let error = decode(&[0, 1, subtype, 1, 9]).unwrap_err();
            assert_eq!(
                error.reason,
                Reason::Refresh(RefreshSubcode::InvalidMessageLength)
            );
            assert_eq!(error.data, message(&[0, 1, subtype, 1, 9]));
        }
    }

    #[test]
    fn a_request_may_have_more_behind_it() {
        let family = Family::IPV6_UNICAST;
        let refresh = RouteRefresh {
            family,
            kind: RefreshKind::Request,
        };
        assert_eq!(decode(&[0, 2, 0, 1]), Ok(Message::RouteRefresh(refresh)));
        assert_eq!(
            decode(&[0, 2, 0, 1, 1, 2, 3]),
            Ok(Message::RouteRefresh(refresh))
        );
    }

    #[test]
    fn every_subtype_survives() {
        assert!((0..=255).all(|octet| RefreshKind::from_octet(octet).octet() == octet));
    }
}
