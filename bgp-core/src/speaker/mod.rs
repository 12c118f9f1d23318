//! The whole BGP speaker: the one room that sees peers AND routes.
//!
//! UPDATEs are pulled, not queued: a peer has a set of dirty routes, and messages are made of it whenever its connection
//! can take them. A slow peer therefore costs no more than the table, and changes that cancel each other out are never
//! sent.

mod config;
mod input;
mod output;
mod routes_in;
mod routes_out;
mod status;
mod update_group;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::{BufMut, BytesMut};

pub use config::{PeerSettings, SpeakerConfig};
pub use input::Input;
pub use output::{Event, Output};
pub use routes_out::Refusal;
pub use status::{Counts, PeerStatus, Refused};

pub use crate::types::PeerId;

use crate::attribute::Attributes;
use crate::fsm::{Jitter, StateName};
use crate::message::{Notification, RefreshKind, RouteRefresh, Update};
use crate::peer::{self, ConnectionId, DownReason, Local, Peer, Session, Shutdown};
use crate::rib::{Changed, Interner, LocRib, Origination, Route, Source};
use crate::types::{CeaseSubcode, Family, Prefix, Reason};
use routes_in::{Origin, Outcome, RoutesIn, Shared};
use update_group::{Export, UpdateGroups};

/// The speaker.
///
/// The embedder waits only after a full drain of [`poll_output`](Self::poll_output): what [`handle`](Self::handle) left
/// to be done is done there, and [`next_deadline`](Self::next_deadline) is right then. Before a drain it may handle as
/// many inputs as it has. UPDATEs are made of all changes since the last drain, so ten thousand originations handled one
/// after the other and then drained go out in a dozen messages; drained each for itself, in ten thousand.
///
/// ```
/// use std::{net::SocketAddr, sync::Arc, time::Instant};
///
/// use bgp_core::attribute::Attributes;
/// use bgp_core::rib::Origination;
/// use bgp_core::speaker::{PeerId, PeerSettings};
/// use bgp_core::{Asn, Input, Message, Output, PeerConfig, Policy, Prefix, RouterId, Speaker, SpeakerConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = Instant::now();
/// let mut speaker = Speaker::new(SpeakerConfig {
///     asn: Asn(64512),
///     router_id: RouterId::new("192.0.2.10".parse()?).ok_or("zero")?,
///     seed: 1,
///     transit: false,
/// });
/// let neighbour = PeerSettings {
///     session: PeerConfig::new("192.0.2.1".parse()?, Asn(64513)),
///     export: Arc::new(Policy::accept_all()),
///     import: Arc::new(Policy::reject_all()),
///     max_prefixes: None,
/// };
/// // Two inputs, then one drain.
/// speaker.handle(now, Input::Originate(Origination {
///     prefix: Prefix::new("203.0.113.1/32".parse()?),
///     attributes: Arc::new(Attributes::default()),
///     next_hop: None,
/// }));
/// speaker.handle(now, Input::SetPeer(PeerId(1), neighbour));
///
/// let mut sent = vec![];
/// while let Some(output) = speaker.poll_output(now) {
///     match output {
///         // A real embedder dials, and says when the connection stands or failed.
///         Output::Connect { connection, .. } => {
///             let (local, remote): (SocketAddr, SocketAddr) = ("192.0.2.10:40000".parse()?, "192.0.2.1:179".parse()?);
///             speaker.handle(now, Input::Connected { connection, local, remote });
///         }
///         // It writes, and says how much the socket took.
///         Output::Send { connection, octets } => {
///             speaker.handle(now, Input::Written { connection, octets: octets.len() });
///             sent.push(octets);
///         }
///         Output::Close { .. } | Output::Event(..) => {}
///     }
/// }
/// let open = Message::decode(sent.remove(0), &bgp_core::message::WireContext::initial())?;
/// assert!(matches!(open, Message::Open(open) if open.asn() == Asn(64512)));
/// assert!(speaker.next_deadline().is_some_and(|due| due > now));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Speaker {
    config: SpeakerConfig,
    seeds: Jitter,
    /// No peer is started any more.
    stopped: bool,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Whose a connection is, from the moment it is asked for until it is closed.
    connections: BTreeMap<ConnectionId, PeerId>,
    next_connection: u64,
    attributes: Interner<Attributes>,
    /// Our own routes and the accepted ones of peers.
    loc_rib: LocRib,
    /// Our own routes alone: what goes out where `transit` is off, whatever a peer says about the same prefix.
    originated: LocRib,
    groups: UpdateGroups,
    /// Somebody may be owed routes and able to take them. Unset, no input since the last look changed that.
    may_send: bool,
    outputs: VecDeque<Output>,
}

