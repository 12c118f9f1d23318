//! Statuses and Events, written to the API server.
//!
//! [`Writer::want`] is told what should be recorded, whenever that may have changed (level, not edge); it compares, queues
//! and returns. A task of its own sends: at most [`AT_ONCE`] requests, at most one for each object, each on condition that
//! the object still is the one that was looked at (`metadata.uid`, `metadata.resourceVersion`), so nobody is ever
//! overwritten. Nothing is sent unless [`Leadership::may_write`] holds at that very moment.
//!
//! | file | job |
//! |---|---|
//! | `outbox` | PURE: what waits, and when which of it may be sent |
//! | `pace` | PURE: how fast the server may be asked |
//! | `request` | PURE: patches, paths, what answers mean |
//! | `events` | PURE: the Events that wait |
//! | `seen` | what is asked of the observed objects |
//! | `run` | the task: sends, waits, logs |
//! | `stats` | numbers for the metrics |

mod events;
mod outbox;
mod pace;
mod request;
mod run;
mod seen;
mod stats;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::{ObjectName, Service, Snapshot};
use crate::lease::Leadership;
use crate::plan::addresses::{AddressPlan, PoolCondition, ServiceStatus};
use crate::plan::events::{Happening, happenings};
use crate::plan::status::{is_as_desired, is_pool_as_desired};
use crate::watch::Observed;

pub use self::stats::{LATENCY_BOUNDS, Latency, WriterStats};

use self::events::Events;
use self::outbox::{Outbox, Target, Version};
use self::seen::Seen;

/// Requests at once. The API server takes about a thousand status writes a second over sixteen connections and hardly more
/// over any greater number; a flow of its own is never given more than a few dozen.
pub const AT_ONCE: usize = 16;

/// A write without an answer may reach its object for that long: TCP gives up on octets that nobody acknowledges within
/// seconds, and an API server ends every request within a minute.
const LATE: Duration = Duration::from_secs(75);

/// How a writer is set up.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Who reports Events: `reportingInstance`, such as the node's name.
    pub instance: String,
    /// Seed of the jitter of waits.
    pub seed: u64,
}

/// What the agent should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The newest term whose marks are all answered and seen: from then on plans are written.
    pub begun: Option<u64>,
    /// Why statuses are not written at present, in a sentence; `None` while they are.
    pub trouble: Option<String>,
}

/// A handle on the writer, cheap to clone. The task ends with the last one.
#[derive(Clone, Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    news: watch::Receiver<News>,
    _task: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There may be something to send.
    wake: Notify,
    /// A request was answered.
    answered: Notify,
    news: watch::Sender<News>,
}

#[derive(Debug)]
struct State {
    outbox: Outbox<Content>,
    events: Events,
    stats: WriterStats,
    /// The term in which all this is wanted: in no other is any of it sent.
    term: Option<u64>,
    /// When a write was last given up without an answer.
    unanswered: Option<Instant>,
    /// The term whose marks are still to be answered.
    beginning: Option<u64>,
    draining: bool,
}

/// What is to be written to an object.
#[derive(Debug)]
struct Content {
    seen: Seen,
    desired: Desired,
    time: Timestamp,
    happenings: Vec<Happening>,
}

#[derive(Debug, PartialEq, Eq)]
enum Desired {
    Service(ServiceStatus),
    Pool(Vec<PoolCondition>),
    Mark { term: u64, former: Arc<str> },
}

/// Contents are the same where they want the same; the version they are for is told apart elsewhere.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.desired == other.desired
    }
}

