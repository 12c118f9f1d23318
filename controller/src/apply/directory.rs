//! The statuses that an API server would keep, in a directory (`--state`), or in memory alone.
//!
//! One file for each Service and pool, written in a way that survives a crash at any moment. Several processes may share a
//! directory: the one that holds the lock `.lock` writes, the others read what it wrote and take over when it ends,
//! whatever way it ends.
//!
//! The status of a Service that went away is remembered for an hour: made again, it has its address back, provided nobody
//! else holds it by then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchMask};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::cluster::{Kind, ObjectKey, ObjectName, RecordedStatuses};
use crate::plan::addresses::AddressPlan;
use crate::plan::status::{is_as_desired, pool_status_json, service_status_json};
use crate::watch::Observed;

use super::record::{self, Record};

/// How long the status of a Service that went away is remembered.
const MEMORY: Duration = Duration::from_secs(3600);
/// What the writer renames in one go is read in one go, once nothing more came for that long.
const SETTLE: Duration = Duration::from_millis(5);
const LOCK: &str = ".lock";

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{directory}: {what}: {source}", directory = .directory.display())]
pub struct StateError {
    directory: PathBuf,
    what: &'static str,
    source: io::Error,
}

/// All recorded statuses, and the right to change them.
#[derive(Debug)]
pub struct StateDirectory {
    directory: Option<PathBuf>,
    role: Role,
    records: BTreeMap<ObjectKey, Record>,
    /// Changed in memory, and not on the disk because writing failed.
    unwritten: BTreeSet<ObjectKey>,
    published: watch::Sender<Arc<RecordedStatuses>>,
}

#[derive(Debug)]
enum Role {
    /// There is no directory, so nobody else can write.
    Alone,
    /// We hold the lock.
    Leader(File),
    /// Somebody else does.
    Follower(Box<Follower>),
}

struct Follower {
    lock: oneshot::Receiver<io::Result<File>>,
    events: EventStream<Vec<u8>>,
    /// Files that changed and are not read yet; a renamed or deleted directory is the empty name.
    changed: BTreeSet<String>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("changed", &self.changed)
            .finish_non_exhaustive()
    }
}

impl StateDirectory {
    /// Reads what is recorded, and takes the lock if nobody holds it. `None` keeps everything in memory. Makes the
    /// directory where it is missing. Must be called inside a tokio runtime; blocks for as long as reading takes.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, read or locked. A file in it that cannot be read is no error: it is logged and left
    /// out.
    pub fn open(directory: Option<&Path>) -> Result<Self, StateError> {
        let (published, _) = watch::channel(Arc::default());
        let mut state = Self {
            directory: directory.map(Path::to_owned),
            role: Role::Alone,
            records: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            published,
        };
        if let Some(directory) = directory {
            let fail = |what| {
                move |source| StateError {
                    directory: directory.to_owned(),
                    what,
                    source,
                }
            };
            fs::create_dir_all(directory).map_err(fail("cannot make the state directory"))?;
            state.role = campaign(directory).map_err(fail("cannot lock the state directory"))?;
            if matches!(state.role, Role::Leader(_)) {
                record::remove_leftovers(directory);
            }
            state.records =
                read_records(directory).map_err(fail("cannot read the state directory"))?;
            state.publish();
        }
        Ok(state)
    }

    /// The statuses that count in place of the objects' own, always the newest.
    pub fn recorded(&self) -> watch::Receiver<Arc<RecordedStatuses>> {
        self.published.subscribe()
    }

    /// Whether it is us who write.
    pub fn is_leader(&self) -> bool {
        !matches!(self.role, Role::Follower(_))
    }

    /// Waits until another process wrote (then [`recorded`](Self::recorded) has it) or left the lock to us (then
    /// [`is_leader`](Self::is_leader) says so). Never returns for one who leads. Cancelling loses nothing.
    ///
    /// # Errors
    ///
    /// The lock or the notifications of the kernel failed; this process stays a follower for good.
    pub async fn changed(&mut self) -> Result<(), StateError> {
        let (Some(directory), Role::Follower(follower)) = (self.directory.clone(), &mut self.role)
        else {
            return pending().await;
        };
        let fail = |what| {
            let directory = directory.clone();
            move |source| StateError {
                directory,
                what,
                source,
            }
        };
        loop {
            let settle = tokio::time::sleep(SETTLE);
            tokio::select! {
                lock = &mut follower.lock => {
                    let lock = lock.unwrap_or_else(|_| Err(io::Error::other("the waiting thread ended")));
                    let lock = lock.map_err(fail("cannot lock the state directory"))?;
                    record::remove_leftovers(&directory);
                    self.records = read_records(&directory).map_err(fail("cannot read the state directory"))?;
                    self.role = Role::Leader(lock);
                    self.publish();
                    return self.keep_the_lock();
                }
                event = follower.events.next() => {
                    let ended = || Err(io::Error::other("the kernel's notifications ended"));
                    let event = event.unwrap_or_else(ended).map_err(fail("cannot watch the state directory"))?;
                    let everything = event.mask.intersects(EventMask::Q_OVERFLOW | EventMask::DELETE_SELF | EventMask::MOVE_SELF);
                    let name = event.name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    if everything || record::is_record(&name) && !name.is_empty() {
                        follower.changed.insert(if everything { String::new() } else { name });
                    }
                }
                () = settle, if !follower.changed.is_empty() => {
                    let changed = std::mem::take(&mut follower.changed);
                    self.read_again(&directory, changed);
                    return Ok(());
                }
            }
        }
    }

