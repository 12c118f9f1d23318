//! Objects from a directory of manifests, without Kubernetes.
//!
//! Every `*.yaml`, `*.yml` and `*.json` below the directory is read, however deep, hidden ones excepted. An edit counts
//! as soon as its file is closed or renamed into place, and 10 ms of quiet, 40 ms at most, have passed; a file that is
//! held open counts 25 to 50 ms after the last write to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::cluster::{RecordedStatuses, Store};

use super::Observed;
use super::files::{self, Changes, Files};
use super::yaml;

/// Quiet for that long, an edit of several files is taken as finished.
const SETTLE: Duration = Duration::from_millis(10);
/// No edit waits longer than that for others to finish.
const LIMIT: Duration = Duration::from_millis(40);
/// How often files that were written to and not closed are looked over; untouched for two rounds, they are read as
/// they are.
const ROUND: Duration = Duration::from_millis(25);
/// Where the kernel cannot tell of changes, they are looked for that often.
const POLL: Duration = Duration::from_millis(250);

/// The directory cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("{directory}: {reason}", directory = .directory.display())]
pub struct DirectoryError {
    directory: PathBuf,
    reason: String,
}

/// A directory of manifests and the view of the objects in it.
#[derive(Debug)]
pub struct DirectorySource {
    reader: Reader,
    inotify: Inotify,
    recorded: watch::Receiver<Arc<RecordedStatuses>>,
    observed: watch::Sender<Observed>,
}

impl DirectorySource {
    /// Reads the directory; the first view is there when this returns. Secrets are taken from `secrets_namespace`.
    /// `recorded` are the statuses that count in place of the objects' own; each change of them gives a new view.
    ///
    /// Blocks for as long as reading takes.
    ///
    /// # Errors
    ///
    /// There is no such directory, or it cannot be listed. That no file can be read is no error but a
    /// [`Problem`](crate::cluster::Problem).
    pub fn open(
        directory: &Path,
        secrets_namespace: &str,
        recorded: watch::Receiver<Arc<RecordedStatuses>>,
    ) -> Result<Self, DirectoryError> {
        Self::open_without(directory, secrets_namespace, recorded, None)
    }

    /// As [`open`](Self::open), but nothing in the directory `left_out` is read, should it lie below `directory`: the
    /// statuses that we record are no manifests.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); also where the two are one directory.
    pub fn open_without(
        directory: &Path,
        secrets_namespace: &str,
        recorded: watch::Receiver<Arc<RecordedStatuses>>,
        left_out: Option<&Path>,
    ) -> Result<Self, DirectoryError> {
        let fail = |reason: String| DirectoryError {
            directory: directory.to_owned(),
            reason,
        };
        let inotify =
            Inotify::init().map_err(|error| fail(format!("cannot watch for changes: {error}")))?;
        let real = |path: &Path| path.canonicalize().ok();
        if left_out
            .is_some_and(|left_out| real(left_out).is_some() && real(left_out) == real(directory))
        {
            return Err(fail(
                "statuses are kept in this very directory: give --state one of its own".to_owned(),
            ));
        }
        let left_out = left_out.map(std::path::absolute).transpose();
        let left_out = left_out.map_err(|error| fail(error.to_string()))?;
        let mut reader = Reader::new(directory, secrets_namespace, left_out, inotify.watches())
            .map_err(|error| fail(error.to_string()))?;
        let now = recorded.borrow().clone();
        reader
            .first_read(now)
            .map_err(|error| fail(describe(&error)))?;
        let observed = watch::Sender::new(reader.observed());
        Ok(Self {
            reader,
            inotify,
            recorded,
            observed,
        })
    }

    /// The newest view.
    pub fn observed(&self) -> watch::Receiver<Observed> {
        self.observed.subscribe()
    }

