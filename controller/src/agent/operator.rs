//! What a node does for the whole cluster: while it holds the lease it gives addresses, and has them written.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::recorder::{Origin, Planned, Recorder};
use super::telling::Telling;
use crate::apply::kubernetes::{Writer, WriterOptions};
use crate::args::Ipam;
use crate::cli::Failure;
use crate::cluster::{ObjectName, Snapshot};
use crate::config::RunConfig;
use crate::kubernetes_client::KubernetesClient;
use crate::lease::{Election, ElectionConfig, Lead, Leadership, Release, Timing};
use crate::observe::ClusterNumbers;
use crate::plan::Settings;
use crate::plan::addresses::{AddressBook, AddressPlan, Memory};
use crate::plan::status::is_as_desired;
use crate::watch::Observed;
use crate::watch::cilium_operator::{self, Allocation};
use crate::watch::kubernetes::{self, Freshness, KubernetesSource};

/// How long an orderly stop waits for writes that are under way, and then for the lease to be given up.
const DRAIN: Duration = Duration::from_secs(2);
/// Where a pod finds the name of its own namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where the lease is unless something else is known.
const NAMESPACE: &str = "kube-system";

/// Gives addresses while it leads.
pub(super) struct Operator {
    election: Election,
    leadership: watch::Receiver<Leadership>,
    writer: Writer,
    allocation: watch::Receiver<Allocation>,
    freshness: Freshness,
    /// The number of the reign for which the view is known to show all that was written before it.
    caught_up: watch::Receiver<u64>,
    catches_up: watch::Sender<u64>,
    /// The present reign, its number, and who finds that out for it.
    reign: Option<(Reign, u64, AbortOnDropHandle<()>)>,
    reigns: u64,
    /// What lasts while we lead; `None` while we follow, or leave the addresses to others.
    term: Option<Term>,
    /// The addresses of Services that are gone, kept by a follower for when it leads.
    memory: Memory,
    /// What was planned for last, while we led.
    last: Option<(Arc<Snapshot>, Settings)>,
    told: Told,
}

/// What must not change for a book to stay true: whoever else gave addresses meanwhile, the book does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reign {
    term: u64,
    unclean: bool,
    /// Which Services get addresses.
    allocation: Allocation,
}

#[derive(Debug)]
struct Term {
    book: AddressBook,
    /// Whether writes of a former leader that may still be in the air are void, or about to be.
    begun: bool,
    /// Up to which change of the book's memory the lease has it.
    remembered: u64,
}

/// What the log was told last.
#[derive(Debug, Default)]
struct Told {
    holder: Option<String>,
    /// Who held the lease before.
    former: String,
    allocation: Option<Allocation>,
}

impl Operator {
    /// Waits until the lease or Cilium's operator gives reason to plan again. Cancelling loses nothing. What becomes of
    /// writes is none: the writer tries again by itself, and the watch shows what was written.
    pub(super) async fn changed(&mut self) {
        // None of them ends before this does.
        tokio::select! {
            Ok(()) = self.caught_up.changed() => {}
            Ok(()) = self.leadership.changed() => {}
            Ok(()) = self.allocation.changed() => {}
        }
    }

    /// While we lead: plans the addresses of what was observed and has the difference written.
    pub(super) fn step(
        &mut self,
        observed: &Observed,
        settings: &Settings,
        now: Instant,
        telling: &mut Telling,
    ) -> Planned {
        let leadership = self.leadership.borrow_and_update().clone();
        let allocation = self.allocation.borrow_and_update().clone();
        self.told.leadership(&leadership);
        self.told.allocation(&allocation);
        let (Some(lead), Some(settings)) = (leadership.lead, allocating(&allocation, settings))
        else {
            self.follow(&observed.snapshot, settings, now);
            return Planned::default();
        };
        if !observed.snapshot.complete {
            return Planned::default();
        }
        if !self.has_caught_up(&Reign::new(lead, allocation), now) {
            self.memory.observe(&observed.snapshot, &settings, now);
            return Planned::default();
        }
        let Self {
            election,
            writer,
            term,
            memory,
            told,
            ..
        } = self;
        let is_clean = !lead.unclean && !writer.may_have_late_writes(now);
        let term = term.get_or_insert_with(|| Term::begin(memory, is_clean, election, now));
        let addresses = term.book.plan(&observed.snapshot, &settings, now);
        // Where nothing is planned at all, Services or pools cannot be seen, and nobody can tell which Services to mark.
        if !term.begun && addresses != AddressPlan::default() {
            term.begun = true;
            let touched = touched(&observed.snapshot, &addresses);
            let time = Timestamp::now();
            writer.begin_term(observed, &touched, lead.term, &told.former, time, now);
        }
        writer.want(lead.term, observed, &addresses, Timestamp::now(), now);
        term.hand_down_memory(election, now);
        self.last = Some((Arc::clone(&observed.snapshot), settings));
        telling.addresses(&addresses, &observed.snapshot);
        Planned {
            again_at: addresses.again_at,
            addresses,
            announced: false,
        }
    }

