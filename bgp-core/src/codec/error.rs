use bytes::Bytes;

use crate::types::Reason;

/// A peer's mistake: it IS the NOTIFICATION that it causes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProtocolError {
    /// Code and subcode.
    pub reason: Reason,
    /// The data octets that the NOTIFICATION must carry; empty where the RFC asks for none.
    pub data: Bytes,
}

impl ProtocolError {
    /// An error whose NOTIFICATION carries these octets.
    pub fn new(reason: Reason, data: impl Into<Bytes>) -> Self {
        Self {
            reason,
            data: data.into(),
        }
    }
}

impl From<Reason> for ProtocolError {
    /// An error whose NOTIFICATION carries no data.
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            data: Bytes::new(),
        }
    }
}
