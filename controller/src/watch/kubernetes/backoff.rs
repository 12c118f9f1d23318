//! How long to wait before trying again. Pure: randomness comes from a seed.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);

/// Waits that double, each up to half shorter by chance, so that nodes do not come back all at once.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            next: FIRST,
            random: seed,
        }
    }

    /// The next wait: between half of `FIRST` doubled again and again, and `longest`; `at_least` what the server asked for.
    pub(super) fn next(&mut self, longest: Duration, at_least: Option<Duration>) -> Duration {
        let wait = self.next.min(longest);
        self.next = wait.saturating_mul(2).min(longest);
        let wait = wait.mul_f64(1.0 - self.fraction() / 2.0);
        wait.max(at_least.unwrap_or_default().min(LONGEST_ASKED_FOR))
    }

    /// It worked: the next wait is the first one again.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// From 0 to 1, by chance.
    pub(super) fn fraction(&mut self) -> f64 {
        // splitmix64: small, and good enough to spread waits.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A server that asks for more is not taken at its word.
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_success() {
        let longest = Duration::from_secs(5);
        let mut backoff = Backoff::new(7);
        let mut full = FIRST;
        for _ in 0..12 {
            let wait = backoff.next(longest, None);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
            full = (full * 2).min(longest);
        }
        backoff.reset();
        assert!(backoff.next(longest, None) <= FIRST);
    }

    #[test]
    fn what_the_server_asks_for_is_waited_within_reason() {
        let mut backoff = Backoff::new(1);
        let longest = Duration::from_secs(5);
        let asked = Some(Duration::from_secs(7));
        assert_eq!(backoff.next(longest, asked), Duration::from_secs(7));
        let asked = Some(Duration::from_secs(86_400));
        assert_eq!(backoff.next(longest, asked), LONGEST_ASKED_FOR);
    }

    #[test]
    fn one_seed_is_one_sequence_and_two_seeds_are_two() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..5)
                .map(|_| backoff.next(Duration::from_secs(5), None))
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
