//! The run loop of a node: objects -> snapshot -> addresses and statuses -> BGP plan -> actions. It owns the clock.

mod instances;
mod operator;
mod recorder;
mod signals;
mod telling;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tracing::{info, warn};

use self::instances::Instances;
use self::recorder::{Origin, Recorder};
use self::signals::Signals;
use self::telling::Telling;
use crate::cli::{Failure, Outcome};
use crate::cluster::Snapshot;
use crate::config::{Listen, RunConfig};
use crate::net::changes::Changes;
use crate::net::memory;
use crate::observe::api::{Api, BindError};
use crate::observe::health::Health;
use crate::observe::{ClusterView, State};
use crate::plan::addresses::AddressPlan;
use crate::plan::diff::{Applied, diff};
use crate::plan::{Settings, peers};
use crate::watch::Observed;

/// In a cluster a step is followed by a rest so many times as long: while thousands of Services are being written, the
/// machine is needed by those who write them.
const REST_FACTOR: u32 = 10;
/// No change waits longer than that.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// So long after a step memory is given back to the system.
const TIDY: Duration = Duration::from_secs(3);

/// Runs until SIGINT or SIGTERM, then ends the sessions in order.
///
/// # Errors
/// Something that is needed cannot be had, or one of our own tasks failed.
pub async fn run(config: RunConfig) -> Outcome {
    let mut signals = Signals::take()
        .map_err(|error| Failure::Unreachable(format!("run: signals cannot be taken: {error}")))?;
    let api = bind_api(&config).await?;
    // None of these ends by itself; one that does is a fault that must not go unnoticed.
    let mut tasks = JoinSet::new();
    let Origin {
        mut observed,
        recorder,
        name: objects,
        numbers,
    } = recorder::open(&config, &mut tasks).await?;
    let snapshot = Arc::clone(&observed.borrow_and_update().snapshot);
    let node = node(&config, &snapshot)?;
    let state = Arc::new(State::new(node.clone(), Changes::default()));
    if let Some(numbers) = numbers {
        state.set_cluster(numbers);
    }
    let health = bind_health(&config, &node, &snapshot)?;
    if let Some(address) = api.address() {
        info!(node, objects, api = %address, "Fairway runs");
    }
    if let Some(health) = health {
        tasks.spawn(serve_health(health, Arc::clone(&state)));
    }

    let mut agent = Agent::new(config.settings(&node), recorder, Arc::clone(&state));
    agent.step(&observed.borrow_and_update().clone()).await;
    // Whoever asks before the first plan is in force waits for it, rather than being told that there is nothing.
    tasks.spawn(serve_api(api, state));
    let outcome = loop {
        tokio::select! {
            changed = changed_after(&mut observed, agent.rest_until) => if changed.is_err() {
                break fault("objects are no longer watched");
            },
            changed = agent.recorder.changed() => if let Err(failure) = changed {
                break Err(failure);
            },
            () = sleep_until(agent.again_at.unwrap_or_else(now).into()), if agent.again_at.is_some() => {}
            () = sleep_until(agent.tidy_at.unwrap_or_else(now).into()), if agent.tidy_at.is_some() => {
                agent.tidy_at = None;
                memory::give_back();
                continue;
            }
            failure = agent.instances.failed() => break fault(&failure),
            Some(ended) = tasks.join_next() => break fault(&ended.unwrap_or_else(|error| error.to_string())),
            signal = signals.stop() => {
                info!("{signal}: ending the BGP sessions; once more ends the process at once");
                break Ok(());
            }
        }
        let newest = observed.borrow_and_update().clone();
        agent.step(&newest).await;
    };
    signals.next_ends_the_process();
    tokio::join!(agent.instances.end(), agent.recorder.end());
    // Waits until they are gone: the API removes its socket on the way.
    tasks.shutdown().await;
    outcome
}

fn fault(what: &str) -> Outcome {
    Err(Failure::Wrong(format!(
        "run: {what}; this is a fault of Fairway"
    )))
}

/// Waits for other objects, and then for the end of a rest. Cancelling loses nothing: whoever looks sees the newest.
async fn changed_after(
    observed: &mut watch::Receiver<Observed>,
    rest_until: Instant,
) -> Result<(), RecvError> {
    observed.changed().await?;
    sleep_until(rest_until.into()).await;
    Ok(())
}

async fn serve_api(api: Api, state: Arc<State>) -> String {
    api.serve(state).await;
    "the local API ended".to_owned()
}

