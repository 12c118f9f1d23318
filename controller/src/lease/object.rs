//! The door: the API server's Lease to our [`Record`], and a [`Change`] to what is sent.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Map, Value, json};

use super::LEASE;
use super::record::{Change, Record, Release};

/// Where the leader's heartbeats are to be had.
const LIVENESS: &str = "fairway.dev/liveness";
/// Who wants to know whether the leader lives.
const CHALLENGE: &str = "fairway.dev/challenge";
/// How the last leader left: `<term> settled` or `<term> unsettled`.
const RELEASED: &str = "fairway.dev/released";
/// The coordinator's memory.
const ADDRESSES: &str = "fairway.dev/released-addresses";

/// Told to whoever reads the Lease: when a holder that does not renew is suspicious, in seconds.
const LEASE_DURATION: u64 = 30;

/// What the Lease says. A field that is missing or makes no sense counts as empty.
pub(super) fn record(lease: &Lease) -> Record {
    let annotation = |name: &str| {
        let annotations = lease.metadata.annotations.as_ref();
        annotations
            .and_then(|all| all.get(name))
            .map_or("", String::as_str)
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.unwrap_or_default();
    let term = spec
        .lease_transitions
        .and_then(|term| u64::try_from(term).ok())
        .unwrap_or(0);
    let release = if holder.is_empty() {
        release(annotation(RELEASED), term)
    } else {
        None
    };
    Record {
        uid: lease.metadata.uid.clone().unwrap_or_default(),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder,
        term,
        renewed: spec
            .renew_time
            .map(|time| time.0.to_string())
            .unwrap_or_default(),
        liveness: annotation(LIVENESS).to_owned(),
        challenge: annotation(CHALLENGE).to_owned(),
        release,
        addresses: annotation(ADDRESSES).into(),
    }
}

fn release(text: &str, term: u64) -> Option<Release> {
    let (of, how) = text.split_once(' ')?;
    if of.parse() != Ok(term) {
        return None;
    }
    match how {
        "settled" => Some(Release::Settled),
        "unsettled" => Some(Release::Unsettled),
        _ => None,
    }
}

/// A whole new Lease.
pub(super) fn new(identity: &str, change: &Change, now: Timestamp) -> Value {
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "annotations": annotations(change)},
        "spec": spec(identity, change, now),
    });
    // A merge patch removes what is null; in a new object nothing is there to be removed.
    if let Some(annotations) = lease["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|_, value| !value.is_null());
    }
    lease
}

/// A merge patch of `of`, and of nothing else: the API server refuses it (409) if uid or resourceVersion differ. It
/// leaves alone what others wrote beside our fields.
pub(super) fn patch(identity: &str, of: &Record, change: &Change, now: Timestamp) -> Value {
    json!({
        "metadata": {
            "uid": of.uid,
            "resourceVersion": of.resource_version,
            "annotations": annotations(change),
        },
        "spec": spec(identity, change, now),
    })
}

fn annotations(change: &Change) -> Map<String, Value> {
    let mut all = Map::new();
    let mut set = |name: &str, value: Value| {
        all.insert(name.to_owned(), value);
    };
    match change {
        Change::Acquire { liveness, .. } | Change::Renew { liveness, .. } => {
            set(
                LIVENESS,
                if liveness.is_empty() {
                    Value::Null
                } else {
                    json!(liveness)
                },
            );
            set(CHALLENGE, Value::Null);
            set(RELEASED, Value::Null);
        }
        Change::Challenge { text } => set(CHALLENGE, json!(text)),
        Change::Release { term, how, .. } => {
            let how = match how {
                Release::Settled => "settled",
                Release::Unsettled => "unsettled",
            };
            set(LIVENESS, Value::Null);
            set(CHALLENGE, Value::Null);
            set(RELEASED, json!(format!("{term} {how}")));
        }
    }
    match change {
        Change::Acquire { addresses, .. }
        | Change::Renew { addresses, .. }
        | Change::Release { addresses, .. } => {
            if let Some(text) = addresses {
                set(
                    ADDRESSES,
                    if text.is_empty() {
                        Value::Null
                    } else {
                        json!(**text)
                    },
                );
            }
        }
        Change::Challenge { .. } => {}
    }
    all
}

fn spec(identity: &str, change: &Change, now: Timestamp) -> Value {
    let now = format!("{now:.6}");
    match change {
        Change::Acquire { term, .. } => json!({
            "holderIdentity": identity,
            "leaseDurationSeconds": LEASE_DURATION,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": term,
        }),
        Change::Renew { .. } => json!({"renewTime": now}),
        Change::Challenge { .. } => json!({}),
        Change::Release { .. } => json!({"holderIdentity": "", "renewTime": now}),
    }
}
