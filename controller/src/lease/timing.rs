//! Every period of the election, in one place. Why each has its value: docs/decisions/0003-lease.md.

use std::time::Duration;

/// The periods. [`Timing::default`] is what runs; tests and the model scale them.
///
/// Safety needs `validity < challenge_wait`, with room for clocks that run at different speeds. Everything else only
/// decides how quickly something is noticed and how many requests that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How often the leader asks whether it still leads.
    pub confirm: Duration,
    /// How long after the sending of a good confirmation the leader may write.
    pub validity: Duration,
    /// How long a challenge stands before it may be followed by a takeover.
    pub challenge_wait: Duration,
    /// How much longer somebody waits who finds the challenge of another.
    pub stranger_wait: Duration,
    /// How often the leader renews.
    pub renewal: Duration,
    /// A `renewTime` that has not moved for so long makes its holder suspicious.
    pub stale: Duration,
    /// A leader that has not sent a heartbeat for so long is suspicious.
    pub silence: Duration,
    /// At most so long everybody waits before it challenges or takes what was released, each a different time.
    pub jitter: Duration,
    /// How long an answered challenge makes us ignore the liveness connection; doubles up to `ignore_most`.
    pub ignore_first: Duration,
    /// See `ignore_first`.
    pub ignore_most: Duration,
    /// A liveness connection that has been well for so long is believed again.
    pub steady: Duration,
    /// The least time between two writes that are not urgent.
    pub write_spacing: Duration,
    /// How soon what failed is tried again.
    pub retry: Duration,
    /// How often a follower reads while its watch is broken.
    pub poll: Duration,
    /// How long a follower whose requests failed gives the leader to recover too.
    pub grace: Duration,
    /// When a read is given up.
    pub read_timeout: Duration,
    /// When a write is given up. It may still arrive.
    pub write_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            confirm: ms(400),
            validity: ms(1_200),
            challenge_wait: ms(1_800),
            stranger_wait: ms(300),
            renewal: ms(12_000),
            stale: ms(30_000),
            silence: ms(1_000),
            jitter: ms(100),
            ignore_first: ms(30_000),
            ignore_most: ms(600_000),
            steady: ms(10_000),
            write_spacing: ms(1_000),
            retry: ms(400),
            poll: ms(1_000),
            grace: ms(1_000),
            read_timeout: ms(800),
            write_timeout: ms(2_000),
        }
    }
}
