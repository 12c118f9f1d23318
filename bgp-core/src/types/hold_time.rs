use std::fmt;
use std::time::Duration;

/// A hold time in whole seconds: zero (no keepalives at all) or at least three (RFC 4271 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldTime(u16);

impl HoldTime {
    /// 90 seconds, the RFC's suggestion (section 10).
    pub const DEFAULT: Self = Self(90);
    /// No hold timer and no keepalives.
    pub const ZERO: Self = Self(0);

    /// Refuses one and two seconds.
    pub const fn new(seconds: u16) -> Option<Self> {
        if seconds == 1 || seconds == 2 {
            None
        } else {
            Some(Self(seconds))
        }
    }

    /// The value in seconds.
    pub const fn seconds(self) -> u16 {
        self.0
    }

    /// The value as a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }

    /// The keepalive interval that goes with it: a third, never below one second; `None` where the hold time is zero.
    pub fn keepalive(self) -> Option<Duration> {
        (self.0 != 0).then(|| (self.duration() / 3).max(Duration::from_secs(1)))
    }
}

impl fmt::Display for HoldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_two_seconds_are_refused() {
        assert_eq!(HoldTime::new(1), None);
        assert_eq!(HoldTime::new(2), None);
        assert_eq!(HoldTime::new(0), Some(HoldTime::ZERO));
        assert_eq!(HoldTime::new(3).map(HoldTime::seconds), Some(3));
    }

    #[test]
    fn keepalives_come_at_a_third_and_never_faster_than_one_a_second() {
        assert_eq!(HoldTime::DEFAULT.keepalive(), Some(Duration::from_secs(30)));
        assert_eq!(
            HoldTime::new(3).unwrap().keepalive(),
            Some(Duration::from_secs(1))
        );
        assert_eq!(HoldTime::ZERO.keepalive(), None);
    }
}
