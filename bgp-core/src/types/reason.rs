//! Every NOTIFICATION code and subcode as one typed enum (RFC 4271 section 4.5 and its successors).

use std::fmt;

/// Why a session ends, as a NOTIFICATION says it.
///
/// No pair of octets is lost: [`Reason::from_code`] followed by [`Reason::code`] and [`Reason::subcode`] gives the
/// pair back, known to the registry or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// 1: message header error.
    Header(HeaderSubcode),
    /// 2: OPEN message error.
    Open(OpenSubcode),
    /// 3: UPDATE message error.
    Update(UpdateSubcode),
    /// 4: hold timer expired.
    HoldTimerExpired,
    /// 5: finite state machine error.
    Fsm(FsmSubcode),
    /// 6: Cease.
    Cease(CeaseSubcode),
    /// 7: ROUTE-REFRESH message error (RFC 7313).
    Refresh(RefreshSubcode),
    /// 8: send hold timer expired (RFC 9687).
    SendHoldTimerExpired,
    /// A pair that the registry did not have when this was written.
    Unknown {
        /// Error code.
        code: u8,
        /// Error subcode.
        subcode: u8,
    },
}

impl Reason {
    /// The reason behind the two octets of a NOTIFICATION.
    pub fn from_code(code: u8, subcode: u8) -> Self {
        match (code, subcode) {
            (1, _) => Self::Header(HeaderSubcode::from_octet(subcode)),
            (2, _) => Self::Open(OpenSubcode::from_octet(subcode)),
            (3, _) => Self::Update(UpdateSubcode::from_octet(subcode)),
            (4, 0) => Self::HoldTimerExpired,
            (5, _) => Self::Fsm(FsmSubcode::from_octet(subcode)),
            (6, _) => Self::Cease(CeaseSubcode::from_octet(subcode)),
            (7, _) => Self::Refresh(RefreshSubcode::from_octet(subcode)),
            (8, 0) => Self::SendHoldTimerExpired,
            _ => Self::Unknown { code, subcode },
        }
    }

    /// The error code octet.
    pub const fn code(self) -> u8 {
        match self {
            Self::Header(_) => 1,
            Self::Open(_) => 2,
            Self::Update(_) => 3,
            Self::HoldTimerExpired => 4,
            Self::Fsm(_) => 5,
            Self::Cease(_) => 6,
            Self::Refresh(_) => 7,
            Self::SendHoldTimerExpired => 8,
            Self::Unknown { code, .. } => code,
        }
    }

    /// The error subcode octet.
    pub const fn subcode(self) -> u8 {
        match self {
            Self::Header(subcode) => subcode.octet(),
            Self::Open(subcode) => subcode.octet(),
            Self::Update(subcode) => subcode.octet(),
            Self::HoldTimerExpired | Self::SendHoldTimerExpired => 0,
            Self::Fsm(subcode) => subcode.octet(),
            Self::Cease(subcode) => subcode.octet(),
            Self::Refresh(subcode) => subcode.octet(),
            Self::Unknown { subcode, .. } => subcode,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(subcode) => write!(f, "Message header error: {subcode}"),
            Self::Open(subcode) => write!(f, "OPEN message error: {subcode}"),
            Self::Update(subcode) => write!(f, "UPDATE message error: {subcode}"),
            Self::HoldTimerExpired => f.write_str("Hold timer expired"),
            Self::Fsm(subcode) => write!(f, "Finite state machine error: {subcode}"),
            Self::Cease(subcode) => write!(f, "Cease: {subcode}"),
            Self::Refresh(subcode) => write!(f, "ROUTE-REFRESH message error: {subcode}"),
            Self::SendHoldTimerExpired => f.write_str("Send hold timer expired"),
            Self::Unknown { code, subcode } => write!(f, "Error code {code}, subcode {subcode}"),
        }
    }
}

