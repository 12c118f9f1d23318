//! The 19 octets in front of every message (RFC 4271 section 4.1), and what may be wrong with them (section 6.1).

use bytes::Bytes;

use super::TooLong;
use crate::codec::{ProtocolError, Reader, Truncated, WireContext, Writer};
use crate::types::{HeaderSubcode, Reason};

/// Octets of the header.
pub(super) const LENGTH: usize = 19;
/// Largest message (RFC 4271 section 4.1).
pub(super) const MAX: usize = 4096;
/// Largest message where that was negotiated (RFC 8654).
pub(super) const MAX_EXTENDED: usize = 65535;

const MARKER: [u8; 16] = [0xFF; 16];
/// Where the length field stands.
const LENGTH_AT: usize = 16;

/// Message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Update,
    Notification,
    Keepalive,
    RouteRefresh,
}

/// A header that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Octets of the whole message.
    pub(super) length: usize,
    pub(super) kind: Kind,
}

impl Header {
    /// Reads the header at the start of the octets; `None` where it is not complete yet. What is there of the marker
    /// is checked at once.
    pub(super) fn read(octets: &[u8], max_message: usize) -> Result<Option<Self>, ProtocolError> {
        let Some(octets) = octets.first_chunk::<LENGTH>() else {
            let marker = octets.get(..LENGTH_AT).unwrap_or(octets);
            return if MARKER.starts_with(marker) {
                Ok(None)
            } else {
                Err(not_synchronized())
            };
        };
        let Ok((marker, length, octet)) = Self::fields(octets) else {
            return Ok(None);
        };
        if marker != MARKER {
            return Err(not_synchronized());
        }
        let whole = usize::from(length);
        if whole < LENGTH || whole > max_message.clamp(MAX, MAX_EXTENDED) {
            return Err(bad_length(length));
        }
        let Some(kind) = Kind::from_octet(octet) else {
            return Err(ProtocolError::new(
                Reason::Header(HeaderSubcode::BadType),
                vec![octet],
            ));
        };
        if !kind.allows_length(whole) {
            return Err(bad_length(length));
        }
        Ok(Some(Self {
            length: whole,
            kind,
        }))
    }

    /// Takes one whole message apart into header and body.
    pub(super) fn split(octets: &[u8], max_message: usize) -> Result<(Self, &[u8]), ProtocolError> {
        let there = u16::try_from(octets.len()).unwrap_or(u16::MAX);
        let header = Self::read(octets, max_message)?.ok_or_else(|| bad_length(there))?;
        match octets.get(LENGTH..) {
            Some(body) if octets.len() == header.length => Ok((header, body)),
            _ => Err(bad_length(there)),
        }
    }

    fn fields(octets: &[u8; LENGTH]) -> Result<([u8; 16], u16, u8), Truncated> {
        let mut reader = Reader::new(octets);
        Ok((reader.array()?, reader.u16()?, reader.u8()?))
    }
}

impl Kind {
    const fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Notification),
            4 => Some(Self::Keepalive),
            5 => Some(Self::RouteRefresh),
            _ => None,
        }
    }

    const fn octet(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    const fn allows_length(self, octets: usize) -> bool {
        match self {
            Self::Open => octets >= 29 && octets <= MAX,
            Self::Update | Self::RouteRefresh => octets >= 23,
            Self::Notification => octets >= 21,
            Self::Keepalive => octets == LENGTH,
        }
    }

    /// The largest message of this kind that may be sent.
    fn limit(self, context: &WireContext) -> usize {
        match self {
            Self::Open | Self::Keepalive => MAX,
            Self::Update | Self::Notification | Self::RouteRefresh => {
                context.max_message.clamp(MAX, MAX_EXTENDED)
            }
        }
    }
}

/// Writes a message: header, body, and the length once that is known.
pub(super) fn message(
    kind: Kind,
    context: &WireContext,
    body: impl FnOnce(&mut Writer),
) -> Result<Bytes, TooLong> {
    sized_message(kind, context, 64, body)
}

/// The same, with room for that many octets from the start.
pub(super) fn sized_message(
    kind: Kind,
    context: &WireContext,
    capacity: usize,
    body: impl FnOnce(&mut Writer),
) -> Result<Bytes, TooLong> {
    let mut writer = Writer::with_capacity(capacity);
    writer.slice(&MARKER);
    writer.u16(0);
    writer.u8(kind.octet());
    body(&mut writer);
    let limit = kind.limit(context);
    if writer.len() > limit {
        return Err(TooLong {
            octets: writer.len(),
            limit,
        });
    }
    writer.fill_total(LENGTH_AT);
    Ok(writer.finish())
}

fn not_synchronized() -> ProtocolError {
    Reason::Header(HeaderSubcode::NotSynchronized).into()
}

fn bad_length(length: u16) -> ProtocolError {
    ProtocolError::new(
        Reason::Header(HeaderSubcode::BadLength),
        length.to_be_bytes().to_vec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u16, kind: u8) -> Vec<u8> {
        let mut octets = MARKER.to_vec();
        octets.extend(length.to_be_bytes());
        octets.push(kind);
        octets
    }

    fn reason(length: u16, kind: u8, max_message: usize) -> Option<(HeaderSubcode, Vec<u8>)> {
        let error = Header::read(&header(length, kind), max_message).err()?;
        let Reason::Header(subcode) = error.reason else {
            panic!("{error:?}")
        };
        Some((subcode, error.data.to_vec()))
    }

    #[test]
    fn every_message_has_its_least_and_greatest_length() {
        let bad = |length: u16| Some((HeaderSubcode::BadLength, length.to_be_bytes().to_vec()));
        for (kind, least) in [(1, 29), (2, 23), (3, 21), (4, 19), (5, 23)] {
            assert_eq!(reason(least, kind, MAX), None);
            assert_eq!(reason(least - 1, kind, MAX), bad(least - 1));
            assert_eq!(reason(4097, kind, MAX), bad(4097));
        }
        assert_eq!(reason(20, 4, MAX), bad(20));
    }

    #[test]
    fn extended_messages_are_for_all_but_open_and_keepalive() {
        for (kind, allowed) in [(1, false), (2, true), (3, true), (4, false), (5, true)] {
            assert_eq!(
                reason(65535, kind, MAX_EXTENDED).is_none(),
                allowed,
                "type {kind}"
            );
        }
    }

    #[test]
    fn an_unknown_type_is_told_back() {
        for kind in [0, 6, 255] {
            assert_eq!(
                reason(19, kind, MAX),
                Some((HeaderSubcode::BadType, vec![kind]))
            );
        }
    }

    #[test]
    fn a_broken_marker_shows_in_its_first_octet() {
        let error = Header::read(&[0x30], MAX).unwrap_err();
        assert_eq!(error.reason, Reason::Header(HeaderSubcode::NotSynchronized));
        assert_eq!(Header::read(&[0xFF; 18], MAX), Ok(None));
        let mut octets = header(19, 4);
        octets[15] = 0xFE;
        assert!(Header::read(&octets, MAX).is_err());
    }

    #[test]
    fn a_message_of_another_length_than_it_says_is_refused() {
        let mut octets = header(23, 2);
        assert!(Header::split(&octets, MAX).is_err());
        octets.extend([0; 4]);
        assert!(Header::split(&octets, MAX).is_ok());
        octets.push(0);
        assert!(Header::split(&octets, MAX).is_err());
    }
}