/// A peer and its routes.
#[derive(Debug)]
struct Neighbour {
    settings: PeerSettings,
    peer: Peer,
    routes: RoutesIn,
    /// The session as far as the peer's outputs have told of it.
    session: Option<Session>,
    /// The state that was last told.
    told: StateName,
}

impl Speaker {
    /// Octets of UPDATEs that may wait in the shell for one connection.
    pub const SEND_WINDOW: usize = 64 * 1024;

    /// Octets that the attributes of one peer's routes may take; several times what those of the Internet's routes do. A
    /// peer that sends more is given up (RFC 4486 subcode 8).
    pub const MOST_ATTRIBUTE_OCTETS: usize = 256 * 1024 * 1024;

    /// Routes of one family that a peer may send where its settings give no other limit: about the Internet's IPv4 table.
    pub const MOST_PREFIXES: u32 = 1_000_000;

    /// A speaker without peers and routes.
    pub fn new(config: SpeakerConfig) -> Self {
        Self {
            seeds: Jitter::new(config.seed),
            config,
            stopped: false,
            neighbours: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 1,
            attributes: Interner::new(),
            loc_rib: LocRib::new(),
            originated: LocRib::new(),
            groups: UpdateGroups::default(),
            may_send: false,
            outputs: VecDeque::new(),
        }
    }

    /// Who we are.
    pub fn config(&self) -> &SpeakerConfig {
        &self.config
    }

