use std::net::IpAddr;

use crate::fsm::StateName;
use crate::peer::{DownReason, Session};
use crate::types::Family;

use super::PeerId;

/// Why an incoming connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No peer with that address.
    #[error("no peer is configured with address {0}")]
    UnknownPeer(IpAddr),
    /// The peer exists and takes no connection now.
    #[error("peer {0} takes no connection now")]
    NotNow(IpAddr),
}

/// A peer as status and metrics show it.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The handle.
    pub id: PeerId,
    /// The most advanced state.
    pub state: StateName,
    /// While established.
    pub session: Option<Session>,
    /// Why the last session or attempt ended.
    pub last_down: Option<DownReason>,
    /// Per family offered: received, accepted, advertised.
    pub counts: Vec<(Family, Counts)>,
}

/// Routes of one family between us and one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the Adj-RIB-In.
    pub received: usize,
    /// Of those, passed by the import policy.
    pub accepted: usize,
    /// In the Adj-RIB-Out, sent.
    pub advertised: usize,
}
