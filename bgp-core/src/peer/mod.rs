//! One neighbour and its at most two connections (RFC 4271 section 8.2.1).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::capability::{Capability, GracefulRestart};
use crate::fsm::StateName;
use crate::message::{Notification, RouteRefresh, Update, WireContext};
use crate::types::{Asn, Family, HoldTime, RouterId};

/// Names one TCP connection for as long as the speaker lives; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What is wanted of a neighbour. Transport matters (port, password, TTL) are the shell's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its AS; `None` accepts whichever it announces.
    pub asn: Option<Asn>,
    /// Wait to be called instead of calling.
    pub passive: bool,
    /// The hold time we offer; the lower of both is used.
    pub hold_time: HoldTime,
    /// Our keepalive interval where it is to be shorter than a third of the negotiated hold time.
    pub keepalive: Option<Duration>,
    /// Wait between connection attempts, jittered (RFC 4271 section 10) and backed off after failures.
    pub connect_retry: Duration,
    /// The families we offer.
    pub families: Vec<Family>,
    /// Graceful restart as offered; `None` leaves the capability out.
    pub graceful_restart: Option<GracefulRestart>,
    /// Offer messages of 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// Capabilities sent besides those that follow from the fields above (FQDN, software version).
    pub extra_capabilities: Vec<Capability>,
    /// Send capabilities at all; off after a peer said that it knows none (RFC 5492 section 3).
    pub capabilities: bool,
}

impl PeerConfig {
    /// The RFC's defaults: hold time 90 s, connect retry 120 s, both unicast families, active.
    pub fn new(address: IpAddr, asn: Asn) -> Self {
        Self {
            address,
            asn: Some(asn),
            passive: false,
            hold_time: HoldTime::DEFAULT,
            keepalive: None,
            connect_retry: Duration::from_secs(120),
            families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
            graceful_restart: None,
            extended_message: true,
            extra_capabilities: vec![],
            capabilities: true,
        }
    }
}

/// Who we are towards a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
}

/// What an established session settled on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The connection that carries it.
    pub connection: ConnectionId,
    /// Our end.
    pub local: SocketAddr,
    /// Their end.
    pub remote: SocketAddr,
    /// Their AS, as they said.
    pub peer_asn: Asn,
    /// Their BGP Identifier.
    pub peer_router_id: RouterId,
    /// Whether the peer is in another AS.
    pub external: bool,
    /// The hold time in use.
    pub hold_time: HoldTime,
    /// The keepalive interval in use; zero where none are sent.
    pub keepalive: Duration,
    /// How messages are decoded.
    pub receive: WireContext,
    /// How messages are encoded.
    pub send: WireContext,
    /// What we offered.
    pub local_capabilities: Vec<Capability>,
    /// What they offered.
    pub remote_capabilities: Vec<Capability>,
    /// Whether ROUTE-REFRESH may be sent to them (RFC 2918).
    pub route_refresh: bool,
    /// Whether enhanced route refresh is agreed (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// When it was established.
    pub since: Instant,
}

/// Why a session, or an attempt at one, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// We sent this NOTIFICATION.
    Sent(Notification),
    /// They sent this NOTIFICATION.
    Received(Notification),
    /// The connection was closed or reset under us; the text is the system's.
    ConnectionLost(String),
    /// The connection could not be made; the text is the system's.
    ConnectFailed(String),
    /// The other one of two connections was kept (RFC 4271 section 6.8).
    Collision,
}

/// How we end a session on our own account (RFC 4486, RFC 9003).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Send Cease with this subcode and text, then close.
    Cease(crate::types::CeaseSubcode, String),
    /// Close without a word, so that a helper keeps the routes (RFC 4724).
    Silent,
}

/// What happens to a peer.
#[derive(Clone, Debug)]
pub enum Input {
    /// Start (RFC 4271 events 1 and 3 to 7).
    Start,
    /// Stop and stay stopped (events 2 and 8).
    Stop(Shutdown),
    /// Apply a changed configuration: the session ends only where the change needs it (text in the Cease).
    Configure(PeerConfig),
    /// The connection that [`Output::Connect`] asked for stands.
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
    /// The kernel took octets of earlier [`Output::Send`]s.
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

/// What a peer asks for or tells.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once, to the speaker")]
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
    /// Write what was sent before, then close.
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

/// One neighbour.
///
/// Every [`handle`](Self::handle) is followed by a full drain of [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    local: Local,
}

impl Peer {
    /// A stopped peer. `seed` feeds the jitter. `connections` hands out fresh identifiers.
    pub fn new(config: PeerConfig, local: Local, seed: u64) -> Self {
        let _ = seed;
        Self { config, local }
    }
    /// Takes one input. `next_connection` is where a fresh [`ConnectionId`] comes from, should one be needed.
    pub fn handle(&mut self, now: Instant, input: Input, next_connection: &mut u64) {
        let _ = (now, input, next_connection, self.local);
        todo!()
    }
    /// The next output, in order; `None` when drained.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }
    /// When [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// The configuration in force.
    pub fn config(&self) -> &PeerConfig {
        &self.config
    }
    /// The most advanced state of the peer's connections.
    pub fn state(&self) -> StateName {
        todo!()
    }
    /// The session, while established.
    pub fn session(&self) -> Option<&Session> {
        todo!()
    }
    /// Octets that were handed out as [`Output::Send`] on the session's connection and not yet reported as written.
    pub fn unwritten(&self) -> usize {
        todo!()
    }
    /// Queues already encoded messages on the session, as one [`Output::Send`]; resets the keepalive timer.
    pub fn send_encoded(&mut self, now: Instant, octets: Bytes) {
        let _ = (now, octets);
        todo!()
    }
    /// Why the last session or attempt ended.
    pub fn last_down(&self) -> Option<&DownReason> {
        todo!()
    }
}
