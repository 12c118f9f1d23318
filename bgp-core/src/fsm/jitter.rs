use std::time::Duration;

/// A small generator (SplitMix64) for jitter alone: seeded, so that a run can be repeated; worth nothing as a secret.
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// The same seed gives the same sequence.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub const fn next_bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// The interval times a factor between 0.75 and 1.0, drawn anew each time (RFC 4271 section 10).
    pub fn shorten(&mut self, interval: Duration) -> Duration {
        let steps = u32::try_from(self.next_bits() % 1025).unwrap_or(0);
        interval / 4 * 3 + interval / 4 * steps / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_lie_between_three_quarters_and_one_and_cover_that_range() {
        let mut jitter = Jitter::new(7);
        let second = Duration::from_secs(1);
        let drawn: Vec<Duration> = (0..1000).map(|_| jitter.shorten(second)).collect();
        assert!(
            drawn
                .iter()
                .all(|d| (Duration::from_millis(750)..=second).contains(d))
        );
        assert!(drawn.iter().any(|d| *d < Duration::from_millis(775)));
        assert!(drawn.iter().any(|d| *d > Duration::from_millis(975)));
    }

    #[test]
    fn the_same_seed_repeats_the_sequence() {
        let draw = |seed| {
            let mut jitter = Jitter::new(seed);
            [jitter.next_bits(), jitter.next_bits()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn an_interval_of_many_hours_does_not_overflow() {
        let day = Duration::from_secs(86_400);
        assert!(Jitter::new(3).shorten(day) <= day);
    }
}
