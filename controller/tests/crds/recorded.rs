//! The objects of recorded scenarios, and what the API server said to them with Cilium's own definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::corpus::{Document, yaml_files};

/// All objects of Fairway's kinds in the scenarios of a folder: as applied, and as they are after each patch of their spec.
pub(crate) fn recorded(folder: &Path) -> Vec<Document> {
    let golden = fs::read_to_string(folder.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let mut all = vec![];
    for file in yaml_files(&folder.join("scenarios")) {
        let scenario: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let name = scenario["name"].as_str().unwrap();
        let refused = refused(&golden["scenarios"][name]["facts"]);
        all.extend(objects(&scenario, name, &refused));
    }
    all.retain(Document::is_ours);
    all
}

/// What was refused as invalid, such as `CiliumBGPPeerConfig/pc1`.
fn refused(facts: &Value) -> BTreeSet<String> {
    let mut refused = BTreeSet::new();
    let mut below = vec![facts];
    while let Some(value) = below.pop() {
        match value {
            Value::Array(items) => below.extend(items),
            Value::Object(fields) => {
                let listed = fields.get("errors").and_then(Value::as_array);
                let listed = listed.into_iter().flatten().filter_map(Value::as_str);
                refused.extend(listed.filter_map(|error| {
                    let object = error.strip_prefix("apply ")?.strip_suffix(": 422")?;
                    Some(object.to_owned())
                }));
                below.extend(fields.values());
            }
            _ => {}
        }
    }
    refused
}

fn objects(scenario: &Value, name: &str, refused: &BTreeSet<String>) -> Vec<Document> {
    let mut found = vec![];
    let mut latest: BTreeMap<String, Value> = BTreeMap::new();
    for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
        let mut values = vec![];
        if let Some(text) = step["apply"].as_str() {
            values = serde_saphyr::from_multiple::<Value>(text).unwrap();
        } else if let Some(mut value) = patched(step).and_then(|key| latest.get(key)).cloned() {
            merge(&mut value, &step["body"]);
            values.push(value);
        }
        for value in values {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let key = format!(
                "{}/{}",
                text(&value["kind"]),
                text(&value["metadata"]["name"])
            );
            let expected = refused.contains(&key).then(|| "is invalid".to_owned());
            let place = format!("{name}, step {number}");
            found.push(Document::of_value(place, value.clone(), expected));
            latest.insert(key, value);
        }
    }
    found
}

/// The cluster-scoped object whose spec or metadata a step patches.
fn patched(step: &Value) -> Option<&str> {
    step["patch"].as_str().filter(|_| step["status"] != true)
}

/// RFC 7396.
fn merge(value: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    let fields = value.as_object_mut().unwrap();
    for (key, patch) in patch {
        if patch.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), patch);
        }
    }
}
