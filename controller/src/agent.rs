//! The run loop of a node: objects -> snapshot -> addresses and statuses -> BGP plan -> actions. It owns the clock.

mod instances;
mod signals;
mod telling;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tracing::{info, warn};

use self::instances::Instances;
use self::signals::Signals;
use self::telling::Telling;
use crate::cli::{Failure, Outcome};
use crate::cluster::Snapshot;
use crate::config::{Listen, RunConfig};
use crate::net::changes::Changes;
use crate::observe::api::{Api, BindError};
use crate::observe::health::Health;
use crate::observe::{ClusterView, State};
use crate::plan::addresses::{AddressBook, AddressPlan};
use crate::plan::diff::{Applied, diff};
use crate::plan::{Settings, peers};

/// Runs until SIGINT or SIGTERM, then ends the sessions in order.
///
/// # Errors
/// Something that is needed cannot be had, or one of our own tasks failed.
pub async fn run(config: RunConfig) -> Outcome {
    let mut signals = Signals::take().map_err(|error| Failure::Unreachable(format!("run: signals cannot be taken: {error}")))?;
    let api = bind_api(&config).await?;
    let mut source = open(&config).await?;
    let node = node(&config, &source.snapshot())?;
    let state = Arc::new(State::new(node.clone(), Changes::default()));
    let mut endpoints = JoinSet::new();
    if let Some(health) = bind_health(&config, &node, &source.snapshot())? {
        endpoints.spawn(health.serve(Arc::clone(&state)));
    }
    if let Some(address) = api.address() {
        info!(node, manifests = %config.manifests.display(), api = %address, "Fairway runs");
    }
    endpoints.spawn(api.serve(Arc::clone(&state)));
    let mut agent = Agent::new(config.settings(&node), config.allocate, Arc::clone(&state));
    agent.step(&mut source).await?;
    let outcome = loop {
        tokio::select! {
            changed = source.changed() => {
                changed?;
                agent.step(&mut source).await?;
            }
            () = sleep_until(agent.again_at.unwrap_or_else(now).into()), if agent.again_at.is_some() => {
                agent.step(&mut source).await?;
            }
            failure = agent.instances.failed() => break Err(Failure::Wrong(format!("run: {failure}; this is a fault of Fairway"))),
            Some(ended) = endpoints.join_next() => {
                let how = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
                break Err(Failure::Wrong(format!("run: the local API or the health endpoint failed: {how}; this is a fault of Fairway")));
            }
            signal = signals.stop() => {
                info!("{signal}: ending the BGP sessions; once more ends the process at once");
                break Ok(());
            }
        }
    };
    signals.next_ends_the_process();
    agent.instances.end().await;
    // Waits until they are gone: the API removes its socket on the way.
    endpoints.shutdown().await;
    outcome
}

#[expect(clippy::disallowed_methods, reason = "the run loop owns the clock of the plans")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What lasts from one plan to the next.
#[derive(Debug)]
struct Agent {
    settings: Settings,
    allocate: bool,
    book: AddressBook,
    applied: Applied,
    again_at: Option<Instant>,
    instances: Instances,
    telling: Telling,
    state: Arc<State>,
}

impl Agent {
    fn new(settings: Settings, allocate: bool, state: Arc<State>) -> Self {
        Self {
            instances: Instances::new(settings.node.clone(), state.changes().clone()),
            settings,
            allocate,
            book: AddressBook::default(),
            applied: Applied::default(),
            again_at: None,
            telling: Telling::default(),
            state,
        }
    }

    /// Plans everything from the newest snapshot and applies what differs.
    async fn step(&mut self, source: &mut Source) -> Result<(), Failure> {
        let snapshot = source.snapshot();
        self.telling.problems(&snapshot.problems);
        let addresses = match self.allocate {
            true => self.book.plan(&snapshot, &self.settings, now()),
            false => AddressPlan::default(),
        };
        self.again_at = addresses.again_at;
        self.telling.addresses(&addresses);
        // On record before it is announced: a restart must find what the network was told.
        source.write(&addresses).await?;
        let plan = peers::plan(&snapshot, &addresses, &self.settings);
        let notes = telling::notes(&plan);
        self.telling.notes(&notes);
        for action in diff(&mut self.applied, plan) {
            self.instances.perform(action).await;
        }
        self.state.set_instances(self.instances.handles());
        self.state.set_view(ClusterView {
            ready: snapshot.complete,
            services: source.services(&addresses),
            pools: source.pools(&addresses),
            problems: snapshot.problems.clone(),
            notes,
            addresses,
        });
        Ok(())
    }
}

/// The first of the possible places that can be had; what stands in the way of the last one is the error.
async fn bind_api(config: &RunConfig) -> Result<Api, Failure> {
    let mut failure = None;
    for address in &config.api {
        match Api::bind(address).await {
            Ok(api) => return Ok(api),
            // Whoever may not use the first place goes on to the next; a Fairway that lives there is something else.
            Err(error @ BindError::InUse(_)) => return Err(Failure::Unreachable(format!("run: {error}"))),
            Err(error) => failure = Some(error),
        }
    }
    Err(Failure::Unreachable(match failure {
        Some(error) => format!("run: {error}"),
        None => "run: there is no place for the local API; name one with --api".to_owned(),
    }))
}

/// Health is worth no outage: where the default address is taken the node runs without, and says so.
fn bind_health(config: &RunConfig, node: &str, snapshot: &Snapshot) -> Result<Option<Health>, Failure> {
    let Some(address) = config.listen.address(internal_address(snapshot, node)) else { return Ok(None) };
    match Health::bind(address) {
        Ok(health) => Ok(Some(health)),
        Err(error) if matches!(config.listen, Listen::Default(_)) => {
            warn!("no health and metrics: {address}: {error}; give them another place with --listen, or say --listen off");
            Ok(None)
        }
        Err(error) => Err(Failure::Unreachable(format!("run: --listen {address}: {error}; free it or choose another"))),
    }
}

fn internal_address(snapshot: &Snapshot, node: &str) -> Option<IpAddr> {
    let node = snapshot.nodes.get(node)?;
    node.addresses.iter().find(|address| address.kind == "InternalIP").map(|address| address.address)
}

/// The node that was named, else the only one there is, else the one that is called as this machine.
fn node(config: &RunConfig, snapshot: &Snapshot) -> Result<String, Failure> {
    if let Some(node) = &config.node {
        return Ok(node.clone());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let names: Vec<&str> = snapshot.nodes.keys().map(String::as_str).collect();
    match names.as_slice() {
        [] => Ok(host),
        [only] => Ok((*only).to_owned()),
        names if names.contains(&host.as_str()) => Ok(host),
        names => Err(Failure::Usage(format!(
            "run: which node is this? The manifests have {}; name one with --node or NODE_NAME",
            names.join(", ")
        ))),
    }
}
