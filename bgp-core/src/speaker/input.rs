use std::net::SocketAddr;

use bytes::Bytes;

use crate::peer::{ConnectionId, Shutdown};
use crate::rib::Origination;
use crate::types::Prefix;

use super::{PeerId, PeerSettings};

/// What happens to a speaker.
#[derive(Clone, Debug)]
pub enum Input {
    /// A new peer, or changed settings of one. A session ends only where the change needs it; policy changes are
    /// applied by sending the difference.
    SetPeer(PeerId, PeerSettings),
    /// The peer is no longer wanted.
    RemovePeer(PeerId, Shutdown),
    /// Originate, or change, a route.
    Originate(Origination),
    /// No longer originate it.
    WithdrawOrigination(Prefix),
    /// Stop all sessions, each in this way; the speaker is done when `poll_output` is drained and all are closed.
    Stop(Shutdown),
    /// See [`crate::peer::Input::Connected`].
    Connected {
        /// As in the output.
        connection: ConnectionId,
        /// Our end.
        local: SocketAddr,
        /// Their end.
        remote: SocketAddr,
    },
    /// See [`crate::peer::Input::ConnectFailed`].
    ConnectFailed {
        /// As in the output.
        connection: ConnectionId,
        /// The system's words.
        error: String,
    },
    /// Octets came.
    Received {
        /// On this connection.
        connection: ConnectionId,
        /// A chunk of any size.
        octets: Bytes,
    },
    /// The kernel took octets.
    Written {
        /// On this connection.
        connection: ConnectionId,
        /// How many.
        octets: usize,
    },
    /// The connection is gone.
    Closed {
        /// This one.
        connection: ConnectionId,
        /// The system's words, or "closed by peer".
        error: String,
    },
    /// Time passed; nothing else happened.
    Tick,
}
