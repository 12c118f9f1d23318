//! The whole BGP speaker: the one room that sees peers AND routes.

mod routes_out;
mod update_group;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::fsm::StateName;
use crate::peer::{ConnectionId, DownReason, PeerConfig, Session, Shutdown};
use crate::rib::{Origination, Policy, Route};
use crate::types::{Asn, Family, Prefix, RouterId};

pub use routes_out::Refusal;

/// The embedder's own handle of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Feeds every jitter.
    pub seed: u64,
    /// Send routes that one peer taught us to others. Off in Fairway's agent: only originated routes go out.
    pub transit: bool,
}

/// A peer as the speaker sees it: the session and the two policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// The session.
    pub session: PeerConfig,
    /// What of the Loc-RIB goes out. Shared: peers with equal policies form one update group.
    pub export: Arc<Policy>,
    /// What comes in. Routes that it refuses stay in the Adj-RIB-In, counted but not used.
    pub import: Arc<Policy>,
    /// Give up a session whose peer sends more routes of one family than this (RFC 4486 subcode 1).
    pub max_prefixes: Option<u32>,
}

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
    /// Write these octets. At most [`Speaker::SEND_WINDOW`] octets (and one message) of one connection are outstanding.
    Send {
        /// On this connection.
        connection: ConnectionId,
        /// Whole messages.
        octets: Bytes,
    },
    /// Write what was sent before, then close.
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
    Fault(crate::message::Fault),
}

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

/// The speaker.
///
/// Every [`handle`](Self::handle) is followed by a full drain of [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub struct Speaker {
    config: SpeakerConfig,
}

impl Speaker {
    /// Octets of UPDATEs that may wait in the shell for one connection.
    pub const SEND_WINDOW: usize = 64 * 1024;

    /// A speaker without peers and routes.
    pub fn new(config: SpeakerConfig) -> Self {
        Self { config }
    }
    /// Who we are.
    pub fn config(&self) -> &SpeakerConfig {
        &self.config
    }
    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let _ = (now, input);
        todo!()
    }
    /// An incoming connection: an input whose answer is needed at once.
    ///
    /// # Errors
    /// Why it is to be closed.
    pub fn accept(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) -> Result<ConnectionId, Refused> {
        let _ = (now, local, remote);
        todo!()
    }
    /// The next output, in order; `None` when drained.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        let _ = now;
        todo!()
    }
    /// When [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// All peers by handle.
    pub fn peers(&self) -> Vec<PeerStatus> {
        todo!()
    }
    /// The best route of every prefix of the Loc-RIB, in prefix order.
    pub fn loc_rib(&self, family: Family) -> Vec<Route> {
        let _ = family;
        todo!()
    }
    /// All candidate routes of one prefix, best first (equal ones are what a router would use side by side).
    pub fn candidates(&self, prefix: Prefix) -> Vec<Route> {
        let _ = prefix;
        todo!()
    }
    /// The Adj-RIB-Out of one peer, as sent: attributes after export, next hop filled in.
    pub fn advertised(&self, peer: PeerId, family: Family) -> Vec<Route> {
        let _ = (peer, family);
        todo!()
    }
    /// The Adj-RIB-In of one peer.
    pub fn received(&self, peer: PeerId, family: Family) -> Vec<Route> {
        let _ = (peer, family);
        todo!()
    }
}
