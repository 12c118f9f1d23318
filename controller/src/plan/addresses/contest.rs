//! Another controller that writes the same status: whether to put it right, or to leave the Service to it.
//!
//! A status that a stranger replaces is put right, for most often it is a slip. One that is replaced again and again is
//! another controller's work, and putting it right is what makes that controller write: then the Service is left as it
//! stands, and looked at again after a pause that grows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::Service;

/// Our own name in `metadata.managedFields`.
const OURSELVES: &str = "fairway";
/// Whoever leaves no name.
const UNKNOWN: &str = "unknown";
/// So many replacements within [`WITHIN`] are no slip.
const OFTEN: usize = 3;
const WITHIN: Duration = Duration::from_secs(5 * 60);
const FIRST_PAUSE: Duration = Duration::from_secs(10 * 60);
const LONGEST_PAUSE: Duration = Duration::from_secs(2 * 60 * 60);

/// What a stranger did to one Service.
#[derive(Clone, Debug, Default)]
pub(super) struct Contest {
    /// When it replaced what we had recorded; at most [`OFTEN`] moments, those of the last [`WITHIN`].
    replaced: Vec<Instant>,
    /// The pause taken last; while there was none it takes [`OFTEN`] replacements, and then one.
    pause: Option<Duration>,
    withdrawn: Option<Withdrawn>,
}

/// The Service is left to the stranger.
#[derive(Clone, Debug)]
struct Withdrawn {
    manager: String,
    until: Instant,
    /// The Service as it was then.
    service: Arc<Service>,
}

impl Contest {
    /// Notes that a stranger replaced what we had recorded; the Service is left to it where that is one time too many.
    pub(super) fn replaced(&mut self, service: &Arc<Service>, now: Instant) {
        self.replaced.retain(|at| now.duration_since(*at) < WITHIN);
        self.replaced.push(now);
        if self.pause.is_none() && self.replaced.len() < OFTEN {
            return;
        }
        let pause = match self.pause {
            None => FIRST_PAUSE,
            Some(pause) => (pause * 2).min(LONGEST_PAUSE),
        };
        self.pause = Some(pause);
        self.replaced.clear();
        self.withdrawn = Some(Withdrawn {
            manager: stranger(service).unwrap_or(UNKNOWN).to_owned(),
            until: now + pause,
            service: Arc::clone(service),
        });
    }

    /// To whom the Service is left, and until when. At the end of the pause, or as soon as its user changes the Service,
    /// it is ours again.
    pub(super) fn left_to(&mut self, service: &Service, now: Instant) -> Option<(&str, Instant)> {
        let withdrawn = self.withdrawn.as_ref()?;
        let edited = !same_but_for_status(&withdrawn.service, service);
        if edited {
            *self = Self::default();
        } else if now >= withdrawn.until {
            self.withdrawn = None;
            // What is tried again has its probation from now on.
            self.replaced = vec![now];
        }
        let withdrawn = self.withdrawn.as_ref()?;
        Some((&withdrawn.manager, withdrawn.until))
    }

    /// Whether the stranger has left us alone for long enough to forget it.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let recently = |at: &Instant| now.duration_since(*at) < WITHIN;
        self.withdrawn.is_none() && !self.replaced.iter().any(recently)
    }
}

/// Who wrote the addresses last, where it is not us; `None` where nobody is named.
pub(super) fn stranger(service: &Service) -> Option<&str> {
    let writer = service.ingress_writer.as_ref()?;
    (writer.manager != OURSELVES).then_some(writer.manager.as_str())
}

/// Whether it is us who are said to have written the addresses.
pub(super) fn is_our_work(service: &Service) -> bool {
    let writer = service.ingress_writer.as_ref();
    writer.is_some_and(|writer| writer.manager == OURSELVES)
}

/// Whether a user changed anything between the two.
pub(super) fn same_but_for_status(one: &Service, other: &Service) -> bool {
    let Service {
        meta,
        is_load_balancer,
        class,
        load_balancer_ip,
        ip_family_policy,
        ip_families,
        ports,
        selector,
        external_traffic_policy,
        internal_traffic_policy,
        cluster_ips,
        headless,
        external_ips,
        ingress: _,
        ingress_writer: _,
        recorded_condition: _,
        recorded_foreign: _,
        taken_over: _,
    } = one;
    *meta == other.meta
        && *is_load_balancer == other.is_load_balancer
        && *class == other.class
        && *load_balancer_ip == other.load_balancer_ip
        && *ip_family_policy == other.ip_family_policy
        && *ip_families == other.ip_families
        && *ports == other.ports
        && *selector == other.selector
        && *external_traffic_policy == other.external_traffic_policy
        && *internal_traffic_policy == other.internal_traffic_policy
        && *cluster_ips == other.cluster_ips
        && *headless == other.headless
        && *external_ips == other.external_ips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Writer;

    #[expect(
        clippy::disallowed_methods,
        reason = "where virtual time begins does not matter"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn written_by(manager: &str) -> Arc<Service> {
        Arc::new(Service {
            ingress_writer: Some(Writer {
                manager: manager.into(),
                time: Some(1),
            }),
            ..Service::default()
        })
    }

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn three_times_within_five_minutes_is_no_slip() {
        let (now, service) = (start(), written_by("k3s"));
        let mut contest = Contest::default();
        contest.replaced(&service, now);
        contest.replaced(&service, now + minutes(4));
        contest.replaced(&service, now + minutes(6));
        assert_eq!(contest.left_to(&service, now + minutes(6)), None);
        contest.replaced(&service, now + minutes(8));
        let until = now + minutes(18);
        assert_eq!(
            contest.left_to(&service, now + minutes(8)),
            Some(("k3s", until))
        );
    }

    #[test]
    fn after_a_pause_once_is_enough_and_the_pause_doubles_up_to_two_hours() {
        let (mut now, service) = (start(), written_by("k3s"));
        let mut contest = Contest::default();
        for _ in 0..3 {
            contest.replaced(&service, now);
        }
        for pause in [10, 20, 40, 80, 120, 120] {
            let end = now + minutes(pause);
            assert_eq!(
                contest.left_to(&service, end - minutes(1)),
                Some(("k3s", end))
            );
            assert_eq!(contest.left_to(&service, end), None);
            assert!(!contest.is_over(end), "on probation");
            assert!(contest.is_over(end + WITHIN), "left in peace");
            now = end;
            contest.replaced(&service, now);
        }
    }

    #[test]
    fn an_edit_by_its_user_ends_it_and_a_status_does_not() {
        let (now, service) = (start(), written_by("k3s"));
        let mut contest = Contest::default();
        for _ in 0..3 {
            contest.replaced(&service, now);
        }
        let mut other_status = Service::clone(&service);
        other_status.ingress_writer = None;
        assert!(contest.left_to(&other_status, now).is_some());
        let mut edited = Service::clone(&service);
        edited.meta.annotations.insert("a".into(), "b".into());
        assert_eq!(contest.left_to(&edited, now), None);
        assert!(contest.is_over(now));
    }

    #[test]
    fn nobody_is_accused_by_name_who_left_none() {
        let service = Arc::new(Service::default());
        let mut contest = Contest::default();
        for _ in 0..3 {
            contest.replaced(&service, start());
        }
        let left_to = contest.left_to(&service, start());
        assert_eq!(left_to.map(|(manager, _)| manager), Some(UNKNOWN));
        assert_eq!(stranger(&written_by(OURSELVES)), None);
        assert!(is_our_work(&written_by(OURSELVES)) && !is_our_work(&service));
    }
}