    /// Records what was planned for the objects seen, and forgets what was recorded for objects that are gone. Writes only
    /// what differs; nothing at all unless we lead. `now` goes into conditions that change. Returns how many statuses
    /// changed. Blocks for as long as the disk takes.
    ///
    /// # Errors
    ///
    /// Writing failed: the change counts in memory and is written again by the next call, but a restart before that would
    /// not know of it.
    pub fn write(
        &mut self,
        observed: &Observed,
        plan: &AddressPlan,
        now: Timestamp,
    ) -> Result<usize, StateError> {
        self.keep_the_lock()?;
        if !self.is_leader() {
            return Ok(0);
        }
        let mut changed = std::mem::take(&mut self.unwritten);
        let already = changed.len();
        self.take_plan(observed, plan, now, &mut changed);
        self.forget_the_gone(observed, now, &mut changed);
        if changed.is_empty() {
            return Ok(0);
        }
        self.publish();
        let count = changed.len() - already;
        if let Some(directory) = &self.directory {
            let text = |key: &ObjectKey| {
                self.records
                    .get(key)
                    .map(|record| record::text(key, record))
            };
            let files: Vec<_> = changed
                .iter()
                .map(|key| (record::file_name(key), text(key)))
                .collect();
            if let Err(source) = record::write_all(directory, &files) {
                let error = StateError {
                    directory: directory.clone(),
                    what: "cannot write the state",
                    source,
                };
                self.unwritten = changed;
                return Err(error);
            }
        }
        Ok(count)
    }

    fn take_plan(
        &mut self,
        observed: &Observed,
        plan: &AddressPlan,
        now: Timestamp,
        changed: &mut BTreeSet<ObjectKey>,
    ) {
        let time = format_time(now);
        for (name, desired) in &plan.services {
            let recorded = observed.snapshot.services.get(name);
            let key = ObjectKey {
                kind: Kind::Service,
                name: name.clone(),
            };
            let released = self
                .records
                .get(&key)
                .is_some_and(|record| record.released_at.is_some());
            if !released
                && !self.unwritten.contains(&key)
                && recorded.is_some_and(|service| is_as_desired(service, desired))
            {
                continue;
            }
            self.take_status(key, observed, changed, |object| {
                service_status_json(object, desired, &time)
            });
        }
        for (name, conditions) in &plan.pools {
            let name = ObjectName {
                namespace: "".into(),
                name: name.into(),
            };
            let key = ObjectKey {
                kind: Kind::CiliumLoadBalancerIPPool,
                name,
            };
            self.take_status(key, observed, changed, |object| {
                pool_status_json(object, conditions, &time)
            });
        }
    }

    fn take_status(
        &mut self,
        key: ObjectKey,
        observed: &Observed,
        changed: &mut BTreeSet<ObjectKey>,
        write_into: impl FnOnce(&Value) -> Value,
    ) {
        let Some(object) = observed.objects.find(&key) else {
            return;
        };
        let mut value = object.value().into_owned();
        if let (Some(record), Some(fields)) = (self.records.get(&key), value.as_object_mut()) {
            fields.insert("status".to_owned(), (*record.status).clone());
        }
        let former = value.get("status").cloned();
        let status = write_into(&value).get("status").cloned();
        let released = self
            .records
            .get(&key)
            .is_some_and(|record| record.released_at.is_some());
        if status != former || released {
            let status = Arc::new(status.unwrap_or_else(|| Value::Object(Default::default())));
            self.records.insert(
                key.clone(),
                Record {
                    status,
                    released_at: None,
                },
            );
            changed.insert(key);
        }
    }

    fn forget_the_gone(
        &mut self,
        observed: &Observed,
        now: Timestamp,
        changed: &mut BTreeSet<ObjectKey>,
    ) {
        if !observed.snapshot.complete {
            return;
        }
        let held = self.held_addresses();
        self.records.retain(|key, record| {
            let exists = observed.objects.find(key).is_some();
            let keep = match record.released_at {
                None if exists => return true,
                None => {
                    record.released_at = Some(now);
                    key.kind == Kind::Service
                }
                Some(time) if !exists && now.duration_since(time).unsigned_abs() < MEMORY => {
                    return true;
                }
                Some(_) if !exists => false,
                // It came back and nothing is planned for it, so it keeps what it has by now.
                Some(_) => {
                    record.released_at = None;
                    let service = observed.snapshot.services.get(&key.name);
                    service.is_some_and(|service| service.is_load_balancer)
                        && addresses(record).all(|address| !held.contains(&address))
                }
            };
            changed.insert(key.clone());
            keep
        });
    }

