//! Who leads: the Lease `fairway-operator`. The protocol and its reasons: docs/decisions/0003-lease.md.
//!
//! [`Candidate`] is the protocol and pure: answers of the API server, sightings, heartbeats and time in; requests and
//! [`Leadership`] out. [`Election`] runs it against a real API server. Nothing here knows what a leader does.

mod election;
mod exchange;
mod link;
mod liveness;
mod object;
mod record;
mod requests;
mod shell;
mod timing;

use std::time::Instant;

pub use election::Candidate;
pub use exchange::{Answer, Input, Output, Request};
pub use record::{Change, Record, Release};
pub use shell::{Election, ElectionConfig, TooMuchToRemember};
pub use timing::Timing;

/// The Lease's name.
pub const LEASE: &str = "fairway-operator";

/// What this process may do at present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leadership {
    /// Who holds the lease as far as we know: `holderIdentity`; empty where nobody does.
    pub holder: String,
    /// `None` while we follow.
    pub lead: Option<Lead>,
}

/// We lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
