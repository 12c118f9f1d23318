//! The writer's task: hands out what may be sent, sends it, and takes the answers back. It owns the clock of the requests.

use std::collections::HashMap;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Limited};
use hyper::{Request, StatusCode};
use jiff::Timestamp;
use kube::client::Body;
use serde_json::Value;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::kubernetes_client::{ClientError, in_one_line};
use crate::lease::Leadership;
use crate::plan::status::{pool_status_json, service_status_json};

use super::events::{Note, Reception};
use super::outbox::{Key, Outcome, Send, Target, Task, Version};
use super::request::{self, Verdict};
use super::stats::word;
use super::{AT_ONCE, Content, Desired, Shared, State};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer longer than that is none.
const LONGEST_ANSWER: usize = 4 << 20;
/// Connections kept open while there is nothing to write: a new Service then waits for no handshake.
const WARM: usize = 2;
/// How often they are used, so that neither side closes them.
const KEEP_WARM: Duration = Duration::from_secs(45);
/// The same trouble is logged again after that time.
const LOG_AGAIN: Duration = Duration::from_secs(60);

const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";

type UnderWay = FuturesUnordered<Exchange>;
/// A request on its way to its answer.
type Exchange = Pin<Box<dyn Future<Output = Answer> + std::marker::Send>>;

enum Answer {
    Status(StatusAnswer),
    Event(Verdict),
    Knocked,
}

