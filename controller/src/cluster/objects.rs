//! The objects as they were given: untyped, each with the place it came from.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::Value;

use super::{Fault, ObjectName, Password, Problem};

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
pub(super) const KINDS: [(Kind, &str, &str, &[&str], bool); 9] = [
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Document;
    use super::*;

    #[test]
    fn the_table_of_kinds_is_in_the_order_of_the_variants() {
        for (index, (kind, name, ..)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert_eq!(kind.name(), *name);
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
