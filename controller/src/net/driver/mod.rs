//! One task for each BGP instance: the run loop around a [`Speaker`]. It owns the clock and the sockets, decides nothing.

mod handle;
mod peers;
mod router;
mod status;
mod telling;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bgp_core::capability::Capability;
use bgp_core::peer::{ConnectionId, Shutdown};
use bgp_core::speaker::{Input, Output, PeerId};
use bgp_core::types::CeaseSubcode;
use bgp_core::{Prefix, Speaker, SpeakerConfig};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info};

use self::handle::Command;
pub use self::handle::{Ending, Gone, InstanceHandle};
use self::peers::transport;
use self::router::Role;
pub use self::router::router;
pub use self::status::{AdvertisedRoute, AvailableRoute, InstanceStatus, PeerView};
use super::changes::Changes;
use super::tcp::{self, Callers, Connection, Event, Listeners, Stream};
use crate::cluster::ObjectName;
use crate::plan::action::{Change, Identity, StopReason};
use crate::plan::{PeerPlan, RoutePlan};

/// Events of sockets that may wait for the driver; each holds at most one chunk.
const EVENTS: usize = 64;
/// Commands that may wait for the driver.
const COMMANDS: usize = 16;
/// Wait before a listening socket that could not be opened is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(5);
/// Routes of one family that a peer may send. Fairway uses none of them; a full table passes, a runaway does not.
const MAX_RECEIVED: u32 = 2_000_000;
/// Route changes of one batch that are logged one by one.
const LOGGED_ROUTES: usize = 20;
/// How long the peers of a stopping instance may take to hear of it.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// What the driver needs to know besides the identity.
#[derive(Clone, Debug)]
pub struct Context {
    /// The instance's name.
    pub name: String,
    /// The node, for the FQDN capability and for the text of a Cease.
    pub node: String,
    /// Feeds the jitter.
    pub seed: u64,
    /// Whether the process was restarted while peers may still have our routes: peers of the first batch of changes are
    /// told so (RFC 4724 section 4.1).
    pub restarted: bool,
    /// Whom to tell that something changed.
    pub changes: Changes,
}

/// An instance without routes and peers. The future is its run loop; it ends when the instance was stopped.
pub fn instance(
    identity: Identity,
    context: Context,
) -> (InstanceHandle, impl Future<Output = ()> + Send + 'static) {
    let (commands, received) = mpsc::channel(COMMANDS);
    (
        InstanceHandle::new(commands),
        Driver::new(identity, context).run(received),
    )
}

#[derive(Debug)]
struct Driver {
    identity: Identity,
    role: Role,
    context: Context,
    speaker: Speaker,
    names: BTreeMap<String, PeerState>,
    peers: HashMap<PeerId, String>,
    next_peer: u32,
    routes: BTreeMap<Prefix, OriginatedRoute>,
    connections: HashMap<ConnectionId, Connection>,
    dialling: HashMap<ConnectionId, AbortHandle>,
    dials: JoinSet<()>,
    closings: JoinSet<()>,
    events: mpsc::Sender<Event>,
    received: mpsc::Receiver<Event>,
    callers: watch::Sender<Callers>,
    listeners: Option<Listeners>,
    listen_error: Option<String>,
    listen_again: Option<Instant>,
}

#[derive(Debug)]
struct PeerState {
    plan: PeerPlan,
    /// Whether its first session is one after a restart of ours.
    restarting: bool,
    /// What the OPEN offers.
    offered: Vec<Capability>,
    /// `None` while it is blocked.
    id: Option<PeerId>,
    /// A fault of ours that keeps it from working as planned (its password cannot be set).
    fault: Option<String>,
    /// The reasons that were logged since the last session, so that those that repeat or take turns are logged once.
    logged: BTreeSet<String>,
    /// What one side last said against a session. A connection that is lost afterwards explains less.
    objection: Option<String>,
}

