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
        if seconds == 1 || seconds == 2 { None } else { Some(Self(seconds)) }
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
