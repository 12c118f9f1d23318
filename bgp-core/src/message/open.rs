use std::net::Ipv4Addr;

use crate::capability::Capability;
use crate::codec::{ProtocolError, Reader, Truncated, Writer};
use crate::types::{Asn, HoldTime, OpenSubcode, Reason, RouterId};

/// OPEN (RFC 4271 section 4.2). Validated as far as it needs no knowledge of our own configuration.
///
/// ```text
/// +-------------+-----------+---------------+--------------------+-----------------------+------------+
/// | version (1) | my AS (2) | hold time (2) | BGP identifier (4) | parameters length (1) | parameters |
/// +-------------+-----------+---------------+--------------------+-----------------------+------------+
/// ```
///
/// Where the parameters need more than 255 octets, the length is 255, a type octet 255 and a length of two octets
/// follow, and each parameter has a length of two octets (RFC 9072).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The two-octet field as it stands on the wire (AS_TRANS where the number does not fit).
    pub my_as: u16,
    /// Hold time in seconds as offered.
    pub hold_time: HoldTime,
    /// The sender's identifier.
    pub router_id: RouterId,
    /// All capabilities in order, over all optional parameters.
    pub capabilities: Vec<Capability>,
}

const VERSION: u8 = 4;
/// Optional parameter type: capabilities (RFC 5492).
const CAPABILITIES: u8 = 2;
/// In the place of the first optional parameter's type: the extended form follows (RFC 9072).
const EXTENDED: u8 = 255;

impl Open {
    /// An OPEN of that AS. The capability that tells a number beyond two octets is the caller's to add.
    pub fn new(
        asn: Asn,
        hold_time: HoldTime,
        router_id: RouterId,
        capabilities: Vec<Capability>,
    ) -> Self {
        Self {
            my_as: asn.two_octet(),
            hold_time,
            router_id,
            capabilities,
        }
    }

    /// The sender's AS: the four-octet capability where present, the field otherwise.
    pub fn asn(&self) -> Asn {
        self.capabilities
            .iter()
            .find_map(|capability| match capability {
                Capability::FourOctetAs(asn) => Some(*asn),
                _ => None,
            })
            .unwrap_or_else(|| Asn(u32::from(self.my_as)))
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let fixed = Fixed::read(&mut reader).map_err(|_| error(OpenSubcode::Unspecific))?;
        if fixed.version != VERSION {
            let reason = Reason::Open(OpenSubcode::UnsupportedVersion);
            return Err(ProtocolError::new(reason, vec![0, VERSION]));
        }
        if fixed.my_as == 0 {
            return Err(error(OpenSubcode::BadPeerAs));
        }
        let hold_time = HoldTime::new(fixed.hold_time)
            .ok_or_else(|| error(OpenSubcode::UnacceptableHoldTime))?;
        let router_id =
            RouterId::new(fixed.identifier).ok_or_else(|| error(OpenSubcode::BadBgpIdentifier))?;
        let capabilities = parameters(fixed.parameters_length, reader)?;
        let open = Self {
            my_as: fixed.my_as,
            hold_time,
            router_id,
            capabilities,
        };
        if open.asn() == Asn(0) {
            return Err(error(OpenSubcode::BadPeerAs));
        }
        Ok(open)
    }

    /// All capabilities go into one parameter, as RFC 5492 section 4 asks for.
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        writer.u16(self.my_as);
        writer.u16(self.hold_time.seconds());
        writer.slice(&self.router_id.as_ipv4().octets());
        let mut capabilities = Writer::new();
        for capability in &self.capabilities {
            capability.encode(&mut capabilities);
        }
        let capabilities = capabilities.finish();
        match capabilities.len() {
            0 => writer.u8(0),
            length if length + 2 <= usize::from(u8::MAX) => {
                writer.length_u8(length + 2);
                writer.u8(CAPABILITIES);
                writer.length_u8(length);
            }
            length => {
                writer.u8(EXTENDED);
                writer.u8(EXTENDED);
                writer.length_u16(length + 3);
                writer.u8(CAPABILITIES);
                writer.length_u16(length);
            }
        }
        writer.slice(&capabilities);
    }
}

/// The part of fixed size.
struct Fixed {
    version: u8,
    my_as: u16,
    hold_time: u16,
    identifier: Ipv4Addr,
    parameters_length: u8,
}

impl Fixed {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            version: reader.u8()?,
            my_as: reader.u16()?,
            hold_time: reader.u16()?,
            identifier: Ipv4Addr::from(reader.u32()?),
            parameters_length: reader.u8()?,
        })
    }
}

/// The capabilities of all optional parameters, in either form. RFC 9072 section 2: a first type octet of 255 decides,
/// whatever the one-octet length says.
fn parameters(length: u8, mut reader: Reader<'_>) -> Result<Vec<Capability>, ProtocolError> {
    let malformed = |_: Truncated| error(OpenSubcode::Unspecific);
    let extended = reader.peek() == Some(EXTENDED);
    let octets = if extended {
        reader.u8().map_err(malformed)?;
        reader.counted_u16().map_err(malformed)?
    } else {
        reader.slice(usize::from(length)).map_err(malformed)?
    };
    if !reader.is_empty() {
        return Err(error(OpenSubcode::Unspecific));
    }
    let mut reader = Reader::new(octets);
    let mut capabilities = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8().map_err(malformed)?;
        let value = if extended {
            reader.counted_u16()
        } else {
            reader.counted_u8()
        };
        let value = value.map_err(malformed)?;
        if kind != CAPABILITIES {
            return Err(error(OpenSubcode::UnsupportedOptionalParameter));
        }
        let mut reader = Reader::new(value);
        while !reader.is_empty() {
            let code = reader.u8().map_err(malformed)?;
            let value = reader.counted_u8().map_err(malformed)?;
            capabilities.push(Capability::decode(code, value));
        }
    }
    Ok(capabilities)
}