    /// Takes one input. Several may follow each other before the next drain; see [`Speaker`].
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::SetPeer(id, settings) => self.set_peer(now, id, settings),
            Input::RemovePeer(id, shutdown) => self.remove_peer(now, id, shutdown),
            Input::Originate(origination) => self.originate(&origination),
            Input::WithdrawOrigination(prefix) => self.withdraw_origination(prefix),
            Input::Stop(shutdown) => self.stop(now, &shutdown),
            Input::Tick => self.tick(now),
            Input::Connected {
                connection,
                local,
                remote,
            } => {
                let input = peer::Input::Connected {
                    connection,
                    local: canonical(local),
                    remote: canonical(remote),
                };
                self.connection_input(now, connection, input);
            }
            Input::ConnectFailed { connection, error } => {
                let input = peer::Input::ConnectFailed { connection, error };
                self.connection_input(now, connection, input);
                self.connections.remove(&connection);
            }
            Input::Received { connection, octets } => {
                let input = peer::Input::Received { connection, octets };
                self.connection_input(now, connection, input);
            }
            Input::Written { connection, octets } => {
                let input = peer::Input::Written { connection, octets };
                self.may_send = true;
                self.connection_input(now, connection, input);
            }
            Input::Closed { connection, error } => {
                let input = peer::Input::Closed { connection, error };
                self.connection_input(now, connection, input);
                self.connections.remove(&connection);
            }
        }
    }

    /// An incoming connection: an input whose answer is needed at once.
    ///
    /// # Errors
    /// Why it is to be closed.
    pub fn accept(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<ConnectionId, Refused> {
        let address = remote.ip().to_canonical();
        let mut known = false;
        for (id, neighbour) in &self.neighbours {
            if neighbour.settings.session.address.to_canonical() != address {
                continue;
            }
            known = true;
            if neighbour.peer.takes_connection(now) {
                let (id, connection) = (*id, ConnectionId(self.next_connection));
                self.next_connection += 1;
                self.connections.insert(connection, id);
                let input = peer::Input::Accepted {
                    connection,
                    local: canonical(local),
                    remote: canonical(remote),
                };
                self.peer_input(now, id, input);
                return Ok(connection);
            }
        }
        Err(if known {
            Refused::NotNow(address)
        } else {
            Refused::UnknownPeer(address)
        })
    }

    /// The next output, in order; `None` when drained.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if self.outputs.is_empty() {
            self.send_updates(now);
        }
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.neighbours.values().map(|n| n.peer.next_deadline());
        deadlines.flatten().min()
    }

    /// All peers by handle.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let status = |(id, neighbour): (&PeerId, &Neighbour)| PeerStatus {
            id: *id,
            state: neighbour.peer.state(),
            session: neighbour.session.clone(),
            last_down: neighbour.peer.last_down().cloned(),
            counts: self.counts(*id, neighbour),
        };
        self.neighbours.iter().map(status).collect()
    }

    /// The best route of every prefix of the Loc-RIB, in prefix order.
    pub fn loc_rib(&self, family: Family) -> Vec<Route> {
        self.loc_rib.family_routes(family).collect()
    }

    /// All candidate routes of one prefix, best first (equal ones are what a router would use side by side).
    pub fn candidates(&self, prefix: Prefix) -> Vec<Route> {
        let candidates = self.loc_rib.candidates(prefix).into_iter();
        candidates.map(|(route, _)| route).collect()
    }

    /// The Adj-RIB-Out of one peer, as sent: attributes after export, next hop filled in.
    pub fn advertised(&self, peer: PeerId, family: Family) -> Vec<Route> {
        self.groups.advertised(peer, family)
    }

    /// The Adj-RIB-In of one peer.
    pub fn received(&self, peer: PeerId, family: Family) -> Vec<Route> {
        let neighbour = self.neighbours.get(&peer);
        neighbour.map_or_else(Vec::new, |n| n.routes.routes(family))
    }

    /// What is sent of the route of a prefix to an established peer, or why nothing is. `None` where there is no session
    /// or no route.
    pub fn explain(&self, peer: PeerId, prefix: Prefix) -> Option<Result<Route, Refusal>> {
        let route = exported(&self.config, &self.loc_rib, &self.originated).best(prefix)?;
        self.groups.explain(peer, &route)
    }

    /// The routes that stay behind although no policy wanted it, and why: their next hop cannot be said on the session,
    /// or they are too long for a message.
    pub fn unsent(&self, peer: PeerId) -> Vec<(Prefix, Refusal)> {
        self.groups.unsent(peer)
    }

    fn counts(&self, id: PeerId, neighbour: &Neighbour) -> Vec<(Family, Counts)> {
        let families = neighbour.settings.session.families.iter();
        let count = |family: &Family| {
            let counts = Counts {
                received: neighbour.routes.received(*family),
                accepted: neighbour.routes.accepted(*family),
                advertised: self.groups.advertised_count(id, *family),
            };
            (*family, counts)
        };
        families.map(count).collect()
    }

    fn set_peer(&mut self, now: Instant, id: PeerId, settings: PeerSettings) {
        if self.neighbours.contains_key(&id) {
            self.change_peer(now, id, settings);
            return;
        }
        let local = Local {
            asn: self.config.asn,
            router_id: self.config.router_id,
        };
        let neighbour = Neighbour {
            peer: Peer::new(settings.session.clone(), local, self.seeds.next_bits()),
            routes: RoutesIn::new(settings.import.clone()),
            session: None,
            told: StateName::Idle,
            settings,
        };
        self.neighbours.insert(id, neighbour);
        if !self.stopped {
            self.peer_input(now, id, peer::Input::Start);
        }
    }

    fn change_peer(&mut self, now: Instant, id: PeerId, settings: PeerSettings) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut neighbour.settings, settings.clone());
        if before.export != settings.export && neighbour.session.is_some() {
            let routes = exported(&self.config, &self.loc_rib, &self.originated).routes();
            self.groups.set_policy(id, settings.export, routes);
            self.may_send = true;
        }
        if before.import != settings.import {
            self.with_routes(id, |routes, origin, shared| {
                routes.set_import(settings.import, origin, shared)
            });
        }
        if before.session != settings.session {
            self.peer_input(now, id, peer::Input::Configure(settings.session));
        }
        self.enforce_limit(now, id);
        self.drain(now, id);
    }

    fn remove_peer(&mut self, now: Instant, id: PeerId, shutdown: Shutdown) {
        self.peer_input(now, id, peer::Input::Stop(shutdown));
        self.neighbours.remove(&id);
        self.connections.retain(|_, peer| *peer != id);
    }

    fn stop(&mut self, now: Instant, shutdown: &Shutdown) {
        self.stopped = true;
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        for id in peers {
            self.peer_input(now, id, peer::Input::Stop(shutdown.clone()));
        }
    }

    fn tick(&mut self, now: Instant) {
        let is_due = |neighbour: &Neighbour| {
            let deadline = neighbour.peer.next_deadline();
            deadline.is_some_and(|deadline| deadline <= now)
        };
        let due = self.neighbours.iter().filter(|(_, n)| is_due(n));
        let due: Vec<PeerId> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.peer_input(now, id, peer::Input::Tick);
        }
    }

    fn originate(&mut self, origination: &Origination) {
        let mut route = Route::from(origination);
        route.attributes = self.attributes.intern_shared(&route.attributes);
        let own = self.originated.insert(&route);
        let all = self.loc_rib.insert(&route);
        self.own_route_changed(route.prefix, own, all);
    }

    fn withdraw_origination(&mut self, prefix: Prefix) {
        let own = self.originated.remove(prefix, &Source::Local);
        let all = self.loc_rib.remove(prefix, &Source::Local);
        self.own_route_changed(prefix, own, all);
    }

    fn own_route_changed(&mut self, prefix: Prefix, own: Changed, all: Changed) {
        let changed = if self.config.transit { all } else { own };
        if changed == Changed::Best {
            self.export(&[prefix]);
        }
    }

    /// Makes prefixes dirty for every peer that gets them.
    fn export(&mut self, prefixes: &[Prefix]) {
        let table = exported(&self.config, &self.loc_rib, &self.originated);
        self.may_send = true;
        for prefix in prefixes {
            let best = table.best(*prefix);
            self.groups.route_changed(*prefix, best.as_ref());
        }
    }

    fn connection_input(&mut self, now: Instant, connection: ConnectionId, input: peer::Input) {
        // What is not in the table was closed by us; the shell's last words about it are of no interest.
        if let Some(id) = self.connections.get(&connection).copied() {
            self.peer_input(now, id, input);
        }
    }

    fn peer_input(&mut self, now: Instant, id: PeerId, input: peer::Input) {
        if let Some(neighbour) = self.neighbours.get_mut(&id) {
            let next_connection = &mut self.next_connection;
            neighbour.peer.handle(now, input, next_connection);
            self.drain(now, id);
        }
    }

    /// Handles what a peer puts out until there is no more, then tells its state.
    fn drain(&mut self, now: Instant, id: PeerId) {
        while let Some(neighbour) = self.neighbours.get_mut(&id) {
            let Some(output) = neighbour.peer.poll_output() else {
                break;
            };
            self.peer_output(now, id, output);
        }
        let Some(neighbour) = self.neighbours.get_mut(&id) else {
            return;
        };
        let state = neighbour.peer.state();
        if std::mem::replace(&mut neighbour.told, state) != state {
            self.event(id, Event::State(state));
        }
    }

    fn peer_output(&mut self, now: Instant, id: PeerId, output: peer::Output) {
        match output {
            peer::Output::Connect { connection } => {
                self.connections.insert(connection, id);
                self.outputs.push_back(Output::Connect {
                    peer: id,
                    connection,
                });
            }
            peer::Output::Send { connection, octets } => {
                self.outputs.push_back(Output::Send { connection, octets });
            }
            peer::Output::Close { connection } => {
                self.connections.remove(&connection);
                self.outputs.push_back(Output::Close { connection });
            }
            peer::Output::Established(session) => self.established(id, session),
            peer::Output::Down {
                reason,
                was_established,
            } => self.down(id, reason, was_established),
            peer::Output::Update(update) => self.update(now, id, update),
            peer::Output::Refresh(refresh) => self.refresh(id, refresh),
        }
    }

    fn established(&mut self, id: PeerId, session: Session) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else {
            return;
        };
        let export = Export {
            local_asn: self.config.asn,
            policy: neighbour.settings.export.clone(),
            originated_only: !self.config.transit,
        };
        let routes = exported(&self.config, &self.loc_rib, &self.originated).routes();
        self.groups.join(id, &session, export, routes);
        self.may_send = true;
        neighbour.session = Some(session.clone());
        self.event(id, Event::Established(Box::new(session)));
    }

    fn down(&mut self, id: PeerId, reason: DownReason, was_established: bool) {
        self.event(
            id,
            Event::Down {
                reason,
                was_established,
            },
        );
        if was_established {
            self.groups.leave(id);
            self.with_routes(id, |routes, origin, shared| {
                origin.map_or_else(Outcome::default, |origin| routes.clear(origin, shared))
            });
            if let Some(neighbour) = self.neighbours.get_mut(&id) {
                neighbour.session = None;
            }
        }
    }

    fn update(&mut self, now: Instant, id: PeerId, update: Update) {
        if let Some(family) = update.is_end_of_rib() {
            self.event(id, Event::EndOfRib(family));
            return;
        }
        self.with_routes(id, |routes, origin, shared| {
            origin.map_or_else(Outcome::default, |origin| {
                routes.update(update, origin, shared)
            })
        });
        self.enforce_limit(now, id);
    }

    fn refresh(&mut self, id: PeerId, refresh: RouteRefresh) {
        let session = self.neighbours.get(&id).and_then(|n| n.session.as_ref());
        let Some(session) = session else { return };
        let negotiated = session.send.families.contains(&refresh.family);
        match refresh.kind {
            RefreshKind::Request if negotiated && session.route_refresh => {
                self.groups.refresh(id, refresh.family);
                self.may_send = true;
            }
            RefreshKind::Begin | RefreshKind::End
                if negotiated && session.enhanced_route_refresh =>
            {
                self.with_routes(id, |routes, origin, shared| {
                    origin.map_or_else(Outcome::default, |origin| {
                        routes.refreshed(refresh, origin, shared)
                    })
                });
            }
            // Not agreed on, or a subtype of the future: ignored (RFC 2918 section 4, RFC 7313 section 5).
            RefreshKind::Request
            | RefreshKind::Begin
            | RefreshKind::End
            | RefreshKind::Unknown(_) => {}
        }
    }

    /// Changes what a peer has sent, and passes on what that means for the others.
    fn with_routes(
        &mut self,
        id: PeerId,
        change: impl FnOnce(&mut RoutesIn, Option<&Origin<'_>>, &mut Shared<'_>) -> Outcome,
    ) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else {
            return;
        };
        let origin = neighbour.session.as_ref().map(|session| Origin {
            peer: id,
            session,
            enforce_first_as: neighbour.settings.session.enforce_first_as,
            local_asn: self.config.asn,
            router_id: self.config.router_id,
        });
        let mut shared = Shared {
            loc_rib: &mut self.loc_rib,
            attributes: &mut self.attributes,
        };
        let outcome = change(&mut neighbour.routes, origin.as_ref(), &mut shared);
        for fault in outcome.faults {
            self.event(id, Event::Fault(fault));
        }
        if !outcome.announced.is_empty() || !outcome.withdrawn.is_empty() {
            let (announced, withdrawn) = (outcome.announced, outcome.withdrawn);
            self.event(
                id,
                Event::RoutesReceived {
                    announced,
                    withdrawn,
                },
            );
        }
        if self.config.transit {
            self.export(&outcome.best_changed);
        }
    }

    /// Gives up a session whose peer sends too much (RFC 4486 section 4).
    fn enforce_limit(&mut self, now: Instant, id: PeerId) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else {
            return;
        };
        let limit = neighbour.settings.max_prefixes;
        let limit = limit.unwrap_or(Self::MOST_PREFIXES);
        let exceeds = |family: &Family| {
            let received = neighbour.routes.received(*family);
            u32::try_from(received).map_or(true, |received| received > limit)
        };
        let families = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];
        let notification = if let Some(family) = families.into_iter().find(exceeds) {
            too_many_prefixes(family, limit)
        } else if neighbour
            .routes
            .takes_more_than(Self::MOST_ATTRIBUTE_OCTETS)
        {
            Reason::Cease(CeaseSubcode::OutOfResources).into()
        } else {
            return;
        };
        if neighbour.peer.session().is_some() {
            let input = peer::Input::Reset(notification);
            neighbour.peer.handle(now, input, &mut self.next_connection);
        }
    }

    /// Gives every peer that waits for routes and has room in its window one portion.
    fn send_updates(&mut self, now: Instant) {
        if !std::mem::take(&mut self.may_send) {
            return;
        }
        let peers: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(id, n)| n.session.is_some() && self.groups.is_dirty(**id))
            .map(|(id, _)| *id)
            .collect();
        for id in peers {
            let Some(neighbour) = self.neighbours.get_mut(&id) else {
                continue;
            };
            let waiting = neighbour.peer.unwritten();
            if waiting >= Self::SEND_WINDOW {
                continue;
            }
            if let Some(octets) = self.groups.next_octets(id, Self::SEND_WINDOW - waiting) {
                neighbour.peer.send_encoded(now, octets);
                self.may_send = true;
                self.drain(now, id);
            }
        }
    }

    fn event(&mut self, id: PeerId, event: Event) {
        self.outputs.push_back(Output::Event(id, event));
    }
}

/// A socket for both families shows IPv4 addresses as IPv6 ones; no next hop may look like that.
fn canonical(endpoint: SocketAddr) -> SocketAddr {
    match endpoint.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::new(address.into(), endpoint.port()),
        IpAddr::V6(_) => endpoint,
    }
}

/// The table that goes out.
fn exported<'a>(config: &SpeakerConfig, loc_rib: &'a LocRib, originated: &'a LocRib) -> &'a LocRib {
    if config.transit { loc_rib } else { originated }
}

/// Cease/1 with family and limit (RFC 4486 section 4).
fn too_many_prefixes(family: Family, limit: u32) -> Notification {
    let mut data = BytesMut::with_capacity(7);
    data.put_u16(family.afi.0);
    data.put_u8(family.safi.0);
    data.put_u32(limit);
    Notification {
        reason: Reason::Cease(CeaseSubcode::MaximumPrefixes),
        data: data.freeze(),
    }
}