async fn serve_health(health: Health, state: Arc<State>) -> String {
    health.serve(state).await;
    "the health endpoint ended".to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the run loop owns the clock of the plans"
)]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What lasts from one plan to the next.
#[derive(Debug)]
struct Agent {
    settings: Settings,
    recorder: Recorder,
    applied: Applied,
    again_at: Option<Instant>,
    /// Until then changes of objects are only collected.
    rest_until: Instant,
    /// When to give back memory that the steps since the last time left behind.
    tidy_at: Option<Instant>,
    instances: Instances,
    telling: Telling,
    state: Arc<State>,
}

impl Agent {
    fn new(settings: Settings, recorder: Recorder, state: Arc<State>) -> Self {
        Self {
            instances: Instances::new(
                settings.node.clone(),
                state.changes().clone(),
                recorder.has_history(),
            ),
            settings,
            recorder,
            applied: Applied::default(),
            again_at: None,
            rest_until: now(),
            tidy_at: None,
            telling: Telling::default(),
            state,
        }
    }

    /// Plans everything from what was observed last and applies what differs.
    async fn step(&mut self, observed: &Observed) {
        let snapshot = &observed.snapshot;
        self.telling.problems(&snapshot.problems);
        let begin = now();
        let planned = self
            .recorder
            .step(observed, &self.settings, begin, &mut self.telling);
        if planned.addresses != AddressPlan::default() {
            let took = now().saturating_duration_since(begin);
            self.state
                .note_processing(|processing| processing.planned(snapshot, took));
        }
        self.again_at = planned.again_at;
        let plan = if planned.announced {
            peers::plan(snapshot, &planned.addresses, &self.settings)
        } else {
            peers::plan(snapshot, &AddressPlan::default(), &self.settings)
        };
        let notes = telling::notes(&plan);
        self.telling.notes(&notes);
        for action in diff(&mut self.applied, plan) {
            self.instances.perform(action).await;
        }
        if snapshot.complete {
            self.instances.first_plan_applied();
        }
        self.state.set_instances(self.instances.handles());
        self.state.set_view(ClusterView {
            ready: snapshot.complete,
            observed: observed.clone(),
            notes,
            addresses: planned.addresses,
        });
        let end = now();
        self.tidy_at.get_or_insert(end + TIDY);
        if self.recorder.may_rest() {
            let took = end.saturating_duration_since(begin);
            self.rest_until = end + (took * REST_FACTOR).min(LONGEST_REST);
        }
    }
}

/// The first of the possible places that can be had; what stands in the way of the last one is the error.
async fn bind_api(config: &RunConfig) -> Result<Api, Failure> {
    let mut failure = None;
    for address in &config.api {
        match Api::bind(address).await {
            Ok(api) => return Ok(api),
            // Whoever may not use the first place goes on to the next; a Fairway that lives there is something else.
            Err(error @ BindError::InUse(_)) => {
                return Err(Failure::Unreachable(format!("run: {error}")));
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(Failure::Unreachable(match failure {
        Some(error) => format!("run: {error}"),
        None => "run: there is no place for the local API; name one with --api".to_owned(),
    }))
}

/// Health is worth no outage: where the default address is taken the node runs without, and says so.
fn bind_health(
    config: &RunConfig,
    node: &str,
    snapshot: &Snapshot,
) -> Result<Option<Health>, Failure> {
    let Some(address) = config.listen.address(internal_address(snapshot, node)) else {
        return Ok(None);
    };
    match Health::bind(address) {
        Ok(health) => Ok(Some(health)),
        Err(error) if matches!(config.listen, Listen::Default(_)) => {
            warn!(
                "no health and metrics: {address}: {error}; give them another place with --listen, or say --listen off"
            );
            Ok(None)
        }
        Err(error) => Err(Failure::Unreachable(format!(
            "run: --listen {address}: {error}; free it or choose another"
        ))),
    }
}

fn internal_address(snapshot: &Snapshot, node: &str) -> Option<IpAddr> {
    let node = snapshot.nodes.get(node)?;
    node.addresses
        .iter()
        .find(|address| address.kind == "InternalIP")
        .map(|address| address.address)
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The node that was named, else the only one there is, else the one that is called as this machine.
fn node(config: &RunConfig, snapshot: &Snapshot) -> Result<String, Failure> {
    if let Some(node) = &config.node {
        return Ok(node.clone());
    }
    let host = host_name();
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
