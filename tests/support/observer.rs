//! Who writes what, and how often: a watch of its own on everything that Fairway may write, kept event by event.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api_client::{ApiClient, Stopper};
use crate::clock::{eventually, holds, now, poll};

/// All Services.
pub const SERVICES: &str = "/api/v1/services";
/// All pools, as v2.
pub const POOLS: &str = "/apis/cilium.io/v2/ciliumloadbalancerippools";
/// All Leases.
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";
/// All Events.
pub const EVENTS: &str = "/api/v1/events";

const START: Duration = Duration::from_secs(20);

/// One event of a watch.
#[derive(Clone, Debug)]
pub struct Write {
    /// When it was seen.
    pub at: Instant,
    /// [`SERVICES`], [`POOLS`], ...
    pub collection: &'static str,
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub kind: String,
    /// `namespace/name`, or the name.
    pub name: String,
    /// The field manager that did it; empty where it only removed, which leaves no trace.
    pub manager: String,
    /// The object afterwards.
    pub object: Value,
}

impl Write {
    /// Whether Fairway did it.
    pub fn is_by_fairway(&self) -> bool {
        self.kind != "DELETED" && self.manager.starts_with("fairway")
    }
}

/// Watches since it was started. Dropping it ends the watches.
#[derive(Debug)]
pub struct Observer {
    client: ApiClient,
    collections: Vec<&'static str>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    seen: Mutex<Vec<Write>>,
    stoppers: Mutex<HashMap<&'static str, Stopper>>,
    /// How far each watch has come.
    versions: Mutex<HashMap<&'static str, u64>>,
}

