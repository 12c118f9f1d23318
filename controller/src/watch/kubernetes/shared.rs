//! What the watches of all kinds have in common: the store, who is still awaited, how each of them fares, and the view that
//! is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::cluster::{Kind, Object, ObjectKey, Store};
use crate::watch::Observed;

use super::failure::Failure;
use super::now;

/// After a view has been made, no other is for that many times what it took: under many changes most of the time is left
/// for what they are about.
const REST_FACTOR: u32 = 10;
/// No change waits longer than that for the next view.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// How the watch of one kind fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindHealth {
    /// Whether its objects are being watched at this moment.
    pub connected: bool,
    /// The version in which it is read; empty while there is none.
    pub version: &'static str,
    /// When the API server last sent anything of it.
    pub last_contact: Option<Instant>,
    /// How often it was listed in full, the first time included.
    pub lists: u64,
    /// How often it could not be listed or watched, by what was in the way: `refused`, `unreachable`, `throttled`, ...
    pub errors: BTreeMap<&'static str, u64>,
}

/// How the source fares; a clone sees the same.
#[derive(Clone, Debug)]
pub struct SourceHealth(Arc<Shared>);

impl SourceHealth {
    /// Every kind, as it is now.
    pub fn kinds(&self) -> BTreeMap<Kind, KindHealth> {
        self.0.lock().health.clone()
    }

    /// Since when the API server has sent nothing at all; `None` while some kind is being watched.
    pub fn silent_since(&self) -> Option<Instant> {
        let state = self.0.lock();
        if state.health.values().any(|kind| kind.connected) {
            return None;
        }
        let last = state.health.values().filter_map(|kind| kind.last_contact);
        Some(last.max().unwrap_or(state.begun))
    }
}

/// What the tasks of the source share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is something that the last view does not show.
    news: Notify,
    observed: watch::Sender<Observed>,
}

