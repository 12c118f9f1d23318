//! Which objects of a kind are known, and what a new full list makes of them. Pure.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::cluster::{Object, ObjectKey, ObjectName};

/// Stands for one version of one object: its uid, resourceVersion and apiVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(u64);

impl Version {
    /// `None` where the object does not say.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let metadata = object.get("metadata")?;
        let resource_version = metadata.get("resourceVersion")?.as_str()?;
        let mut hasher = DefaultHasher::new();
        resource_version.hash(&mut hasher);
        for value in [metadata.get("uid"), object.get("apiVersion")] {
            value.and_then(Value::as_str).hash(&mut hasher);
        }
        Some(Self(hasher.finish()))
    }
}

/// The objects of one kind that are in force.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<ObjectName, Option<Version>>);

impl Known {
    /// Whether this very version of the object is in force.
    pub(super) fn has(&self, name: &ObjectName, version: Option<Version>) -> bool {
        version.is_some() && self.0.get(name) == Some(&version)
    }

    pub(super) fn insert(&mut self, name: ObjectName, version: Option<Version>) {
        self.0.insert(name, version);
    }

    pub(super) fn remove(&mut self, name: &ObjectName) {
        self.0.remove(name);
    }

    /// Forgets all of them, which are returned.
    pub(super) fn take_all(&mut self) -> Vec<ObjectName> {
        std::mem::take(&mut self.0).into_keys().collect()
    }
}

/// A full list while it comes in. Nothing of it counts before it is there whole: half of a list shows objects as gone that
/// are not, and as side by side what never was.
#[derive(Debug, Default)]
pub(super) struct Listing {
    seen: HashMap<ObjectName, Option<Version>>,
    changed: Vec<(ObjectKey, Option<Version>, Object)>,
}

impl Listing {
    /// An object that is as it is known already.
    pub(super) fn add_unchanged(&mut self, name: ObjectName, version: Option<Version>) {
        self.seen.insert(name, version);
    }

    /// An object that is new or different. It waits in little memory.
    pub(super) fn add(&mut self, key: ObjectKey, version: Option<Version>, object: Object) {
        self.seen.insert(key.name.clone(), version);
        self.changed.push((key, version, object.into_compact()));
    }

    /// An object that went while the list came in.
    pub(super) fn remove(&mut self, name: &ObjectName) {
        self.seen.remove(name);
        self.changed.retain(|(key, ..)| key.name != *name);
    }

    /// The list is there: what changed, and exactly what is known and not in it. From now on that is what is known.
    pub(super) fn finish(self, known: &mut Known) -> Difference {
        let Self { seen, changed } = self;
        let mut gone: Vec<_> = known
            .0
            .keys()
            .filter(|name| !seen.contains_key(name))
            .cloned()
            .collect();
        gone.sort_unstable();
        known.0 = seen;
        Difference { changed, gone }
    }
}

/// What a full list changes.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) changed: Vec<(ObjectKey, Option<Version>, Object)>,
    pub(super) gone: Vec<ObjectName>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cluster::Document;

    use super::*;

    fn object(name: &str, resource_version: &str) -> (ObjectKey, Option<Version>, Object) {
        let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": resource_version}});
        let version = Version::of(&value);
        let (key, object) = Document::read(value, None, "").objects.remove(0);
        (key, version, std::sync::Arc::unwrap_or_clone(object))
    }

    fn list(known: &mut Known, objects: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let mut listing = Listing::default();
        for (name, resource_version) in objects {
            let (key, version, object) = object(name, resource_version);
            if known.has(&key.name, version) {
                listing.add_unchanged(key.name, version);
            } else {
                listing.add(key, version, object);
            }
        }
        let difference = listing.finish(known);
        let changed = difference.changed.iter().map(|(key, ..)| &key.name);
        let text = |name: &ObjectName| name.name.to_string();
        (
            changed.map(text).collect(),
            difference.gone.iter().map(text).collect(),
        )
    }

    #[test]
    fn a_list_removes_exactly_what_it_lacks_and_changes_what_is_different() {
        let mut known = Known::default();
        let first = list(&mut known, &[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(first.0.len(), 3);
        assert!(first.1.is_empty());
        let second = list(&mut known, &[("a", "1"), ("c", "4"), ("d", "5")]);
        assert_eq!(second, (vec!["c".into(), "d".into()], vec!["b".into()]));
        let third = list(&mut known, &[("a", "1"), ("c", "4"), ("d", "5")]);
        assert_eq!(third, (vec![], vec![]));
        assert_eq!(list(&mut known, &[]).1, ["a", "c", "d"]);
    }

    #[test]
    fn a_list_that_breaks_off_changes_nothing() {
        let mut known = Known::default();
        list(&mut known, &[("a", "1"), ("b", "2")]);
        let (key, version, other) = object("a", "7");
        let mut listing = Listing::default();
        listing.add(key.clone(), version, other);
        drop(listing);
        assert!(!known.has(&key.name, version));
        let b = object("b", "2");
        assert!(known.has(&b.0.name, b.1));
    }

    #[test]
    fn made_again_or_seen_through_another_version_is_different() {
        let version = |uid: &str, api: &str| {
            Version::of(
                &json!({"apiVersion": api, "metadata": {"uid": uid, "resourceVersion": "1"}}),
            )
        };
        assert_ne!(version("a", "v2"), version("b", "v2"));
        assert_ne!(version("a", "v2"), version("a", "v2alpha1"));
        assert_eq!(version("a", "v2"), version("a", "v2"));
        assert_eq!(Version::of(&json!({"metadata": {"uid": "a"}})), None);
        assert!(!Known::default().has(&ObjectName::default(), None));
    }
}
