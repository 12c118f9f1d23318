//! One document, taken apart: which objects it holds, checked as far as their names go.

use std::sync::Arc;

use serde_json::Value;

use super::objects::{KINDS, Kind, Lines, Object, ObjectKey, Place, Row};
use super::{Fault, Name, ObjectName, Problem, meta, secret};

/// Kinds that Fairway will read one day and people may rely on; passing over them in silence would mislead.
const NOT_YET: [&str; 5] = [
    "CiliumBGPClusterConfig",
    "CiliumBGPPeerConfig",
    "CiliumBGPAdvertisement",
    "CiliumBGPNodeConfig",
    "CiliumBGPNodeConfigOverride",
];

/// How deep lists of lists are followed.
const MAX_LIST_DEPTH: usize = 4;

/// The objects of one document: none where nobody reads its kind, several where it is a list.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The objects.
    pub objects: Vec<(ObjectKey, Arc<Object>)>,
    /// What is wrong with the rest.
    pub problems: Vec<Problem>,
}

impl Document {
    /// Takes a document apart. `place` is where it stands; only Secrets of `secrets_namespace` are kept.
    pub fn read(value: Value, place: Option<&Place>, secrets_namespace: &str) -> Self {
        let mut document = Self::default();
        let lines = place.map(|place| &place.lines);
        document.add(
            value,
            place.map(|place| &place.file),
            lines,
            secrets_namespace,
            None,
            0,
        );
        document
    }

    fn add(
        &mut self,
        mut value: Value,
        file: Option<&Arc<str>>,
        lines: Option<&Lines>,
        secrets_namespace: &str,
        item_of: Option<(&str, &str)>,
        depth: usize,
    ) {
        remove_nulls(&mut value);
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let (version, kind) = match (text("apiVersion"), text("kind"), item_of) {
            (Some(version), Some(kind), _) => (version, kind),
            // A typed list leaves both out of its items.
            (_, _, Some((version, kind))) => (version.to_owned(), kind.to_owned()),
            // Helm's Chart.yaml has an apiVersion too, and values may have a kind.
            (version, kind, None)
                if version.is_none() && kind.is_none()
                    || !value.get("metadata").is_some_and(Value::is_object) =>
            {
                return tracing::debug!(
                    ?file,
                    "a document without apiVersion and kind is no object"
                );
            }
            (version, kind, None) => {
                let (missing, there) = if version.is_none() {
                    ("apiVersion", kind)
                } else {
                    ("kind", version)
                };
                let message = format!(
                    "{missing} is missing (the other one is {}), so nobody reads this",
                    there.unwrap_or_default()
                );
                return self.add_problem(String::new(), file, lines, "", message);
            }
        };
        if let Some(kind_of_items) = kind
            .strip_suffix("List")
            .filter(|_| value.get("items").is_some_and(Value::is_array))
        {
            if depth >= MAX_LIST_DEPTH {
                let message = format!("lists are nested more than {MAX_LIST_DEPTH} deep");
                return self.add_problem(String::new(), file, lines, "items", message);
            }
            let item_of = (!kind_of_items.is_empty()).then_some((version.as_str(), kind_of_items));
            let items = value
                .get_mut("items")
                .and_then(Value::as_array_mut)
                .map(std::mem::take)
                .unwrap_or_default();
            let item_lines = lines
                .and_then(|lines| lines.below.iter().find(|(key, _)| &**key == "items"))
                .map(|(_, lines)| lines);
            for (index, item) in items.into_iter().enumerate() {
                let lines = item_lines
                    .and_then(|lines| lines.below.get(index))
                    .map(|(_, lines)| lines)
                    .or(lines);
                self.add(item, file, lines, secrets_namespace, item_of, depth + 1);
            }
            return;
        }
        match read_kind(&version, &kind) {
            Ok(Some(kind)) => self.add_object(kind, value, file, lines, secrets_namespace),
            Ok(None) => tracing::debug!(?file, version, kind, "nobody reads this kind"),
            Err(message) => {
                let name = value
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                self.add_problem(format!("{kind} {name}"), file, lines, "apiVersion", message);
            }
        }
    }

