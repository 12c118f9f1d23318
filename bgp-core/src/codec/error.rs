use bytes::Bytes;

use crate::types::Reason;

/// A peer's mistake: it IS the NOTIFICATION that it causes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason:?}")]
pub struct ProtocolError {
    /// Code and subcode.
    pub reason: Reason,
    /// The data octets that the NOTIFICATION must carry; empty where the RFC asks for none.
    pub data: Bytes,
}
