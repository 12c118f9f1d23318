//! Addresses in a cluster, with kubectl as the other hand: what Services get, what they and their pools are told, what stays
//! over restarts, and how little is written.

mod others;
mod pools;
mod restarts;
mod services;

use std::time::Duration;

use serde_json::{Value, json};
use support::clock::{eventually, holds};
use support::cluster::{Cluster, condition};
use support::observer::POOLS;

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(30);
/// How long nobody must have written until we say that it is quiet.
const QUIET: Duration = Duration::from_secs(2);
const SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";

/// A pool's manifest in this version.
fn pool(version: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": format!("cilium.io/{version}"), "kind": "CiliumLoadBalancerIPPool",
        "metadata": { "name": name }, "spec": spec,
    })
    .to_string()
}

/// A Service's manifest; `more` is laid over its spec.
fn service(namespace: &str, name: &str, more: &Value, annotations: &[(&str, &str)]) -> String {
    let mut spec = json!({ "type": "LoadBalancer", "ports": [{ "port": 80, "protocol": "TCP" }] });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).into()))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": namespace, "name": name, "annotations": annotations }, "spec": spec,
    })
    .to_string()
}

#[track_caller]
fn annotate(cluster: &Cluster, name: &str, annotation: &str) {
    cluster
        .kubectl
        .call(&["annotate", "--overwrite", "service", name, annotation]);
}

#[track_caller]
fn patch_pool(cluster: &Cluster, name: &str, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    cluster.kubectl.call(&[
        "patch",
        "ciliumloadbalancerippools",
        name,
        "--type=merge",
        "-p",
        &patch,
    ]);
}

#[track_caller]
fn until_condition(cluster: &Cluster, name: &str, status: &str, reason: &str, message: &str) {
    until_condition_in(cluster, "default", name, status, reason, message);
}

#[track_caller]
fn until_condition_in(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
) {
    eventually(
        &format!("{namespace}/{name} is told {status} {reason}"),
        SOON,
        || {
            let service = cluster.service(namespace, name);
            let found = condition(&service, SATISFIED);
            let told = (&found["status"], &found["reason"], &found["message"])
                == (&status.into(), &reason.into(), &message.into());
            holds(told, service["status"].clone())
        },
    );
}

/// The message of a pool's condition.
#[track_caller]
fn until_pool(cluster: &Cluster, name: &str, kind: &str, message: &str) {
    eventually(
        &format!("pool {name} says {kind} {message:?}"),
        SOON,
        || {
            let pool = cluster
                .admin
                .get(&format!("{POOLS}/{name}"))
                .unwrap_or_default();
            holds(
                condition(&pool, kind)["message"] == message,
                pool["status"].clone(),
            )
        },
    );
}

#[track_caller]
fn until_event(cluster: &Cluster, name: &str, reason: &str, part: &str) {
    eventually(
        &format!("an Event {reason} about {name} with {part:?}"),
        SOON,
        || {
            let events = cluster.events_of("default", name);
            let found = events
                .iter()
                .any(|(found, message)| found == reason && message.contains(part));
            holds(found, events)
        },
    );
}
