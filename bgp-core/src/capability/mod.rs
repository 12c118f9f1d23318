//! OPEN capabilities (RFC 5492): one file per family of capabilities, unknown ones kept.
//!
//! A capability whose value does not have its form is no error: it is kept as [`Capability::Unknown`], which nobody
//! negotiates with.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod add_path;
mod graceful_restart;
mod long_lived;
mod multiprotocol;
mod role;
mod text;

use bytes::Bytes;

pub use add_path::AddPathMode;
pub use graceful_restart::GracefulRestart;
pub use role::Role;

use crate::codec::{Reader, Writer, cut};
use crate::types::{Afi, Asn, Family};

/// One capability. Unknown ones are tolerated and kept (RFC 5492 section 3).
///
/// A value has at most 255 octets. Lists and texts that would need more are cut when they are encoded, at the end of
/// the last whole entry or character that fits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// 1, RFC 4760.
    Multiprotocol(Family),
    /// 2, RFC 2918.
    RouteRefresh,
    /// 5, RFC 8950: this family may have next hops of that AFI.
    ExtendedNextHop(Vec<(Family, Afi)>),
    /// 6, RFC 8654.
    ExtendedMessage,
    /// 9, RFC 9234.
    Role(Role),
    /// 64, RFC 4724 and 8538.
    GracefulRestart(GracefulRestart),
    /// 65, RFC 6793.
    FourOctetAs(Asn),
    /// 69, RFC 7911.
    AddPath(Vec<(Family, AddPathMode)>),
    /// 70, RFC 7313.
    EnhancedRouteRefresh,
    /// 71, RFC 9494: family, forwarding preserved, stale time in seconds (at most 16,777,215).
    LongLivedGracefulRestart(Vec<(Family, bool, u32)>),
    /// 73: host name and domain name.
    Fqdn {
        /// Host name.
        host: String,
        /// Domain name.
        domain: String,
    },
    /// 75: software version.
    SoftwareVersion(String),
    /// Any other, or a known code whose value did not have its form.
    Unknown {
        /// Capability code.
        code: u8,
        /// Capability value.
        value: Bytes,
    },
}

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const ROLE: u8 = 9;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ADD_PATH: u8 = 69;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
const FQDN: u8 = 73;
const SOFTWARE_VERSION: u8 = 75;

/// The length of a capability is one octet.
const VALUE_LIMIT: usize = 255;

impl Capability {
    /// The capability code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => MULTIPROTOCOL,
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::ExtendedNextHop(_) => EXTENDED_NEXT_HOP,
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::Role(_) => ROLE,
            Self::GracefulRestart(_) => GRACEFUL_RESTART,
            Self::FourOctetAs(_) => FOUR_OCTET_AS,
            Self::AddPath(_) => ADD_PATH,
            Self::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Self::LongLivedGracefulRestart(_) => LONG_LIVED_GRACEFUL_RESTART,
            Self::Fqdn { .. } => FQDN,
            Self::SoftwareVersion(_) => SOFTWARE_VERSION,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// The whole capability as an OPEN carries it: code, length, value.
    pub fn octets(&self) -> Bytes {
        let mut writer = Writer::new();
        self.encode(&mut writer);
        writer.finish()
    }

    /// Understands a capability; a value without the form of its code is kept as it is.
    pub fn decode(code: u8, value: &[u8]) -> Self {
        Self::known(code, value).unwrap_or_else(|| Self::Unknown {
            code,
            value: Bytes::copy_from_slice(value),
        })
    }

