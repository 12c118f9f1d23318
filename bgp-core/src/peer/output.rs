use bytes::Bytes;

use crate::message::{RouteRefresh, Update};

use super::{ConnectionId, DownReason, Session};

/// What a peer asks for or tells.
#[derive(Clone, Debug)]
pub enum Output {
    /// Make a connection to the neighbour.
    Connect {
        /// Fresh.
        connection: ConnectionId,
    },
    /// Write these octets.
    Send {
        /// On this connection.
        connection: ConnectionId,
        /// One or more whole messages.
        octets: Bytes,
    },
    /// Write what was sent before, for a few seconds at most, then close; or give up the call that is still being made.
    /// What happens on the connection from now on need not be told.
    Close {
        /// This one.
        connection: ConnectionId,
    },
    /// The session is up.
    Established(Session),
    /// The session (or the attempt, where `was_established` is false) ended.
    Down {
        /// Why.
        reason: DownReason,
        /// Whether routes have to go.
        was_established: bool,
    },
    /// An UPDATE to apply.
    Update(Update),
    /// A ROUTE-REFRESH to answer.
    Refresh(RouteRefresh),
}
