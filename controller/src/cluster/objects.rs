//! The objects as they were given: untyped, each with the place it came from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::Value;

use super::{Fault, ObjectName, Password, Problem, Shared};

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

/// What there is to know of a kind: all that it takes to read one more is a row, a variant and a converter.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    /// As the paths of the API name it.
    pub(super) plural: &'static str,
    /// Empty for the core group.
    pub(super) group: &'static str,
    /// In which it is read, best first.
    pub(super) versions: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Whether somebody wants the object as it was given: to write its status, or to show it.
    pub(super) kept: bool,
}

const fn row(
    kind: Kind,
    (name, plural): (&'static str, &'static str),
    group: &'static str,
    versions: &'static [&'static str],
) -> Row {
    Row {
        kind,
        name,
        plural,
        group,
        versions,
        namespaced: matches!(kind, Kind::Service | Kind::EndpointSlice | Kind::Secret),
        kept: !matches!(
            kind,
            Kind::Node | Kind::EndpointSlice | Kind::Secret | Kind::CiliumNode
        ),
    }
}

/// In the order of the variants.
pub(super) const KINDS: [Row; 9] = [
    row(Kind::Node, ("Node", "nodes"), "", &["v1"]),
    row(Kind::Service, ("Service", "services"), "", &["v1"]),
    row(
        Kind::EndpointSlice,
        ("EndpointSlice", "endpointslices"),
        "discovery.k8s.io",
        &["v1"],
    ),
    row(Kind::Secret, ("Secret", "secrets"), "", &["v1"]),
    row(
        Kind::CiliumNode,
        ("CiliumNode", "ciliumnodes"),
        "cilium.io",
        &["v2"],
    ),
    row(
        Kind::CiliumLoadBalancerIPPool,
        ("CiliumLoadBalancerIPPool", "ciliumloadbalancerippools"),
        "cilium.io",
        &["v2", "v2alpha1"],
    ),
    row(
        Kind::CiliumBGPPeeringPolicy,
        ("CiliumBGPPeeringPolicy", "ciliumbgppeeringpolicies"),
        "cilium.io",
        &["v2alpha1"],
    ),
    row(
        Kind::CiliumL2AnnouncementPolicy,
        ("CiliumL2AnnouncementPolicy", "ciliuml2announcementpolicies"),
        "cilium.io",
        &["v2alpha1"],
    ),
    row(
        Kind::CiliumPodIPPool,
        ("CiliumPodIPPool", "ciliumpodippools"),
        "cilium.io",
        &["v2alpha1", "v2"],
    ),
];

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|row| row.kind)
    }

    /// The kind as objects write it.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The kind as the paths of the API and the rules of a ClusterRole write it: `services`.
    pub fn plural(self) -> &'static str {
        self.row().plural
    }

    /// The API group, empty for the core one.
    pub fn group(self) -> &'static str {
        self.row().group
    }

    /// The versions in which the kind is read, best first.
    pub fn versions(self) -> &'static [&'static str] {
        self.row().versions
    }

    /// Whether objects of the kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        self.row().namespaced
    }

    /// Whether somebody wants the object as it was given: to write its status, or to show it. Of other kinds an
    /// incremental [`Store`](super::Store) keeps only what they became.
    pub fn is_kept(self) -> bool {
        self.row().kept
    }

    fn row(self) -> &'static Row {
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
#[derive(Clone, Debug)]
pub struct Object {
    form: Form,
    /// Where it stands, for objects from files.
    pub place: Option<Place>,
    /// A Secret's password, or why it cannot be read.
    pub password: Result<Option<Password>, Fault>,
}

/// A value in memory is several times as large as its text, and of thousands only a few are ever looked at again.
#[derive(Clone, Debug)]
enum Form {
    Value(Value),
    Text(Box<str>),
}

impl Object {
    pub(super) fn new(
        value: Value,
        place: Option<Place>,
        password: Result<Option<Password>, Fault>,
    ) -> Self {
        Self {
            form: Form::Value(value),
            place,
            password,
        }
    }

