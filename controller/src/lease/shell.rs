//! Runs a [`Candidate`] against a real API server: the loop that owns the clock, the requests, the watch and the sockets.

use std::collections::BTreeMap;
use std::future::pending;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use hyper::Uri;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher;
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::election::Candidate;
use super::exchange::{Input, Output, Request};
use super::liveness::{self, Heard, Running};
use super::record::Release;
use super::requests::{Outcome, Problem, Requests};
use super::timing::Timing;
use super::{LEASE, Leadership, object};

/// The most that the Lease is asked to remember, in octets. The API server takes 256 KiB of annotations.
const MOST_TO_REMEMBER: usize = 128 * 1024;
/// How long the start waits to know where others find us.
const START_PATIENCE: Duration = Duration::from_millis(200);
/// How long a broken watch rests.
const WATCH_RETRY: Duration = Duration::from_millis(500);

/// What an election needs to know.
#[derive(Clone, Debug)]
pub struct ElectionConfig {
    /// Where the Lease is.
    pub namespace: String,
    /// This node's name: the identity begins with it.
    pub node: String,
    /// The API server's URL (`kube::Config::cluster_url`): the local address towards it is where others find us.
    pub api_server: Uri,
    /// The periods; [`Timing::default`] but for tests.
    pub timing: Timing,
}

/// Takes part in the election until it is dropped or [released](Self::release).
///
/// Dropping it is like a crash: others find out by themselves.
pub struct Election {
    identity: String,
    writes: Arc<AtomicU64>,
    remember: watch::Sender<Option<Arc<str>>>,
    remembered: watch::Receiver<Arc<str>>,
    releases: mpsc::Sender<(Release, oneshot::Sender<()>)>,
    task: JoinHandle<()>,
}

/// The Lease cannot hold that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{octets} octets to remember in the Lease; at most {MOST_TO_REMEMBER} fit: remember less")]
pub struct TooMuchToRemember {
    /// How much it was.
    pub octets: usize,
}

impl Election {
    /// Starts. The receiver is woken when holder, term or right to write change, not when a right that was valid is
    /// merely extended (which happens several times a second): whoever is about to write looks at the present value.
    pub fn start(client: Client, config: ElectionConfig) -> (Self, watch::Receiver<Leadership>) {
        let random = RandomState::new().hash_one(&config.node);
        let identity = format!("{}_{random:016x}", config.node);
        let (leadership, leadership_seen) = watch::channel(Leadership::default());
        let (remember, to_remember) = watch::channel(None);
        let (remembered_here, remembered) = watch::channel(Arc::from(""));
        let (releases, released) = mpsc::channel(1);
        let writes = Arc::new(AtomicU64::new(0));
        let requests = Requests {
            api: Api::namespaced(client, &config.namespace),
            namespace: config.namespace.clone(),
            identity: identity.clone(),
        };
        let seed = RandomState::new().hash_one(&identity);
        let shell = Shell {
            candidate: Candidate::new(identity.clone(), seed, config.timing),
            requests,
            config,
            leadership,
            remembered: remembered_here,
            writes: Arc::clone(&writes),
            read: None,
            write: None,
            heard: None,
            problems: BTreeMap::new(),
        };
        let election = Self {
            identity,
            writes,
            remember,
            remembered,
            releases,
            task: tokio::spawn(shell.run(to_remember, released)),
        };
        (election, leadership_seen)
    }

    /// Our `holderIdentity`: the node's name and something random, new for each start.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How many writes to the Lease were sent so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// While we lead, `text` is what the Lease remembers for whoever leads next: within a second, at most one write a
    /// second. `text` is not read here.
    ///
    /// # Errors
    ///
    /// More than 128 KiB; what was to be remembered before stays.
    pub fn remember(&self, text: &str) -> Result<(), TooMuchToRemember> {
        if text.len() > MOST_TO_REMEMBER {
            return Err(TooMuchToRemember { octets: text.len() });
        }
        // Said again it counts again: another leader may have replaced it. What the Lease has already is not written.
        self.remember.send_replace(Some(text.into()));
        Ok(())
    }

    /// What the Lease remembered when it was last seen: after a change of leaders, what the last one left.
    pub fn remembered(&self) -> Arc<str> {
        self.remembered.borrow().clone()
    }