    fn add_object(
        &mut self,
        kind: Kind,
        mut value: Value,
        file: Option<&Arc<str>>,
        lines: Option<&Lines>,
        secrets_namespace: &str,
    ) {
        let name = match object_name(kind, &mut value) {
            Ok(name) => name,
            Err(fault) => {
                let shown = value
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                return self.add_problem(
                    format!("{} {shown}", kind.name()),
                    file,
                    lines,
                    &fault.field,
                    fault.message,
                );
            }
        };
        let mut password = Ok(None);
        if kind == Kind::Secret {
            password = secret::take_password(&mut value);
            if name.namespace != secrets_namespace {
                return;
            }
        }
        let lines = lines.cloned().unwrap_or_default();
        let place = file.map(|file| Place {
            file: file.clone(),
            lines,
        });
        self.objects.push((
            ObjectKey { kind, name },
            Arc::new(Object::new(value, place, password)),
        ));
    }

    fn add_problem(
        &mut self,
        object: String,
        file: Option<&Arc<str>>,
        lines: Option<&Lines>,
        field: &str,
        message: String,
    ) {
        let line = lines.map_or(0, |lines| lines.of(field));
        let place = file.map(|file| format!("{file}:{line}"));
        let field = field.to_owned();
        self.problems.push(Problem {
            object: object.trim().to_owned(),
            place,
            field,
            message,
            last_valid_in_force: false,
        });
    }
}

/// Which kind this is; `None` for one that nobody reads.
fn read_kind(api_version: &str, kind: &str) -> Result<Option<Kind>, String> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if group == "cilium.io" && NOT_YET.contains(&kind) {
        return Err(
            "this kind is not read yet, so it has no effect: write a CiliumBGPPeeringPolicy"
                .to_owned(),
        );
    }
    let Some(Row {
        kind: found,
        name,
        group: its_group,
        versions,
        ..
    }) = KINDS.iter().find(|row| row.name == kind)
    else {
        let similar = KINDS.iter().map(|row| row.name).chain(NOT_YET);
        let meant = similar
            .filter(|_| group == "cilium.io")
            .find(|name| name.eq_ignore_ascii_case(kind));
        return match meant {
            Some(name) => Err(format!("there is no such kind: write {name}")),
            None => Ok(None),
        };
    };
    if group != *its_group {
        // Others have a kind "Service" too, but nobody else's kinds begin like this.
        return if name.starts_with("Cilium") {
            Err(format!(
                "{kind} is of the group {its_group}: write {its_group}/{}",
                versions[0]
            ))
        } else {
            Ok(None)
        };
    }
    if !versions.contains(&version) {
        let prefix = if its_group.is_empty() {
            String::new()
        } else {
            format!("{its_group}/")
        };
        return Err(format!(
            "{kind} does not exist as {api_version}: write {prefix}{}",
            versions[0]
        ));
    }
    Ok(Some(*found))
}

/// Namespace and name, checked; `default` where a namespaced object says none; a namespace of a cluster-scoped object
/// says nothing and is taken out.
fn object_name(kind: Kind, value: &mut Value) -> Result<ObjectName, Fault> {
    let fields = value
        .get_mut("metadata")
        .ok_or_else(|| Fault::new("metadata", "the object has no metadata.name"))?;
    let Value::Object(fields) = fields else {
        return Err(Fault::new("metadata", "this must be a map with a name"));
    };
    let text = |field: &str, value: Option<&Value>| match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Fault::new(
            format!("metadata.{field}"),
            "this is not text; write it in quotes",
        )),
    };
    let name = text("name", fields.get("name"))?
        .ok_or_else(|| Fault::new("metadata.name", "the object has no name"))?;
    meta::check_name(&name).map_err(|reason| Fault::new("metadata.name", reason))?;
    if !kind.is_namespaced() {
        fields.remove("namespace");
        return Ok(ObjectName {
            namespace: Name::default(),
            name: name.into(),
        });
    }
    let namespace =
        text("namespace", fields.get("namespace"))?.filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    meta::check_namespace(&namespace).map_err(|reason| Fault::new("metadata.namespace", reason))?;
    fields.insert("namespace".to_owned(), Value::String(namespace.clone()));
    Ok(ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    })
}

