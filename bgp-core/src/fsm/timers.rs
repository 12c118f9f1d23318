use std::time::Instant;

/// The timers of one connection (RFC 4271 section 8.1.3, RFC 9687).
///
/// DelayOpenTimer and IdleHoldTimer are not here: see [`Input`](super::Input).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// How long a connection attempt may take.
    ConnectRetry,
    /// How long the peer may be silent.
    Hold,
    /// When we must next say something.
    Keepalive,
    /// How long the peer may take nothing of what we say.
    SendHold,
}

impl Timer {
    const ALL: [Self; 4] = [
        Self::ConnectRetry,
        Self::Hold,
        Self::Keepalive,
        Self::SendHold,
    ];
}

/// A table of deadlines; the embedder owns the one sleep.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    deadlines: [Option<Instant>; Timer::ALL.len()],
}

impl Timers {
    /// Starts or restarts a timer.
    pub(super) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize] = Some(deadline);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    pub(super) fn stop_all(&mut self) {
        *self = Self::default();
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Takes out the timer that expired first, if one did.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Timer> {
        let (deadline, timer) = Timer::ALL
            .into_iter()
            .filter_map(|timer| Some((self.deadlines[timer as usize]?, timer)))
            .min()?;
        if deadline > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant serves as a start")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_expire_once_and_in_the_order_of_their_deadlines() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set(Timer::Hold, at(9));
        timers.set(Timer::Keepalive, at(3));
        assert_eq!(timers.next_deadline(), Some(at(3)));
        assert_eq!(timers.expired(at(2)), None);
        assert_eq!(timers.expired(at(10)), Some(Timer::Keepalive));
        assert_eq!(timers.expired(at(10)), Some(Timer::Hold));
        assert_eq!(timers.expired(at(10)), None);
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_restarted_timer_forgets_its_old_deadline() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set(Timer::Hold, at(3));
        timers.set(Timer::Hold, at(9));
        assert_eq!(timers.expired(at(8)), None);
        timers.stop(Timer::Hold);
        assert_eq!(timers.expired(at(10)), None);
    }
}
