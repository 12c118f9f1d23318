//! When to call again.
//!
//! | what ended | first wait | then |
//! |---|---|---|
//! | nothing: the peer was started | none | |
//! | a session that had stood, our configuration change | a quarter of a second | as below |
//! | an attempt: no connection came about | 1 s | 2 s, 4 s, .. at most 15 s |
//! | an attempt: the connection was closed on us | 1 s | 2 s, 4 s, .. |
//! | an attempt that an OPEN or a NOTIFICATION ended | 5 s | 5 s, 5 s, 8 s, .. |
//! | the peer was shut down or does not know us (Cease 2, 3, 5) | 10 s | 10 s, .. 16 s, .. |
//! | one side sent too many routes | connect retry | connect retry |
//!
//! All are jittered and bounded by the configured connect retry interval. A session that stood for ten seconds makes
//! the count start afresh.

use std::time::Duration;

use crate::fsm::{Ending, Jitter};
use crate::message::Notification;
use crate::types::{CeaseSubcode, Reason};

/// A session that stood this long was a good one.
const GOOD_SESSION: Duration = Duration::from_secs(10);
const AT_ONCE: Duration = Duration::from_millis(250);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const AFTER_REFUSAL: Duration = Duration::from_secs(5);
const AFTER_SHUTDOWN: Duration = Duration::from_secs(10);
/// A router that reboots is to be found soon after it is back, and an unanswered SYN costs it nothing.
const MOST_UNREACHABLE: Duration = Duration::from_secs(15);
/// Shifting further would exceed every connect retry interval (65,535 s) anyway.
const MOST_DOUBLINGS: u32 = 17;

/// How many attempts failed one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next call. `stood`: how long the session had been established, if it was.
    pub(crate) fn next_wait(
        &mut self,
        ending: &Ending,
        stood: Option<Duration>,
        connect_retry: Duration,
        jitter: &mut Jitter,
    ) -> Duration {
        if stood.is_some_and(|stood| stood >= GOOD_SESSION) {
            self.failures = 0;
        }
        let doublings = self.failures.min(MOST_DOUBLINGS);
        let wait = if stood.is_some() && self.failures == 0 {
            AT_ONCE
        } else if stood.is_some() {
            FIRST_RETRY * (1 << (doublings - 1))
        } else {
            FIRST_RETRY * (1 << doublings)
        };
        self.failures = self.failures.saturating_add(1);
        let wait = wait.max(least_wait(ending, stood.is_some(), connect_retry));
        jitter.shorten(wait.min(most_wait(ending, connect_retry)))
    }

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

fn least_wait(ending: &Ending, was_established: bool, connect_retry: Duration) -> Duration {
    match ending {
        Ending::Received(notification) => match meant(notification) {
            Reason::Cease(
                CeaseSubcode::AdministrativeShutdown
                | CeaseSubcode::PeerDeconfigured
                | CeaseSubcode::ConnectionRejected,
            ) => AFTER_SHUTDOWN,
            Reason::Cease(CeaseSubcode::MaximumPrefixes) => connect_retry,
            Reason::Cease(CeaseSubcode::ConnectionCollision) => Duration::ZERO,
            _ if was_established => Duration::ZERO,
            _ => AFTER_REFUSAL,
        },
        Ending::Sent(notification) => match notification.reason {
            Reason::Cease(CeaseSubcode::MaximumPrefixes) => connect_retry,
            _ if was_established => Duration::ZERO,
            _ => AFTER_REFUSAL,
        },
        Ending::Lost(_) | Ending::NotConnected(_) | Ending::Collision | Ending::Silent => {
            Duration::ZERO
        }
    }
}

fn most_wait(ending: &Ending, connect_retry: Duration) -> Duration {
    let most = connect_retry.max(FIRST_RETRY);
    match ending {
        Ending::NotConnected(_) => most.min(MOST_UNREACHABLE),
        _ => most,
    }
}

