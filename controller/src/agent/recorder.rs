//! Who gives addresses and where they are put on record: a state directory, or the API server.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};

use super::operator::Operator;
use super::telling::Telling;
use crate::apply::directory::StateDirectory;
use crate::args::Ipam;
use crate::cli::Failure;
use crate::config::{RunConfig, Source};
use crate::observe::ClusterNumbers;
use crate::plan::Settings;
use crate::plan::addresses::{AddressBook, AddressPlan};
use crate::watch::Observed;
use crate::watch::directory::DirectorySource;

/// Wait before statuses that could not be written are written again.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// Where objects come from.
pub(super) struct Origin {
    pub(super) observed: watch::Receiver<Observed>,
    pub(super) recorder: Recorder,
    /// What it is called in the log.
    pub(super) name: String,
    /// For the metrics.
    pub(super) numbers: Option<ClusterNumbers>,
}

/// What came of planning addresses.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// For people and metrics.
    pub(super) addresses: AddressPlan,
    /// Whether these addresses count for the network; otherwise those that the objects record do.
    pub(super) announced: bool,
    /// When to plan again although nothing changed.
    pub(super) again_at: Option<Instant>,
}

/// Gives addresses and puts them on record, as far as that is for this process to do.
#[derive(Debug)]
pub(super) enum Recorder {
    Directory(Box<DirectoryRecorder>),
    Cluster(Box<Operator>),
}

impl Recorder {
    /// Whether objects carry addresses from before this start, so that peers may still have routes of a former process.
    pub(super) fn has_history(&self) -> bool {
        match self {
            Self::Directory(recorder) => !recorder.statuses.recorded().borrow().is_empty(),
            Self::Cluster(_) => true,
        }
    }

    /// Whether a change of an object may wait a little, so that several are planned for at once.
    pub(super) fn may_rest(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Waits until something changed that a new plan needs to know of. Cancelling loses nothing.
    pub(super) async fn changed(&mut self) -> Result<(), Failure> {
        match self {
            Self::Directory(recorder) => recorder
                .statuses
                .changed()
                .await
                .map_err(|error| Failure::Unreachable(format!("run: --state: {error}"))),
            Self::Cluster(operator) => {
                operator.changed().await;
                Ok(())
            }
        }
    }

    /// Plans the addresses of what was observed and has them put on record.
    pub(super) fn step(
        &mut self,
        observed: &Observed,
        settings: &Settings,
        now: Instant,
        telling: &mut Telling,
    ) -> Planned {
        match self {
            Self::Directory(recorder) => recorder.step(observed, settings, now, telling),
            Self::Cluster(operator) => operator.step(observed, settings, now, telling),
        }
    }

    /// Leaves in order: nothing is half written, and whoever comes next knows at once.
    pub(super) async fn end(self) {
        if let Self::Cluster(operator) = self {
            operator.end().await;
        }
    }
}

/// Opens what the configuration names. What has to run meanwhile goes into `tasks`; none of it ends by itself.
pub(super) async fn open(
    config: &RunConfig,
    tasks: &mut JoinSet<String>,
) -> Result<Origin, Failure> {
    match &config.source {
        Source::Directory { manifests, state } => block_in_place(|| {
            let (statuses, source) = open_directory(config, manifests, state.as_deref())?;
            let observed = source.observed();
            tasks.spawn(async move {
                let result = source.run().await;
                format!("the directory of manifests is no longer watched: {result:?}")
            });
            Ok(Origin {
                observed,
                recorder: Recorder::Directory(Box::new(DirectoryRecorder {
                    allocate: config.ipam != Ipam::Off,
                    book: AddressBook::default(),
                    statuses,
                })),
                name: manifests.display().to_string(),
                numbers: None,
            })
        }),
        Source::Kubernetes {
            kubeconfig,
            namespace,
        } => {
            let node = config.node.clone().unwrap_or_else(super::host_name);
            let (file, namespace) = (kubeconfig.as_deref(), namespace.as_deref());
            super::operator::open(config, file, namespace, &node, tasks).await
        }
    }
}

/// Blocks for as long as reading takes.
fn open_directory(
    config: &RunConfig,
    manifests: &Path,
    directory: Option<&Path>,
) -> Result<(StateDirectory, DirectorySource), Failure> {
    let statuses = StateDirectory::open(directory)
        .map_err(|error| Failure::Unreachable(format!("run: --state: {error}")))?;
    let recorded = statuses.recorded();
    let source =
        DirectorySource::open_without(manifests, &config.secrets_namespace, recorded, directory)
            .map_err(|error| Failure::Unreachable(format!("run: --manifests: {error}")))?;
    Ok((statuses, source))
}

/// Every process plans; the one that holds the directory's lock writes.
#[derive(Debug)]
pub(super) struct DirectoryRecorder {
    allocate: bool,
    book: AddressBook,
    statuses: StateDirectory,
}

impl DirectoryRecorder {
    /// The addresses that count: ours, once they are on record, for a restart must find what the network was told. Where
    /// another process writes, what it has put on record counts alone.
    fn step(
        &mut self,
        observed: &Observed,
        settings: &Settings,
        now: Instant,
        telling: &mut Telling,
    ) -> Planned {
        if !self.allocate {
            return Planned::default();
        }
        let addresses = self.book.plan(&observed.snapshot, settings, now);
        let mut again_at = addresses.again_at;
        let written =
            block_in_place(|| self.statuses.write(observed, &addresses, Timestamp::now()));
        if telling.writing(written.map(drop).map_err(|error| error.to_string())) {
            again_at = again_at.into_iter().chain([now + WRITE_RETRY]).min();
        }
        if !self.statuses.is_leader() {
            return Planned {
                again_at,
                ..Planned::default()
            };
        }
        telling.addresses(&addresses, &observed.snapshot);
        Planned {
            addresses,
            announced: true,
            again_at,
        }
    }
}
