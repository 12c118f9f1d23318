//! What the metrics tell of the writer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::outbox::Outcome;

/// Upper bounds of the latency histogram, in seconds; one more bucket takes what is beyond.
pub const LATENCY_BOUNDS: [f64; 14] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Numbers of a writer since it was started, and how it stands now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriterStats {
    /// Objects whose status is to be written and for which no request is under way.
    pub queued: usize,
    /// Requests under way.
    pub under_way: usize,
    /// How many may be under way at once by now; fewer where the API server asks for it.
    pub limit: usize,
    /// Status writes by result: `written`, `unchanged`, `conflict`, `gone`, `refused`, `busy`, `unknown`, `unreachable`,
    /// `unauthenticated`, `denied`.
    pub writes: BTreeMap<&'static str, u64>,
    /// Answers of the API server by HTTP status code.
    pub codes: BTreeMap<u16, u64>,
    /// How long status writes took, from the hand-out to the answer.
    pub latency: Latency,
    /// Events that the API server took.
    pub events_sent: u64,
    /// Events that were lost: too many, too fast, or not taken.
    pub events_dropped: u64,
    /// Events that said again what had been said within ten minutes, and so were not sent.
    pub events_repeated: u64,
}

/// A histogram of latencies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    /// How many were within each of [`LATENCY_BOUNDS`] and not within the one before; the last: beyond all.
    pub counts: [u64; LATENCY_BOUNDS.len() + 1],
    /// The sum of all.
    pub sum: Duration,
}

impl Latency {
    pub(super) fn record(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(LATENCY_BOUNDS.len())] += 1;
        self.sum += took;
    }
}

/// The result of a write, in a word. `unchanged`: the server took it and nothing changed.
pub(super) fn word(outcome: &Outcome, base: &str) -> &'static str {
    match outcome {
        Outcome::Done(version) if version == base => "unchanged",
        Outcome::Done(_) => "written",
        Outcome::Conflict => "conflict",
        Outcome::Gone => "gone",
        Outcome::Refused => "refused",
        Outcome::Busy(_) => "busy",
        Outcome::Unknown => "unknown",
        Outcome::Unreachable => "unreachable",
        Outcome::Unauthenticated => "unauthenticated",
        Outcome::Denied => "denied",
    }
}
