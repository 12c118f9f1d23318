//! What a node does for the whole cluster: while it holds the lease it gives addresses, and has them written.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::recorder::{Origin, Planned, Recorder};
use super::telling::Telling;
use crate::apply::kubernetes::Writer;
use crate::args::Ipam;
use crate::cli::Failure;
use crate::cluster::{ObjectName, Snapshot};
use crate::config::RunConfig;
use crate::kubernetes_client;
use crate::lease::{Election, Lead, Leadership};
use crate::plan::Settings;
use crate::plan::addresses::{AddressBook, AddressPlan, Memory};
use crate::watch::Observed;
use crate::watch::cilium_operator::{self, Allocation};
use crate::watch::kubernetes::KubernetesSource;

/// How long an orderly stop waits for writes that are under way.
const DRAIN: Duration = Duration::from_secs(2);

/// Gives addresses while it leads.
#[derive(Debug)]
pub(super) struct Operator {
    election: Election,
    leadership: watch::Receiver<Leadership>,
    writer: Writer,
    allocation: watch::Receiver<Allocation>,
    /// What lasts while we lead; `None` while we follow, or leave the addresses to others.
    term: Option<Term>,
    /// The addresses of Services that are gone, kept by a follower for when it leads.
    memory: Memory,
    told: Told,
}

#[derive(Debug)]
struct Term {
    lead: Lead,
    /// Which Services it gives addresses to.
    allocation: Allocation,
    book: AddressBook,
    /// Whether writes of a former leader that may still be in the air are void.
    begun: bool,
    /// What was last given to the lease to keep.
    remembered: String,
}

/// What the log was told last.
#[derive(Debug, Default)]
struct Told {
    holder: Option<String>,
    allocation: Option<Allocation>,
}

impl Operator {
    /// Waits until the lease, the writer or Cilium's operator gives reason to plan again.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.leadership.changed() => {}
            Ok(()) = self.allocation.changed() => {}
            () = self.writer.changed() => {}
            else => std::future::pending().await,
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
        self.told.leadership(&leadership, &settings.node);
        self.told.allocation(&allocation);
        let (Some(lead), Some(settings)) = (leadership.lead, allocating(&allocation, settings))
        else {
            self.follow(&observed.snapshot, now);
            return Planned::default();
        };
        if !observed.snapshot.complete {
            return Planned::default();
        }
        let term = self.term(lead, allocation, now);
        let addresses = term.book.plan(&observed.snapshot, &settings, now);
        self.write(observed, &addresses, now);
        telling.addresses(&addresses);
        Planned {
            again_at: addresses.again_at,
            addresses,
            announced: false,
        }
    }

    /// Ends the term, if there was one. What is remembered of Services that go meanwhile is kept for the next.
    fn follow(&mut self, snapshot: &Snapshot, now: Instant) {
        if let Some(term) = self.term.take() {
            self.writer.stand_down();
            self.memory = term.book.into_memory();
        }
        if snapshot.complete {
            self.memory.observe(snapshot, now);
        }
    }

    /// The present term; a new one begins with nothing but what the objects record, and what is remembered of those gone.
    fn term(&mut self, lead: Lead, allocation: Allocation, now: Instant) -> &mut Term {
        let same = |term: &Term| term.lead.term == lead.term && term.allocation == allocation;
        if !self.term.as_ref().is_some_and(same) {
            let mut memory = match self.term.take() {
                Some(term) => term.book.into_memory(),
                None => std::mem::take(&mut self.memory),
            };
            let left = self.election.released_addresses();
            memory.merge(Memory::from_text(&left, now, wall_clock()));
            self.writer.stand_down();
            self.term = Some(Term {
                lead,
                allocation,
                book: AddressBook::with_memory(memory),
                begun: !lead.unclean,
                remembered: left,
            });
        }
        // It was put there just above if it was missing.
        self.term.as_mut().expect("a term was begun")
    }

    fn write(&mut self, observed: &Observed, plan: &AddressPlan, now: Instant) {
        let Some(term) = &mut self.term else {
            return;
        };
        if !std::mem::replace(&mut term.begun, true) {
            let touched = touched(&observed.snapshot, plan);
            self.writer.begin_term(observed, touched, term.lead.term);
        }
        self.writer.want(observed, plan, Timestamp::now(), now);
        let text = term.book.memory().to_text(now, wall_clock());
        if text != term.remembered {
            self.election.remember(text.clone());
            term.remembered = text;
        }
    }

    /// Writes what is under way, then leaves the lease to whoever wants it.
    pub(super) async fn end(self) {
        self.writer.drain(DRAIN).await;
        self.election.release().await;
    }
}

/// The switches for giving addresses; `None` where others give them.
fn allocating(allocation: &Allocation, settings: &Settings) -> Option<Settings> {
    match allocation {
        Allocation::Unknown(_) | Allocation::Cilium => None,
        Allocation::All => Some(settings.clone()),
        Allocation::ClasslessOnly => Some(Settings {
            bgp_enabled: false,
            l2_enabled: false,
            ..settings.clone()
        }),
    }
}

/// The Services that a former leader may be writing to at this moment: those that were not served when it was last heard of.
fn touched(snapshot: &Snapshot, plan: &AddressPlan) -> Vec<ObjectName> {
    plan.services
        .iter()
        .filter(|(name, desired)| {
            let recorded = snapshot.services.get(name);
            let satisfied = desired.condition.as_ref().is_some_and(|condition| condition.satisfied);
            !satisfied || recorded.is_none_or(|service| !crate::plan::status::is_recorded(service, desired))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

fn wall_clock() -> i64 {
    Timestamp::now().as_second()
}

/// Opens the way to the API server and starts all that has to run meanwhile.
pub(super) async fn open(
    config: &RunConfig,
    kubeconfig: Option<&Path>,
    namespace: Option<&str>,
    tasks: &mut JoinSet<String>,
) -> Result<Origin, Failure> {
    todo!()
}

impl Told {
    fn leadership(&mut self, leadership: &Leadership, node: &str) {
        if self.holder.as_ref() == Some(&leadership.holder) {
            return;
        }
        match (&leadership.lead, leadership.holder.as_str()) {
            (Some(lead), holder) => info!(holder, term = lead.term, "this process gives the addresses"),
            (None, "") => info!(node, "nobody gives addresses at the moment"),
            (None, holder) => info!(holder, "another process gives the addresses"),
        }
        self.holder = Some(leadership.holder.clone());
    }

    fn allocation(&mut self, allocation: &Allocation) {
        if self.allocation.as_ref() == Some(allocation) {
            return;
        }
        match allocation {
            Allocation::Unknown(why) => warn!("no addresses are given: {why}"),
            Allocation::Cilium => info!(
                "Cilium's LB-IPAM gives the addresses; Fairway announces them and gives none (--ipam auto)"
            ),
            Allocation::ClasslessOnly => info!(
                "Cilium's LB-IPAM serves Services with a class of Cilium's; Fairway gives addresses to those without a class"
            ),
            Allocation::All => info!("Fairway gives the addresses, whichever process holds the lease"),
        }
        self.allocation = Some(allocation.clone());
    }
}
