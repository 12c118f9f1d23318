//! Who leads: the Lease `fairway-operator`. Docs: docs/decisions/0003-lease.md.

use std::time::Instant;

/// What this process may do at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Who holds the lease as far as we know: `holderIdentity`; empty where nobody does.
    pub holder: String,
    /// `None` while we follow.
    pub lead: Option<Lead>,
}

/// We lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// `leaseTransitions` of our term: no two terms have the same.
    pub term: u64,
    /// Whether the former leader may have writes under way: it neither released the lease nor was it us.
    pub unclean: bool,
    /// Nothing may be sent after this moment, unless a later value says otherwise.
    pub valid_until: Instant,
}

impl Leadership {
    /// Whether a write may be sent now.
    pub fn may_write(&self, now: Instant) -> bool {
        self.lead.is_some_and(|lead| now < lead.valid_until)
    }
}