impl Writer {
    /// Starts the task. `client` should be one whose connections are silent without a valid lease
    /// ([`KubernetesClient::open_fenced`](crate::kubernetes_client::KubernetesClient::open_fenced)), and must not repeat
    /// requests by itself. Must be called inside a tokio runtime.
    pub fn start(
        client: kube::Client,
        leadership: watch::Receiver<Leadership>,
        options: WriterOptions,
    ) -> Self {
        let (sender, news) = watch::channel(News::default());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                outbox: Outbox::new(AT_ONCE, options.seed),
                events: Events::default(),
                stats: WriterStats::default(),
                term: None,
                unanswered: None,
                beginning: None,
                draining: false,
            }),
            wake: Notify::new(),
            answered: Notify::new(),
            news: sender,
        });
        let task = run::run(Arc::clone(&shared), client, leadership, options.instance);
        Self {
            shared,
            news,
            _task: Arc::new(AbortOnDropHandle::new(tokio::spawn(task))),
        }
    }

    /// What should be recorded, computed for the objects seen; in place of all that was wanted before. It is sent while
    /// `term` lasts and not later. `wall_clock` goes into conditions that change and into Events. An incomplete snapshot
    /// changes nothing. Never blocks.
    pub fn want(
        &self,
        term: u64,
        observed: &Observed,
        plan: &AddressPlan,
        wall_clock: Timestamp,
        now: Instant,
    ) {
        if !observed.snapshot.complete {
            return;
        }
        let mut state = self.shared.state();
        state.enter(term, now);
        let outbox = &mut state.outbox;
        outbox.begin_round();
        want_services(outbox, observed, plan, wall_clock, now);
        want_pools(outbox, observed, plan, wall_clock, now);
        let version = |target, name: &ObjectName| {
            Seen::find(observed, target, name).and_then(|seen| seen.version())
        };
        outbox.settle(version, now);
        self.shared.tell_beginning(&mut state);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Begins a term after an unclean takeover: these Services are marked first, and nothing else is written before all of
    /// them are answered and [`want`](Self::want) was told of what shows it (then [`News::begun`] says so). `former`: who led
    /// before.
    pub fn begin_term(
        &self,
        observed: &Observed,
        touched: &[ObjectName],
        term: u64,
        former: &str,
        wall_clock: Timestamp,
        now: Instant,
    ) {
        let former: Arc<str> = former.into();
        let mut state = self.shared.state();
        state.enter(term, now);
        for name in touched {
            let Some((seen, version)) = versioned(observed, Target::Service, name) else {
                continue;
            };
            let content = Content {
                seen,
                desired: Desired::Mark {
                    term,
                    former: Arc::clone(&former),
                },
                time: wall_clock,
                happenings: Vec::new(),
            };
            state.outbox.touch(name, version, content, now);
        }
        state.beginning = Some(term);
        self.shared.tell_beginning(&mut state);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Forgets everything wanted: we lost the lease.
    pub fn stand_down(&self, now: Instant) {
        self.shared.state().stand_down(now);
    }

    /// Waits until nothing is under way: each request was answered, or given up after some seconds.
    pub async fn answered(&self) {
        loop {
            let notified = self.shared.answered.notified();
            if self.shared.state().outbox.under_way() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Whether a write was given up without an answer so lately that it may still reach its object.
    pub fn may_have_late_writes(&self, now: Instant) -> bool {
        let unanswered = self.shared.state().unanswered;
        unanswered.is_some_and(|at| now < at + LATE)
    }

    /// Waits until there is something new to know. Cancelling loses nothing.
    pub async fn changed(&mut self) -> News {
        // The sender lives as long as any handle does.
        let _ = self.news.changed().await;
        self.news.borrow_and_update().clone()
    }

    /// What there is to know at present.
    pub fn news(&self) -> News {
        self.news.borrow().clone()
    }

    /// The numbers.
    pub fn stats(&self) -> WriterStats {
        let state = self.shared.state();
        WriterStats {
            queued: state.outbox.queued(),
            under_way: state.outbox.under_way(),
            limit: state.outbox.limit(),
            events_sent: state.events.sent,
            events_dropped: state.events.dropped,
            events_repeated: state.events.repeated,
            ..state.stats.clone()
        }
    }

    /// A clean stop: nothing more is sent from now on, and what is under way is answered, or given up at `deadline`. After
    /// that the lease may be released. Returns whether every write was answered, lately given up ones included.
    pub async fn drain(&self, deadline: Instant) -> bool {
        self.shared.state().draining = true;
        let answered = tokio::time::timeout_at(deadline.into(), self.answered()).await;
        answered.is_ok() && !self.may_have_late_writes(deadline)
    }
}

impl State {
    /// What was wanted in another term is void.
    fn enter(&mut self, term: u64, now: Instant) {
        if self.term != Some(term) {
            self.stand_down(now);
            self.term = Some(term);
        }
    }

    fn stand_down(&mut self, now: Instant) {
        self.outbox.stand_down(now);
        self.events.clear();
        self.beginning = None;
        self.term = None;
    }
}

impl Shared {
    /// The state. Nothing in it is left half done by a panic: all its changes are single steps of pure code.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that a term has begun, once its marks are answered and seen.
    fn tell_beginning(&self, state: &mut State) {
        if !state.outbox.is_taking_over()
            && let Some(term) = state.beginning.take()
        {
            self.news.send_modify(|news| news.begun = Some(term));
        }
    }
}

fn versioned(observed: &Observed, target: Target, name: &ObjectName) -> Option<(Seen, Version)> {
    let seen = Seen::find(observed, target, name)?;
    let version = seen.version()?;
    Some((seen, version))
}

fn want_services(
    outbox: &mut Outbox<Content>,
    observed: &Observed,
    plan: &AddressPlan,
    time: Timestamp,
    now: Instant,
) {
    let snapshot: &Snapshot = &observed.snapshot;
    // Both are in the order of names, so they are walked side by side: looking each up would cost more than comparing it.
    let mut services = seen::services(snapshot).peekable();
    for (name, desired) in &plan.services {
        while services.next_if(|(other, _)| *other < name).is_some() {}
        let Some((_, service)) = services.next_if(|(other, _)| *other == name) else {
            continue;
        };
        if !is_as_desired(service, desired) {
            want_service(outbox, observed, plan, (name, service, desired), time, now);
        }
    }
}

fn want_service(
    outbox: &mut Outbox<Content>,
    observed: &Observed,
    plan: &AddressPlan,
    (name, service, desired): (&ObjectName, &Service, &ServiceStatus),
    time: Timestamp,
    now: Instant,
) {
    let Some(seen) = Seen::find(observed, Target::Service, name) else {
        return;
    };
    let same =
        |content: &Content| matches!(&content.desired, Desired::Service(is) if is == desired);
    let same_object = |content: &Content| content.seen.is(&seen);
    if outbox.is_settled(Target::Service, name, same_object, same) {
        return;
    }
    let departures = plan.departures.get(name).map_or(&[][..], Vec::as_slice);
    let pool_of = |address| seen::pool_of(&observed.snapshot, address);
    let Some(version) = seen.version() else {
        return;
    };
    let content = Content {
        seen,
        desired: Desired::Service(desired.clone()),
        time,
        happenings: happenings(service, desired, departures, pool_of),
    };
    outbox.want(Target::Service, name, version, content, now);
}

fn want_pools(
    outbox: &mut Outbox<Content>,
    observed: &Observed,
    plan: &AddressPlan,
    time: Timestamp,
    now: Instant,
) {
    for (name, conditions) in &plan.pools {
        let pool = seen::pool(&observed.snapshot, name);
        if pool.is_none_or(|pool| is_pool_as_desired(pool, conditions)) {
            continue;
        }
        let name = ObjectName {
            namespace: "".into(),
            name: name.into(),
        };
        let Some(seen) = Seen::find(observed, Target::Pool, &name) else {
            continue;
        };
        let same =
            |content: &Content| matches!(&content.desired, Desired::Pool(is) if is == conditions);
        let same_object = |content: &Content| content.seen.is(&seen);
        if outbox.is_settled(Target::Pool, &name, same_object, same) {
            continue;
        }
        let Some(version) = seen.version() else {
            continue;
        };
        let content = Content {
            seen,
            desired: Desired::Pool(conditions.clone()),
            time,
            happenings: Vec::new(),
        };
        outbox.want(Target::Pool, &name, version, content, now);
    }
}
