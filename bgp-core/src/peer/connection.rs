use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::capability::Capability;
use crate::codec::ProtocolError;
use crate::fsm::{self, Ending, Fsm, Negotiated, StateName};
use crate::message::{Framer, Message, Notification, Open, WireContext};

use super::collision::Initiator;
use super::{ConnectionId, Output, Session};

/// One connection: framer, machine and encoder. Bytes in, bytes out.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) initiator: Initiator,
    /// It was there before the other one became the session: one of two crossed calls, not the call of a peer that has
    /// restarted.
    pub(super) is_crossed: bool,
    endpoints: Option<Endpoints>,
    fsm: Fsm,
    framer: Framer,
    receive: WireContext,
    send: WireContext,
    written: Written,
    session: Option<Session>,
}

#[derive(Clone, Copy, Debug)]
struct Endpoints {
    local: SocketAddr,
    remote: SocketAddr,
}

impl Connection {
    /// A connection that the machine will ask for as soon as it is told to start; `id` is drawn then.
    pub(super) fn outgoing(fsm: Fsm) -> Self {
        Self::new(ConnectionId(0), Initiator::Local, fsm)
    }

    /// A connection that stands already.
    pub(super) fn incoming(id: ConnectionId, fsm: Fsm) -> Self {
        Self::new(id, Initiator::Remote, fsm)
    }

    fn new(id: ConnectionId, initiator: Initiator, fsm: Fsm) -> Self {
        let initial = WireContext::initial();
        Self {
            id,
            initiator,
            is_crossed: false,
            endpoints: None,
            fsm,
            framer: Framer::new(initial.max_message),
            receive: initial.clone(),
            send: initial,
            written: Written::default(),
            session: None,
        }
    }

    pub(super) fn state(&self) -> StateName {
        self.fsm.state()
    }

    pub(super) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    pub(super) fn negotiated(&self) -> Option<&Negotiated> {
        self.fsm.negotiated()
    }

    pub(super) fn examine(&self, open: &Open) -> Result<Negotiated, ProtocolError> {
        self.fsm.examine(open)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.fsm.next_deadline()
    }

    pub(super) fn unwritten(&self) -> usize {
        self.written.outstanding()
    }

    pub(super) fn set_endpoints(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.endpoints = Some(Endpoints { local, remote });
    }

    /// Whether there ever was a connection to speak of.
    pub(super) fn has_stood(&self) -> bool {
        self.endpoints.is_some()
    }

    pub(super) fn push(&mut self, octets: Bytes) {
        self.framer.push_bytes(octets);
    }

    /// The next whole message of what was pushed; the machine must take it before the next one is asked for, because
    /// an OPEN changes how the following messages are read.
    pub(super) fn next_message(&mut self) -> Option<Result<Message, ProtocolError>> {
        match self.framer.next_message() {
            Ok(octets) => octets.map(|octets| Message::decode(octets, &self.receive)),
            Err(error) => Some(Err(error)),
        }
    }

    pub(super) fn handle(&mut self, now: Instant, input: fsm::Input) {
        self.fsm.handle(now, input);
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.fsm.tick(now);
    }

    pub(super) fn written(&mut self, now: Instant, octets: usize) {
        self.written.confirm(octets);
        self.fsm.handle(now, fsm::Input::Progress);
    }

    pub(super) fn send_encoded(
        &mut self,
        now: Instant,
        octets: Bytes,
        outputs: &mut VecDeque<Output>,
    ) {
        self.write(octets, outputs);
        self.fsm.handle(now, fsm::Input::Sent);
    }

    /// Hands the machine's outputs on; says why the connection ended, if it did.
    pub(super) fn drain(
        &mut self,
        now: Instant,
        next_connection: &mut u64,
        outputs: &mut VecDeque<Output>,
    ) -> Option<Ending> {
        let mut ended = None;
        while let Some(output) = self.fsm.poll_output() {
            match output {
                fsm::Output::Connect => {
                    self.id = fresh(next_connection);
                    outputs.push_back(Output::Connect {
                        connection: self.id,
                    });
                }
                fsm::Output::Send(message) => self.send(&message, outputs),
                fsm::Output::Close => outputs.push_back(Output::Close {
                    connection: self.id,
                }),
                fsm::Output::Established(negotiated) => {
                    if let Some(session) = self.new_session(now, negotiated) {
                        self.session = Some(session.clone());
                        outputs.push_back(Output::Established(session));
                    }
                }
                fsm::Output::Update(update) => outputs.push_back(Output::Update(update)),
                fsm::Output::Refresh(refresh) => outputs.push_back(Output::Refresh(refresh)),
                fsm::Output::Ended(ending) => ended = Some(ending),
            }
        }
        if self.fsm.state() == StateName::OpenConfirm {
            self.apply_negotiated();
        }
        ended
    }