struct StatusAnswer {
    key: Key,
    base: Version,
    kind: TaskKind,
    content: Option<Arc<Content>>,
    verdict: Verdict,
    code: Option<StatusCode>,
    took: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TaskKind {
    Touch,
    Write,
    Look,
}

pub(super) async fn run(
    shared: Arc<Shared>,
    client: kube::Client,
    leadership: watch::Receiver<Leadership>,
    instance: String,
) {
    let mut run = Run {
        shared,
        client,
        leadership,
        instance,
        warm_at: None,
        troubles: HashMap::new(),
    };
    let mut under_way = UnderWay::new();
    loop {
        let deadline = run.hand_out(&under_way);
        tokio::select! {
            biased;
            Some(answer) = under_way.next() => run.take(answer),
            () = run.shared.wake.notified() => {}
            changed = run.leadership.changed() => if changed.is_err() {
                // Whoever told us that we lead is gone: nothing may be sent any more.
                return;
            },
            () = tokio::time::sleep_until(deadline.unwrap_or_else(now).into()), if deadline.is_some() => {}
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the writer's task owns the clock of its requests"
)]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

struct Run {
    shared: Arc<Shared>,
    client: kube::Client,
    leadership: watch::Receiver<Leadership>,
    instance: String,
    /// When the connections are used next; `None` while we follow.
    warm_at: Option<Instant>,
    /// When each trouble was logged last.
    troubles: HashMap<&'static str, Instant>,
}

impl Run {
    /// Starts all requests that may be sent. Returns when to come back although nothing happened.
    fn hand_out(&mut self, under_way: &UnderWay) -> Option<Instant> {
        let shared = Arc::clone(&self.shared);
        loop {
            let now = now();
            // Asked anew for each request: the lease may end while others are prepared.
            let (may_write, term) = {
                let leadership = self.leadership.borrow_and_update();
                (
                    leadership.may_write(now),
                    leadership.lead.map(|lead| lead.term),
                )
            };
            if !may_write {
                self.warm_at = None;
                return None;
            }
            let mut state = shared.state();
            if state.draining {
                return None;
            }
            // What is still there from a term of ours that somebody else's followed is not to be sent in this one.
            if state.term != term {
                drop(state);
                self.keep_warm(under_way, now);
                return self.warm_at;
            }
            if let Some(send) = state.outbox.next(now) {
                drop(state);
                match self.prepare(send) {
                    Ok(request) => under_way.push(request),
                    Err((key, outcome)) => self.answered_at_home(&key, &outcome, now),
                }
                continue;
            }
            if state.outbox.is_quiet()
                && let Some(note) = state.events.next(now)
            {
                drop(state);
                under_way.push(self.send_event(&note));
                continue;
            }
            self.keep_warm(under_way, now);
            let quiet = state.outbox.is_quiet();
            let deadlines = [
                state.outbox.next_deadline(now),
                state.events.next_deadline(now).filter(|_| quiet),
                self.warm_at,
            ];
            return deadlines.into_iter().flatten().min();
        }
    }

    /// Uses the connections that are to stay open, should nobody else do.
    fn keep_warm(&mut self, under_way: &UnderWay, now: Instant) {
        if self.warm_at.is_some_and(|at| now < at) {
            return;
        }
        self.warm_at = Some(now + KEEP_WARM);
        for _ in 0..WARM {
            let client = self.client.clone();
            if let Some(request) = request::knock() {
                under_way.push(Box::pin(async move {
                    let _ = exchange(&client, request).await;
                    Answer::Knocked
                }));
            }
        }
    }

    /// The request of a task; or what came of it where none is needed or possible.
    fn prepare(&self, send: Send<Content>) -> Result<Exchange, (Key, Outcome)> {
        let Send { key, base, task } = send;
        let (kind, content, request) = match task {
            Task::Touch(content) => {
                let request = touch_request(&key, &base, &content);
                (TaskKind::Touch, Some(content), request)
            }
            Task::Write(content) => {
                let object = content.seen.value();
                // The object says in other words what is wanted? That counts as written.
                let Some(body) = status_patch(&base, &object, &content) else {
                    return Err((key, Outcome::Done(base.resource_version)));
                };
                let request = request::patch(&key, api_version(&object), MERGE_PATCH, body);
                drop(object);
                (TaskKind::Write, Some(content), request)
            }
            Task::Look(content) => {
                let request = request::look(&key, api_version(&content.seen.value()));
                (TaskKind::Look, None, request)
            }
        };
        let Some(request) = request else {
            warn!(
                "{key}: its name or version cannot stand in a request, so its status is not written"
            );
            return Err((key, Outcome::Refused));
        };
        let client = self.client.clone();
        Ok(Box::pin(async move {
            let start = now();
            let (verdict, code) = exchange(&client, request).await;
            let took = now() - start;
            Answer::Status(StatusAnswer {
                key,
                base,
                kind,
                content,
                verdict,
                code,
                took,
            })
        }))
    }

    fn send_event(&self, note: &Note) -> Exchange {
        let request = request::event(&note.service.namespace, note.body(&self.instance));
        let client = self.client.clone();
        Box::pin(async move {
            Answer::Event(match request {
                Some(request) => exchange(&client, request).await.0,
                None => Verdict {
                    outcome: Outcome::Refused,
                    message: String::new(),
                },
            })
        })
    }

    /// What came of a task that needed no request.
    fn answered_at_home(&self, key: &Key, outcome: &Outcome, now: Instant) {
        let mut state = self.shared.state();
        state.outbox.answered(key, outcome, now);
        self.shared.tell_beginning(&mut state);
        self.shared.answered.notify_waiters();
    }

    fn take(&mut self, answer: Answer) {
        let now = now();
        match answer {
            Answer::Knocked => {}
            Answer::Event(verdict) => self.take_event(&verdict, now),
            Answer::Status(answer) => {
                self.take_status(&answer, now);
                if answer.kind != TaskKind::Look {
                    self.tell(&answer, now);
                }
            }
        }
    }

    fn take_status(&self, answer: &StatusAnswer, now: Instant) {
        let mut state = self.shared.state();
        state
            .outbox
            .answered(&answer.key, &answer.verdict.outcome, now);
        count(&mut state, answer);
        let is_unanswered = answer.code.is_none() && answer.verdict.outcome == Outcome::Unknown;
        if is_unanswered && answer.kind == TaskKind::Write {
            state.unanswered = Some(now);
        }
        if matches!(&answer.verdict.outcome, Outcome::Done(version) if *version != answer.base.resource_version)
            && answer.kind == TaskKind::Write
            && let Some(content) = &answer.content
        {
            for happening in &content.happenings {
                let note = Note {
                    service: Arc::clone(&answer.key.name),
                    uid: answer.base.uid.as_str().into(),
                    time: content.time,
                    happening: happening.clone(),
                };
                state.events.push(note, now);
            }
        }
        self.shared.tell_beginning(&mut state);
        self.shared.answered.notify_waiters();
    }

    fn take_event(&mut self, verdict: &Verdict, now: Instant) {
        let reception = match verdict.outcome {
            Outcome::Done(_) => Reception::Taken,
            Outcome::Denied => Reception::Forbidden,
            _ => Reception::Lost,
        };
        let message = &verdict.message;
        if self.shared.state().events.answered(reception, now) {
            warn!(
                "Events cannot be made, so none are for five minutes: {message}; allow `create` on events of API group \
                 events.k8s.io"
            );
        }
        if reception == Reception::Lost && self.may_log("event", now) {
            warn!("an Event is lost: {message}");
        }
    }

    /// Whether a trouble has not been logged for a while.
    fn may_log(&mut self, word: &'static str, now: Instant) -> bool {
        let logged = self.troubles.get(word);
        let may = logged.is_none_or(|at| now.saturating_duration_since(*at) >= LOG_AGAIN);
        if may {
            self.troubles.insert(word, now);
        }
        may
    }

    /// Says in the log and to the agent what went wrong, and when it is over.
    fn tell(&mut self, answer: &StatusAnswer, now: Instant) {
        let StatusAnswer { key, verdict, .. } = answer;
        let message = &verdict.message;
        let (word, text) = match &verdict.outcome {
            Outcome::Done(_) => return self.tell_recovery(),
            Outcome::Conflict | Outcome::Gone => return,
            Outcome::Refused => {
                warn!(
                    "{key}: the API server refuses the status, so it is not written until the object or the plan changes: {message}"
                );
                return;
            }
            Outcome::Denied => {
                let (group, resource) = match key.target {
                    Target::Service => ("\"\"", "services/status"),
                    Target::Pool => ("cilium.io", "ciliumloadbalancerippools/status"),
                };
                let text = format!(
                    "{key}: its status may not be written: {message}; allow `patch` on {resource} of API group {group}"
                );
                ("denied", text)
            }
            Outcome::Unauthenticated => (
                "unauthenticated",
                format!("the API server does not accept our credentials: {message}"),
            ),
            Outcome::Busy(time) => (
                "busy",
                format!("the API server asks us to wait for {time:?}: {message}"),
            ),
            Outcome::Unreachable => (
                "unreachable",
                format!("the API server cannot be reached: {message}"),
            ),
            Outcome::Unknown => (
                "unknown",
                format!("{key}: writing its status failed, and is tried again: {message}"),
            ),
        };
        if self.may_log(word, now) {
            warn!("{text}");
        }
        self.shared.news.send_if_modified(|news| {
            let is_new = news.trouble.as_ref() != Some(&text);
            news.trouble = Some(text);
            is_new
        });
    }

    fn tell_recovery(&mut self) {
        if self.shared.news.borrow().trouble.is_none() {
            return;
        }
        self.shared.news.send_modify(|news| news.trouble = None);
        if self.troubles.remove("unreachable").is_some()
            | self.troubles.remove("unauthenticated").is_some()
        {
            info!("statuses are written again");
        }
    }
}

fn count(state: &mut State, answer: &StatusAnswer) {
    if let Some(code) = answer.code {
        *state.stats.codes.entry(code.as_u16()).or_default() += 1;
    }
    if answer.kind != TaskKind::Look {
        let word = word(&answer.verdict.outcome, &answer.base.resource_version);
        *state.stats.writes.entry(word).or_default() += 1;
        state.stats.latency.record(answer.took);
    }
}

fn touch_request(key: &Key, base: &Version, content: &Content) -> Option<Request<Body>> {
    let Desired::Mark { term, former } = &content.desired else {
        return None;
    };
    let body = request::touch_patch(base, *term, former, &format_time(content.time));
    request::patch(key, "v1", STRATEGIC_MERGE_PATCH, body)
}

fn status_patch(base: &Version, object: &Value, content: &Content) -> Option<Vec<u8>> {
    let time = format_time(content.time);
    let written = match &content.desired {
        Desired::Service(status) => service_status_json(object, status, &time),
        Desired::Pool(conditions) => pool_status_json(object, conditions, &time),
        Desired::Mark { .. } => return None,
    };
    request::status_patch(base, object, &written)
}

/// `cilium.io/v2`, as the object came.
fn api_version(object: &Value) -> &str {
    let version = object.get("apiVersion").and_then(Value::as_str);
    version.unwrap_or_default()
}

/// Sends a request and reads its answer, all within [`TIMEOUT`].
async fn exchange(client: &kube::Client, request: Request<Body>) -> (Verdict, Option<StatusCode>) {
    let exchange = async {
        let answer = client.send(request).await.map_err(|error| Verdict {
            outcome: failure(&error),
            message: in_one_line(&error),
        })?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| Verdict {
            outcome: Outcome::Unknown,
            message: format!("its answer cannot be read: {error}"),
        })?;
        let verdict = request::judge(parts.status, &parts.headers, &body.to_bytes());
        Ok((verdict, Some(parts.status)))
    };
    let timed_out = || Verdict {
        outcome: Outcome::Unknown,
        message: format!("no answer within {TIMEOUT:?}"),
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(verdict)) => (verdict, None),
        Err(_) => (timed_out(), None),
    }
}

/// What an error of the HTTP stack means: where no connection came to be, nothing was done.
fn failure(error: &kube::Error) -> Outcome {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return if error.is_connect() {
                Outcome::Unreachable
            } else {
                Outcome::Unknown
            };
        }
        // Neither of these sent anything: there are no credentials to send.
        if error.is::<kube::client::AuthError>() || error.is::<ClientError>() {
            return Outcome::Unauthenticated;
        }
        cause = error.source();
    }
    Outcome::Unknown
}

fn format_time(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

const _: () = assert!(WARM <= AT_ONCE);
