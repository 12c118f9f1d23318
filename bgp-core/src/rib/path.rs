//! What the routes of one UPDATE have in common, kept once for all of them.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::attribute::{Attributes, NextHop};
use crate::types::{PathId, Prefix};

use super::{Interner, Route, Source};

/// Attributes, next hop and source: a [`Route`] without its prefix and its path identifier.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) next_hop: Option<NextHop>,
    /// Without path identifier, so that the routes of one peer share it.
    pub(crate) source: Source,
}

/// Attributes are compared by address: equal ones at two addresses are two paths, which costs memory and nothing else.
impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.attributes, &other.attributes)
            && self.next_hop == other.next_hop
            && self.source == other.source
    }
}

impl Eq for Path {}

impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.attributes).hash(state);
        self.next_hop.hash(state);
        self.source.hash(state);
    }
}

impl Path {
    /// Whether the content is the same, wherever the attributes are kept.
    pub(crate) fn means_the_same(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.attributes, &other.attributes) || self.attributes == other.attributes)
            && self.next_hop == other.next_hop
            && self.source == other.source
    }

    pub(crate) fn route(&self, prefix: Prefix, path_id: Option<PathId>) -> Route {
        Route {
            prefix,
            attributes: Arc::clone(&self.attributes),
            next_hop: self.next_hop.clone(),
            source: self.source.with_path_id(path_id),
        }
    }
}

/// Finds the shared [`Path`] of a route. Routes come in runs that share it, so the last one is tried first.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    known: Interner<Path>,
    last: Option<Arc<Path>>,
}

impl Paths {
    pub(crate) fn of(&mut self, route: &Route) -> Arc<Path> {
        let path = Path {
            attributes: Arc::clone(&route.attributes),
            next_hop: route.next_hop.clone(),
            source: route.source.with_path_id(None),
        };
        if let Some(last) = &self.last
            && **last == path
        {
            return Arc::clone(last);
        }
        let shared = self.known.intern(path);
        self.last = Some(Arc::clone(&shared));
        shared
    }

    /// Octets that the attributes of all paths in use take, each set counted once.
    pub(crate) fn attribute_octets(&mut self) -> usize {
        self.last = None;
        self.known.sweep();
        let mut seen = HashSet::new();
        let of_path = |path: &Arc<Path>| {
            let is_first = seen.insert(Arc::as_ptr(&path.attributes));
            if is_first {
                path.attributes.octets_in_memory()
            } else {
                0
            }
        };
        self.known.iter().map(of_path).sum()
    }

    /// See [`Interner::sweep_after`].
    pub(crate) fn sweep_after(&mut self, gone: usize) {
        self.last = None;
        self.known.sweep_after(gone);
    }
}