#[derive(Debug)]
struct State {
    store: Store,
    /// Kinds of which nobody knows yet what there is.
    awaited: BTreeSet<Kind>,
    health: BTreeMap<Kind, KindHealth>,
    /// What is wrong with which kind, so that it is told once.
    troubles: BTreeMap<Kind, &'static str>,
    begun: Instant,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        let health = Kind::all().map(|kind| (kind, KindHealth::default()));
        Arc::new(Self {
            state: Mutex::new(State {
                store: Store::default(),
                awaited: Kind::all().collect(),
                health: health.collect(),
                troubles: BTreeMap::new(),
                begun: now(),
            }),
            news: Notify::new(),
            observed: watch::Sender::default(),
        })
    }

    pub(super) fn observed(&self) -> watch::Receiver<Observed> {
        self.observed.subscribe()
    }

    pub(super) fn health(self: &Arc<Self>) -> SourceHealth {
        SourceHealth(self.clone())
    }

    /// Whether no view has been shown yet.
    pub(super) fn is_filling(&self) -> bool {
        !self.lock().awaited.is_empty()
    }

    /// Whether no view is shown before all objects of the kind are there, so that they may come in one by one.
    pub(super) fn is_awaited(&self, kind: Kind) -> bool {
        self.lock().awaited.contains(&kind)
    }

    /// Takes objects as they are now, or that they are gone, all in one view.
    pub(super) fn apply(&self, objects: impl IntoIterator<Item = (ObjectKey, Option<Object>)>) {
        let mut state = self.lock();
        let mut news = false;
        for (key, object) in objects {
            news |= state.store.apply(&key, object);
        }
        if news {
            self.news.notify_one();
        }
    }

    /// All objects of the kind have been taken.
    pub(super) fn listed(&self, kind: Kind) {
        let mut state = self.lock();
        let news = state.store.set_unreadable(kind, None);
        if let Some(health) = state.health.get_mut(&kind) {
            health.lists += 1;
        }
        self.known(&mut state, kind, news);
    }

    /// There are no objects of the kind, for it does not exist.
    pub(super) fn absent(&self, kind: Kind) {
        let mut state = self.lock();
        let keys: Vec<_> = state.store.keys(kind).cloned().collect();
        let mut news = state.store.set_unreadable(kind, None);
        for key in &keys {
            news |= state.store.apply(key, None);
        }
        state.troubles.remove(&kind);
        if let Some(health) = state.health.get_mut(&kind) {
            health.version = "";
        }
        if !keys.is_empty() {
            tracing::warn!(
                "the kind {} exists no more, and neither do its {} objects",
                kind.name(),
                keys.len()
            );
        }
        self.known(&mut state, kind, news);
    }

    /// Nobody may see objects of the kind. Those that were seen before stay.
    pub(super) fn refused(&self, kind: Kind, reason: String) {
        let mut state = self.lock();
        let news = state.store.set_unreadable(kind, Some(reason));
        self.known(&mut state, kind, news);
    }

    fn known(&self, state: &mut State, kind: Kind, mut news: bool) {
        if state.awaited.remove(&kind) && state.awaited.is_empty() {
            state.store.set_complete();
            news = true;
        }
        if news {
            self.news.notify_one();
        }
    }

    /// The API server sent something of the kind.
    pub(super) fn contact(&self, kind: Kind, version: &'static str) {
        let mut state = self.lock();
        if let Some(health) = state.health.get_mut(&kind) {
            health.version = version;
            health.last_contact = Some(now());
        }
    }

    /// The kind is being watched, or is not at the moment.
    pub(super) fn set_connected(&self, kind: Kind, connected: bool) {
        let mut state = self.lock();
        if let Some(health) = state.health.get_mut(&kind) {
            health.connected = connected;
        }
        if connected && state.troubles.remove(&kind).is_some() && state.troubles.is_empty() {
            tracing::info!("the API server shows all kinds again");
        }
    }

    /// Something went wrong; it is told unless it went wrong in that way before, with this kind or with all of them.
    pub(super) fn failed(&self, kind: Kind, failure: &Failure, told: Option<&str>) {
        let mut state = self.lock();
        let class = failure.class();
        if let Some(health) = state.health.get_mut(&kind) {
            *health.errors.entry(class).or_default() += 1;
        }
        // That a watch is too old is nobody's trouble.
        if class == "expired" {
            return;
        }
        let concerns_all = !matches!(class, "refused" | "absent" | "invalid" | "garbage");
        let known = match concerns_all {
            true => state.troubles.values().any(|trouble| *trouble == class),
            false => state.troubles.get(&kind) == Some(&class),
        };
        state.troubles.insert(kind, class);
        drop(state);
        let text = failure.to_string();
        let text = told.unwrap_or(&text);
        if known {
            tracing::debug!(kind = kind.name(), "{text}");
        } else if concerns_all {
            tracing::warn!("{text}; what is known stays in force, and it is tried again");
        } else {
            tracing::warn!("{}: {text}", kind.name());
        }
    }

    /// Shows what there is, whenever there is something new, for as long as the source lives.
    pub(super) async fn publish(&self) {
        loop {
            self.news.notified().await;
            let start = now();
            if !self.show() {
                continue;
            }
            let took = now().duration_since(start);
            tokio::time::sleep((took * REST_FACTOR).min(LONGEST_REST)).await;
        }
    }

    fn show(&self) -> bool {
        let mut state = self.lock();
        if !state.awaited.is_empty() {
            return false;
        }
        let view = Observed {
            snapshot: Arc::new(state.store.snapshot()),
            objects: Arc::new(state.store.objects()),
            ..Observed::default()
        };
        drop(state);
        self.observed.send_replace(view);
        true
    }

    /// Whoever panicked while holding it ends the process anyway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cluster::Document;

    use super::*;

    fn node(name: &str) -> (ObjectKey, Option<Object>) {
        let value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        let (key, object) = Document::read(value, None, "").objects.remove(0);
        (key, Some(Arc::unwrap_or_clone(object)))
    }

    #[tokio::test]
    async fn nothing_is_shown_before_every_kind_is_known_then_everything_at_once() {
        let shared = Shared::new();
        let mut observed = shared.observed();
        let publishing = shared.clone();
        tokio::spawn(async move { publishing.publish().await });
        for kind in Kind::all().filter(|kind| *kind != Kind::Node) {
            match kind {
                Kind::Secret => shared.refused(kind, "no right".to_owned()),
                Kind::CiliumPodIPPool => shared.absent(kind),
                kind => shared.listed(kind),
            }
            tokio::task::yield_now().await;
        }
        shared.apply([node("a"), node("b")]);
        tokio::task::yield_now().await;
        assert!(shared.is_filling() && !observed.has_changed().unwrap());
        assert!(
            shared.is_awaited(Kind::Node) && !shared.is_awaited(Kind::Secret),
            "who was refused at first lists in full before anything of it is shown"
        );
        shared.listed(Kind::Node);
        observed.changed().await.unwrap();
        let view = observed.borrow_and_update().clone();
        assert!(view.snapshot.complete && !shared.is_filling());
        assert_eq!(view.snapshot.nodes.len(), 2);
        assert_eq!(view.snapshot.unreadable[&Kind::Secret], "no right");

        // What was readable and no longer is stays; what does not exist any more goes.
        shared.refused(Kind::Node, "no right any more".to_owned());
        observed.changed().await.unwrap();
        let view = observed.borrow_and_update().clone();
        assert_eq!(
            (view.snapshot.nodes.len(), view.snapshot.unreadable.len()),
            (2, 2)
        );
        shared.absent(Kind::Node);
        observed.changed().await.unwrap();
        let view = observed.borrow_and_update().clone();
        assert!(view.snapshot.complete && view.snapshot.nodes.is_empty());
    }

    #[tokio::test]
    async fn what_changes_nothing_is_no_news() {
        let shared = Shared::new();
        let has_news = async || {
            let news = shared.news.notified();
            tokio::time::timeout(Duration::ZERO, news).await.is_ok()
        };
        shared.apply([node("a")]);
        Kind::all().for_each(|kind| shared.listed(kind));
        assert!(has_news().await && !has_news().await);
        shared.apply([node("a")]);
        Kind::all().for_each(|kind| shared.listed(kind));
        assert!(!has_news().await);
        shared.apply([node("b")]);
        assert!(has_news().await);
    }

    #[test]
    fn one_cause_is_one_trouble_and_a_connection_ends_it() {
        let shared = Shared::new();
        let failure = Failure::Unreachable("connection refused".to_owned());
        for kind in Kind::all() {
            shared.failed(kind, &failure, None);
            shared.failed(kind, &failure, None);
        }
        assert_eq!(shared.lock().troubles.len(), Kind::all().count());
        let health = shared.health();
        assert_eq!(health.kinds()[&Kind::Node].errors["unreachable"], 2);
        assert!(health.silent_since().is_some());
        Kind::all().for_each(|kind| shared.set_connected(kind, true));
        assert!(shared.lock().troubles.is_empty());
        assert_eq!(health.silent_since(), None);
    }
}