    fn apply_negotiated(&mut self) {
        if let Some(negotiated) = self.fsm.negotiated() {
            self.framer.set_max_message(negotiated.receive.max_message);
            self.receive = negotiated.receive.clone();
            self.send = negotiated.send.clone();
        }
    }

    fn new_session(&self, now: Instant, negotiated: Negotiated) -> Option<Session> {
        // A machine becomes established only after Connected, which set the endpoints.
        let Endpoints { local, remote } = self.endpoints?;
        Some(Session {
            connection: self.id,
            local,
            remote,
            peer_asn: negotiated.peer_asn,
            peer_router_id: negotiated.peer_router_id,
            external: negotiated.external,
            hold_time: negotiated.hold_time,
            keepalive: negotiated.keepalive.unwrap_or(Duration::ZERO),
            receive: negotiated.receive,
            send: negotiated.send,
            local_capabilities: negotiated.local_capabilities,
            remote_capabilities: negotiated.remote_capabilities,
            route_refresh: negotiated.route_refresh,
            enhanced_route_refresh: negotiated.enhanced_route_refresh,
            since: now,
        })
    }

    fn send(&mut self, message: &Message, outputs: &mut VecDeque<Output>) {
        // The peer will hear from us as soon as it reads; a second KEEPALIVE behind the first would tell it nothing,
        // and would grow what waits for a peer that never reads.
        let is_keepalive = matches!(message, Message::Keepalive);
        if is_keepalive && self.written.keepalive_waits() {
            return;
        }
        let octets = match message.encode(&self.send) {
            Ok(octets) => octets,
            // Data that echoes a peer's long message, or a long host name, can make a control message too long.
            Err(_) => match shortened(message).map(|message| message.encode(&self.send)) {
                Some(Ok(octets)) => octets,
                Some(Err(_)) | None => return,
            },
        };
        self.write(octets, outputs);
        if is_keepalive {
            self.written.mark_keepalive();
        }
    }

    fn write(&mut self, octets: Bytes, outputs: &mut VecDeque<Output>) {
        self.written.add(octets.len());
        outputs.push_back(Output::Send {
            connection: self.id,
            octets,
        });
    }
}

/// Draws an identifier that was never used before.
pub(super) fn fresh(next_connection: &mut u64) -> ConnectionId {
    let id = ConnectionId(*next_connection);
    *next_connection += 1;
    id
}

/// The same message without what its receiver can do without, where there is such a thing.
fn shortened(message: &Message) -> Option<Message> {
    match message {
        Message::Open(open) => {
            let mut open = open.clone();
            open.capabilities.retain(|capability| {
                !matches!(
                    capability,
                    Capability::Fqdn { .. }
                        | Capability::SoftwareVersion(_)
                        | Capability::Unknown { .. }
                )
            });
            Some(Message::Open(open))
        }
        Message::Notification(notification) => Some(Message::Notification(Notification {
            reason: notification.reason,
            data: Bytes::new(),
        })),
        Message::Update(_) | Message::Keepalive | Message::RouteRefresh(_) => None,
    }
}

/// Positions in the stream of octets that we send.
#[derive(Debug, Default)]
struct Written {
    sent: u64,
    confirmed: u64,
    /// Where the last KEEPALIVE ends.
    keepalive: u64,
}

impl Written {
    fn add(&mut self, octets: usize) {
        self.sent = self.sent.saturating_add(octets as u64);
    }

    /// An embedder that confirms more than was sent cannot make the count go below zero.
    fn confirm(&mut self, octets: usize) {
        self.confirmed = self.confirmed.saturating_add(octets as u64).min(self.sent);
    }

    fn outstanding(&self) -> usize {
        usize::try_from(self.sent - self.confirmed).unwrap_or(usize::MAX)
    }

    fn mark_keepalive(&mut self) {
        self.keepalive = self.sent;
    }

    fn keepalive_waits(&self) -> bool {
        self.keepalive > self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keepalive_waits_until_its_last_octet_is_written() {
        let mut written = Written::default();
        written.add(100);
        assert!(!written.keepalive_waits());
        written.add(19);
        written.mark_keepalive();
        written.confirm(118);
        assert!(written.keepalive_waits());
        assert_eq!(written.outstanding(), 1);
        written.confirm(1);
        assert!(!written.keepalive_waits());
    }

    #[test]
    fn confirming_too_much_is_harmless() {
        let mut written = Written::default();
        written.add(10);
        written.confirm(usize::MAX);
        assert_eq!(written.outstanding(), 0);
    }
}