/// One row per subcode: octet, variant, words for an operator.
macro_rules! subcodes {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $octet:literal $variant:ident $words:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", stringify!($octet), "`: ", $words, ".")] $(#[$doc])* $variant,)*
            /// A subcode that the registry did not have when this was written, or has since deprecated.
            Unknown(u8),
        }

        impl $name {
            /// The subcode behind an octet.
            pub const fn from_octet(octet: u8) -> Self {
                match octet {
                    $($octet => Self::$variant,)*
                    _ => Self::Unknown(octet),
                }
            }

            /// The octet of the subcode.
            pub const fn octet(self) -> u8 {
                match self {
                    $(Self::$variant => $octet,)*
                    Self::Unknown(octet) => octet,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($words),)*
                    Self::Unknown(octet) => write!(f, "subcode {octet}"),
                }
            }
        }
    };
}

subcodes! {
    /// Subcodes of code 1 (RFC 4271 section 6.1).
    HeaderSubcode {
        0 Unspecific "unspecific",
        1 NotSynchronized "connection not synchronized",
        2 BadLength "bad message length",
        3 BadType "bad message type",
    }
}

subcodes! {
    /// Subcodes of code 2 (RFC 4271 section 6.2, RFC 5492, RFC 9234).
    OpenSubcode {
        0 Unspecific "unspecific",
        1 UnsupportedVersion "unsupported version number",
        2 BadPeerAs "bad peer AS",
        3 BadBgpIdentifier "bad BGP identifier",
        4 UnsupportedOptionalParameter "unsupported optional parameter",
        6 UnacceptableHoldTime "unacceptable hold time",
        7 UnsupportedCapability "unsupported capability",
        11 RoleMismatch "role mismatch",
    }
}

subcodes! {
    /// Subcodes of code 3 (RFC 4271 section 6.3).
    UpdateSubcode {
        0 Unspecific "unspecific",
        1 MalformedAttributeList "malformed attribute list",
        2 UnrecognizedWellKnownAttribute "unrecognized well-known attribute",
        3 MissingWellKnownAttribute "missing well-known attribute",
        4 AttributeFlags "attribute flags error",
        5 AttributeLength "attribute length error",
        6 InvalidOrigin "invalid ORIGIN attribute",
        8 InvalidNextHop "invalid NEXT_HOP attribute",
        9 OptionalAttribute "optional attribute error",
        10 InvalidNetworkField "invalid network field",
        11 MalformedAsPath "malformed AS_PATH",
    }
}

subcodes! {
    /// Subcodes of code 5 (RFC 6608).
    FsmSubcode {
        0 Unspecific "unspecific",
        1 OpenSent "unexpected message in OpenSent state",
        2 OpenConfirm "unexpected message in OpenConfirm state",
        3 Established "unexpected message in Established state",
    }
}

subcodes! {
    /// Subcodes of code 6 (RFC 4486, RFC 8538, RFC 9384).
    CeaseSubcode {
        0 Unspecific "unspecific",
        1 MaximumPrefixes "maximum number of prefixes reached",
        2 AdministrativeShutdown "administrative shutdown",
        3 PeerDeconfigured "peer de-configured",
        4 AdministrativeReset "administrative reset",
        5 ConnectionRejected "connection rejected",
        6 OtherConfigurationChange "other configuration change",
        7 ConnectionCollision "connection collision resolution",
        8 OutOfResources "out of resources",
        9 HardReset "hard reset",
        10 BfdDown "BFD down",
    }
}

subcodes! {
    /// Subcodes of code 7 (RFC 7313 section 5).
    RefreshSubcode {
        0 Unspecific "unspecific",
        1 InvalidMessageLength "invalid message length",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_octets_survives() {
        for code in 0..=255 {
            for subcode in 0..=255 {
                let reason = Reason::from_code(code, subcode);
                assert_eq!((reason.code(), reason.subcode()), (code, subcode));
            }
        }
    }

    #[test]
    fn known_pairs_have_their_own_variant() {
        assert_eq!(
            Reason::from_code(6, 2),
            Reason::Cease(CeaseSubcode::AdministrativeShutdown)
        );
        assert_eq!(
            Reason::from_code(2, 11),
            Reason::Open(OpenSubcode::RoleMismatch)
        );
        assert_eq!(
            Reason::from_code(4, 1),
            Reason::Unknown {
                code: 4,
                subcode: 1
            }
        );
        assert_eq!(
            Reason::from_code(3, 7),
            Reason::Update(UpdateSubcode::Unknown(7))
        );
    }

    #[test]
    fn reasons_read_as_an_operator_would_say_them() {
        let words = |code, subcode| Reason::from_code(code, subcode).to_string();
        assert_eq!(words(6, 2), "Cease: administrative shutdown");
        assert_eq!(words(2, 2), "OPEN message error: bad peer AS");
        assert_eq!(words(4, 0), "Hold timer expired");
        assert_eq!(words(6, 99), "Cease: subcode 99");
        assert_eq!(words(77, 3), "Error code 77, subcode 3");
    }
}
