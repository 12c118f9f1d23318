//! The Lease in our own words, and what we may do to it.

use std::sync::Arc;

/// What a Lease says, as far as the election cares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// `metadata.uid`: a Lease that was deleted and created again is another one.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `spec.holderIdentity`; empty where nobody holds it.
    pub holder: String,
    /// `spec.leaseTransitions`.
    pub term: u64,
    /// `spec.renewTime` as text: compared with itself only, since it was stamped by another machine's clock.
    pub renewed: String,
    /// Where the holder's heartbeats are to be had: address and port; empty where it did not say.
    pub liveness: String,
    /// The open challenge, `<identity> <random>`; empty where there is none.
    pub challenge: String,
    /// How the last holder gave the Lease up. `None` although nobody holds it: a stranger emptied the field.
    pub release: Option<Release>,
    /// What the coordinator wants remembered.
    pub addresses: Arc<str>,
}

/// How a holder gave the Lease up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// All its writes were answered.
    Settled,
    /// Some of its writes may still be under way.
    Unsettled,
}

/// What a write does to the Lease. It is always a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Become the holder. Ends any challenge.
    Acquire {
        /// Our term.
        term: u64,
        /// Where our heartbeats are to be had.
        liveness: String,
        /// What to remember, unless what is there stays.
        addresses: Option<Arc<str>>,
    },
    /// Stay the holder. Ends any challenge: this is how one is answered.
    Renew {
        /// Where our heartbeats are to be had.
        liveness: String,
        /// What to remember, unless what is there stays.
        addresses: Option<Arc<str>>,
    },
    /// Ask the holder to renew or to be replaced.
    Challenge {
        /// `<identity> <random>`.
        text: String,
    },
    /// Give the Lease up.
    Release {
        /// The term that ends.
        term: u64,
        /// Whether all our writes were answered.
        how: Release,
        /// What to remember, unless what is there stays.
        addresses: Option<Arc<str>>,
    },
}

impl Record {
    /// Whether this one is certainly older than `other`. The API server numbers all changes upwards; where a number is
    /// none, nothing is certain, and a compare-and-swap that fails tells.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        let number = |record: &Self| record.resource_version.parse::<u64>();
        matches!((number(self), number(other)), (Ok(own), Ok(others)) if own < others)
    }
}
