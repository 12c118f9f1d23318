//! The objects as they were given: untyped, each with the place it came from.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::Value;

use super::{Fault, ObjectName, Password, Problem, meta, secret};

/// The kinds that are read. All others are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the kind of its name")]
pub enum Kind {
    Node,
    Service,
    EndpointSlice,
    Secret,
    CiliumNode,
    CiliumLoadBalancerIPPool,
    CiliumBGPPeeringPolicy,
    CiliumL2AnnouncementPolicy,
    CiliumPodIPPool,
}

/// Kind, API group and the versions in which the kind is read, and whether it lives in a namespace.
const KINDS: [(Kind, &str, &str, &[&str], bool); 9] = [
    (Kind::Node, "Node", "", &["v1"], false),
    (Kind::Service, "Service", "", &["v1"], true),
    (
        Kind::EndpointSlice,
        "EndpointSlice",
        "discovery.k8s.io",
        &["v1"],
        true,
    ),
    (Kind::Secret, "Secret", "", &["v1"], true),
    (Kind::CiliumNode, "CiliumNode", "cilium.io", &["v2"], false),
    (
        Kind::CiliumLoadBalancerIPPool,
        "CiliumLoadBalancerIPPool",
        "cilium.io",
        &["v2", "v2alpha1"],
        false,
    ),
    (
        Kind::CiliumBGPPeeringPolicy,
        "CiliumBGPPeeringPolicy",
        "cilium.io",
        &["v2alpha1"],
        false,
    ),
    (
        Kind::CiliumL2AnnouncementPolicy,
        "CiliumL2AnnouncementPolicy",
        "cilium.io",
        &["v2alpha1"],
        false,
    ),
    (
        Kind::CiliumPodIPPool,
        "CiliumPodIPPool",
        "cilium.io",
        &["v2alpha1", "v2"],
        false,
    ),
];

/// Kinds that Fairway will read one day and people may rely on; passing over them in silence would mislead.
const NOT_YET: [&str; 4] = [
    "CiliumBGPClusterConfig",
    "CiliumBGPPeerConfig",
    "CiliumBGPAdvertisement",
    "CiliumBGPNodeConfigOverride",
];

/// How deep lists of lists are followed.
const MAX_LIST_DEPTH: usize = 4;

impl Kind {
    /// The kind as objects write it.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The API group, empty for the core one.
    pub fn group(self) -> &'static str {
        self.row().2
    }

    /// Whether objects of the kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        self.row().4
    }

    fn row(
        self,
    ) -> &'static (
        Self,
        &'static str,
        &'static str,
        &'static [&'static str],
        bool,
    ) {
        // The table lists every variant in order; a test goes through them all.
        &KINDS[self as usize]
    }
}

/// What tells an object from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind (and with it the group; versions are views of one object).
    pub kind: Kind,
    /// Namespace and name.
    pub name: ObjectName,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// An object as it was given, without nulls. A Secret's object holds nothing secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The whole object; a namespaced one always says its namespace.
    pub value: Value,
    /// Where it stands, for objects from files.
    pub place: Option<Place>,
    /// A Secret's password, or why it cannot be read.
    pub password: Result<Option<Password>, Fault>,
}

/// A document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's path below the directory that is read.
    pub file: Arc<str>,
    /// Where the document and each of its fields begin.
    pub lines: Lines,
}

/// The line (from 1) of a node of a document, and of the nodes below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The node's line.
    pub line: u32,
    /// The nodes below it, by key, or by `[index]`.
    pub below: Vec<(Box<str>, Self)>,
}

impl Lines {
    /// The line of a field such as `spec.blocks[1].cidr`, or of the nearest node above it that is there.
    pub fn of(&self, field: &str) -> u32 {
        let rest = field.strip_prefix('.').unwrap_or(field);
        // Keys may hold dots themselves (labels, annotations), so the longest key that fits is taken.
        let fits = |key: &str| {
            rest.strip_prefix(key)
                .is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
        };
        let next = self
            .below
            .iter()
            .filter(|(key, _)| fits(key))
            .max_by_key(|(key, _)| key.len());
        next.map_or(self.line, |(key, lines)| lines.of(&rest[key.len()..]))
    }
}

impl Place {
    /// `bgp.yaml:12`: the file and the line of a field.
    pub fn of(&self, field: &str) -> String {
        format!("{}:{}", self.file, self.lines.of(field))
    }
}

/// The raw store: every object of a kind that is read, each once.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    problems: Vec<Problem>,
}