fn error(subcode: OpenSubcode) -> ProtocolError {
    Reason::Open(subcode).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, WireContext};
    use crate::types::Family;

    fn open(capabilities: Vec<Capability>) -> Open {
        let router_id = "192.0.2.1".parse().unwrap();
        Open::new(
            Asn(4_200_000_001),
            HoldTime::DEFAULT,
            router_id,
            capabilities,
        )
    }

    fn body(open: &Open) -> Vec<u8> {
        let mut writer = Writer::new();
        open.encode(&mut writer);
        writer.finish().to_vec()
    }

    /// A body of AS 1 and hold time 90 with these octets from the parameters length on.
    fn with_parameters(tail: &[u8]) -> Vec<u8> {
        [&[4, 0, 1, 0, 90, 10, 0, 0, 1][..], tail].concat()
    }

    fn reason(body: &[u8]) -> OpenSubcode {
        match Open::decode(body).unwrap_err().reason {
            Reason::Open(subcode) => subcode,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_large_as_is_as_trans_in_the_field_and_itself_in_the_capability() {
        let open = open(vec![Capability::FourOctetAs(Asn(4_200_000_001))]);
        assert_eq!((open.my_as, open.asn()), (23456, Asn(4_200_000_001)));
        assert_eq!(Open::decode(&body(&open)), Ok(open));
    }

    #[test]
    fn each_field_has_its_own_subcode() {
        let changed = |at: usize, octets: &[u8]| {
            let mut body = with_parameters(&[0]);
            body[at..at + octets.len()].copy_from_slice(octets);
            body
        };
        assert!(Open::decode(&changed(0, &[4])).is_ok());
        assert_eq!(reason(&changed(0, &[3])), OpenSubcode::UnsupportedVersion);
        assert_eq!(
            Open::decode(&changed(0, &[5])).unwrap_err().data,
            [0, 4].as_slice()
        );
        assert_eq!(reason(&changed(1, &[0, 0])), OpenSubcode::BadPeerAs);
        assert_eq!(
            reason(&changed(3, &[0, 1])),
            OpenSubcode::UnacceptableHoldTime
        );
        assert_eq!(
            reason(&changed(3, &[0, 2])),
            OpenSubcode::UnacceptableHoldTime
        );
        assert_eq!(reason(&changed(5, &[0; 4])), OpenSubcode::BadBgpIdentifier);
        let zero = with_parameters(&[8, 2, 6, 65, 4, 0, 0, 0, 0]);
        assert_eq!(reason(&zero), OpenSubcode::BadPeerAs);
    }

    #[test]
    fn capabilities_are_gathered_over_several_parameters() {
        let body = with_parameters(&[14, 2, 2, 2, 0, 2, 8, 1, 4, 0, 1, 0, 1, 70, 0]);
        let capabilities = Open::decode(&body).unwrap().capabilities;
        assert_eq!(
            capabilities,
            [
                Capability::RouteRefresh,
                Capability::Multiprotocol(Family::IPV4_UNICAST),
                Capability::EnhancedRouteRefresh,
            ]
        );
    }

    #[test]
    fn parameters_that_are_not_capabilities_are_refused() {
        for kind in [0, 1, 3, 254] {
            let body = with_parameters(&[2, kind, 0]);
            assert_eq!(reason(&body), OpenSubcode::UnsupportedOptionalParameter);
        }
    }

    #[test]
    fn lengths_that_disagree_are_an_error_of_the_open() {
        let tails: [&[u8]; 7] = [
            &[1, 2],
            &[4, 2, 1, 2, 0],
            &[4, 2, 2, 2, 1],
            &[3, 2, 1, 2],
            &[0, 7],
            &[255, 255, 0, 9, 2, 0],
            &[255, 255, 0],
        ];
        for tail in tails {
            assert_eq!(
                reason(&with_parameters(tail)),
                OpenSubcode::Unspecific,
                "{tail:?}"
            );
        }
    }

    #[test]
    fn the_extended_form_is_read_even_where_it_is_not_needed() {
        for length in [0, 8, 255] {
            let body = with_parameters(&[length, 255, 0, 5, 2, 0, 2, 2, 0]);
            assert_eq!(
                Open::decode(&body).unwrap().capabilities,
                [Capability::RouteRefresh]
            );
        }
    }

    #[test]
    fn the_extended_form_is_sent_where_it_is_needed() {
        for (count, first) in [(1, 2), (60, 2), (63, 2), (64, 255), (900, 255)] {
            let open = open(vec![
                Capability::Unknown {
                    code: 200,
                    value: vec![1, 2].into()
                };
                count
            ]);
            let octets = body(&open);
            assert_eq!(octets[10], first, "{count} capabilities");
            assert_eq!(Open::decode(&octets), Ok(open));
        }
    }

    #[test]
    fn an_open_beyond_4096_octets_is_refused_whatever_was_negotiated() {
        let open = open(vec![
            Capability::Unknown {
                code: 200,
                value: vec![0; 255].into()
            };
            16
        ]);
        let context = WireContext {
            max_message: 65535,
            ..WireContext::initial()
        };
        assert!(Message::Open(open).encode(&context).is_err());
    }
}
