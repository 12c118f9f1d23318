//! One kind: found, listed in full, watched, and all that again, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::cluster::{Document, Kind, Object, ObjectKey};
use crate::kubernetes_client::KubernetesClient;

use super::backoff::Backoff;
use super::failure::Failure;
use super::known::{Known, Listing, Version};
use super::request::{self, Events};
use super::shared::Shared;
use super::transform::reduce;
use super::versions::{Absence, Discovery, choose};
use super::{Options, now};

/// The longest wait between attempts at a server that fails.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait for somebody to give us a right.
const LONGEST_WAIT_FOR_RIGHTS: Duration = Duration::from_secs(15);
/// At the start a refusal is believed once it lasts: an API server that has just started knows nobody's rights yet.
const BELIEVED_REFUSAL: Duration = Duration::from_millis(1500);
/// Until then it is asked again that often.
const ASK_AGAIN: Duration = Duration::from_millis(150);
/// A kind that does not exist is looked for that often.
const LOOK_FOR: Duration = Duration::from_millis(1000);
/// As long as it is not certain that it does not exist, everything waits for it.
const LOOK_SOON: Duration = Duration::from_millis(110);
/// The server sends a bookmark a minute. A watch that has been silent for longer may be cut where nobody noticed.
const SILENCE: Duration = Duration::from_secs(90);
/// While a list streams in, there is no reason for silence.
const SILENCE_IN_LIST: Duration = Duration::from_secs(30);
/// A watch that ends before is one that failed.
const SHORT: Duration = Duration::from_secs(1);
/// The server ends watches after a time between this and twice as much.
const WATCH_SECONDS: f64 = 240.0;
/// Attempts at reading the same garbage.
const GARBAGE: u32 = 3;

/// Follows one kind.
pub(super) struct Follower {
    kind: Kind,
    client: KubernetesClient,
    options: Options,
    shared: Arc<Shared>,
    discovery: Arc<Discovery>,
    backoff: Backoff,
    known: Known,
    /// Up to where the objects are known, in which version.
    position: Option<(&'static str, String)>,
    /// Whether it was ever there.
    was_there: bool,
    /// Whether the server can begin a watch with everything there is.
    streams: bool,
    garbage: u32,
    /// Since when nothing but refusals came.
    refused_since: Option<Instant>,
}

impl Follower {
    pub(super) fn new(
        kind: Kind,
        client: KubernetesClient,
        options: Options,
        shared: Arc<Shared>,
        discovery: Arc<Discovery>,
    ) -> Self {
        let seed = options.seed.wrapping_add(kind as u64);
        Self {
            kind,
            client,
            options,
            shared,
            discovery,
            backoff: Backoff::new(seed),
            known: Known::default(),
            position: None,
            was_there: false,
            streams: true,
            garbage: 0,
            refused_since: None,
        }
    }

    /// Follows the kind; ends never.
    pub(super) async fn run(mut self) {
        loop {
            let version = self.find().await;
            while let Err(failure) = self.follow(version).await {
                self.shared.set_connected(self.kind, false);
                let absent = matches!(failure, Failure::Absent(_));
                self.recover(&failure).await;
                if absent && !self.is_of_core() {
                    break;
                }
            }
        }
    }

    fn is_of_core(&self) -> bool {
        self.kind.group() != "cilium.io"
    }

    /// The version in which the kind is served. Waits until there is one; says so where there is none.
    async fn find(&mut self) -> &'static str {
        let best = self.kind.versions()[0];
        if self.is_of_core() {
            return best;
        }
        let mut absence = Absence::default();
        let mut told = false;
        loop {
            let soon = if told || self.was_there {
                LOOK_FOR
            } else {
                LOOK_SOON
            };
            match self.discovery.ask(self.kind, soon.mul_f64(0.85)).await {
                Ok(served) => {
                    if let Some(version) = choose(self.kind, &served) {
                        return version;
                    }
                    self.shared.set_connected(self.kind, false);
                    let ready = self.discovery.is_ready().await;
                    if !told && absence.is_certain(now(), ready, self.was_there) {
                        told = true;
                        self.known.take_all();
                        self.position = None;
                        self.was_there = false;
                        self.shared.absent(self.kind);
                    }
                    self.backoff.reset();
                    sleep(soon.mul_f64(0.9 + self.backoff.fraction() / 5.0)).await;
                }
                // Who may not ask what there is may be allowed to see it.
                Err(Failure::Refused(_)) => return best,
                Err(failure) => {
                    absence.end();
                    self.shared.set_connected(self.kind, false);
                    self.recover(&failure).await;
                }
            }
        }
    }

