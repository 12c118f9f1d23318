//! One neighbour while it takes one input: what the input means for its connections, and they for each other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::codec::ProtocolError;
use crate::fsm::{self, Ending, StateName};
use crate::message::{Message, Notification, Open};
use crate::types::{CeaseSubcode, OpenSubcode, Reason};

use super::collision::{self, Initiator, Old, Verdict};
use super::connection::Connection;
use super::{ConnectionId, DownReason, Output, Peer, PeerConfig, Shutdown};

/// What is told of an attempt that nobody answered.
const NO_ANSWER: &str = "no answer";

/// A peer while it takes one input.
pub(super) struct Turn<'a> {
    pub(super) peer: &'a mut Peer,
    pub(super) now: Instant,
    pub(super) next_connection: &'a mut u64,
}

impl Turn<'_> {
    pub(super) fn start(&mut self) {
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

    pub(super) fn stop(&mut self, shutdown: &Shutdown) {
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

    pub(super) fn configure(&mut self, config: PeerConfig) {
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

    pub(super) fn end_all(&mut self, notification: Option<&Notification>) {
        let connections: Vec<ConnectionId> = self.peer.connections.iter().map(|c| c.id).collect();
        for id in connections {
            self.step(id, fsm::Input::Stop(notification.cloned()));
        }
    }

    pub(super) fn connected(&mut self, id: ConnectionId, local: SocketAddr, remote: SocketAddr) {
        if let Some(connection) = self.peer.connection(id) {
            connection.set_endpoints(local, remote);
            self.step(id, fsm::Input::Connected);
        }
    }

    pub(super) fn accepted(&mut self, id: ConnectionId, local: SocketAddr, remote: SocketAddr) {
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

    pub(super) fn received(&mut self, id: ConnectionId, octets: Bytes) {
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
                restartable: !new.is_crossed
                    && other.negotiated().is_some_and(|n| n.graceful_restart),
            },
        };
        Some((
            other.id,
            collision::resolve(local, remote, new.initiator, old),
        ))
    }

    /// Lets timers expire, then calls if it is time.
    pub(super) fn expire(&mut self) {
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

    /// Calls, unless one of the connections is about to become the session: when that ends without one, it schedules the
    /// next call.
    fn call(&mut self) {
        self.peer.next_call = None;
        if self.peer.has_call_out() || self.peer.state() >= StateName::OpenConfirm {
            return;
        }
        self.make_place();
        self.peer.next_call = None;
        if !self.peer.takes_connection(self.now) {
            return;
        }
        let mut connection = Connection::outgoing(self.peer.new_fsm());
        connection.handle(self.now, fsm::Input::Start);
        connection.drain(self.now, self.next_connection, &mut self.peer.outputs);
        self.peer.connections.push(connection);
    }

    /// Two connections of the peer's that say nothing, as a peer leaves behind that lost its power twice, must not keep us
    /// from calling: the older one goes.
    fn make_place(&mut self) {
        if self.peer.connections.len() < Peer::MOST_CONNECTIONS {
            return;
        }
        let silent = |c: &&Connection| c.state() == StateName::OpenSent;
        let silent = self.peer.connections.iter().filter(silent);
        if let Some(oldest) = silent.map(|c| c.id).min() {
            self.step(oldest, fsm::Input::Collision);
        }
    }

    pub(super) fn step(&mut self, id: ConnectionId, input: fsm::Input) {
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
            for other in self.peer.connections.iter_mut().filter(|c| c.id != id) {
                other.is_crossed = true;
            }
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