/// What a Hard Reset carries is what it means (RFC 8538 section 3.1).
fn meant(notification: &Notification) -> Reason {
    let inner = notification.hard_reset_inner();
    inner.map_or(notification.reason, |inner| inner.reason)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::OpenSubcode;

    const RETRY: Duration = Duration::from_secs(120);

    fn seconds(wait: Duration) -> f64 {
        wait.as_secs_f64()
    }

    fn waits(ending: &Ending, stood: Option<Duration>, times: usize) -> Vec<f64> {
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(1));
        (0..times)
            .map(|_| seconds(backoff.next_wait(ending, stood, RETRY, &mut jitter)))
            .collect()
    }

    fn assert_near(waits: &[f64], wanted: &[f64]) {
        assert_eq!(waits.len(), wanted.len());
        for (wait, wanted) in waits.iter().zip(wanted) {
            assert!(
                (wanted * 0.75..=*wanted).contains(wait),
                "{waits:?} is not {wanted:?}"
            );
        }
    }

    fn notification(reason: Reason) -> Notification {
        Notification {
            reason,
            data: Bytes::new(),
        }
    }

    #[test]
    fn closed_attempts_double_up_to_the_connect_retry_interval() {
        let closed = Ending::Lost("closed by peer".into());
        assert_near(
            &waits(&closed, None, 9),
            &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0, 120.0],
        );
    }

    #[test]
    fn a_router_that_was_away_for_long_is_found_soon_after_it_is_back() {
        let refused = Ending::NotConnected("refused".into());
        assert_near(
            &waits(&refused, None, 7),
            &[1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0],
        );
    }

    #[test]
    fn a_lost_session_is_tried_again_at_once_and_a_flapping_one_is_not() {
        let lost = Ending::Lost("reset".into());
        let short = Some(Duration::from_secs(1));
        assert_near(&waits(&lost, short, 4), &[0.25, 1.0, 2.0, 4.0]);
        let long = Some(Duration::from_secs(3600));
        assert_near(&waits(&lost, long, 3), &[0.25, 0.25, 0.25]);
    }

    #[test]
    fn a_peer_that_refuses_our_open_is_not_hammered() {
        let bad_as = Ending::Received(notification(Reason::Open(OpenSubcode::BadPeerAs)));
        assert_near(&waits(&bad_as, None, 5), &[5.0, 5.0, 5.0, 8.0, 16.0]);
        let bad_id = Ending::Sent(notification(Reason::Open(OpenSubcode::BadBgpIdentifier)));
        assert_near(&waits(&bad_id, None, 1), &[5.0]);
    }

    #[test]
    fn a_peer_that_was_shut_down_is_left_alone_for_longer() {
        let stood = Some(Duration::from_secs(3600));
        let down = Ending::Received(notification(Reason::Cease(
            CeaseSubcode::AdministrativeShutdown,
        )));
        assert_near(&waits(&down, stood, 1), &[10.0]);
        let full = Ending::Sent(notification(Reason::Cease(CeaseSubcode::MaximumPrefixes)));
        assert_near(&waits(&full, stood, 1), &[120.0]);
    }

    #[test]
    fn a_hard_reset_means_what_it_carries() {
        let stood = Some(Duration::from_secs(3600));
        let waits_after = |subcode| {
            let inner = notification(Reason::Cease(subcode));
            waits(&Ending::Received(inner.into_hard_reset()), stood, 1)
        };
        assert_near(&waits_after(CeaseSubcode::AdministrativeShutdown), &[10.0]);
        assert_near(&waits_after(CeaseSubcode::AdministrativeReset), &[0.25]);
    }

    #[test]
    fn a_short_connect_retry_interval_bounds_every_wait() {
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(1));
        let refused = Ending::NotConnected("refused".into());
        for _ in 0..100 {
            let wait = backoff.next_wait(&refused, None, Duration::from_secs(3), &mut jitter);
            assert!(wait <= Duration::from_secs(3));
        }
    }
}
