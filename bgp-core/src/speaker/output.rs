use bytes::Bytes;

use crate::fsm::StateName;
use crate::message::Fault;
use crate::peer::{ConnectionId, DownReason, Session};
use crate::types::{Family, Prefix};

use super::PeerId;

/// What a speaker asks for or tells.
#[derive(Clone, Debug)]
pub enum Output {
    /// Connect to this peer.
    Connect {
        /// Whom.
        peer: PeerId,
        /// The connection's name from now on.
        connection: ConnectionId,
    },
    /// Write these octets. At most [`Speaker::SEND_WINDOW`](super::Speaker::SEND_WINDOW)
    /// octets (and one message) of one connection are outstanding.
    Send {
        /// On this connection.
        connection: ConnectionId,
        /// Whole messages.
        octets: Bytes,
    },
    /// Write what was sent before, for a few seconds at most, then close; or give up the call that is still being made.
    /// What happens on the connection from now on need not be told.
    Close {
        /// This one.
        connection: ConnectionId,
    },
    /// For logs, status and metrics.
    Event(PeerId, Event),
}

/// What happened between us and a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state changed.
    State(StateName),
    /// The session is up.
    Established(Box<Session>),
    /// The session or an attempt ended.
    Down {
        /// Why.
        reason: DownReason,
        /// Whether there was a session.
        was_established: bool,
    },
    /// The peer's routes of a prefix changed.
    RoutesReceived {
        /// Now announced.
        announced: Vec<Prefix>,
        /// Now withdrawn.
        withdrawn: Vec<Prefix>,
    },
    /// The peer has sent all it has of this family.
    EndOfRib(Family),
    /// An UPDATE was not what it should be, and was handled as RFC 7606 says.
    Fault(Fault),
}