    /// Whether the view shows all that was written before this reign began, by others and by ourselves. If that is not known
    /// it is found out; what an earlier reign wanted is void by then.
    fn has_caught_up(&mut self, reign: &Reign, now: Instant) -> bool {
        if let Some((of, number, _)) = &self.reign
            && of == reign
        {
            return *self.caught_up.borrow_and_update() == *number;
        }
        self.retire(now);
        self.reigns += 1;
        let number = self.reigns;
        let (writer, freshness) = (self.writer.clone(), self.freshness.clone());
        let catches_up = self.catches_up.clone();
        let task = tokio::spawn(async move {
            writer.answered().await;
            freshness.reached().await;
            catches_up.send_replace(number);
        });
        self.reign = Some((reign.clone(), number, AbortOnDropHandle::new(task)));
        false
    }

    /// Gives no addresses. What is remembered of Services that go meanwhile is kept for the next reign.
    fn follow(&mut self, snapshot: &Snapshot, settings: &Settings, now: Instant) {
        self.retire(now);
        self.memory.observe(snapshot, settings, now);
    }

    /// Ends the reign, if there was one.
    fn retire(&mut self, now: Instant) {
        if self.reign.take().is_some() {
            self.writer.stand_down(now);
        }
        if let Some(term) = self.term.take() {
            self.memory = term.book.into_memory();
        }
    }

    /// Waits for what is under way, then leaves the lease to whoever wants it, and with it what Services have by now: one
    /// that is made again while nobody runs shall have it back.
    pub(super) async fn end(mut self) {
        if let (Some(term), Some((snapshot, settings))) = (self.term.take(), self.last.take()) {
            let mut memory = term.book.into_memory();
            memory.note_present(&snapshot, &settings, now());
            record(&memory, &self.election, now());
        }
        let settled = self.writer.drain(now() + DRAIN).await;
        let how = if settled {
            Release::Settled
        } else {
            Release::Unsettled
        };
        if timeout(DRAIN, self.election.release(how)).await.is_err() {
            warn!(
                "the lease was not given up: the API server does not answer; another process takes it in a few seconds"
            );
        }
    }
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("term", &self.term)
            .finish_non_exhaustive()
    }
}

impl Reign {
    fn new(lead: Lead, allocation: Allocation) -> Self {
        Self {
            term: lead.term,
            unclean: lead.unclean,
            allocation,
        }
    }
}

impl Term {
    /// A new term begins with nothing but what the objects record, and what is remembered of those that are gone.
    fn begin(own: &mut Memory, is_clean: bool, election: &Election, now: Instant) -> Self {
        let mut memory = std::mem::take(own);
        let is_news = !memory.is_empty();
        memory.absorb(Memory::from_text(&election.remembered(), now, wall_clock()));
        Self {
            begun: is_clean,
            remembered: if is_news { 0 } else { memory.changes() },
            book: AddressBook::with_memory(memory),
        }
    }

    /// Has the lease remember what the book does, for whoever leads next.
    fn hand_down_memory(&mut self, election: &Election, now: Instant) {
        let memory = self.book.memory();
        if memory.changes() == self.remembered {
            return;
        }
        self.remembered = memory.changes();
        record(memory, election, now);
    }
}

fn record(memory: &Memory, election: &Election, now: Instant) {
    if let Err(error) = election.remember(&memory.to_text(now, wall_clock())) {
        warn!("addresses of deleted Services are not on record: {error}");
    }
}

/// The switches for giving addresses; `None` where others give them.
fn allocating(allocation: &Allocation, settings: &Settings) -> Option<Settings> {
    match allocation {
        Allocation::Unknown(_) | Allocation::Cilium | Allocation::Nobody => None,
        Allocation::All => Some(settings.clone()),
        Allocation::ClasslessOnly => Some(Settings {
            bgp_enabled: false,
            l2_enabled: false,
            ..settings.clone()
        }),
        Allocation::ClassesOnly => Some(Settings {
            default_ipam: false,
            ..settings.clone()
        }),
    }
}

/// The Services that a former leader may be writing to at this moment: those that it did not find served.
fn touched(snapshot: &Snapshot, plan: &AddressPlan) -> Vec<ObjectName> {
    let unsettled = plan.services.iter().filter(|(name, desired)| {
        let satisfied = desired
            .condition
            .as_ref()
            .is_some_and(|condition| condition.satisfied);
        let recorded = snapshot.services.get(*name);
        !satisfied || recorded.is_some_and(|service| !is_as_desired(service, desired))
    });
    unsettled.map(|(name, _)| name.clone()).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the run loop owns the clock of the plans"
)]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn wall_clock() -> i64 {
    Timestamp::now().as_second()
}

