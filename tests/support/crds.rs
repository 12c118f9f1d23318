//! The CustomResourceDefinitions, as `fairway crds` prints them, and subsets of their versions.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::api_client::ApiClient;
use crate::clock::eventually;
use crate::fairway::command;
use crate::kubectl::Kubectl;
use crate::process::text;

/// Where they are.
pub const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The pools' name.
pub const POOLS: &str = "ciliumloadbalancerippools.cilium.io";

/// All of them. kubectl turns the YAML into JSON.
///
/// # Panics
/// When kubectl cannot read what Fairway prints.
#[track_caller]
pub fn all(kubectl: &Kubectl) -> &'static [Value] {
    static ALL: OnceLock<Vec<Value>> = OnceLock::new();
    ALL.get_or_init(|| {
        let output = command(&["crds"]);
        if !output.status.success() {
            return minimal();
        }
        let printed = kubectl
            .ask(
                &["create", "--dry-run=client", "-o", "json", "-f", "-"],
                &text(&output.stdout),
            )
            .unwrap_or_else(|error| panic!("what `fairway crds` prints: {error}"));
        let objects = serde_json::Deserializer::from_str(&printed).into_iter::<Value>();
        objects
            .map(|object| object.expect("kubectl prints JSON"))
            .flat_map(|object| match object["items"].as_array() {
                Some(items) => items.clone(),
                None => vec![object],
            })
            .collect()
    })
}

/// The pools' definition with these versions only, the first of which is the one that is stored.
///
/// # Panics
/// As [`all`].
#[track_caller]
pub fn pools_of_versions(kubectl: &Kubectl, versions: &[&str]) -> Value {
    let mut definition = all(kubectl)
        .iter()
        .find(|definition| definition["metadata"]["name"] == POOLS)
        .expect("there are pools")
        .clone();
    let all = definition["spec"]["versions"].take();
    let chosen = versions.iter().map(|name| {
        let mut version = all
            .as_array()
            .into_iter()
            .flatten()
            .find(|version| version["name"] == **name)
            .unwrap_or_else(|| panic!("no version {name}"))
            .clone();
        version["storage"] = (*name == versions[0]).into();
        version
    });
    definition["spec"]["versions"] = chosen.collect();
    definition
}

/// Makes what is missing and waits until all is served.
///
/// # Panics
/// When the API server refuses one.
#[track_caller]
pub fn install(client: &ApiClient, definitions: &[Value]) {
    for definition in definitions {
        match client.create(PATH, definition) {
            Ok(_) => {}
            Err(error) if error.contains(": 409:") => {}
            Err(error) => panic!("{error}"),
        }
    }
    for definition in definitions {
        let spec = &definition["spec"];
        for version in spec["versions"].as_array().into_iter().flatten() {
            let collection = format!(
                "/apis/{}/{}/{}",
                text_of(&spec["group"]),
                text_of(&version["name"]),
                text_of(&spec["names"]["plural"])
            );
            eventually(
                &format!("{collection} is served"),
                std::time::Duration::from_secs(20),
                || client.get(&collection).map(|_| ()),
            );
        }
    }
}

/// Removes one and waits until it is gone.
///
/// # Panics
/// When it stays.
#[track_caller]
pub fn remove(client: &ApiClient, name: &str) {
    let path = format!("{PATH}/{name}");
    client.delete(&path).expect("it can be removed");
    eventually(
        &format!("{name} is gone"),
        std::time::Duration::from_secs(30),
        || match client.get(&path) {
            Ok(_) => Err("still there".to_owned()),
            Err(error) if error.contains(": 404:") => Ok(()),
            Err(error) => Err(error),
        },
    );
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Enough to store the objects, for a binary that does not print any yet.
fn minimal() -> Vec<Value> {
    [
        (
            "CiliumLoadBalancerIPPool",
            "ciliumloadbalancerippools",
            &["v2", "v2alpha1"][..],
        ),
        (
            "CiliumBGPPeeringPolicy",
            "ciliumbgppeeringpolicies",
            &["v2alpha1"],
        ),
        (
            "CiliumL2AnnouncementPolicy",
            "ciliuml2announcementpolicies",
            &["v2alpha1"],
        ),
    ]
    .into_iter()
    .map(|(kind, plural, versions)| {
        let versions: Value = versions
            .iter()
            .enumerate()
            .map(|(index, name)| {
                json!({
                    "name": name, "served": true, "storage": index == 0, "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                })
            })
            .collect();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.cilium.io") },
            "spec": {
                "group": "cilium.io", "scope": "Cluster", "versions": versions,
                "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            },
        })
    })
    .collect()
}