    /// Keeps the view up to date for as long as anybody looks at it.
    ///
    /// # Errors
    ///
    /// The kernel's notifications ended, which leaves nothing to go by.
    pub async fn run(self) -> io::Result<()> {
        let Self {
            mut reader,
            inotify,
            mut recorded,
            observed,
        } = self;
        let mut buffer = [0; 16 << 10];
        let mut events = inotify.into_event_stream(&mut buffer)?;
        let mut pending = Pending::default();
        let (mut settle, mut limit, mut round) =
            (pin!(sleep(SETTLE)), pin!(sleep(LIMIT)), pin!(sleep(ROUND)));
        let mut poll = pin!(sleep(POLL));
        let mut recorded_lives = true;
        loop {
            let look = tokio::select! {
                event = events.next() => {
                    let event = event.ok_or_else(|| io::Error::other("the kernel's notifications ended"))??;
                    let (was_due, was_finished) = (pending.due, pending.unfinished.is_empty());
                    pending.note(&event, &reader);
                    if pending.due {
                        again(settle.as_mut(), SETTLE);
                    }
                    if pending.due && !was_due {
                        again(limit.as_mut(), LIMIT);
                    }
                    if was_finished && !pending.unfinished.is_empty() {
                        again(round.as_mut(), ROUND);
                    }
                    continue;
                }
                () = round.as_mut(), if !pending.unfinished.is_empty() => {
                    again(round.as_mut(), ROUND);
                    pending.next_round();
                    if !pending.due {
                        continue;
                    }
                    Some(pending.take())
                }
                () = settle.as_mut(), if pending.due => Some(pending.take()),
                () = limit.as_mut(), if pending.due => Some(pending.take()),
                () = poll.as_mut(), if reader.is_polling() => {
                    again(poll.as_mut(), POLL);
                    Some(pending.take())
                }
                change = recorded.changed(), if recorded_lives => {
                    recorded_lives = change.is_ok();
                    None
                }
                () = observed.closed() => return Ok(()),
            };
            let statuses = recorded.borrow_and_update().clone();
            // Reading and parsing may take a while, and other tasks share this thread.
            let work = tokio::task::spawn_blocking(move || {
                let news = reader.refresh(look.as_ref(), statuses);
                (reader, news)
            });
            let news;
            (reader, news) = work.await.map_err(io::Error::other)?;
            if news {
                observed.send_replace(reader.observed());
            }
        }
    }
}

/// Reads a directory once, for commands that only look.
///
/// # Errors
///
/// As [`DirectorySource::open`].
pub fn read_once(directory: &Path, secrets_namespace: &str) -> Result<Observed, DirectoryError> {
    let (_sender, recorded) = watch::channel(Arc::default());
    let source = DirectorySource::open(directory, secrets_namespace, recorded)?;
    Ok(source.reader.observed())
}

/// The part that touches the disk.
#[derive(Debug)]
struct Reader {
    root: PathBuf,
    files: Files,
    store: Store,
    view: Observed,
    watches: Watches,
    /// Which directory a notification speaks of.
    watched: HashMap<WatchDescriptor, PathBuf>,
    /// The nearest existing directory above the root, and the name in it that leads there.
    above: Option<(WatchDescriptor, PathBuf)>,
    /// Why the kernel does not tell of all changes.
    unwatched: Option<String>,
}

impl Reader {
    fn new(
        directory: &Path,
        secrets_namespace: &str,
        left_out: Option<PathBuf>,
        watches: Watches,
    ) -> io::Result<Self> {
        let root = std::path::absolute(directory)?;
        let files = Files::new(root.clone(), secrets_namespace.to_owned(), left_out);
        Ok(Self {
            root,
            files,
            store: Store::default(),
            view: Observed::default(),
            watches,
            watched: HashMap::new(),
            above: None,
            unwatched: None,
        })
    }

    fn first_read(&mut self, recorded: Arc<RecordedStatuses>) -> io::Result<()> {
        self.watch_above();
        let everything = Changes {
            everything: true,
            ..Changes::default()
        };
        on_a_large_stack(|| self.read_files(&everything))?;
        self.rebuild(recorded);
        Ok(())
    }

    /// Looks at the files again where `changes` says so, and at the statuses. Returns whether there is a new view.
    fn refresh(&mut self, changes: Option<&Changes>, recorded: Arc<RecordedStatuses>) -> bool {
        let mut news = !Arc::ptr_eq(&recorded, &self.view.recorded);
        if let Some(changes) = changes {
            self.watch_above();
            news |= match on_a_large_stack(|| self.read_files(changes)) {
                Ok(changed) => changed,
                Err(error) => self.files.root_is_gone(&error),
            };
        }
        if news {
            self.rebuild(recorded);
        }
        news
    }

