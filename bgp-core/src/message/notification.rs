use bytes::Bytes;

use crate::codec::ProtocolError;
use crate::types::Reason;

/// NOTIFICATION (RFC 4271 section 4.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Code and subcode.
    pub reason: Reason,
    /// Data octets.
    pub data: Bytes,
}

impl From<ProtocolError> for Notification {
    fn from(error: ProtocolError) -> Self {
        Self { reason: error.reason, data: error.data }
    }
}
// helper "wire": shutdown communication (RFC 9003): `Notification::cease(subcode, text)`, `communication() -> Option<String>`,
// hard reset (RFC 8538) wrap/unwrap, Display.
