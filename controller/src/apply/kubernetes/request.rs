//! What goes over the wire and what its answer means: patches, paths, answers. Pure.

use std::time::Duration;

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cluster::ObjectName;
use crate::plan::status::{FIELD_MANAGER, TAKEN_OVER};

use super::outbox::{Key, Outcome, Target, Version};

/// How long a server that is too busy is left alone where it does not say.
const BUSY: Duration = Duration::from_secs(1);
/// Nobody makes us wait longer than that.
const LONGEST_BUSY: Duration = Duration::from_secs(60);
/// What a server says is quoted up to that many characters.
const QUOTED: usize = 500;

/// The merge patch (RFC 7386) that turns the status of `before` into that of `after`, on condition that the object still
/// has this version; `None` where there is nothing to change.
pub(super) fn status_patch(base: &Version, before: &Value, after: &Value) -> Option<Vec<u8>> {
    let nothing = Value::Null;
    let status = |object: &'_ Value| object.get("status").cloned();
    let (before, after) = (status(before), status(after));
    let difference = difference(before.as_ref().unwrap_or(&nothing), after.as_ref()?)?;
    let patch = json!({
        "metadata": {"uid": base.uid, "resourceVersion": base.resource_version},
        "status": difference,
    });
    serde_json::to_vec(&patch).ok()
}

/// The strategic merge patch that marks a Service as taken over. It touches no other condition, so it needs no
/// resourceVersion and succeeds whatever the object has become, unless it was deleted and made again.
pub(super) fn touch_patch(base: &Version, term: u64, former: &str, now: &str) -> Vec<u8> {
    let former = if former.is_empty() {
        "the former leader"
    } else {
        former
    };
    let message = format!("{former} did not hand over; term {term} begins");
    let patch = json!({
        "metadata": {"uid": base.uid},
        "status": {"conditions": [{"type": TAKEN_OVER, "status": "True", "lastTransitionTime": now,
            "reason": "LeaderLost", "message": message}]},
    });
    patch.to_string().into_bytes()
}

/// What a merge patch has to say so that `before` becomes `after`; `None` where they are equal.
fn difference(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let Some(after_fields) = after.as_object() else {
        return Some(after.clone());
    };
    let none = Map::new();
    let before_fields = before.as_object().unwrap_or(&none);
    let mut patch = Map::new();
    for (name, value) in after_fields {
        let former = before_fields.get(name).unwrap_or(&Value::Null);
        if let Some(difference) = difference(former, value) {
            patch.insert(name.clone(), difference);
        }
    }
    for name in before_fields.keys() {
        if !after_fields.contains_key(name) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    Some(Value::Object(patch))
}

/// A PATCH of the status; `None` for a name or version that no API server would have.
pub(super) fn patch(
    key: &Key,
    api_version: &str,
    content_type: &'static str,
    body: Vec<u8>,
) -> Option<Request<Body>> {
    let path = object_path(key, api_version)?;
    let uri = format!("{path}/status?fieldManager={FIELD_MANAGER}");
    request(Method::PATCH, &uri, Some(content_type), body)
}

/// A GET of an object's metadata alone.
pub(super) fn look(key: &Key, api_version: &str) -> Option<Request<Body>> {
    let mut request = request(Method::GET, &object_path(key, api_version)?, None, vec![])?;
    let metadata_only = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    request
        .headers_mut()
        .insert(ACCEPT, HeaderValue::from_static(metadata_only));
    Some(request)
}

/// A cheap GET that opens a connection.
pub(super) fn knock() -> Option<Request<Body>> {
    request(Method::GET, "/version", None, vec![])
}

/// The POST of an Event.
pub(super) fn event(namespace: &str, body: Vec<u8>) -> Option<Request<Body>> {
    let namespace = segment(namespace)?;
    let uri = format!(
        "/apis/events.k8s.io/v1/namespaces/{namespace}/events?fieldManager={FIELD_MANAGER}"
    );
    request(Method::POST, &uri, Some("application/json"), body)
}

fn request(
    method: Method,
    uri: &str,
    content_type: Option<&'static str>,
    body: Vec<u8>,
) -> Option<Request<Body>> {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(uri).ok()?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    Some(request)
}

fn object_path(key: &Key, api_version: &str) -> Option<String> {
    let ObjectName { namespace, name } = &*key.name;
    let name = segment(name)?;
    Some(match key.target {
        Target::Service => format!("/api/v1/namespaces/{}/services/{name}", segment(namespace)?),
        Target::Pool => {
            let version = segment(api_version.strip_prefix("cilium.io/")?)?;
            format!("/apis/cilium.io/{version}/ciliumloadbalancerippools/{name}")
        }
    })
}

/// A name that can stand in a path as it is.
fn segment(name: &str) -> Option<&str> {
    let harmless = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:".contains(&octet);
    let good = !name.is_empty() && name != "." && name != ".." && name.bytes().all(harmless);
    good.then_some(name)
}

/// What the server said: the outcome, and its words where it did not do what was asked.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) message: String,
}