/// A null is an absent field, as the API server takes it. A label or an annotation without a value has the empty one;
/// a null in `matchLabels` stays and is refused, for a selector that lost a requirement would select too much.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            for (key, field) in fields {
                match (key.as_str(), field) {
                    ("labels" | "annotations", Value::Object(texts)) => {
                        texts
                            .values_mut()
                            .filter(|text| text.is_null())
                            .for_each(|text| *text = Value::from(""));
                    }
                    ("matchLabels", _) => {}
                    (_, field) => remove_nulls(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Password;
    use super::*;

    fn read(value: Value) -> Document {
        Document::read(value, None, "kube-system")
    }

    fn keys(document: &Document) -> Vec<String> {
        document
            .objects
            .iter()
            .map(|(key, _)| key.to_string())
            .collect()
    }

    #[test]
    fn namespaces_are_filled_in_and_those_of_cluster_scoped_objects_left_out() {
        let document =
            read(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}));
        assert_eq!(keys(&document), ["Service default/web"]);
        assert_eq!(
            document.objects[0].1.value()["metadata"]["namespace"],
            "default"
        );
        let document = read(
            json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumBGPPeeringPolicy", "metadata": {"name": "p", "namespace": "kube-system"}}),
        );
        assert_eq!(keys(&document), ["CiliumBGPPeeringPolicy p"]);
        assert!(document.problems.is_empty());
    }

    #[test]
    fn lists_are_flattened_also_typed_ones() {
        let document = read(json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}},
            {"apiVersion": "v1", "kind": "ServiceList", "items": [{"metadata": {"name": "b", "namespace": "c"}}]}, null]}));
        assert_eq!(keys(&document), ["Node a", "Service c/b"]);
    }

    #[test]
    fn deep_lists_end_somewhere() {
        let mut value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}});
        for _ in 0..10 {
            value = json!({"apiVersion": "v1", "kind": "List", "items": [value]});
        }
        let document = read(value);
        assert!(document.objects.is_empty());
        assert!(document.problems[0].message.contains("nested"));
    }

    #[test]
    fn kinds_that_nobody_reads_are_ignored_and_wrong_versions_are_told() {
        for (version, kind) in [
            ("gateway.networking.k8s.io/v1", "Gateway"),
            ("serving.knative.dev/v1", "Service"),
            ("apps/v1", "Deployment"),
            ("v1", "Namespace"),
        ] {
            let document =
                read(json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}));
            assert!(
                document.objects.is_empty() && document.problems.is_empty(),
                "{kind}"
            );
        }
        for (version, kind, wanted) in [
            (
                "cilium.io/v2",
                "CiliumBGPPeeringPolicy",
                "write cilium.io/v2alpha1",
            ),
            ("v1", "CiliumLoadBalancerIPPool", "write cilium.io/v2"),
            ("v2", "Service", "write v1"),
            ("cilium.io/v2", "CiliumBGPClusterConfig", "not read yet"),
        ] {
            let document =
                read(json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}));
            assert!(
                document.problems[0].message.contains(wanted),
                "{:?}",
                document.problems
            );
            assert_eq!(document.problems[0].object, format!("{kind} a"));
        }
    }

    #[test]
    fn what_is_no_object_is_ignored_and_what_is_half_one_is_told() {
        assert!(read(json!({"replicaCount": 2})).problems.is_empty());
        assert!(read(json!([1, 2])).problems.is_empty());
        assert!(
            read(json!({"kind": "Service", "metadata": {"name": "a"}})).problems[0]
                .message
                .contains("apiVersion is missing")
        );
        assert!(
            read(json!({"apiVersion": "v1", "metadata": {"name": "a"}})).problems[0]
                .message
                .contains("kind is missing")
        );
    }

    #[test]
    fn names_are_checked_at_the_door() {
        for metadata in [
            json!({}),
            json!({"name": "../../etc/passwd"}),
            json!({"name": 7}),
            json!({"name": "a", "namespace": "A/b"}),
            json!("a"),
            Value::Null,
        ] {
            let document =
                read(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata}));
            assert!(document.objects.is_empty());
            assert_eq!(document.problems.len(), 1, "{metadata}");
        }
    }

    #[test]
    fn secrets_of_other_namespaces_are_not_kept() {
        let of = |namespace: &str| {
            read(
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": namespace}, "stringData": {"password": "x"}}),
            )
        };
        assert!(of("default").objects.is_empty());
        let (_, object) = &of("kube-system").objects[0];
        assert_eq!(object.password, Ok(Some(Password(b"x".to_vec()))));
        assert!(object.value().get("stringData").is_none());
    }
}
