//! How fast the API server may be asked: pure, told of every answer.
//!
//! A server that asks for less gets less: half as many requests at once, none before the time it names; each success gives
//! a place back. One that cannot be reached, or does not know us, is tried by one request at a time. A namespace in which
//! we may not write is tried by one request at a time too, and harms no other.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cluster::Name;

use super::outbox::{FIRST_WAIT, Key, Outcome, Target};

/// The longest wait where credentials or permissions are missing.
const LONGEST_DENIAL: Duration = Duration::from_secs(15);
/// So many unanswered or failed requests in a row are no longer the fault of single objects.
const FAILURES_OF_THE_SERVER: u32 = 8;
/// The longest time that failures of many objects keep all others waiting. Short: the fault may be theirs alone.
const LONGEST_HALT: Duration = Duration::from_secs(1);
/// The longest time between two attempts to reach a server that cannot be reached.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);
/// Nobody makes us wait longer than that.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pace of one writer.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    limit: usize,
    paused_until: Option<Instant>,
    /// Failures in a row, whatever the object.
    failures: u32,
    /// Where the first of them was, and whether another one was elsewhere.
    failed: Option<(Target, Name)>,
    failed_elsewhere: bool,
    denials: HashMap<(Target, Name), Denial>,
}

#[derive(Debug)]
struct Denial {
    until: Instant,
    times: u32,
}

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            limit: most,
            paused_until: None,
            failures: 0,
            failed: None,
            failed_elsewhere: false,
            denials: HashMap::new(),
        }
    }

    /// How many requests may be under way at once.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.opens_at(now).is_none()
    }

    /// When requests may be sent again; `None`: now.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Until when an object's namespace is closed to us. Where its time is over the caller is the one who tries it, and it
    /// is closed to others for as long as that may take.
    pub(super) fn closed_until(&mut self, key: &Key, now: Instant) -> Option<Instant> {
        if self.denials.is_empty() {
            return None;
        }
        let place = (key.target, key.name.namespace.clone());
        let denial = self.denials.get_mut(&place)?;
        if denial.until > now {
            return Some(denial.until);
        }
        denial.until = now + LONGEST_DENIAL;
        None
    }

    pub(super) fn answered(
        &mut self,
        key: &Key,
        outcome: &Outcome,
        now: Instant,
        jitter: &mut Jitter,
    ) {
        match outcome {
            Outcome::Done(_) | Outcome::Conflict | Outcome::Gone | Outcome::Refused => {
                self.failures = 0;
                self.failed = None;
                self.failed_elsewhere = false;
                self.limit = (self.limit + 1).min(self.most);
                if !self.denials.is_empty() {
                    self.denials
                        .remove(&(key.target, key.name.namespace.clone()));
                }
            }
            Outcome::Busy(time) => {
                self.limit = (self.limit / 2).max(1);
                self.pause(now + (*time).min(LONGEST_PAUSE));
            }
            Outcome::Unknown => {
                self.failures = self.failures.saturating_add(1);
                let place = (key.target, key.name.namespace.clone());
                // A webhook that fails for one namespace is that namespace's trouble.
                self.failed_elsewhere |= *self.failed.get_or_insert_with(|| place.clone()) != place;
                if self.failures >= FAILURES_OF_THE_SERVER && self.failed_elsewhere {
                    self.limit = 1;
                    let times = self.failures - FAILURES_OF_THE_SERVER;
                    self.pause(now + jitter.wait(times, FIRST_WAIT, LONGEST_HALT));
                }
            }
            Outcome::Unreachable => self.stop(LONGEST_SILENCE, now, jitter),
            Outcome::Unauthenticated => self.stop(LONGEST_DENIAL, now, jitter),
            Outcome::Denied => {
                let place = (key.target, key.name.namespace.clone());
                let denial = self.denials.entry(place).or_insert(Denial {
                    until: now,
                    times: 0,
                });
                // Those that were under way together were denied together: one denial.
                let wait = jitter.wait(denial.times, FIRST_WAIT * 4, LONGEST_DENIAL);
                denial.times = denial.times.saturating_add(1);
                denial.until = now + wait;
            }
        }
    }

    /// Lets one request at a time try, later and later.
    fn stop(&mut self, longest: Duration, now: Instant, jitter: &mut Jitter) {
        // Requests that were under way together fail together: the first of them counts.
        if self.is_open(now) {
            self.pause(now + jitter.wait(self.failures, FIRST_WAIT, longest));
            self.failures = self.failures.saturating_add(1);
        }
        self.limit = 1;
    }

    fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |before| before.max(until)));
    }
}

/// Spreads waits, from a seed.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `first`, doubled for each failure before, at most `longest`; of that between three quarters and all.
    pub(super) fn wait(&mut self, failures: u32, first: Duration, longest: Duration) -> Duration {
        let whole = first.saturating_mul(1 << failures.min(16)).min(longest);
        let part = u32::try_from(self.next() >> 40).unwrap_or(0);
        whole - whole / 4 * part / (1 << 24)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
