use std::net::SocketAddr;

use bytes::Bytes;

use crate::message::Notification;

use super::{ConnectionId, PeerConfig, Shutdown};

/// What happens to a peer.
#[derive(Clone, Debug)]
pub enum Input {
    /// Start (RFC 4271 events 1 and 3 to 7).
    Start,
    /// Stop and stay stopped (events 2 and 8).
    Stop(Shutdown),
    /// End the session with this NOTIFICATION and try again later.
    Reset(Notification),
    /// Apply a changed configuration: the session ends only where the change needs it (text in the Cease).
    Configure(PeerConfig),
    /// The connection that [`Output::Connect`](super::Output::Connect) asked for stands.
    Connected {
        /// As in the output.
        connection: ConnectionId,
        /// Our end.
        local: SocketAddr,
        /// Their end.
        remote: SocketAddr,
    },
    /// It could not be made.
    ConnectFailed {
        /// As in the output.
        connection: ConnectionId,
        /// The system's words.
        error: String,
    },
    /// The neighbour called.
    Accepted {
        /// Fresh.
        connection: ConnectionId,
        /// Our end.
        local: SocketAddr,
        /// Their end.
        remote: SocketAddr,
    },
    /// Octets came.
    Received {
        /// On this connection.
        connection: ConnectionId,
        /// A chunk of any size.
        octets: Bytes,
    },
    /// The kernel took octets of earlier [`Output::Send`](super::Output::Send)s.
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