    /// The whole object; a namespaced one always says its namespace.
    pub fn value(&self) -> Cow<'_, Value> {
        match &self.form {
            Form::Value(value) => Cow::Borrowed(value),
            // It was written by us from a value, and nesting is limited where values come from.
            Form::Text(text) => Cow::Owned(serde_json::from_str(text).unwrap_or_default()),
        }
    }

    /// `metadata.uid` and `metadata.resourceVersion`, empty where there is none; of a text nothing else is kept.
    pub fn version(&self) -> (String, String) {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Head {
            metadata: Metadata,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Metadata {
            uid: String,
            resource_version: String,
        }
        let Head { metadata } = match &self.form {
            Form::Text(text) => serde_json::from_str(text).unwrap_or_default(),
            Form::Value(value) => {
                let text = |pointer| {
                    let text = value.pointer(pointer).and_then(Value::as_str);
                    text.unwrap_or_default().to_owned()
                };
                let metadata = Metadata {
                    uid: text("/metadata/uid"),
                    resource_version: text("/metadata/resourceVersion"),
                };
                Head { metadata }
            }
        };
        (metadata.uid, metadata.resource_version)
    }

    /// The same object in little memory.
    pub fn into_compact(mut self) -> Self {
        if let Form::Value(value) = &self.form {
            self.form = Form::Text(value.to_string().into_boxed_str());
        }
        self
    }

    /// Forgets who manages which field.
    pub(super) fn forget_managers(&mut self) {
        // One that waited for the rest of its list is a text by now.
        if matches!(&self.form, Form::Text(text) if text.contains("\"managedFields\"")) {
            self.form = Form::Value(self.value().into_owned());
        }
        if let Form::Value(value) = &mut self.form
            && let Some(Value::Object(metadata)) = value.get_mut("metadata")
        {
            metadata.remove("managedFields");
        }
    }

    /// Whether the object says the same, wherever it stands.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let same_form = match (&self.form, &other.form) {
            (Form::Text(one), Form::Text(other)) => one == other,
            (Form::Value(one), Form::Value(other)) => one == other,
            _ => self.value() == other.value(),
        };
        same_form && self.password == other.password
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place && self.says_the_same(other)
    }
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
    /// A clone shares the kinds in which nothing changed.
    kinds: [Shared<BTreeMap<ObjectKey, Arc<Object>>>; KINDS.len()],
    problems: Vec<Problem>,
}

impl Objects {
    /// Adds an object. The first one of a key stays; one that comes later is a problem that names both places.
    pub fn insert(&mut self, key: ObjectKey, object: Arc<Object>) {
        let place = |object: &Object| object.place.as_ref().map(|place| place.of(""));
        match self.kinds[key.kind as usize].entry(key) {
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

    /// Puts an object in the place of whatever there is of its key.
    pub fn replace(&mut self, key: ObjectKey, object: Arc<Object>) {
        self.kinds[key.kind as usize].insert(key, object);
    }

    pub(super) fn pack(&mut self) {
        self.kinds.iter_mut().for_each(Shared::pack);
    }

    /// Takes an object out.
    pub fn remove(&mut self, key: &ObjectKey) {
        if self.find(key).is_some() {
            self.kinds[key.kind as usize].remove(key);
        }
    }

    /// Adds a problem with something that became no object.
    pub fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The object of a key.
    pub fn find(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.kinds[key.kind as usize].get(key)
    }

    /// All objects, by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Object>)> {
        self.kinds.iter().flat_map(|objects| objects.iter())
    }

    /// All objects of a kind, by namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Arc<Object>)> {
        self.kinds[kind as usize].iter()
    }

    /// What was wrong with what was given.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Document;
    use super::*;

    #[test]
    fn a_version_is_the_same_in_both_forms() {
        let metadata =
            json!({"annotations": {"resourceVersion": "1"}, "uid": "u", "resourceVersion": "7"});
        for (metadata, version) in [(metadata, ("u", "7")), (json!({"name": "x"}), ("", ""))] {
            let object = Object::new(json!({"metadata": metadata}), None, Ok(None));
            let version = (version.0.to_owned(), version.1.to_owned());
            assert_eq!(object.version(), version);
            assert_eq!(object.into_compact().version(), version);
        }
    }

    #[test]
    fn the_table_of_kinds_is_in_the_order_of_the_variants() {
        for (index, row) in KINDS.iter().enumerate() {
            assert_eq!(row.kind as usize, index);
            assert_eq!(row.kind.name(), row.name);
        }
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
        assert_eq!(objects.iter().next().unwrap().1.value()["line"], 3);
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