impl Observer {
    /// Watches these collections, from what they hold now.
    ///
    /// # Panics
    /// When one of them cannot be watched.
    #[track_caller]
    pub fn start(client: &ApiClient, collections: &[&'static str]) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = collections
            .iter()
            .map(|collection| {
                let (client, shared) = (client.clone(), Arc::clone(&shared));
                let collection = *collection;
                std::thread::spawn(move || follow(&client, collection, &shared))
            })
            .collect();
        let observer = Self {
            client: client.clone(),
            collections: collections.to_vec(),
            shared,
            threads,
        };
        eventually("everything is watched", START, || {
            let watched = lock(&observer.shared.stoppers).len();
            holds(watched == collections.len(), watched)
        });
        observer
    }

    /// How much there is to see so far: for [`Observer::since`].
    ///
    /// # Panics
    /// As [`Observer::catch_up`].
    #[track_caller]
    pub fn mark(&self) -> usize {
        self.catch_up();
        lock(&self.shared.seen).len()
    }

    /// Waits until everything that stands in the cluster by now has been seen.
    ///
    /// # Panics
    /// When the API server does not answer, or the watches do not get so far.
    #[track_caller]
    pub fn catch_up(&self) {
        for collection in &self.collections {
            let list = self.client.get(collection).expect("it can be listed");
            let items = list["items"].as_array().into_iter().flatten();
            let Some(newest) = items.map(version_of).max() else {
                continue;
            };
            eventually("the observer has caught up", START, || {
                let seen = lock(&self.shared.versions).get(collection).copied();
                holds(seen >= Some(newest), (collection, seen, newest))
            });
        }
    }

    /// All that was seen after `mark`.
    pub fn since(&self, mark: usize) -> Vec<Write> {
        lock(&self.shared.seen)
            .get(mark..)
            .unwrap_or_default()
            .to_vec()
    }

    /// Fairway's writes after `mark` to a collection: how many of each object.
    ///
    /// # Panics
    /// As [`Observer::catch_up`].
    #[track_caller]
    pub fn written_by_fairway(
        &self,
        mark: usize,
        collection: &'static str,
    ) -> BTreeMap<String, usize> {
        self.catch_up();
        let mut counts = BTreeMap::new();
        for write in lock(&self.shared.seen)
            .get(mark..)
            .unwrap_or_default()
            .iter()
            .filter(|write| write.collection == collection && write.is_by_fairway())
        {
            *counts.entry(write.name.clone()).or_default() += 1;
        }
        counts
    }

    /// Waits until nothing of these collections has been written for `quiet`.
    ///
    /// # Panics
    /// When that has not come within `limit`.
    #[track_caller]
    pub fn until_quiet(&self, collections: &[&str], quiet: Duration, limit: Duration) {
        let begin = now();
        eventually("nobody writes any more", limit, || {
            let last = lock(&self.shared.seen)
                .iter()
                .rev()
                .find(|write| collections.contains(&write.collection))
                .map(|write| (write.at, write.name.clone(), write.manager.clone()));
            let since = last.as_ref().map_or(begin, |(at, ..)| (*at).max(begin));
            holds(now().duration_since(since) >= quiet, last)
        });
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for stopper in lock(&self.shared.stoppers).values() {
            stopper.stop();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn reached(&self, collection: &'static str, version: u64) {
        lock(&self.versions).insert(collection, version);
    }
}

fn version_of(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str();
    version
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Lists once and then watches; after an interruption from where it was, so that nothing is missed.
fn follow(client: &ApiClient, collection: &'static str, shared: &Shared) {
    let stopping = || shared.stopping.load(Ordering::Relaxed);
    let mut before = HashMap::new();
    let mut version: Option<String> = None;
    while !stopping() {
        let begin = || -> Result<_, String> {
            let from = match &version {
                Some(version) => version.clone(),
                None => list(client, collection, &mut before)?,
            };
            let watch = client.watch(collection, &from)?;
            Ok((from, watch))
        };
        // The API server may be away: that is what some tests are about.
        let Ok((from, watch)) = poll(Duration::from_secs(1), begin_unless(&stopping, begin)) else {
            continue;
        };
        shared.reached(collection, from.parse().unwrap_or_default());
        version = Some(from);
        if let Ok(stopper) = watch.stopper() {
            lock(&shared.stoppers).insert(collection, stopper);
        }
        if stopping() {
            return;
        }
        for event in watch {
            let object = &event["object"];
            let kind = event["type"].as_str().unwrap_or_default();
            if kind == "ERROR" {
                version = None;
                break;
            }
            version = object["metadata"]["resourceVersion"]
                .as_str()
                .map(str::to_owned);
            if kind != "BOOKMARK" {
                let write = note(collection, kind, object, &mut before);
                lock(&shared.seen).push(write);
            }
            shared.reached(collection, version_of(object));
        }
    }
}

fn begin_unless<T>(
    stopping: &impl Fn() -> bool,
    mut begin: impl FnMut() -> Result<T, String>,
) -> impl FnMut() -> Result<T, String> {
    move || {
        if stopping() {
            Err("stopping".into())
        } else {
            begin()
        }
    }
}

fn list(
    client: &ApiClient,
    collection: &str,
    before: &mut HashMap<String, Value>,
) -> Result<String, String> {
    let list = client.get(collection)?;
    for item in list["items"].as_array().into_iter().flatten() {
        before.insert(name_of(item), item.clone());
    }
    let version = list["metadata"]["resourceVersion"].as_str();
    version
        .map(str::to_owned)
        .ok_or_else(|| "a list without a version".into())
}

fn note(
    collection: &'static str,
    kind: &str,
    object: &Value,
    before: &mut HashMap<String, Value>,
) -> Write {
    let name = name_of(object);
    let manager = manager_of(before.get(&name), object);
    before.insert(name.clone(), object.clone());
    Write {
        at: now(),
        collection,
        kind: kind.to_owned(),
        name,
        manager,
        object: object.clone(),
    }
}

/// `namespace/name`, or the name alone.
pub fn name_of(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// The manager whose entry a write changed. Where it changed none (the same fields in the same second), the last of those that
/// write this part of the object.
fn manager_of(before: Option<&Value>, after: &Value) -> String {
    fn entries(object: &Value) -> &[Value] {
        let entries = object["metadata"]["managedFields"].as_array();
        entries.map(Vec::as_slice).unwrap_or_default()
    }
    let known = before.map(entries).unwrap_or_default();
    let of_status = before.is_some_and(|before| before["status"] != after["status"]);
    let newest = |entry: &&Value| entry["time"].as_str().unwrap_or_default().to_owned();
    let changed = entries(after).iter().filter(|entry| !known.contains(entry));
    let of_part = entries(after)
        .iter()
        .filter(|entry| (entry["subresource"] == "status") == of_status);
    changed
        .max_by_key(newest)
        .or_else(|| of_part.max_by_key(newest))
        .and_then(|entry| entry["manager"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