    /// Tells of a failure, draws the conclusions and waits.
    async fn recover(&mut self, failure: &Failure) {
        let mut longest = LONGEST_WAIT;
        match failure {
            Failure::Expired(_) => self.position = None,
            Failure::Refused(message) => {
                // The kind counts as unreadable until a whole list has shown what became of it.
                self.position = None;
                let since = *self.refused_since.get_or_insert_with(now);
                if self.shared.is_filling() && now().duration_since(since) < BELIEVED_REFUSAL {
                    return sleep(ASK_AGAIN).await;
                }
                longest = LONGEST_WAIT_FOR_RIGHTS;
                let reason = self.missing_rule(message);
                self.shared.failed(self.kind, failure, Some(&reason));
                self.shared.refused(self.kind, reason);
                return sleep(self.backoff.next(longest, None)).await;
            }
            // An etcd that is too old for streaming lists is an internal error of the server.
            Failure::Invalid(_) | Failure::Server { code: 500, .. }
                if self.position.is_none() && self.streams =>
            {
                self.streams = false;
                tracing::debug!(kind = self.kind.name(), "no streaming lists: {failure}");
                return;
            }
            // The position is the only part of a request that is not always the same.
            Failure::Invalid(_) => self.position = None,
            Failure::Garbage(_) => {
                self.garbage += 1;
                if self.garbage >= GARBAGE {
                    (self.garbage, self.position, self.streams) = (0, None, false);
                }
            }
            _ => {}
        }
        self.shared.failed(self.kind, failure, None);
        sleep(self.backoff.next(longest, failure.retry_after())).await;
    }

    fn missing_rule(&self, message: &str) -> String {
        let (group, plural) = (self.kind.group(), self.kind.plural());
        let role = match self.kind {
            Kind::Secret => format!(
                "Role of Fairway in the namespace {}",
                self.options.secrets_namespace
            ),
            _ => "ClusterRole of Fairway".to_owned(),
        };
        format!(
            "the API server refuses to show {plural} ({message}): the {role} lacks a rule for apiGroups [{group:?}], \
             resources [{plural:?}], verbs [\"list\", \"watch\"]"
        )
    }

    /// Lists unless the objects are known up to some moment, then watches from there on, until something is in the way.
    async fn follow(&mut self, version: &'static str) -> Result<(), Failure> {
        let path = request::path(self.kind, version, &self.options.secrets_namespace);
        let seconds = (WATCH_SECONDS * (1.0 + self.backoff.fraction())) as u64;
        let from = match &self.position {
            Some((known, from)) if *known == version => Some(from.clone()),
            _ => None,
        };
        let (query, listing) = match from {
            Some(from) => (request::watch(&path, self.kind, &from, seconds), None),
            None if self.streams => {
                let query = request::streaming_list(&path, self.kind, seconds);
                (query, Some(Listing::default()))
            }
            None => {
                let from = self.list(&path, version).await?;
                let query = request::watch(&path, self.kind, &from, seconds);
                self.position = Some((version, from));
                (query, None)
            }
        };
        let events = Events::open(&self.client, &query).await?;
        let begun = now();
        let ended = self.watch(events, version, listing, begun).await;
        if now().duration_since(begun) >= SHORT {
            self.backoff.reset();
        }
        ended
    }

    /// Lists page by page; nothing counts before the last one. Returns from where to watch.
    async fn list(&mut self, path: &str, version: &'static str) -> Result<String, Failure> {
        let mut listing = Listing::default();
        let mut next: Option<String> = None;
        loop {
            let query = request::list(path, self.kind, next.as_deref());
            let page = request::get(&self.client, &query).await?;
            let metadata = request::read_page(&page, |item| {
                self.take(item, version, Some(&mut listing));
            })?;
            self.shared.contact(self.kind, version);
            next = metadata.next;
            if next.is_none() {
                self.finish(listing);
                return Ok(metadata.resource_version);
            }
        }
    }

