use std::fmt;
use std::str::FromStr;

use crate::codec::{Reader, Writer};

/// A community (RFC 1997).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// An extended community (RFC 4360), eight octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

/// A large community (RFC 8092).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global administrator.
    pub global: u32,
    /// Local data part 1.
    pub local1: u32,
    /// Local data part 2.
    pub local2: u32,
}

impl Community {
    /// `internet`, 0:0: a vendor's word for "everyone".
    pub const INTERNET: Self = Self(0);
    /// `planned-shut`, 65535:0: GRACEFUL_SHUTDOWN (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xFFFF_0000);
    /// `accept-own`, 65535:1 (RFC 7611).
    pub const ACCEPT_OWN: Self = Self(0xFFFF_0001);
    /// `route-filter-translated-v4`, 65535:2.
    pub const ROUTE_FILTER_TRANSLATED_V4: Self = Self(0xFFFF_0002);
    /// `route-filter-v4`, 65535:3.
    pub const ROUTE_FILTER_V4: Self = Self(0xFFFF_0003);
    /// `route-filter-translated-v6`, 65535:4.
    pub const ROUTE_FILTER_TRANSLATED_V6: Self = Self(0xFFFF_0004);
    /// `route-filter-v6`, 65535:5.
    pub const ROUTE_FILTER_V6: Self = Self(0xFFFF_0005);
    /// `llgr-stale`, 65535:6 (RFC 9494).
    pub const LLGR_STALE: Self = Self(0xFFFF_0006);
    /// `no-llgr`, 65535:7 (RFC 9494).
    pub const NO_LLGR: Self = Self(0xFFFF_0007);
    /// `blackhole`, 65535:666 (RFC 7999).
    pub const BLACKHOLE: Self = Self(0xFFFF_029A);
    /// `no-export`, 65535:65281 (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xFFFF_FF01);
    /// `no-advertise`, 65535:65282 (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xFFFF_FF02);
    /// `no-export-subconfed`, 65535:65283 (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xFFFF_FF03);
    /// `no-peer`, 65535:65284 (RFC 3765).
    pub const NO_PEER: Self = Self(0xFFFF_FF04);

    /// Every community with a name, by the name that Cilium's objects use.
    pub const WELL_KNOWN: [(&'static str, Self); 14] = [
        ("internet", Self::INTERNET),
        ("planned-shut", Self::GRACEFUL_SHUTDOWN),
        ("accept-own", Self::ACCEPT_OWN),
        (
            "route-filter-translated-v4",
            Self::ROUTE_FILTER_TRANSLATED_V4,
        ),
        ("route-filter-v4", Self::ROUTE_FILTER_V4),
        (
            "route-filter-translated-v6",
            Self::ROUTE_FILTER_TRANSLATED_V6,
        ),
        ("route-filter-v6", Self::ROUTE_FILTER_V6),
        ("llgr-stale", Self::LLGR_STALE),
        ("no-llgr", Self::NO_LLGR),
        ("blackhole", Self::BLACKHOLE),
        ("no-export", Self::NO_EXPORT),
        ("no-advertise", Self::NO_ADVERTISE),
        ("no-export-subconfed", Self::NO_EXPORT_SUBCONFED),
        ("no-peer", Self::NO_PEER),
    ];

    /// The community of two halves, as written `high:low`.
    pub const fn new(high: u16, low: u16) -> Self {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Self(u32::from_be_bytes([a, b, c, d]))
    }

    /// The community of a well-known name.
    pub fn well_known(name: &str) -> Option<Self> {
        Self::WELL_KNOWN
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, community)| *community)
    }

    /// The well-known name, where it has one.
    pub fn name(self) -> Option<&'static str> {
        Self::WELL_KNOWN
            .iter()
            .find(|(_, known)| *known == self)
            .map(|(name, _)| *name)
    }

    pub(super) fn decode_list(value: &[u8]) -> Vec<Self> {
        let (entries, _) = value.as_chunks();
        entries
            .iter()
            .map(|octets| Self(u32::from_be_bytes(*octets)))
            .collect()
    }

    pub(super) fn encode_list(list: &[Self], writer: &mut Writer) {
        for community in list {
            writer.u32(community.0);
        }
    }
}

impl ExtendedCommunity {
    pub(super) fn decode_list(value: &[u8]) -> Vec<Self> {
        let (entries, _) = value.as_chunks();
        entries.iter().map(|octets| Self(*octets)).collect()
    }

    pub(super) fn encode_list(list: &[Self], writer: &mut Writer) {
        for community in list {
            writer.slice(&community.0);
        }
    }
}

impl LargeCommunity {
    pub(super) fn decode_list(value: &[u8]) -> Vec<Self> {
        let (entries, _) = value.as_chunks::<12>();
        entries.iter().filter_map(Self::decode).collect()
    }