#[derive(Deserialize)]
struct Answered {
    metadata: AnsweredMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnsweredMetadata {
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
}

/// What an answer to a PATCH or a look means.
pub(super) fn judge(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    if code.is_success() {
        return match serde_json::from_slice::<Answered>(body) {
            Ok(answer) => Verdict {
                outcome: Outcome::Done(answer.metadata.resource_version),
                message: String::new(),
            },
            Err(error) => Verdict {
                outcome: Outcome::Unknown,
                message: format!("the answer is no object: {error}"),
            },
        };
    }
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    let mut message: String = status.message.chars().take(QUOTED).collect();
    if message.is_empty() {
        message = code.to_string();
    }
    let outcome = match code.as_u16() {
        401 => Outcome::Unauthenticated,
        // The authorizer's own words; what an admission plugin forbids, it forbids for one object.
        403 if message.contains(" cannot ") => Outcome::Denied,
        403 => Outcome::Unknown,
        404 | 410 => Outcome::Gone,
        409 => Outcome::Conflict,
        408 => Outcome::Unknown,
        429 => Outcome::Busy(retry_after(headers, &status)),
        // Turned away at the door, as by a server that is just starting.
        503 if headers.contains_key(RETRY_AFTER) => Outcome::Busy(retry_after(headers, &status)),
        400..=499 => Outcome::Refused,
        _ => Outcome::Unknown,
    };
    Verdict { outcome, message }
}

/// The header, or else the body, in seconds.
fn retry_after(headers: &HeaderMap, status: &Status) -> Duration {
    let header = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let header = header.and_then(|text| text.trim().parse().ok());
    let details = status
        .details
        .as_ref()
        .map(|details| details.retry_after_seconds);
    let seconds = header.or_else(|| details.filter(|seconds| *seconds > 0));
    seconds.map_or(BUSY, Duration::from_secs).min(LONGEST_BUSY)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn base() -> Version {
        Version {
            uid: "u".into(),
            resource_version: "7".into(),
        }
    }

    #[test]
    fn a_patch_says_only_what_differs_below_status() {
        let before = json!({"spec": {"x": 1}, "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}, "conditions": [{"type": "a"}], "more": 1}});
        let after = json!({"spec": {"x": 2}, "status": {"loadBalancer": {}, "conditions": [{"type": "a"}], "more": 1}});
        let patch: Value =
            serde_json::from_slice(&status_patch(&base(), &before, &after).unwrap()).unwrap();
        assert_eq!(
            patch,
            json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "status": {"loadBalancer": {"ingress": null}}})
        );
        assert!(status_patch(&base(), &after, &after).is_none());
    }

    #[test]
    fn a_first_status_is_given_whole() {
        let after = json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}});
        let patch: Value =
            serde_json::from_slice(&status_patch(&base(), &json!({}), &after).unwrap()).unwrap();
        assert_eq!(patch["status"], after["status"]);
    }

    #[test]
    fn a_pool_is_written_in_the_version_it_came_in() {
        let name = |namespace: &str, name: &str| {
            Arc::new(ObjectName {
                namespace: namespace.into(),
                name: name.into(),
            })
        };
        let pool = Key {
            target: Target::Pool,
            name: name("", "blue"),
        };
        let uri = |key: &Key, version| {
            patch(key, version, "x/y", vec![]).map(|request| request.uri().to_string())
        };
        assert_eq!(
            uri(&pool, "cilium.io/v2alpha1").unwrap(),
            "/apis/cilium.io/v2alpha1/ciliumloadbalancerippools/blue/status?fieldManager=fairway"
        );
        let service = Key {
            target: Target::Service,
            name: name("a", "b"),
        };
        assert_eq!(
            uri(&service, "v1").unwrap(),
            "/api/v1/namespaces/a/services/b/status?fieldManager=fairway"
        );
        for evil in ["..", "a/b", "a?b", ""] {
            let key = Key {
                target: Target::Service,
                name: name("a", evil),
            };
            assert!(uri(&key, "v1").is_none(), "{evil}");
        }
    }

    #[test]
    fn every_answer_has_a_meaning() {
        let judge = |code: u16, body: Value| {
            judge(
                StatusCode::from_u16(code).unwrap(),
                &HeaderMap::new(),
                body.to_string().as_bytes(),
            )
        };
        let said = |message: &str| json!({"kind": "Status", "message": message});
        assert_eq!(
            judge(200, json!({"metadata": {"resourceVersion": "8"}})).outcome,
            Outcome::Done("8".into())
        );
        assert_eq!(judge(200, json!([])).outcome, Outcome::Unknown);
        for (code, message, outcome) in [
            (400, "bad", Outcome::Refused),
            (401, "who", Outcome::Unauthenticated),
            (
                403,
                "services \"a\" is forbidden: User \"u\" cannot patch resource \"services/status\"",
                Outcome::Denied,
            ),
            (
                403,
                "admission webhook \"x\" denied the request",
                Outcome::Unknown,
            ),
            (404, "", Outcome::Gone),
            (409, "", Outcome::Conflict),
            (410, "", Outcome::Gone),
            (413, "", Outcome::Refused),
            (422, "", Outcome::Refused),
            (429, "", Outcome::Busy(Duration::from_secs(1))),
            (500, "", Outcome::Unknown),
            (503, "", Outcome::Unknown),
        ] {
            assert_eq!(judge(code, said(message)).outcome, outcome, "{code}");
        }
        assert_eq!(
            judge(429, json!({"details": {"retryAfterSeconds": 3}})).outcome,
            Outcome::Busy(Duration::from_secs(3))
        );
    }
}