    /// Takes events until the watch ends. With a `listing`, it begins with everything there is.
    async fn watch(
        &mut self,
        mut events: Events,
        version: &'static str,
        mut listing: Option<Listing>,
        begun: Instant,
    ) -> Result<(), Failure> {
        if listing.is_none() {
            self.connected(version);
        }
        loop {
            let silence = match listing {
                Some(_) => SILENCE_IN_LIST,
                None => SILENCE,
            };
            let event = match timeout(silence, events.next()).await {
                Ok(event) => event?,
                Err(_) if listing.is_some() => {
                    self.streams = false;
                    return Err(Failure::Unreachable(
                        "the API server began a list and never ended it".to_owned(),
                    ));
                }
                Err(_) => None,
            };
            let Some(event) = event else {
                let lasted = now().duration_since(begun);
                // A server that does not know streaming lists never ends one.
                self.streams &= listing.is_none() || lasted < SILENCE_IN_LIST;
                if listing.is_some() || lasted < SHORT {
                    let message = "the API server ended a watch as soon as it had begun";
                    return Err(Failure::Unreachable(message.to_owned()));
                }
                return Ok(());
            };
            if event.kind == "ERROR" {
                let failure = Failure::of_status(&event.object);
                if listing.is_none() {
                    self.give_up_position_for(&failure);
                }
                return Err(failure);
            }
            let resource_version = event.object.pointer("/metadata/resourceVersion");
            let position = resource_version.and_then(Value::as_str).map(str::to_owned);
            let ends_list = event.kind == "BOOKMARK"
                && event
                    .object
                    .pointer("/metadata/annotations/k8s.io~1initial-events-end")
                    .is_some_and(|value| value == "true");
            match &*event.kind {
                "ADDED" | "MODIFIED" => self.take(event.object, version, listing.as_mut()),
                "DELETED" => self.take_away(event.object, version, listing.as_mut()),
                _ => {}
            }
            self.shared.contact(self.kind, version);
            if ends_list && let Some(listing) = listing.take() {
                self.finish(listing);
                self.connected(version);
            }
            if listing.is_none()
                && let Some(position) = position
            {
                self.position = Some((version, position));
                if !ends_list {
                    // That it was let in says little; that it came further says that it goes well.
                    self.backoff.reset();
                    self.garbage = 0;
                }
            }
        }
    }

    /// What the server itself cannot read it cannot read the next time either; a list knows nothing of what is past.
    fn give_up_position_for(&mut self, failure: &Failure) {
        if matches!(failure, Failure::Server { code: 500, .. }) {
            self.garbage += 1;
            if self.garbage >= GARBAGE {
                (self.garbage, self.position) = (0, None);
            }
        }
    }

    fn connected(&mut self, version: &'static str) {
        self.refused_since = None;
        self.shared.contact(self.kind, version);
        self.shared.set_connected(self.kind, true);
    }

    /// Takes an object as it is now. One of a list waits for the rest of it, unless nobody sees anything before it is whole.
    fn take(&mut self, object: Value, version: &'static str, listing: Option<&mut Listing>) {
        let object = reduce(self.kind, version, object);
        let revision = Version::of(&object);
        let Some((key, object)) = self.read(object) else {
            return;
        };
        let unchanged = self.known.has(&key.name, revision);
        match listing {
            Some(listing) if unchanged => listing.add_unchanged(key.name, revision),
            Some(listing) if !self.shared.is_awaited(self.kind) => {
                listing.add(key, revision, object)
            }
            listing => {
                if let Some(listing) = listing {
                    listing.add_unchanged(key.name.clone(), revision);
                }
                self.known.insert(key.name.clone(), revision);
                if !unchanged {
                    self.shared.apply([(key, Some(object))]);
                }
            }
        }
    }

    fn take_away(&mut self, object: Value, version: &'static str, listing: Option<&mut Listing>) {
        let Some((key, _)) = self.read(reduce(self.kind, version, object)) else {
            return;
        };
        if let Some(listing) = listing {
            return listing.remove(&key.name);
        }
        self.known.remove(&key.name);
        self.shared.apply([(key, None)]);
    }

    /// The object with its key; one that cannot have come from an API server is passed over.
    fn read(&self, object: Value) -> Option<(ObjectKey, Object)> {
        let mut document = Document::read(object, None, &self.options.secrets_namespace);
        for problem in &document.problems {
            let failure = Failure::Garbage(problem.to_string());
            self.shared.failed(self.kind, &failure, None);
        }
        let (key, object) = document.objects.pop()?;
        (key.kind == self.kind).then(|| (key, Arc::unwrap_or_clone(object)))
    }

    /// The list is there: it is put in force whole.
    fn finish(&mut self, listing: Listing) {
        let difference = listing.finish(&mut self.known);
        let kind = self.kind;
        let gone = difference.gone.into_iter().map(|name| {
            let key = ObjectKey { kind, name };
            (key, None)
        });
        let changed = difference.changed.into_iter();
        let changed = changed.map(|(key, _, object)| (key, Some(object)));
        self.shared.apply(gone.chain(changed));
        self.was_there = true;
        self.shared.listed(kind);
    }
}

#[cfg(test)]
mod tests;
