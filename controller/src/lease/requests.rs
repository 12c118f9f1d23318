//! Requests about the one Lease, and what their answers mean.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::Value;

use super::exchange::Answer;
use super::record::{Change, Record};
use super::{LEASE, object};

/// Whom a write names as the author of its fields.
const FIELD_MANAGER: &str = "fairway";

/// The Lease at the API server.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) api: Api<Lease>,
    pub(super) namespace: String,
    pub(super) identity: String,
}

/// What came back.
pub(super) struct Outcome {
    pub(super) answer: Answer,
    /// What an operator must know, if it was an error.
    pub(super) problem: Option<Problem>,
}

/// Why a request failed.
pub(super) struct Problem {
    /// The HTTP status; `None` where there was no answer. Two with the same one are the same problem.
    pub(super) code: Option<u16>,
    /// One line: what is wrong and what to do.
    pub(super) text: String,
}

impl Outcome {
    fn good(answer: Answer) -> Self {
        Self {
            answer,
            problem: None,
        }
    }

    fn failed(problem: Problem) -> Self {
        Self {
            answer: Answer::Failed,
            problem: Some(problem),
        }
    }
}

impl Requests {
    /// Without a resourceVersion, so that the API server asks a quorum.
    pub(super) async fn read(&self) -> Outcome {
        match self.api.get(LEASE).await {
            Ok(lease) => Outcome::good(Answer::Record(object::record(&lease))),
            Err(error) if code(&error) == Some(404) && !lacks_namespace(&error) => {
                Outcome::good(Answer::Absent)
            }
            Err(error) => Outcome::failed(self.explain("get", &error)),
        }
    }

    pub(super) async fn create(&self, change: &Change, now: Timestamp) -> Outcome {
        let lease: Lease = match serde_json::from_value(object::new(&self.identity, change, now)) {
            Ok(lease) => lease,
            Err(error) => {
                return Outcome::failed(Problem {
                    code: None,
                    text: format!("cannot make the Lease {LEASE}: {error}"),
                });
            }
        };
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self.api.create(&parameters, &lease).await {
            Ok(lease) => Outcome::good(Answer::Record(object::record(&lease))),
            Err(error) if code(&error) == Some(409) && !is_terminating(&error) => {
                Outcome::good(Answer::Conflict)
            }
            Err(error) => Outcome::failed(self.explain("create", &error)),
        }
    }

    pub(super) async fn replace(&self, of: &Record, change: &Change, now: Timestamp) -> Outcome {
        let patch: Value = object::patch(&self.identity, of, change, now);
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match self
            .api
            .patch(LEASE, &parameters, &Patch::Merge(&patch))
            .await
        {
            Ok(lease) => Outcome::good(Answer::Record(object::record(&lease))),
            Err(error) => match code(&error) {
                Some(404) => Outcome::good(Answer::Absent),
                Some(409) => Outcome::good(Answer::Conflict),
                _ => Outcome::failed(self.explain("patch", &error)),
            },
        }
    }

    /// No answer in time.
    pub(super) fn unanswered(&self, verb: &str, waited: Duration) -> Outcome {
        let namespace = &self.namespace;
        Outcome::failed(Problem {
            code: None,
            text: format!(
                "Lease {namespace}/{LEASE}: {verb}: the API server did not answer within {waited:?}"
            ),
        })
    }

    pub(super) fn explain(&self, verb: &str, error: &kube::Error) -> Problem {
        let lease = format!("Lease {}/{LEASE}", self.namespace);
        let namespace = &self.namespace;
        let code = code(error);
        let text = match code {
            Some(403) if is_terminating(error) => {
                format!(
                    "{lease}: namespace {namespace} is being deleted; this process cannot lead there"
                )
            }
            Some(403) => format!(
                "{lease}: {verb} is forbidden; allow get, list, watch, create and patch on leases of coordination.k8s.io \
                 in namespace {namespace}; until then this process cannot lead"
            ),
            Some(404) => {
                format!(
                    "{lease}: there is no namespace {namespace}; create it; until then this process cannot lead"
                )
            }
            Some(401) => {
                format!("{lease}: {verb}: the API server does not accept our credentials (401)")
            }
            Some(code) => format!("{lease}: {verb} failed ({code}): {}", message(error)),
            None => format!("{lease}: {verb}: the API server cannot be reached: {error}"),
        };
        Problem { code, text }
    }
}

/// The HTTP status of what the API server answered.
fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn message(error: &kube::Error) -> &str {
    match error {
        kube::Error::Api(status) => &status.message,
        _ => "",
    }
}

fn is_terminating(error: &kube::Error) -> bool {
    message(error).contains("being terminated")
}

fn lacks_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    status
        .details
        .as_ref()
        .is_some_and(|details| details.kind == "namespaces")
}
