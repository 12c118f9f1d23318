//! What goes into a [`Candidate`](super::Candidate) and what comes out.

use std::sync::Arc;

use super::Leadership;
use super::record::{Change, Record, Release};

/// Names a request, so that the answer to one that was given up is not mistaken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request(pub u64);

/// What an API server answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The Lease as it is, or as our write made it.
    Record(Record),
    /// There is no such Lease.
    Absent,
    /// The Lease is not what our write was meant for (409), or it is there although we wanted to create it.
    Conflict,
    /// Anything else: no answer, no permission, an error. A write may have taken effect all the same.
    Failed,
}

/// What a candidate is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A request was answered.
    Answered {
        /// Which.
        request: Request,
        /// With what.
        answer: Answer,
    },
    /// The watch shows the Lease, or that it is gone. May be late, never needed for safety.
    Seen(Option<Record>),
    /// The watch broke. It works again with the next [`Input::Seen`].
    Unwatched,
    /// The leader's heartbeat arrived on the connection last asked for.
    Heartbeat,
    /// That connection ended or could not be made.
    LivenessLost,
    /// Where others get our heartbeats.
    Reachable(String),
    /// To be kept in the Lease while we lead.
    Remember(Arc<str>),
    /// Lead no more. There is no way back.
    Release {
        /// Whether all writes we made as the leader were answered.
        how: Release,
    },
    /// Time passed.
    Tick,
}

/// What a candidate wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Read the Lease from a quorum. Ends the read before.
    Get {
        /// To be named in the answer.
        request: Request,
    },
    /// Create the Lease. Ends the write before.
    Create {
        /// To be named in the answer.
        request: Request,
        /// What it says.
        change: Change,
    },
    /// Change the Lease if it is still `of`. Ends the write before.
    Replace {
        /// To be named in the answer.
        request: Request,
        /// Its uid and resourceVersion are the condition.
        of: Record,
        /// What to change.
        change: Change,
    },
    /// Connect to this liveness port, as `holder`'s; ends the connection before. An empty one: to none.
    ConnectLiveness {
        /// Whose heartbeats are expected there.
        holder: String,
        /// Address and port.
        target: String,
    },
    /// What others may know.
    LeadershipChanged(Leadership),
    /// The Lease is not ours, and will not be. Comes once after [`Input::Release`].
    Released,
}