#[derive(Debug)]
struct OriginatedRoute {
    because: Vec<ObjectName>,
    since: Instant,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the driver owns the clock of its speaker"
)]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Driver {
    fn new(identity: Identity, context: Context) -> Self {
        let (events, received) = mpsc::channel(EVENTS);
        let config = SpeakerConfig {
            asn: identity.local_asn,
            router_id: identity.router_id,
            seed: context.seed,
            transit: false,
        };
        Self {
            identity,
            role: Role::Agent,
            speaker: Speaker::new(config),
            names: BTreeMap::new(),
            peers: HashMap::new(),
            next_peer: 0,
            routes: BTreeMap::new(),
            connections: HashMap::new(),
            dialling: HashMap::new(),
            dials: JoinSet::new(),
            closings: JoinSet::new(),
            events,
            received,
            callers: watch::channel(Callers::default()).0,
            listeners: None,
            listen_error: None,
            listen_again: None,
            context,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        info!(
            instance = self.context.name,
            asn = self.identity.local_asn.0,
            router_id = %self.identity.router_id,
            "BGP instance starts"
        );
        self.listen();
        loop {
            self.drain();
            while self.closings.try_join_next().is_some() || self.dials.try_join_next().is_some() {}
            let speaker_due = self.speaker.next_deadline();
            let due = [speaker_due, self.listen_again].into_iter().flatten().min();
            tokio::select! {
                event = self.received.recv() => {
                    if let Some(event) = event { self.socket_event(event); }
                }
                command = commands.recv() => match command {
                    Some(Command::Stop(ending, done)) => {
                        self.stop(ending).await;
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                    None => return self.stop(Ending::ProcessStops).await,
                },
                () = sleep_until(due.unwrap_or_else(now).into()), if due.is_some() => {
                    if self.listen_again.is_some_and(|at| at <= now()) {
                        self.listen();
                    }
                    if speaker_due.is_some_and(|at| at <= now()) {
                        self.speaker.handle(now(), Input::Tick);
                    }
                }
            }
        }
    }

    fn drain(&mut self) {
        let mut changed = false;
        while let Some(output) = self.speaker.poll_output(now()) {
            match output {
                Output::Connect { peer, connection } => self.connect(peer, connection),
                Output::Send { connection, octets } => {
                    // A KEEPALIVE is 19 octets and changes nothing that anybody sees.
                    changed |= octets.len() > 19;
                    self.send(connection, octets);
                }
                Output::Close { connection } => self.close(connection),
                Output::Event(peer, event) => {
                    changed = true;
                    self.tell(peer, event);
                }
            }
        }
        if changed {
            self.context.changes.announce();
        }
    }

    fn connect(&mut self, peer: PeerId, connection: ConnectionId) {
        let plan = self
            .peers
            .get(&peer)
            .and_then(|name| self.names.get(name))
            .map(|state| &state.plan);
        let Some(plan) = plan else {
            // Cannot be: the speaker asks for peers it was given. It must hear of it all the same, or it waits for ever.
            return self.speaker.handle(
                now(),
                Input::ConnectFailed {
                    connection,
                    error: "the peer is not configured".to_owned(),
                },
            );
        };
        let transport = transport(&self.identity, plan);
        let events = self.events.clone();
        let dial = self.dials.spawn(async move {
            let result = tcp::dial(&transport).await;
            let _ = events.send(Event::Dialled { connection, result }).await;
        });
        self.dialling.insert(connection, dial);
    }

    fn send(&mut self, connection: ConnectionId, octets: Bytes) {
        let Some(open) = self.connections.get_mut(&connection) else {
            return;
        };
        if !open.send(octets) {
            if let Some(open) = self.connections.remove(&connection) {
                open.abandon();
            }
            let error = format!(
                "the peer does not read: more than {} octets wait for it",
                tcp::QUEUE_LIMIT
            );
            self.speaker
                .handle(now(), Input::Closed { connection, error });
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        if let Some(dial) = self.dialling.remove(&connection) {
            dial.abort();
        }
        if let Some(open) = self.connections.remove(&connection) {
            self.closings.spawn(open.close());
        }
    }

    fn socket_event(&mut self, event: Event) {
        let input = match event {
            Event::Dialled { connection, result } => {
                if self.dialling.remove(&connection).is_none() {
                    return;
                }
                match result {
                    Ok(stream) => self.opened(connection, stream),
                    Err(error) => Input::ConnectFailed { connection, error },
                }
            }
            Event::Accepted(stream) => return self.accepted(stream),
            Event::Received { connection, .. }
            | Event::Written { connection, .. }
            | Event::Closed { connection, .. }
                if !self.connections.contains_key(&connection) =>
            {
                return;
            }
            Event::Received { connection, octets } => Input::Received { connection, octets },
            Event::Written { connection, octets } => {
                if let Some(open) = self.connections.get_mut(&connection) {
                    open.written(octets);
                }
                Input::Written { connection, octets }
            }
            Event::Closed { connection, error } => {
                if let Some(open) = self.connections.remove(&connection) {
                    open.abandon();
                }
                Input::Closed { connection, error }
            }
        };
        self.speaker.handle(now(), input);
    }

    fn opened(&mut self, connection: ConnectionId, stream: Stream) -> Input {
        let Stream {
            socket,
            local,
            remote,
        } = stream;
        self.connections.insert(
            connection,
            Connection::start(connection, socket, self.events.clone()),
        );
        Input::Connected {
            connection,
            local,
            remote,
        }
    }

    fn accepted(&mut self, stream: Stream) {
        match self.speaker.accept(now(), stream.local, stream.remote) {
            Ok(connection) => {
                let open = Connection::start(connection, stream.socket, self.events.clone());
                self.connections.insert(connection, open);
            }
            Err(refused) => {
                debug!(instance = self.context.name, remote = %stream.remote, "connection refused: {refused}")
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Change(changes) => {
                self.log_routes(&changes);
                for change in changes {
                    self.change(change);
                }
                self.drain();
                self.context.restarted = false;
                self.context.changes.announce();
            }
            // Whoever asked may have stopped waiting.
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Available(family, answer) => drop(answer.send(self.available(family))),
            Command::Advertised(family, answer) => drop(answer.send(self.advertised(family))),
            Command::Table(family, answer) => drop(answer.send(self.table(family))),
            Command::Stop(..) => {}
        }
    }

    /// Routes are only marked here: what a whole batch of changes makes due goes out packed, at the next drain.
    fn change(&mut self, change: Change) {
        match change {
            Change::Originate(RoutePlan {
                origination,
                because,
            }) => {
                self.routes.insert(
                    origination.prefix,
                    OriginatedRoute {
                        because,
                        since: now(),
                    },
                );
                self.speaker.handle(now(), Input::Originate(origination));
            }
            Change::Withdraw(prefix) => {
                self.routes.remove(&prefix);
                self.speaker
                    .handle(now(), Input::WithdrawOrigination(prefix));
            }
            Change::SetPeer { name, plan } => self.set_peer(name, plan),
            Change::RemovePeer { name } => {
                self.remove_peer(
                    &name,
                    CeaseSubcode::PeerDeconfigured,
                    "no object asks for this session any more",
                );
            }
        }
    }

    async fn stop(mut self, ending: Ending) {
        self.listeners = None;
        if let Ending::Stopped(_) = ending {
            // A peer that keeps routes over a Cease (RFC 8538) must be told of each.
            let prefixes: Vec<Prefix> = self.routes.keys().copied().collect();
            for prefix in prefixes {
                self.speaker
                    .handle(now(), Input::WithdrawOrigination(prefix));
            }
            self.drain();
        }
        let ids: Vec<(PeerId, bool)> = self
            .names
            .values()
            .filter_map(|state| Some((state.id?, state.plan.graceful_restart.is_some())))
            .collect();
        for (id, graceful_restart) in ids {
            let shutdown = match ending {
                Ending::ProcessStops if graceful_restart => Shutdown::Silent,
                Ending::ProcessStops => Shutdown::Cease(
                    CeaseSubcode::AdministrativeShutdown,
                    format!("Fairway on {} is stopping", self.context.node),
                ),
                // The two subcodes that carry a text (RFC 9003 section 2), for whoever reads the router's log.
                Ending::Stopped(StopReason::Removed) => Shutdown::Cease(
                    CeaseSubcode::AdministrativeShutdown,
                    format!("{} does not speak BGP any more", self.context.node),
                ),
                Ending::Stopped(StopReason::Recreated) => Shutdown::Cease(
                    CeaseSubcode::AdministrativeReset,
                    format!("the identity of {} changed", self.context.node),
                ),
            };
            self.speaker.handle(now(), Input::RemovePeer(id, shutdown));
            self.drain();
        }
        self.dials.abort_all();
        for (_, open) in self.connections.drain() {
            self.closings.spawn(open.close());
        }
        let _ = timeout(STOP_LIMIT, async {
            while self.closings.join_next().await.is_some() {}
        })
        .await;
        self.context.changes.announce();
        info!(instance = self.context.name, "BGP instance ended");
    }
}

#[cfg(test)]
mod tests;