    fn decode(octets: &[u8; 12]) -> Option<Self> {
        let mut reader = Reader::new(octets);
        let (global, local1, local2) = (reader.u32().ok()?, reader.u32().ok()?, reader.u32().ok()?);
        Some(Self {
            global,
            local1,
            local2,
        })
    }

    pub(super) fn encode_list(list: &[Self], writer: &mut Writer) {
        for community in list {
            writer.u32(community.global);
            writer.u32(community.local1);
            writer.u32(community.local2);
        }
    }
}

impl fmt::Display for Community {
    /// `high:low`, well known or not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xFFFF)
    }
}

impl FromStr for Community {
    type Err = ParseCommunityError;

    /// Reads `high:low`, one number, or a well-known name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once(':') {
            Some((high, low)) => number(high)
                .zip(number(low))
                .map(|(high, low)| Self::new(high, low)),
            None => number(text).map(Self).or_else(|| Self::well_known(text)),
        };
        parsed.ok_or_else(|| ParseCommunityError::Standard {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl FromStr for LargeCommunity {
    type Err = ParseCommunityError;

    /// Reads `global:local1:local2`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(global)), Some(Some(local1)), Some(Some(local2)), None) => Ok(Self {
                global,
                local1,
                local2,
            }),
            _ => Err(ParseCommunityError::Large {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for ExtendedCommunity {
    /// Route target and route origin in words (RFC 4360 section 4, RFC 5668), all others in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, a, b, c, d, e, g] = self.0;
        let word = match subtype {
            0x02 => "target",
            0x03 => "origin",
            _ => "",
        };
        match (kind, word) {
            (0x00, "target" | "origin") => {
                let (asn, local) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g]));
                write!(f, "{word}:{asn}:{local}")
            }
            (0x01, "target" | "origin") => {
                write!(f, "{word}:{a}.{b}.{c}.{d}:{}", u16::from_be_bytes([e, g]))
            }
            (0x02, "target" | "origin") => {
                let (asn, local) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g]));
                write!(f, "{word}:{asn}:{local}")
            }
            _ => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

/// The text is not a community.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCommunityError {
    /// Neither a number, nor a pair, nor a name.
    #[error(
        "{text:?} is not a community (write HIGH:LOW with each at most 65535, a number, or a well-known name)"
    )]
    Standard {
        /// What was written.
        text: String,
    },
    /// Not three numbers.
    #[error(
        "{text:?} is not a large community (write GLOBAL:LOCAL1:LOCAL2 with each at most 4294967295)"
    )]
    Large {
        /// What was written.
        text: String,
    },
}

/// A number without the sign that the standard library's parser would take.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|octet| octet.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_parse_as_pair_as_number_and_by_name() {
        assert_eq!("65000:1".parse(), Ok(Community(0xFDE8_0001)));
        assert_eq!("4294967041".parse(), Ok(Community::NO_EXPORT));
        assert_eq!("no-export".parse(), Ok(Community::NO_EXPORT));
        for bad in [
            "",
            ":",
            "1:",
            "65536:1",
            "1:65536",
            "4294967296",
            "+1:1",
            "1:2:3",
            "nonsense",
        ] {
            assert!(bad.parse::<Community>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_well_known_name_leads_back_to_itself() {
        for (name, community) in Community::WELL_KNOWN {
            assert_eq!(Community::well_known(name), Some(community));
            assert_eq!(community.name(), Some(name));
            assert_eq!(community.to_string().parse(), Ok(community));
        }
        assert_eq!(Community::BLACKHOLE.to_string(), "65535:666");
    }

    #[test]
    fn large_communities_are_three_numbers() {
        let community: LargeCommunity = "4294967295:0:7".parse().unwrap();
        assert_eq!(
            community,
            LargeCommunity {
                global: u32::MAX,
                local1: 0,
                local2: 7
            }
        );
        assert_eq!(community.to_string(), "4294967295:0:7");
        for bad in ["1:2", "1:2:3:4", "1:2:", "4294967296:1:1"] {
            assert!(bad.parse::<LargeCommunity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn route_targets_read_as_words() {
        let words = |octets| ExtendedCommunity(octets).to_string();
        assert_eq!(words([0, 2, 0, 72, 0, 0, 0, 1]), "target:72:1");
        assert_eq!(
            words([1, 2, 192, 168, 94, 12, 0, 5]),
            "target:192.168.94.12:5"
        );
        assert_eq!(words([2, 3, 0, 1, 17, 112, 0, 1]), "origin:70000:1");
        assert_eq!(words([0x40, 4, 0, 1, 0, 0, 0, 0]), "0x4004000100000000");
    }
}