    fn read_files(&mut self, changes: &Changes) -> io::Result<bool> {
        let mut watched = HashMap::new();
        let mut unwatched = None;
        let result = self.files.refresh(changes, &mut |directory| match self
            .watches
            .add(directory, watch_mask())
        {
            Ok(descriptor) => drop(watched.insert(descriptor, directory.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => unwatched = Some(format!("{}: {error}", directory.display())),
        });
        if result.is_ok() {
            for descriptor in self.watched.drain().map(|(descriptor, _)| descriptor) {
                if !watched.contains_key(&descriptor)
                    && self
                        .above
                        .as_ref()
                        .is_none_or(|(above, _)| *above != descriptor)
                {
                    // Gone already where the directory itself is.
                    let _ = self.watches.remove(descriptor);
                }
            }
            self.watched = watched;
            if let (Some(reason), None) = (&unwatched, &self.unwatched) {
                tracing::warn!(
                    "cannot watch {reason}; looking every {} ms instead (fs.inotify.max_user_watches may be too low)",
                    POLL.as_millis()
                );
            }
            self.unwatched = unwatched;
        }
        result
    }

    /// Watches for the root to be made, renamed or replaced, which notifications from inside it cannot tell.
    fn watch_above(&mut self) {
        let mut below = self.root.as_path();
        while let Some(above) = below.parent() {
            if let Ok(descriptor) = self.watches.add(above, watch_mask()) {
                let former = self.above.replace((descriptor.clone(), below.to_owned()));
                if let Some((former, _)) = former.filter(|(former, _)| *former != descriptor) {
                    // Gone already where the directory itself is.
                    let _ = self.watches.remove(former);
                }
                return;
            }
            below = above;
        }
    }

    fn is_polling(&self) -> bool {
        self.unwatched.is_some()
    }

    fn rebuild(&mut self, recorded: Arc<RecordedStatuses>) {
        let objects = self.files.objects();
        self.store.update(&objects, &recorded);
        let snapshot = self.store.snapshot();
        self.view = Observed {
            snapshot: Arc::new(snapshot),
            objects: Arc::new(objects),
            recorded,
        };
    }

    fn observed(&self) -> Observed {
        self.view.clone()
    }
}

/// What has been told and not yet looked at.
#[derive(Debug, Default)]
struct Pending {
    changes: Changes,
    /// Files that somebody writes to at this moment, and for how many rounds they were left alone.
    unfinished: BTreeMap<PathBuf, u8>,
    /// Whether there is anything to look at.
    due: bool,
}

impl Pending {
    fn note(&mut self, event: &Event<OsString>, reader: &Reader) {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            self.changes.everything = true;
            self.due = true;
            return;
        }
        let name = event.name.clone().unwrap_or_default();
        let leads_to_the_root = reader
            .above
            .as_ref()
            .is_some_and(|(above, below)| *above == event.wd && below.file_name() == Some(&name));
        let directory = reader.watched.get(&event.wd);
        if event.mask.contains(EventMask::IGNORED) || !(leads_to_the_root || directory.is_some()) {
            return;
        }
        let Some(directory) =
            directory.filter(|_| !event.mask.contains(EventMask::ISDIR) && !name.is_empty())
        else {
            self.due = true;
            return;
        };
        let path = directory.join(&name);
        let is_manifest = files::is_manifest(&path);
        if is_manifest && event.mask.intersects(EventMask::CREATE | EventMask::MODIFY) {
            self.unfinished.insert(path, 0);
        } else if is_manifest {
            self.unfinished.remove(&path);
            self.changes.certain.insert(path);
            self.due = true;
        } else if !event
            .mask
            .intersects(EventMask::MODIFY | EventMask::CLOSE_WRITE | EventMask::ATTRIB)
        {
            // A link, perhaps, through which files are reached.
            self.due = true;
        }
    }

    /// What nobody wrote to for two rounds is what is meant.
    fn next_round(&mut self) {
        self.unfinished.values_mut().for_each(|rounds| *rounds += 1);
        let finished: BTreeSet<_> = self
            .unfinished
            .iter()
            .filter(|(_, rounds)| **rounds >= 2)
            .map(|(path, _)| path.clone())
            .collect();
        self.unfinished.retain(|path, _| !finished.contains(path));
        self.due |= !finished.is_empty();
        self.changes.certain.extend(finished);
    }

    /// What has to be looked at now; files in the middle of being written stay noted.
    fn take(&mut self) -> Changes {
        self.due = false;
        let unfinished = self.unfinished.keys().cloned().collect();
        Changes {
            unfinished,
            ..std::mem::take(&mut self.changes)
        }
    }
}

fn watch_mask() -> WatchMask {
    WatchMask::CREATE
        | WatchMask::CLOSE_WRITE
        | WatchMask::MODIFY
        | WatchMask::ATTRIB
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR
}

fn again(mut timer: Pin<&mut Sleep>, duration: Duration) {
    timer.set(sleep(duration));
}

/// Parsing recurses as deep as a document is nested, which is more than an ordinary thread's stack bears.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("manifests".to_owned())
            .stack_size(yaml::STACK);
        let thread = thread.spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("reading the manifests panicked")))
    })
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such directory: create it, or name the one with the manifests".to_owned()
        }
        io::ErrorKind::NotADirectory => {
            "this is not a directory: name the one with the manifests".to_owned()
        }
        _ => format!("the directory cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests;
