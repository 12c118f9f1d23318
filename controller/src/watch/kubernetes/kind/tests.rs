//! What no API server can be made to do on demand: to answer garbage, or to change its mind at a given request.

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use kube::client::Body;
use serde_json::json;
use tokio::sync::watch;
use tower::service_fn;

use crate::watch::Observed;

use super::super::shared::SourceHealth;
use super::*;

/// An answer: its status, the lines it begins with, and how long it stays open after them (`None`: for ever).
struct Answer(u16, Vec<String>, Option<Duration>);

fn whole(status: u16, value: &Value) -> Answer {
    Answer(status, vec![value.to_string()], Some(Duration::ZERO))
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// What a streaming list of one object says.
fn list(object: &Value) -> Vec<String> {
    let end = json!({"metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}});
    vec![event("ADDED", object), event("BOOKMARK", &end)]
}

fn object(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "5"}})
}

/// A follower of one kind, with the other kinds known, and every request that it made.
struct Scene {
    requests: Arc<Mutex<Vec<String>>>,
    health: SourceHealth,
    observed: watch::Receiver<Observed>,
    tasks: tokio::task::JoinSet<()>,
}

impl Scene {
    /// `answer` is given the request's path with query, and how many requests of that path (without query) came before.
    fn of(kind: Kind, answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let requests = Arc::new(Mutex::new(Vec::<String>::new()));
        let (asked, answer) = (requests.clone(), Arc::new(answer));
        let server = service_fn(move |request: Request<Body>| {
            let uri = request.uri();
            let path = |request: &str| request.split('?').next().map(str::to_owned);
            let text = uri.to_string();
            let mut asked = asked.lock().unwrap();
            let before = asked.iter().filter(|other| path(other) == path(&text));
            let Answer(status, lines, open_for) = answer(&text, before.count());
            asked.push(text);
            let frame = |line: String| Ok::<_, Infallible>(Frame::data(Bytes::from(line)));
            let rest = stream::once(async move {
                match open_for {
                    Some(time) => sleep(time).await,
                    None => std::future::pending().await,
                }
            });
            let rest = rest.filter_map(async |()| None);
            let body = UnsyncBoxBody::new(StreamBody::new(
                stream::iter(lines).map(frame).chain(rest).boxed(),
            ));
            let mut answer = Response::new(body);
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        let client = KubernetesClient::of(kube::Client::new(server, "default"));
        let shared = Shared::new();
        Kind::all()
            .filter(|other| *other != kind)
            .for_each(|other| shared.listed(other));
        let options = Options {
            secrets_namespace: "kube-system".to_owned(),
            seed: 1,
        };
        let discovery = Arc::new(Discovery::new(client.clone()));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(Follower::new(kind, client, options, shared.clone(), discovery).run());
        let publishing = shared.clone();
        tasks.spawn(async move { publishing.publish().await });
        Self {
            requests,
            health: shared.health(),
            observed: shared.observed(),
            tasks,
        }
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let waited = timeout(Duration::from_secs(10), async {
            while !holds(self) {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let asked = || self.requests.lock().unwrap().clone();
        assert!(waited.await.is_ok(), "no {what}: {:?}", asked());
        assert_eq!(self.tasks.len(), 2);
    }

    fn reason(&self) -> Option<String> {
        let unreadable = &self.observed.borrow().snapshot.unreadable;
        unreadable.values().next().cloned()
    }

    fn services(&self) -> Vec<String> {
        let services = &self.observed.borrow().snapshot.services;
        services.keys().map(ToString::to_string).collect()
    }

    fn lists(&self) -> usize {
        let requests = self.requests.lock().unwrap();
        let lists =
            |request: &&String| request.contains("sendInitialEvents") || request.contains("limit=");
        requests.iter().filter(lists).count()
    }
}

#[tokio::test]
async fn a_right_that_was_lost_and_is_given_back_makes_the_kind_readable_again() {
    let given_back = Arc::new(Mutex::new(false));
    let may = given_back.clone();
    let scene = Scene::of(Kind::Service, move |request, before| {
        if before > 0 && !*may.lock().unwrap() {
            return whole(403, &json!({"message": "no right"}));
        }
        match (before, request.contains("sendInitialEvents")) {
            (0, _) => Answer(200, list(&object("a")), Some(Duration::ZERO)),
            (_, true) => Answer(200, list(&object("b")), None),
            (_, false) => Answer(200, vec![], None),
        }
    });
    scene
        .until("refusal", |scene| scene.reason().is_some())
        .await;
    assert_eq!(scene.services(), ["a/a"]);
    *given_back.lock().unwrap() = true;
    scene
        .until("readable kind", |scene| scene.reason().is_none())
        .await;
    assert_eq!(
        scene.services(),
        ["a/b"],
        "all that happened meanwhile is in the first view"
    );
}

#[tokio::test]
async fn what_cannot_be_read_again_and_again_is_passed_by_with_a_new_list() {
    let undecodable = json!({"kind": "Status", "code": 500, "message": "unable to decode"});
    for line in ["garbage\n".to_owned(), event("ERROR", &undecodable)] {
        let scene = Scene::of(Kind::Service, move |request, before| {
            if request.contains("limit=") {
                let page = json!({"metadata": {"resourceVersion": "9"}, "items": [object("b")]});
                return whole(200, &page);
            }
            match request.contains("sendInitialEvents") {
                true if before == 0 => Answer(200, list(&object("a")), Some(Duration::ZERO)),
                true => Answer(200, list(&object("b")), None),
                false if request.ends_with("resourceVersion=9") => Answer(200, vec![], None),
                false => Answer(200, vec![line.clone()], None),
            }
        });
        scene
            .until("new list", |scene| scene.services() == ["a/b"])
            .await;
        assert_eq!(scene.lists(), 2);
    }
}

#[tokio::test]
async fn a_watch_that_fails_right_after_its_beginning_is_tried_less_and_less_often() {
    let broken = json!({"kind": "Status", "code": 503, "message": "not now"});
    let begun = now();
    let scene = Scene::of(Kind::Service, move |_, before| match before {
        0 => Answer(200, list(&object("a")), Some(Duration::ZERO)),
        _ => Answer(200, vec![event("ERROR", &broken)], None),
    });
    let six = |scene: &Scene| scene.requests.lock().unwrap().len() == 6;
    scene.until("six requests", six).await;
    // The five waits are at least half of 50, 100, 200, 400 and 800 ms.
    assert!(now().duration_since(begun) > Duration::from_millis(700));
}

#[tokio::test]
async fn a_kind_that_is_looked_for_in_vain_does_not_count_as_watched() {
    let kinds = json!({"resources": [{"name": "ciliumloadbalancerippools"}]});
    let pool = json!({"metadata": {"name": "p", "uid": "p", "resourceVersion": "5"}});
    let scene = Scene::of(
        Kind::CiliumLoadBalancerIPPool,
        move |request, before| match (request, before) {
            ("/apis/cilium.io/v2", 0) => whole(200, &kinds),
            ("/apis/cilium.io/v2alpha1", 0) => whole(404, &json!({})),
            (request, 0) if request.contains("ciliumloadbalancerippools") => {
                Answer(200, list(&pool), Some(SHORT + SHORT / 10))
            }
            _ => whole(503, &json!({})),
        },
    );
    let connected = |scene: &Scene| scene.health.kinds()[&Kind::CiliumLoadBalancerIPPool].connected;
    scene.until("watch", connected).await;
    scene
        .until("silence", |scene| scene.health.silent_since().is_some())
        .await;
    assert_eq!(scene.observed.borrow().snapshot.pools.len(), 1);
}

#[tokio::test]
async fn a_list_that_expires_between_two_pages_is_begun_anew_and_shows_nothing_by_halves() {
    let page = |names: &[&str], next: &str| {
        let items: Vec<_> = names.iter().map(|name| object(name)).collect();
        whole(
            200,
            &json!({"metadata": {"resourceVersion": "9", "continue": next}, "items": items}),
        )
    };
    let expired = || whole(410, &json!({"message": "too old"}));
    let scene = Scene::of(Kind::Service, move |request, before| {
        match (before, request.contains("continue=")) {
            (0, _) => whole(422, &json!({"message": "no streaming lists"})),
            (1, false) => page(&["a"], "more"),
            (2, true) => expired(),
            (3, false) => page(&["b"], "more"),
            (4, true) => page(&["c"], ""),
            // The first watch, and the list that follows it.
            (5, false) => expired(),
            (6, false) => page(&["c"], "more"),
            (7, true) => expired(),
            (8, false) => page(&["c"], "more"),
            (9, true) => page(&["d"], ""),
            (_, false) if request.contains("watch=1") => Answer(200, vec![], None),
            other => panic!("{request} was not expected: {other:?}"),
        }
    });
    let mut views = vec![];
    scene
        .until("the list after all", |scene| {
            let view = scene.services();
            if views.last() != Some(&view) {
                views.push(view);
            }
            views.last() == Some(&vec!["a/c".to_owned(), "a/d".to_owned()])
        })
        .await;
    views.retain(|view| !view.is_empty());
    assert_eq!(views, [["a/b", "a/c"], ["a/c", "a/d"]]);
}