    /// Leads no more, and gives the Lease up if it is ours, so that somebody else leads at once. `how` must be
    /// [`Release::Settled`] only if every write that was sent got its answer: the next leader relies on it.
    ///
    /// Returns when it is done; with the API server out of reach that is never, so wait for a limited time.
    pub async fn release(&self, how: Release) {
        let (done, finished) = oneshot::channel();
        if self.releases.send((how, done)).await.is_ok() {
            // An error: the loop ended, and with it any leadership.
            let _finished = finished.await;
        }
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answered = Pin<Box<dyn Future<Output = (Request, &'static str, Outcome)> + Send>>;

struct Shell {
    candidate: Candidate,
    requests: Requests,
    config: ElectionConfig,
    leadership: watch::Sender<Leadership>,
    remembered: watch::Sender<Arc<str>>,
    writes: Arc<AtomicU64>,
    read: Option<Answered>,
    write: Option<Answered>,
    heard: Option<(mpsc::Receiver<Heard>, Running)>,
    /// Requests that failed when last tried: the verb and the HTTP status, so that each is told once.
    problems: BTreeMap<&'static str, Option<u16>>,
}

impl Shell {
    async fn run(
        mut self,
        mut remember: watch::Receiver<Option<Arc<str>>>,
        mut releases: mpsc::Receiver<(Release, oneshot::Sender<()>)>,
    ) {
        let identity = self.requests.identity.clone();
        let (mut reachable, _listening) = liveness::listen(
            self.config.api_server.clone(),
            identity,
            self.leadership.subscribe(),
        );
        // Known from the start it costs no extra write; not known, it must not keep anybody waiting.
        let _in_time = timeout(START_PATIENCE, reachable.changed()).await;
        self.candidate.handle(
            now(),
            Input::Reachable(reachable.borrow_and_update().clone()),
        );
        let mut sightings = Box::pin(sightings(self.requests.api.clone()));
        let mut releasing: Option<oneshot::Sender<()>> = None;
        loop {
            while let Some(output) = self.candidate.poll_output() {
                if matches!(output, Output::Released) {
                    if let Some(done) = releasing.take() {
                        let _told = done.send(());
                    }
                    return;
                }
                self.perform(output);
            }
            self.show_remembered();
            let deadline = self.candidate.next_deadline();
            let input = tokio::select! {
                biased;
                // Before a release: what was to be remembered by then goes with it.
                Ok(()) = remember.changed() => match remember.borrow_and_update().clone() {
                    Some(text) => Input::Remember(text),
                    None => Input::Tick,
                },
                Some((how, done)) = releases.recv() => {
                    releasing = Some(done);
                    // What was said just before the end belongs into the last write.
                    if let Some(text) = remember.borrow_and_update().clone() {
                        self.candidate.handle(now(), Input::Remember(text));
                    }
                    Input::Release { how }
                }
                answered = until_answered(&mut self.read) => {
                    self.read = None;
                    self.judge(answered)
                }
                answered = until_answered(&mut self.write) => {
                    self.write = None;
                    self.judge(answered)
                }
                sighting = sightings.next() => self.sight(sighting),
                heard = until_heard(&mut self.heard) => match heard {
                    Heard::Heartbeat => Input::Heartbeat,
                    Heard::Lost => {
                        self.heard = None;
                        Input::LivenessLost
                    }
                },
                Ok(()) = reachable.changed() => Input::Reachable(reachable.borrow_and_update().clone()),
                () = until(deadline) => Input::Tick,
            };
            self.candidate.handle(now(), input);
        }
    }

    fn perform(&mut self, output: Output) {
        let requests = self.requests.clone();
        let Timing {
            read_timeout,
            write_timeout,
            ..
        } = self.config.timing;
        match output {
            Output::Get { request } => {
                self.read = Some(Box::pin(async move {
                    let outcome = timeout(slightly_less(read_timeout), requests.read()).await;
                    let outcome =
                        outcome.unwrap_or_else(|_| requests.unanswered("get", read_timeout));
                    (request, "get", outcome)
                }));
            }
            Output::Create { request, change } => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.write = Some(Box::pin(async move {
                    let outcome = timeout(
                        slightly_less(write_timeout),
                        requests.create(&change, wall_clock()),
                    )
                    .await;
                    let outcome =
                        outcome.unwrap_or_else(|_| requests.unanswered("create", write_timeout));
                    (request, "create", outcome)
                }));
            }
            Output::Replace {
                request,
                of,
                change,
            } => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.write = Some(Box::pin(async move {
                    let outcome = timeout(
                        slightly_less(write_timeout),
                        requests.replace(&of, &change, wall_clock()),
                    )
                    .await;
                    let outcome =
                        outcome.unwrap_or_else(|_| requests.unanswered("patch", write_timeout));
                    (request, "patch", outcome)
                }));
            }
            Output::ConnectLiveness { holder, target } => {
                self.heard = (!target.is_empty()).then(|| liveness::follow(holder, target));
            }
            Output::LeadershipChanged(leadership) => self.show(leadership),
            // The loop ends with it.
            Output::Released => {}
        }
    }

    fn show(&self, new: Leadership) {
        let namespace = &self.config.namespace;
        let old = self.leadership.borrow().clone();
        match (&old.lead, &new.lead) {
            (old, Some(lead)) if old.is_none_or(|old| old.term != lead.term) => {
                let former = if lead.unclean {
                    "the former leader gave no notice"
                } else {
                    "nobody led before"
                };
                info!(
                    "we lead: Lease {namespace}/{LEASE}, term {} ({former})",
                    lead.term
                );
            }
            (Some(_), None) => info!(
                "we lead no more: Lease {namespace}/{LEASE} is held by {:?}",
                new.holder
            ),
            (None, None) if old.holder != new.holder && !new.holder.is_empty() => {
                info!(
                    "we follow {}: it holds Lease {namespace}/{LEASE}",
                    new.holder
                );
            }
            _ => {}
        }
        let essence = |leadership: &Leadership| {
            let lead = leadership.lead.map(|lead| (lead.term, lead.unclean));
            (lead, leadership.holder.clone())
        };
        let told = essence(&old) != essence(&new) || !old.may_write(now());
        self.leadership.send_if_modified(|shown| {
            *shown = new;
            told
        });
    }

    fn show_remembered(&self) {
        let Some(record) = self.candidate.record() else {
            return;
        };
        self.remembered.send_if_modified(|shown| {
            let changed = *shown != record.addresses;
            if changed {
                *shown = Arc::clone(&record.addresses);
            }
            changed
        });
    }

    fn judge(&mut self, (request, verb, outcome): (Request, &'static str, Outcome)) -> Input {
        self.tell(verb, outcome.problem);
        Input::Answered {
            request,
            answer: outcome.answer,
        }
    }

    fn sight(&mut self, sighting: Option<Result<Option<Lease>, watcher::Error>>) -> Input {
        let problem = match sighting {
            Some(Ok(lease)) => {
                self.tell("watch", None);
                return Input::Seen(lease.as_ref().map(object::record));
            }
            Some(Err(
                watcher::Error::InitialListFailed(error)
                | watcher::Error::WatchStartFailed(error)
                | watcher::Error::WatchFailed(error),
            )) => Some(self.requests.explain("watch", &error)),
            // The server ended it: that is usual, and the next one begins at once.
            Some(Err(_)) | None => None,
        };
        if problem.is_some() {
            self.tell("watch", problem);
        }
        Input::Unwatched
    }

    fn tell(&mut self, verb: &'static str, problem: Option<Problem>) {
        let before = self.problems.get(verb).copied();
        match problem {
            Some(problem) if before != Some(problem.code) => {
                warn!("{}", problem.text);
                self.problems.insert(verb, problem.code);
            }
            Some(_) => {}
            None => {
                if self.problems.remove(verb).is_some() {
                    info!(
                        "Lease {}/{LEASE}: {verb} works again",
                        self.config.namespace
                    );
                }
            }
        }
    }
}

/// The Lease as the watch shows it; a broken watch is tried again after a rest.
fn sightings(api: Api<Lease>) -> impl Stream<Item = Result<Option<Lease>, watcher::Error>> + Send {
    let watching = Box::pin(watcher::watch_object(api, LEASE));
    futures_util::stream::unfold((watching, false), |(mut watching, rest)| async move {
        if rest {
            tokio::time::sleep(WATCH_RETRY).await;
        }
        let sighting = watching.next().await?;
        let failed = sighting.is_err();
        Some((sighting, (watching, failed)))
    })
}

async fn until_answered(request: &mut Option<Answered>) -> (Request, &'static str, Outcome) {
    match request {
        Some(answered) => answered.await,
        None => pending().await,
    }
}

async fn until_heard(heard: &mut Option<(mpsc::Receiver<Heard>, Running)>) -> Heard {
    match heard {
        Some((receiver, _)) => receiver.recv().await.unwrap_or(Heard::Lost),
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// The candidate gives a request up by itself; a little earlier we know why.
fn slightly_less(limit: Duration) -> Duration {
    limit.mul_f32(0.97)
}

fn wall_clock() -> Timestamp {
    Timestamp::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this loop owns the clock of the election"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