    /// Publishes the records of present objects, and those of gone ones whose addresses nobody holds.
    fn publish(&self) {
        let held = self.held_addresses();
        let counts = |record: &Record| {
            record.released_at.is_none()
                || addresses(record).all(|address| !held.contains(&address))
        };
        let records = self.records.iter().filter(|(_, record)| counts(record));
        let recorded: RecordedStatuses = records
            .map(|(key, record)| (key.clone(), record.status.clone()))
            .collect();
        self.published.send_replace(Arc::new(recorded));
    }

    /// The addresses of present Services; nothing where no Service is gone, for nobody asks then.
    fn held_addresses(&self) -> BTreeSet<IpAddr> {
        if self
            .records
            .values()
            .all(|record| record.released_at.is_none())
        {
            return BTreeSet::new();
        }
        self.records
            .values()
            .filter(|record| record.released_at.is_none())
            .flat_map(addresses)
            .collect()
    }

    /// Reads the named files again, all where one name is empty.
    fn read_again(&mut self, directory: &Path, changed: BTreeSet<String>) {
        if changed.contains("") {
            match read_records(directory) {
                Ok(records) => self.records = records,
                Err(error) => tracing::warn!(
                    "{}: cannot be read: {error}; what it last held counts",
                    directory.display()
                ),
            }
        } else {
            let by_name: BTreeMap<_, _> = self
                .records
                .keys()
                .map(|key| (record::file_name(key), key.clone()))
                .collect();
            for name in changed {
                match read_record(&directory.join(&name)) {
                    Ok(Some((key, record))) => drop(self.records.insert(key, record)),
                    Ok(None) => drop(by_name.get(&name).map(|key| self.records.remove(key))),
                    Err(()) => {}
                }
            }
        }
        self.publish();
    }

    /// Makes sure that the lock we hold is the one that others would try to take: somebody may have cleared the directory.
    fn keep_the_lock(&mut self) -> Result<(), StateError> {
        let (Some(directory), Role::Leader(lock)) = (&self.directory, &self.role) else {
            return Ok(());
        };
        let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = lock.metadata().map(|metadata| identity(&metadata)).ok();
        if ours.is_some()
            && ours
                == fs::metadata(directory.join(LOCK))
                    .map(|metadata| identity(&metadata))
                    .ok()
        {
            return Ok(());
        }
        let fail = |what| {
            let directory = directory.clone();
            move |source| StateError {
                directory,
                what,
                source,
            }
        };
        tracing::warn!(
            "{}: the lock was removed; writing everything again",
            directory.display()
        );
        fs::create_dir_all(directory).map_err(fail("cannot make the state directory"))?;
        let role = campaign(directory).map_err(fail("cannot lock the state directory"))?;
        if matches!(role, Role::Leader(_)) {
            self.unwritten = self.records.keys().cloned().collect();
        }
        self.role = role;
        Ok(())
    }
}

/// The addresses in a record's ingress.
fn addresses(record: &Record) -> impl Iterator<Item = IpAddr> + '_ {
    let entries = record
        .status
        .pointer("/loadBalancer/ingress")
        .and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("ip")?.as_str()?.parse().ok())
}

/// Takes the lock, or else begins to wait for it.
fn campaign(directory: &Path) -> io::Result<Role> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join(LOCK))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(Role::Leader(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    let inotify = Inotify::init()?;
    let mask = WatchMask::MOVED_TO
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    inotify.watches().add(directory, mask)?;
    let events = inotify.into_event_stream(vec![0; 16 << 10])?;
    let (sender, receiver) = oneshot::channel();
    // The kernel gives the lock to a waiting thread the moment its holder ends; asking again and again would be late.
    std::thread::Builder::new()
        .name("state-lock".to_owned())
        .spawn(move || {
            let locked = loop {
                match flock(&lock, FlockOperation::LockExclusive) {
                    Err(rustix::io::Errno::INTR) => {}
                    result => break result,
                }
            };
            // Nobody waits any more: the lock goes with the file.
            let _ = sender.send(locked.map(|()| lock).map_err(io::Error::from));
        })?;
    Ok(Role::Follower(Box::new(Follower {
        lock: receiver,
        events,
        changed: BTreeSet::new(),
    })))
}

fn read_records(directory: &Path) -> io::Result<BTreeMap<ObjectKey, Record>> {
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if record::is_record(&entry.file_name().to_string_lossy()) {
            records.extend(read_record(&entry.path()).ok().flatten());
        }
    }
    Ok(records)
}

/// A record, nothing where the file is gone, or an error that is logged already.
fn read_record(path: &Path) -> Result<Option<(ObjectKey, Record)>, ()> {
    match record::read(path) {
        Ok(record) => Ok(Some(record)),
        Err(_) if !path.exists() => Ok(None),
        Err(reason) => {
            tracing::warn!(
                "{}: this is no status that Fairway wrote, so it is ignored: {reason}",
                path.display()
            );
            Err(())
        }
    }
}

fn format_time(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

#[cfg(test)]
mod tests;
