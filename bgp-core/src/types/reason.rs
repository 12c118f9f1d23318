//! Every NOTIFICATION code and subcode as one typed enum (RFC 4271 section 4.5 and its successors).

/// Why a session ends, as a NOTIFICATION says it.
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
// helper "wire": subcode enums (each with Unspecific = 0 and Unknown(u8) where sensible), `Reason::from_code(code, subcode)`,
// `Reason::code()`, `Reason::subcode()`, Display in operator words.
/// Subcodes of code 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderSubcode { /// 0
    Unspecific, /// 1
    NotSynchronized, /// 2
    BadLength, /// 3
    BadType }
/// Subcodes of code 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenSubcode { /// 0
    Unspecific, /// 1
    UnsupportedVersion, /// 2
    BadPeerAs, /// 3
    BadBgpIdentifier, /// 4
    UnsupportedOptionalParameter, /// 6
    UnacceptableHoldTime, /// 7
    UnsupportedCapability, /// 11
    RoleMismatch }
/// Subcodes of code 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateSubcode { /// 0
    Unspecific, /// 1
    MalformedAttributeList, /// 2
    UnrecognizedWellKnownAttribute, /// 3
    MissingWellKnownAttribute, /// 4
    AttributeFlags, /// 5
    AttributeLength, /// 6
    InvalidOrigin, /// 8
    InvalidNextHop, /// 9
    OptionalAttribute, /// 10
    InvalidNetworkField, /// 11
    MalformedAsPath }
/// Subcodes of code 5 (RFC 6608).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsmSubcode { /// 0
    Unspecific, /// 1
    OpenSent, /// 2
    OpenConfirm, /// 3
    Established }
/// Subcodes of code 6 (RFC 4486, 8538, 9384).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CeaseSubcode { /// 0
    Unspecific, /// 1
    MaximumPrefixes, /// 2
    AdministrativeShutdown, /// 3
    PeerDeconfigured, /// 4
    AdministrativeReset, /// 5
    ConnectionRejected, /// 6
    OtherConfigurationChange, /// 7
    ConnectionCollision, /// 8
    OutOfResources, /// 9
    HardReset, /// 10
    BfdDown }
/// Subcodes of code 7 (RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefreshSubcode { /// 0
    Unspecific, /// 1
    InvalidMessageLength }
