//! One neighbour and its at most two connections (RFC 4271 section 8.2.1).
//!
//! Decides when to call, which of two connections survives, and what a changed configuration costs. The machine of each
//! connection is in [`fsm`]; what a route is, nobody here knows.

mod backoff;
mod collision;
mod config;
mod connection;
mod input;
mod output;
mod session;
mod turn;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use config::{Local, PeerConfig};
pub use input::Input;
pub use output::Output;
pub use session::{DownReason, Session, Shutdown};

use crate::fsm::{self, Fsm, Jitter, StateName};
use backoff::Backoff;
use collision::Initiator;
use connection::Connection;
use turn::Turn;

/// Names one TCP connection for as long as the speaker lives; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// No attempt to connect lasts longer than this.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);

/// One neighbour.
///
/// Every [`handle`](Self::handle) is followed by a full drain of [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    local: Local,
    jitter: Jitter,
    backoff: Backoff,
    running: bool,
    /// Off after the peer said that it knows no capabilities (RFC 5492 section 3).
    capabilities: bool,
    /// A session has stood since the peer was made.
    has_stood: bool,
    /// When to call next; `None` while a call is out, a session stands, or there is nothing to call for.
    next_call: Option<Instant>,
    /// Until when connections are refused, after the peer had sent too many routes.
    closed_until: Option<Instant>,
    /// At most [`Self::MOST_CONNECTIONS`].
    connections: Vec<Connection>,
    outputs: VecDeque<Output>,
    last_down: Option<DownReason>,
}

impl Peer {
    /// One that we made and one that the peer made, or two of the peer's while the first dies.
    pub const MOST_CONNECTIONS: usize = 2;

    /// A stopped peer. `seed` feeds the jitter.
    pub fn new(config: PeerConfig, local: Local, seed: u64) -> Self {
        Self {
            config,
            local,
            jitter: Jitter::new(seed),
            backoff: Backoff::default(),
            running: false,
            capabilities: true,
            has_stood: false,
            next_call: None,
            closed_until: None,
            connections: Vec::with_capacity(Self::MOST_CONNECTIONS),
            outputs: VecDeque::new(),
            last_down: None,
        }
    }

    /// Takes one input. `next_connection` is where a fresh [`ConnectionId`] comes from, should one be needed.
    pub fn handle(&mut self, now: Instant, input: Input, next_connection: &mut u64) {
        let mut turn = Turn {
            peer: self,
            now,
            next_connection,
        };
        match input {
            Input::Start => turn.start(),
            Input::Stop(shutdown) => turn.stop(&shutdown),
            Input::Reset(notification) => turn.end_all(Some(&notification)),
            Input::Configure(config) => turn.configure(config),
            Input::Connected {
                connection,
                local,
                remote,
            } => turn.connected(connection, local, remote),
            Input::ConnectFailed { connection, error } | Input::Closed { connection, error } => {
                turn.step(connection, fsm::Input::Failed(error));
            }
            Input::Accepted {
                connection,
                local,
                remote,
            } => turn.accepted(connection, local, remote),
            Input::Received { connection, octets } => turn.received(connection, octets),
            Input::Written { connection, octets } => {
                if let Some(connection) = turn.peer.connection(connection) {
                    connection.written(now, octets);
                }
            }
            Input::Tick => {}
        }
        turn.expire();
    }

    /// The next output, in order; `None` when drained.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let timers = self.connections.iter().map(Connection::next_deadline);
        timers.chain([self.next_call]).flatten().min()
    }

    /// The configuration in force.
    pub fn config(&self) -> &PeerConfig {
        &self.config
    }

    /// Whether an incoming connection would be taken now.
    pub fn takes_connection(&self, now: Instant) -> bool {
        self.running
            && self.connections.len() < Self::MOST_CONNECTIONS
            && self.closed_until.is_none_or(|until| until <= now)
    }

    /// The most advanced state of the peer's connections; Active while it waits to call or to be called.
    pub fn state(&self) -> StateName {
        let states = self.connections.iter().map(Connection::state);
        states.max().unwrap_or(if self.running {
            StateName::Active
        } else {
            StateName::Idle
        })
    }

    /// The session, while established.
    pub fn session(&self) -> Option<&Session> {
        self.connections.iter().find_map(Connection::session)
    }

    /// Octets that were handed out as [`Output::Send`] on the session's connection and not yet reported as written.
    pub fn unwritten(&self) -> usize {
        let carries_session = |connection: &&Connection| connection.session().is_some();
        let connection = self.connections.iter().find(carries_session);
        connection.map_or(0, Connection::unwritten)
    }

    /// Queues already encoded messages on the session, as one [`Output::Send`]; resets the keepalive timer.
    pub fn send_encoded(&mut self, now: Instant, octets: Bytes) {
        for connection in &mut self.connections {
            if connection.session().is_some() {
                connection.send_encoded(now, octets, &mut self.outputs);
                return;
            }
        }
    }

    /// Why the last session ended, or the last attempt where there was none since.
    pub fn last_down(&self) -> Option<&DownReason> {
        self.last_down.as_ref()
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    fn has_call_out(&self) -> bool {
        let ours = |connection: &Connection| connection.initiator == Initiator::Local;
        self.connections.iter().any(ours)
    }

    fn new_fsm(&mut self) -> Fsm {
        let mut offer = self.config.offer(self.local);
        offer.capabilities &= self.capabilities;
        if let Some(restart) = &mut offer.graceful_restart {
            restart.restarting &= !self.has_stood;
        }
        // Of an attempt to reach a host that is down the system repeats the first packet more and more rarely; a new
        // attempt begins with a new packet, so that a host that came back is found soon.
        let attempt = self.config.connect_retry.min(LONGEST_ATTEMPT);
        Fsm::new(offer, attempt, self.jitter.next_bits())
    }
}
