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

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use config::{Local, PeerConfig};
pub use input::Input;
pub use output::Output;
pub use session::{DownReason, Session, Shutdown};

use crate::codec::ProtocolError;
use crate::fsm::{self, Ending, Fsm, Jitter, StateName};
use crate::message::{Message, Notification, Open};
use crate::types::{CeaseSubcode, OpenSubcode, Reason};
use backoff::Backoff;
use collision::{Initiator, Old, Verdict};
use connection::Connection;

/// Names one TCP connection for as long as the speaker lives; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What is told of an attempt that nobody answered.
const NO_ANSWER: &str = "no answer";
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

/// A peer while it takes one input.
struct Turn<'a> {
    peer: &'a mut Peer,
    now: Instant,
    next_connection: &'a mut u64,
}

impl Turn<'_> {
    fn start(&mut self) {
        if self.peer.running {
            return;
        }
        self.peer.running = true;
        self.call_at_once();
    }

    /// The first call, or the first after our own doing: nothing failed, so nothing is waited for.
    fn call_at_once(&mut self) {
        self.peer.backoff.reset();
        self.peer.closed_until = None;
        self.peer.capabilities = true;
        self.peer.next_call = (!self.peer.config.passive).then_some(self.now);
    }

    fn stop(&mut self, shutdown: &Shutdown) {
        self.peer.running = false;
        self.peer.next_call = None;
        match shutdown {
            Shutdown::Cease(subcode, text) => self.cease(&Notification::cease(*subcode, text)),
            Shutdown::Silent => self.end_all(None),
        }
    }

    /// Says farewell so that our routes go at once: where a plain Cease would make the peer keep them, as a Hard Reset
    /// (RFC 8538 section 3.1).
    fn cease(&mut self, cease: &Notification) {
        let keeps_routes = |connection: &Connection| {
            connection
                .negotiated()
                .is_some_and(|n| n.graceful_notification)
        };
        if self.peer.connections.iter().any(keeps_routes) {
            self.end_all(Some(&cease.clone().into_hard_reset()));
        } else {
            self.end_all(Some(cease));
        }
    }

    fn configure(&mut self, config: PeerConfig) {
        let changed = self.peer.config.needs_new_session(&config, self.peer.local);
        let was_passive = self.peer.config.passive;
        self.peer.config = config;
        if changed {
            let reason = Reason::Cease(CeaseSubcode::OtherConfigurationChange);
            self.end_all(Some(&reason.into()));
        }
        if !self.peer.running {
            return;
        }
        if self.peer.config.passive {
            self.peer.next_call = None;
        } else if changed || (was_passive && self.peer.connections.is_empty()) {
            self.call_at_once();
        }
    }

    fn end_all(&mut self, notification: Option<&Notification>) {
        let connections: Vec<ConnectionId> = self.peer.connections.iter().map(|c| c.id).collect();
        for id in connections {
            self.step(id, fsm::Input::Stop(notification.cloned()));
        }
    }

    fn connected(&mut self, id: ConnectionId, local: SocketAddr, remote: SocketAddr) {
        if let Some(connection) = self.peer.connection(id) {
            connection.set_endpoints(local, remote);
            self.step(id, fsm::Input::Connected);
        }
    }

    fn accepted(&mut self, id: ConnectionId, local: SocketAddr, remote: SocketAddr) {
        if !self.peer.takes_connection(self.now) {
            self.peer
                .outputs
                .push_back(Output::Close { connection: id });
            return;
        }
        let mut connection = Connection::incoming(id, self.peer.new_fsm());
        connection.set_endpoints(local, remote);
        self.peer.connections.push(connection);
        self.step(id, fsm::Input::StartPassive);
        self.step(id, fsm::Input::Connected);
    }

    fn received(&mut self, id: ConnectionId, octets: Bytes) {
        if let Some(connection) = self.peer.connection(id) {
            connection.push(octets);
        }
        // Looked up anew for every message: each of them can end the connection.
        while let Some(connection) = self.peer.connection(id) {
            let is_greeting = connection.state() == StateName::OpenSent;
            match connection.next_message() {
                Some(Ok(Message::Open(open))) if is_greeting => self.open(id, open),
                Some(Ok(message)) => self.step(id, fsm::Input::Received(message)),
                Some(Err(error)) => self.malformed(id, error),
                None => return,
            }
        }
    }

    fn malformed(&mut self, id: ConnectionId, error: ProtocolError) {
        self.step(id, fsm::Input::Malformed(error));
    }

    /// The OPEN on a connection: decided before it is answered, because the KEEPALIVE of the answer could make the peer
    /// give up the connection that we are about to keep.
    fn open(&mut self, id: ConnectionId, open: Open) {
        match self.collision(id, &open) {
            None => {}
            Some((other, Verdict::KeepNew)) => self.step(other, fsm::Input::Collision),
            Some((other, Verdict::Replace)) => self.step(other, fsm::Input::Stop(None)),
            Some((_, Verdict::KeepOld)) => {
                self.step(id, fsm::Input::Collision);
                return;
            }
        }
        self.step(id, fsm::Input::Received(Message::Open(open)));
    }

    /// The other connection, where there is one to decide between; an OPEN that will be refused takes part in nothing.
    fn collision(&self, id: ConnectionId, open: &Open) -> Option<(ConnectionId, Verdict)> {
        let new = self.peer.connections.iter().find(|c| c.id == id)?;
        let theirs = new.examine(open).ok()?;
        let local = collision::Speaker {
            router_id: self.peer.local.router_id,
            asn: self.peer.local.asn,
        };
        let remote = collision::Speaker {
            router_id: theirs.peer_router_id,
            asn: theirs.peer_asn,
        };
        let other = self.peer.connections.iter().find(|c| c.id != id)?;
        let old = match other.state() {
            StateName::Idle | StateName::Connect | StateName::Active | StateName::OpenSent => {
                return None;
            }
            StateName::OpenConfirm => Old::OpenConfirm(other.initiator),
            StateName::Established => Old::Established {
                graceful_restart: other.negotiated().is_some_and(|n| n.graceful_restart),
            },
        };
        Some((
            other.id,
            collision::resolve(local, remote, new.initiator, old),
        ))
    }

    /// Lets timers expire, then calls if it is time.
    fn expire(&mut self) {
        let due = |connection: &&Connection| {
            connection
                .next_deadline()
                .is_some_and(|deadline| deadline <= self.now)
        };
        let connections: Vec<ConnectionId> = self
            .peer
            .connections
            .iter()
            .filter(due)
            .map(|c| c.id)
            .collect();
        for id in connections {
            if let Some(connection) = self.peer.connection(id) {
                connection.tick(self.now);
                self.settle(id);
            }
        }
        if self.peer.next_call.is_some_and(|due| due <= self.now) {
            self.call();
        }
    }

    /// Calls, unless one of the connections is about to become the session, or both places are taken: when such a
    /// connection ends without one, that schedules the next call.
    fn call(&mut self) {
        self.peer.next_call = None;
        if self.peer.has_call_out()
            || self.peer.state() >= StateName::OpenConfirm
            || !self.peer.takes_connection(self.now)
        {
            return;
        }
        let mut connection = Connection::outgoing(self.peer.new_fsm());
        connection.handle(self.now, fsm::Input::Start);
        connection.drain(self.now, self.next_connection, &mut self.peer.outputs);
        self.peer.connections.push(connection);
    }

    fn step(&mut self, id: ConnectionId, input: fsm::Input) {
        if let Some(connection) = self.peer.connection(id) {
            connection.handle(self.now, input);
            self.settle(id);
        }
    }

    /// What a connection's new state means for the peer.
    fn settle(&mut self, id: ConnectionId) {
        let peer = &mut *self.peer;
        let Some(index) = peer.connections.iter().position(|c| c.id == id) else {
            return;
        };
        let connection = &mut peer.connections[index];
        let was_established = connection.session().is_some();
        let ending = connection.drain(self.now, self.next_connection, &mut peer.outputs);
        let established = !was_established && connection.session().is_some();
        // The machine gave an attempt up and made another.
        let called_again = connection.id != id;
        if let Some(ending) = ending {
            let connection = peer.connections.swap_remove(index);
            self.ended(&connection, ending);
        } else if established {
            self.peer.has_stood = true;
            self.peer.next_call = None;
            self.drop_own_call(id);
        } else if called_again {
            self.report(DownReason::ConnectFailed(NO_ANSWER.to_owned()), false);
        }
    }

    /// A session stands: a call of ours beside it has lost its purpose. A call of the peer's is left to its OPEN.
    fn drop_own_call(&mut self, session: ConnectionId) {
        let superfluous = |c: &&Connection| c.id != session && c.initiator == Initiator::Local;
        if let Some(id) = self.peer.connections.iter().find(superfluous).map(|c| c.id) {
            self.step(id, fsm::Input::Collision);
        }
    }

    fn ended(&mut self, connection: &Connection, ending: Ending) {
        let stood = connection
            .session()
            .map(|session| self.now.saturating_duration_since(session.since));
        self.learn_about_capabilities(&ending, stood.is_some());
        self.plan_next_call(&ending, stood);
        // A call that we dropped ourselves before it was answered is no attempt that failed.
        let dropped = matches!(ending, Ending::Collision | Ending::Silent);
        if dropped && !connection.has_stood() {
            return;
        }
        self.report(DownReason::from(ending), stood.is_some());
    }

    fn report(&mut self, reason: DownReason, was_established: bool) {
        if self.peer.session().is_none() {
            self.peer.last_down = Some(reason.clone());
        }
        self.peer.outputs.push_back(Output::Down {
            reason,
            was_established,
        });
    }

    /// A peer that answers 2/4 knows no capabilities, or not that we may send them (RFC 5492 section 3). Should it still
    /// say so without them, they were not what it meant.
    fn learn_about_capabilities(&mut self, ending: &Ending, was_established: bool) {
        let refused = match ending {
            Ending::Received(notification) => {
                notification.reason == Reason::Open(OpenSubcode::UnsupportedOptionalParameter)
            }
            _ => false,
        };
        if refused && !was_established {
            self.peer.capabilities = !self.peer.capabilities;
            if !self.peer.capabilities && self.may_call_again() {
                self.peer.next_call = Some(self.now);
            }
        }
    }

    /// An earlier appointment stands: a stranger's connections can neither hasten nor delay it.
    fn plan_next_call(&mut self, ending: &Ending, stood: Option<Duration>) {
        let peer = &mut *self.peer;
        let retry = peer.config.connect_retry;
        if let Ending::Sent(sent) = ending
            && sent.reason == Reason::Cease(CeaseSubcode::MaximumPrefixes)
        {
            peer.closed_until = Some(self.now + peer.jitter.shorten(retry));
            peer.next_call = peer.closed_until.filter(|_| !peer.config.passive);
        }
        if self.peer.next_call.is_some() || !self.may_call_again() {
            return;
        }
        let peer = &mut *self.peer;
        let wait = peer
            .backoff
            .next_wait(ending, stood, retry, &mut peer.jitter);
        peer.next_call = Some(self.now + wait);
    }

    fn may_call_again(&self) -> bool {
        self.peer.running
            && !self.peer.config.passive
            && !self.peer.has_call_out()
            && self.peer.state() < StateName::OpenConfirm
    }
}
