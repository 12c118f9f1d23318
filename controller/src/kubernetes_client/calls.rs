//! What was asked of the API server, by verb and answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

/// Upper bounds, in seconds, of the buckets that latencies of writes are counted in; one without bound follows.
pub const WRITE_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What a request asks for, in the words of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
}

/// Counters that many share. There are as many as there are verbs and status codes, so they are bounded.
#[derive(Clone, Debug, Default)]
pub struct ApiCalls(Arc<Mutex<Counters>>);

#[derive(Debug, Default)]
struct Counters {
    answers: BTreeMap<(&'static str, u16), u64>,
    writes: BTreeMap<&'static str, WriteLatency>,
}

/// How long writes took, from sending to the whole answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WriteLatency {
    /// How many there were.
    pub count: u64,
    /// Of all together.
    pub seconds: f64,
    /// How many took at most as long as each of [`WRITE_BUCKETS`] says, those of smaller buckets included.
    pub buckets: [u64; WRITE_BUCKETS.len()],
}

impl ApiCalls {
    /// How many requests were answered, by verb and status code; 0 stands for no answer at all.
    pub fn snapshot(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.lock().answers.clone()
    }

    /// How long writes took, by verb.
    pub fn write_latencies(&self) -> BTreeMap<&'static str, WriteLatency> {
        self.lock().writes.clone()
    }

    /// Counts an answer; `took` is given for writes.
    pub(super) fn count(&self, call: &Call, status: Option<StatusCode>, took: Option<Duration>) {
        let mut counters = self.lock();
        let code = status.map_or(0, |status| status.as_u16());
        *counters.answers.entry((call.verb, code)).or_default() += 1;
        if let Some(took) = took {
            let latency = counters.writes.entry(call.verb).or_default();
            latency.count += 1;
            latency.seconds += took.as_secs_f64();
            for (bound, bucket) in WRITE_BUCKETS.iter().zip(&mut latency.buckets) {
                *bucket += u64::from(took.as_secs_f64() <= *bound);
            }
        }
    }

    /// Whoever panicked while holding it left it whole.
    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The verb of a request as a ClusterRole would name it. Of a path that is no object's, a GET is a `get`.
pub(super) fn verb(method: &Method, path: &str, query: &str) -> &'static str {
    let watches = query
        .split('&')
        .any(|part| matches!(part, "watch=1" | "watch=true"));
    let names_an_object = names_an_object(path);
    match *method {
        Method::GET if watches => "watch",
        Method::GET if names_an_object == Some(false) => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if names_an_object == Some(false) => "deletecollection",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// Whether a path is that of one object rather than of all of a kind; `None` for one that is neither.
fn names_an_object(path: &str) -> Option<bool> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match parts.next()? {
        "api" => drop(parts.next()?),
        "apis" => drop((parts.next()?, parts.next()?)),
        _ => return None,
    }
    let rest: Vec<&str> = parts.collect();
    match rest.as_slice() {
        [] => None,
        ["namespaces", _, rest @ ..] if !rest.is_empty() => Some(rest.len() > 1),
        rest => Some(rest.len() > 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_a_cluster_role() {
        for (method, path, query, expected) in [
            (Method::GET, "/api/v1/services", "limit=500", "list"),
            (Method::GET, "/api/v1/services", "watch=1&limit=5", "watch"),
            (Method::GET, "/api/v1/namespaces/a/secrets", "", "list"),
            (Method::GET, "/api/v1/namespaces/a/services/b", "", "get"),
            (Method::GET, "/api/v1/namespaces", "", "list"),
            (Method::GET, "/api/v1/namespaces/a", "", "get"),
            (Method::GET, "/apis/cilium.io/v2", "", "get"),
            (Method::GET, "/readyz", "", "get"),
            (Method::GET, "/apis/cilium.io/v2/ciliumnodes", "", "list"),
            (
                Method::PATCH,
                "/api/v1/namespaces/a/services/b/status",
                "",
                "patch",
            ),
            (Method::POST, "/api/v1/namespaces/a/events", "", "create"),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/b",
                "",
                "update",
            ),
            (Method::DELETE, "/api/v1/nodes/a", "", "delete"),
            (Method::DELETE, "/api/v1/nodes", "", "deletecollection"),
        ] {
            assert_eq!(verb(&method, path, query), expected, "{method} {path}");
        }
    }

    #[test]
    fn answers_are_counted_by_code_and_writes_by_their_time() {
        let calls = ApiCalls::default();
        let patch = Call { verb: "patch" };
        for (code, milliseconds) in [(200, 3), (200, 700), (409, 2)] {
            let status = StatusCode::from_u16(code).unwrap();
            calls.count(
                &patch,
                Some(status),
                Some(Duration::from_millis(milliseconds)),
            );
        }
        calls.count(&Call { verb: "watch" }, None, None);
        let expected = [(("patch", 200), 2), (("patch", 409), 1), (("watch", 0), 1)];
        assert_eq!(calls.snapshot(), expected.into());
        let latency = calls.write_latencies()["patch"];
        assert_eq!((latency.count, latency.buckets[2]), (3, 2));
        assert_eq!(latency.buckets[9], 3);
        assert!((latency.seconds - 0.705).abs() < 1e-9);
    }
}