    /// Appends code, length and value.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        let mut value = Writer::new();
        self.encode_value(&mut value);
        let value = value.finish();
        let fits = value.get(..VALUE_LIMIT).unwrap_or(&value);
        writer.u8(self.code());
        writer.length_u8(fits.len());
        writer.slice(fits);
    }

    fn known(code: u8, value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let capability = match code {
            MULTIPROTOCOL => Self::Multiprotocol(multiprotocol::decode_family(&mut reader)?),
            ROUTE_REFRESH => Self::RouteRefresh,
            EXTENDED_NEXT_HOP => {
                Self::ExtendedNextHop(multiprotocol::decode_next_hops(&mut reader)?)
            }
            EXTENDED_MESSAGE => Self::ExtendedMessage,
            ROLE => Self::Role(Role::from_octet(reader.u8().ok()?)),
            GRACEFUL_RESTART => Self::GracefulRestart(GracefulRestart::decode(&mut reader)?),
            FOUR_OCTET_AS => Self::FourOctetAs(Asn(reader.u32().ok()?)),
            ADD_PATH => Self::AddPath(add_path::decode(&mut reader)?),
            ENHANCED_ROUTE_REFRESH => Self::EnhancedRouteRefresh,
            LONG_LIVED_GRACEFUL_RESTART => {
                Self::LongLivedGracefulRestart(long_lived::decode(&mut reader)?)
            }
            FQDN => {
                let (host, domain) = (text::decode(&mut reader)?, text::decode(&mut reader)?);
                Self::Fqdn { host, domain }
            }
            SOFTWARE_VERSION => Self::SoftwareVersion(text::decode(&mut reader)?),
            _ => return None,
        };
        reader.is_empty().then_some(capability)
    }

    fn encode_value(&self, writer: &mut Writer) {
        match self {
            Self::Multiprotocol(family) => multiprotocol::encode_family(*family, writer),
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {}
            Self::ExtendedNextHop(tuples) => multiprotocol::encode_next_hops(tuples, writer),
            Self::Role(role) => writer.u8(role.octet()),
            Self::GracefulRestart(graceful_restart) => graceful_restart.encode(writer),
            Self::FourOctetAs(asn) => writer.u32(asn.0),
            Self::AddPath(tuples) => add_path::encode(tuples, writer),
            Self::LongLivedGracefulRestart(tuples) => long_lived::encode(tuples, writer),
            Self::Fqdn { host, domain } => {
                // Room for both length octets; what the host leaves is the domain's.
                let host = cut(host, VALUE_LIMIT - 2);
                text::encode(host, writer);
                text::encode(cut(domain, VALUE_LIMIT - 2 - host.len()), writer);
            }
            Self::SoftwareVersion(version) => {
                text::encode(cut(version, VALUE_LIMIT - 1), writer);
            }
            Self::Unknown { value, .. } => writer.slice(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_code_with_a_strange_value_is_kept_as_unknown() {
        let strange: [(u8, &[u8]); 13] = [
            (1, &[0, 1, 0]),
            (1, &[0, 1, 0, 1, 0]),
            (2, &[0]),
            (5, &[0, 1, 0, 1, 0]),
            (6, &[1]),
            (9, &[]),
            (64, &[0]),
            (64, &[0, 0, 1]),
            (65, &[0, 0, 1]),
            (69, &[0, 1, 1]),
            (71, &[0; 6]),
            (73, &[3, b'a']),
            (75, &[2, b'a']),
        ];
        for (code, value) in strange {
            let kept = Capability::Unknown {
                code,
                value: Bytes::from_static(value),
            };
            assert_eq!(Capability::decode(code, value), kept);
            let octets = kept.octets();
            assert_eq!(
                (octets[0], usize::from(octets[1]), &octets[2..]),
                (code, value.len(), value)
            );
        }
    }

    #[test]
    fn capabilities_are_code_length_value() {
        let octets = |capability: Capability| capability.octets().to_vec();
        assert_eq!(
            octets(Capability::Multiprotocol(Family::IPV6_UNICAST)),
            [1, 4, 0, 2, 0, 1]
        );
        assert_eq!(octets(Capability::RouteRefresh), [2, 0]);
        assert_eq!(
            octets(Capability::FourOctetAs(Asn(64512))),
            [65, 4, 0, 0, 0xFC, 0]
        );
        assert_eq!(octets(Capability::Role(Role::Customer)), [9, 1, 3]);
        assert_eq!(
            octets(Capability::SoftwareVersion("v1".into())),
            [75, 3, 2, b'v', b'1']
        );
    }

    #[test]
    fn values_never_exceed_their_length_octet() {
        let family = Family::IPV4_UNICAST;
        let long = [
            Capability::ExtendedNextHop(vec![(family, Afi::IPV6); 300]),
            Capability::AddPath(vec![(family, AddPathMode::Both); 300]),
            Capability::LongLivedGracefulRestart(vec![(family, true, 1); 300]),
            Capability::GracefulRestart(GracefulRestart {
                families: vec![(family, true); 300],
                ..GracefulRestart::default()
            }),
            Capability::Fqdn {
                host: "ä".repeat(300),
                domain: "b".repeat(300),
            },
            Capability::Fqdn {
                host: "a".repeat(100),
                domain: "ü".repeat(300),
            },
            Capability::SoftwareVersion("é".repeat(300)),
        ];
        for capability in long {
            let octets = capability.octets();
            assert_eq!(octets.len(), 2 + usize::from(octets[1]));
            let again = Capability::decode(octets[0], &octets[2..]);
            assert!(
                !matches!(again, Capability::Unknown { .. }),
                "{capability:?}"
            );
        }
    }
}