/// Opens the way to the API server and starts all that has to run meanwhile.
pub(super) async fn open(
    config: &RunConfig,
    kubeconfig: Option<&Path>,
    namespace: Option<&str>,
    node: &str,
    tasks: &mut JoinSet<String>,
) -> Result<Origin, Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::Unreachable(format!("run: {error}"));
    let reached = KubernetesClient::open(kubeconfig)
        .await
        .map_err(|error| fail(&error))?;
    let source = KubernetesSource::open(
        reached.clone(),
        kubernetes::Options {
            secrets_namespace: config.secrets_namespace.clone(),
            seed: seed(node),
        },
    );
    let (observed, health) = (source.observed(), source.health());
    let freshness = source.freshness();
    tasks.spawn(async move { source.run().await.to_string() });
    let namespace = namespace.map_or_else(own_namespace, str::to_owned);
    let election = ElectionConfig {
        namespace,
        node: node.to_owned(),
        api_server: reached.server.parse().map_err(|error| fail(&error))?,
        timing: Timing::default(),
    };
    let (election, leadership) = Election::start(reached.client.clone(), election);
    let fenced = reached
        .fenced(leadership.clone())
        .await
        .map_err(|error| fail(&error))?;
    let options = WriterOptions {
        instance: node.to_owned(),
        seed: seed(election.identity()),
    };
    let writer = Writer::start(fenced.client, leadership.clone(), options);
    let numbers = ClusterNumbers {
        writer: writer.clone(),
        calls: reached.calls.clone(),
        source: health,
        leadership: leadership.clone(),
    };
    let catches_up = watch::Sender::default();
    let operator = Operator {
        election,
        leadership,
        writer,
        allocation: allocation(config.ipam, reached.client.clone(), tasks),
        freshness,
        caught_up: catches_up.subscribe(),
        catches_up,
        reign: None,
        reigns: 0,
        term: None,
        memory: Memory::default(),
        last: None,
        told: Told::default(),
    };
    Ok(Origin {
        observed,
        recorder: Recorder::Cluster(Box::new(operator)),
        name: reached.server.clone(),
        numbers: Some(numbers),
    })
}

fn allocation(
    ipam: Ipam,
    client: Client,
    tasks: &mut JoinSet<String>,
) -> watch::Receiver<Allocation> {
    let begin = match ipam {
        Ipam::On => Allocation::All,
        Ipam::Off => Allocation::Nobody,
        Ipam::Auto => {
            Allocation::Unknown("--ipam auto is still looking for Cilium's LB-IPAM".to_owned())
        }
    };
    let (sender, receiver) = watch::channel(begin);
    tasks.spawn(async move {
        if ipam == Ipam::Auto {
            cilium_operator::observe(client, sender).await;
        } else {
            // Nothing is to be observed, and the channel has to stay open.
            std::future::pending::<()>().await;
            drop(sender);
        }
        "nobody looks for Cilium's LB-IPAM any more".to_owned()
    });
    receiver
}

fn own_namespace() -> String {
    let own = std::fs::read_to_string(OWN_NAMESPACE).unwrap_or_default();
    match own.trim() {
        "" => NAMESPACE.to_owned(),
        own => own.to_owned(),
    }
}

/// Two processes that start together must not retry together.
fn seed(identity: &str) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(identity)
}

impl Told {
    fn leadership(&mut self, leadership: &Leadership) {
        if self.holder.as_ref() == Some(&leadership.holder) {
            return;
        }
        match (&leadership.lead, leadership.holder.as_str()) {
            (Some(lead), holder) => {
                info!(holder, term = lead.term, "this process gives the addresses");
            }
            (None, "") => info!("no process holds the lease yet"),
            (None, holder) => info!(holder, "the lease is held"),
        }
        let former = self.holder.replace(leadership.holder.clone());
        self.former = former.unwrap_or_default();
    }

    fn allocation(&mut self, allocation: &Allocation) {
        if self.allocation.as_ref() == Some(allocation) {
            return;
        }
        match allocation {
            Allocation::Unknown(why) => warn!("no addresses are given: {why}"),
            Allocation::Nobody => {
                info!("Fairway gives no addresses and announces what others give (--ipam off)")
            }
            Allocation::Cilium => info!(
                "Cilium's LB-IPAM gives the addresses; Fairway announces them and gives none (--ipam auto)"
            ),
            Allocation::ClasslessOnly => info!(
                "Cilium's LB-IPAM serves Services with a class of Cilium's; Fairway gives addresses to those without a class"
            ),
            Allocation::ClassesOnly => info!(
                "Cilium's Node IPAM serves Services without a class; Fairway gives addresses to those with a class of Cilium's"
            ),
            Allocation::All => info!("whichever process holds the lease gives the addresses"),
        }
        self.allocation = Some(allocation.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_led_before_is_known_for_as_long_as_the_present_holder_leads() {
        let mut told = Told::default();
        let held_by = |holder: &str| Leadership {
            holder: holder.to_owned(),
            lead: None,
        };
        for holder in ["", "k3s1_1", "k3s2_2", "k3s2_2"] {
            told.leadership(&held_by(holder));
        }
        assert_eq!(told.former, "k3s1_1");
    }
}
