//! What the liveness connection to the leader tells a follower: a hint, never more.

use std::time::{Duration, Instant};

use super::timing::Timing;

/// The connection to one leader's liveness port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link {
    /// `holderIdentity` of the leader.
    pub(super) holder: String,
    /// Address and port.
    pub(super) target: String,
    /// From when on its silence is suspicious.
    suspect_at: Instant,
    /// When to connect again; `None` while a connection stands or is being made.
    pub(super) retry_at: Option<Instant>,
    /// Since when heartbeats have come without a gap.
    steady_since: Option<Instant>,
    /// Suspicion is not acted upon before: the last one was wrong.
    ignored_until: Option<Instant>,
    /// How long the next wrong suspicion is paid for.
    ignore_next: Duration,
}

impl Link {
    /// A connection is about to be made.
    pub(super) fn new(now: Instant, holder: &str, target: &str, timing: &Timing) -> Self {
        Self {
            holder: holder.to_owned(),
            target: target.to_owned(),
            // A leader without an address would otherwise be noticed only when it stops renewing.
            suspect_at: if target.is_empty() {
                now
            } else {
                now + timing.silence
            },
            retry_at: None,
            steady_since: None,
            ignored_until: None,
            ignore_next: timing.ignore_first,
        }
    }

    /// The same leader is to be had elsewhere.
    pub(super) fn moved(&mut self, now: Instant, target: &str, timing: &Timing) {
        target.clone_into(&mut self.target);
        self.suspect_at = now + timing.silence;
        self.retry_at = None;
        self.steady_since = None;
    }

    /// A heartbeat came.
    pub(super) fn heartbeat(&mut self, now: Instant, timing: &Timing) {
        let since = match self.steady_since {
            Some(since) if now < self.suspect_at => since,
            _ => now,
        };
        self.steady_since = Some(since);
        self.suspect_at = now + timing.silence;
        self.retry_at = None;
        if now >= since + timing.steady {
            self.ignored_until = None;
        }
        if now >= since + 6 * timing.steady {
            self.ignore_next = timing.ignore_first;
        }
    }

    /// The connection ended, or could not be made.
    pub(super) fn lost(&mut self, now: Instant, timing: &Timing) {
        self.suspect_at = self.suspect_at.min(now);
        self.steady_since = None;
        self.retry_at = Some(now + timing.retry);
    }

    /// Somebody's challenge was answered. Whoever has a connection that has long been well goes on believing it.
    pub(super) fn proved_alive(&mut self, now: Instant, timing: &Timing) {
        let steady = self
            .steady_since
            .is_some_and(|since| now >= since + timing.steady);
        if steady && now < self.suspect_at {
            return;
        }
        self.ignored_until = Some(now + self.ignore_next);
        self.ignore_next = (self.ignore_next * 2).min(timing.ignore_most);
    }

    /// From when on a challenge is called for, if nothing is heard until then.
    pub(super) fn suspicious_from(&self) -> Instant {
        self.ignored_until
            .map_or(self.suspect_at, |until| until.max(self.suspect_at))
    }

    /// What will happen from `now` on depends on this, and on nothing else.
    pub(super) fn left(&self, now: Instant) -> impl std::hash::Hash + use<> {
        let left = |moment: Instant| moment.saturating_duration_since(now);
        let steady = self
            .steady_since
            .map(|since| now.saturating_duration_since(since));
        let until = (
            left(self.suspect_at),
            self.retry_at.map(left),
            self.ignored_until.map(left),
        );
        (
            self.holder.clone(),
            self.target.clone(),
            until,
            steady,
            self.ignore_next,
        )
    }
}
