//! Import and export rules as data.

use crate::attribute::{Community, LargeCommunity};
use crate::types::Prefix;

/// An ordered list of statements; the first that matches decides alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// In order.
    pub statements: Vec<Statement>,
    /// What happens to a route that no statement matches.
    pub default: Verdict,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statement {
    /// For people: why a route was accepted or refused.
    pub name: String,
    /// All must hold.
    pub matches: Vec<Match>,
    /// What is done with a matching route, in order.
    pub actions: Vec<Action>,
    /// Whether it passes.
    pub verdict: Verdict,
}

/// A condition on a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// One of these prefixes matches.
    Prefix(Vec<PrefixMatch>),
    /// The route carries this community.
    Community(Community),
    /// The AS path contains this AS.
    AsPathContains(crate::types::Asn),
}

/// A prefix, and how long the routes below it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixMatch {
    /// The covering prefix.
    pub prefix: Prefix,
    /// Least length; the prefix's own for an exact match.
    pub ge: u8,
    /// Greatest length; the prefix's own for an exact match.
    pub le: u8,
}

/// A change to what a route carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Set LOCAL_PREF.
    SetLocalPref(u32),
    /// Set MULTI_EXIT_DISC.
    SetMed(u32),
    /// Add communities that are not there yet.
    AddCommunities(Vec<Community>),
    /// Add large communities that are not there yet.
    AddLargeCommunities(Vec<LargeCommunity>),
    /// Prepend our own AS that many times more.
    Prepend(u8),
}

/// Pass or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It does not.
    Reject,
}

impl Policy {
    /// Everything passes unchanged.
    pub fn accept_all() -> Self {
        Self { statements: vec![], default: Verdict::Accept }
    }
    /// Nothing passes (RFC 8212's default for external peers).
    pub fn reject_all() -> Self {
        Self { statements: vec![], default: Verdict::Reject }
    }
}