impl Objects {
    /// Adds an object. The first one of a key stays; one that comes later is a problem that names both places.
    pub fn insert(&mut self, key: ObjectKey, object: Arc<Object>) {
        let place = |object: &Object| object.place.as_ref().map(|place| place.of(""));
        match self.objects.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(object)),
            Entry::Occupied(entry) => {
                let first = place(entry.get()).unwrap_or_else(|| "another place".to_owned());
                self.problems.push(Problem {
                    object: entry.key().to_string(),
                    place: place(&object),
                    field: String::new(),
                    message: format!(
                        "defined in {first} already, which stays in force: remove one of the two"
                    ),
                    last_valid_in_force: false,
                });
            }
        }
    }

    /// Adds a problem with something that became no object.
    pub fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The object of a key.
    pub fn find(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// All objects, by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Object>)> {
        self.objects.iter()
    }

    /// All objects of a kind, by namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Arc<Object>)> {
        self.objects
            .range(
                ObjectKey {
                    kind,
                    name: ObjectName::default(),
                }..,
            )
            .take_while(move |(key, _)| key.kind == kind)
    }

    /// What was wrong with what was given.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

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
            (None, None, None) => {
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
            Arc::new(Object {
                value,
                place,
                password,
            }),
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
    let Some((found, name, its_group, versions, _)) =
        KINDS.iter().find(|(_, name, ..)| *name == kind)
    else {
        return Ok(None);
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
            namespace: String::new(),
            name,
        });
    }
    let namespace =
        text("namespace", fields.get("namespace"))?.filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    meta::check_namespace(&namespace).map_err(|reason| Fault::new("metadata.namespace", reason))?;
    fields.insert("namespace".to_owned(), Value::String(namespace.clone()));
    Ok(ObjectName { namespace, name })
}

/// A null is an absent field, as the API server takes it.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn the_table_of_kinds_is_in_the_order_of_the_variants() {
        for (index, (kind, name, ..)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert_eq!(kind.name(), *name);
        }
    }

    #[test]
    fn namespaces_are_filled_in_and_those_of_cluster_scoped_objects_left_out() {
        let document =
            read(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}));
        assert_eq!(keys(&document), ["Service default/web"]);
        assert_eq!(
            document.objects[0].1.value["metadata"]["namespace"],
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
        assert!(object.value.get("stringData").is_none());
    }

    #[test]
    fn the_first_of_two_stays_and_both_places_are_named() {
        let place = |file: &str, line| Place {
            file: file.into(),
            lines: Lines {
                line,
                below: vec![],
            },
        };
        let mut objects = Objects::default();
        for (file, line) in [("a.yaml", 3), ("b.yaml", 9)] {
            let value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "line": line});
            for (key, object) in Document::read(value, Some(&place(file, line)), "").objects {
                objects.insert(key, object);
            }
        }
        assert_eq!(objects.iter().next().unwrap().1.value["line"], 3);
        assert_eq!(objects.problems()[0].place.as_deref(), Some("b.yaml:9"));
        assert!(objects.problems()[0].message.contains("a.yaml:3"));
    }

    #[test]
    fn a_fields_line_is_found_through_keys_with_dots() {
        let leaf = |line| Lines {
            line,
            below: vec![],
        };
        let lines = Lines {
            line: 1,
            below: vec![
                (
                    "metadata".into(),
                    Lines {
                        line: 2,
                        below: vec![(
                            "labels".into(),
                            Lines {
                                line: 3,
                                below: vec![("a".into(), leaf(4)), ("a.b/c".into(), leaf(5))],
                            },
                        )],
                    },
                ),
                (
                    "spec".into(),
                    Lines {
                        line: 6,
                        below: vec![(
                            "blocks".into(),
                            Lines {
                                line: 7,
                                below: vec![
                                    ("[0]".into(), leaf(8)),
                                    (
                                        "[1]".into(),
                                        Lines {
                                            line: 9,
                                            below: vec![("cidr".into(), leaf(10))],
                                        },
                                    ),
                                ],
                            },
                        )],
                    },
                ),
            ],
        };
        for (field, line) in [
            ("", 1),
            ("spec", 6),
            ("spec.blocks[1].cidr", 10),
            ("spec.blocks[1].stop", 9),
            ("spec.blocks[7]", 7),
            ("metadata.labels.a.b/c", 5),
            ("metadata.labels.a", 4),
            ("nowhere.at.all", 1),
            ("spec.blocksX", 6),
        ] {
            assert_eq!(lines.of(field), line, "{field}");
        }
    }
}
