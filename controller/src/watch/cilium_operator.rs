//! Whether Cilium's own LB-IPAM is at work, for `--ipam auto`: two controllers that both give addresses would fight.
//!
//! Cilium's operator holds a Lease for as long as it runs, and its ConfigMap says which parts are on. Both are read again
//! and again, for Cilium may be switched over while we run.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Error};
use tokio::sync::watch;

/// Where Cilium lives.
const NAMESPACE: &str = "kube-system";
const LEASE: &str = "cilium-operator-resource-lock";
const CONFIG: &str = "cilium-config";

/// How often we look.
const EVERY: Duration = Duration::from_secs(10);
/// How soon we look again while a look did not settle it.
const AGAIN: Duration = Duration::from_secs(2);
/// A lease that did not move for that long has lost its holder: Cilium renews its own every few seconds. Measured by our
/// clock alone, for those of two machines may differ.
const STALE: Duration = Duration::from_secs(20);
/// A renewal that young by the clocks of both machines is one of a living holder.
const FRESH_SECONDS: i64 = 20;

/// Whose addresses Fairway may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// It is not known yet, or cannot be known: give none. The text says why.
    Unknown(String),
    /// Others give addresses, whoever they are: give none.
    Nobody,
    /// Cilium gives addresses: give none.
    Cilium,
    /// Cilium gives addresses only to Services with a class of its own: give those without a class theirs.
    ClasslessOnly,
    /// Cilium gives Services without a class the addresses of nodes: give those with a class theirs.
    ClassesOnly,
    /// Nobody else does: give all.
    All,
}

/// Looks for as long as somebody listens.
pub async fn observe(client: Client, sender: watch::Sender<Allocation>) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let configs: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let mut operator = Operator::default();
    while !sender.is_closed() {
        let looked = async {
            let lease = leases.get_opt(LEASE).await?;
            let config = match lease {
                Some(_) => configs.get_opt(CONFIG).await?,
                None => None,
            };
            Ok::<_, Error>((lease, config))
        };
        let allocation = match looked.await {
            Ok((lease, config)) => {
                let lease = lease.as_ref().map(LeaseView::new);
                operator.judge(lease, config.and_then(|config| config.data), now())
            }
            // What was known stays: an API server that is away says nothing about Cilium.
            Err(error) => match &*sender.borrow() {
                Allocation::Unknown(_) => Allocation::Unknown(explain(&error)),
                known => known.clone(),
            },
        };
        let settled = !matches!(allocation, Allocation::Unknown(_));
        sender.send_if_modified(|current| {
            let differs = *current != allocation;
            *current = allocation;
            differs
        });
        tokio::time::sleep(if settled { EVERY } else { AGAIN }).await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this loop owns the time of its looks"
)]
fn now() -> (std::time::Instant, i64) {
    let instant = tokio::time::Instant::now().into_std();
    (instant, jiff::Timestamp::now().as_second())
}

fn explain(error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 403 => format!(
            "--ipam auto cannot tell whether Cilium gives addresses: {}; allow get on Lease {LEASE} and ConfigMap {CONFIG} \
             in {NAMESPACE}, or say --ipam on or --ipam off",
            status.message
        ),
        error => {
            format!("--ipam auto cannot tell yet whether Cilium gives addresses: {error}")
        }
    }
}

/// What of the operator's lease matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeaseView {
    holder: String,
    /// Seconds since 1970.
    renewed: Option<i64>,
    version: String,
}

impl LeaseView {
    fn new(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
        Self {
            holder: spec
                .and_then(|spec| spec.holder_identity.clone())
                .unwrap_or_default(),
            renewed: renewed.map(|time| time.0.as_second()),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// What was seen of Cilium's operator.
#[derive(Debug, Default)]
struct Operator {
    /// The lease as it stood when it moved last, and when we saw that first.
    seen: Option<(LeaseView, std::time::Instant)>,
    alive: bool,
}

impl Operator {
    fn judge(
        &mut self,
        lease: Option<LeaseView>,
        config: Option<BTreeMap<String, String>>,
        (now, wall_clock): (std::time::Instant, i64),
    ) -> Allocation {
        let Some(lease) = lease.filter(|lease| !lease.holder.is_empty()) else {
            self.seen = None;
            self.alive = false;
            return Allocation::All;
        };
        let moved_at = match &self.seen {
            Some((seen, at)) if *seen == lease => *at,
            before => {
                let fresh = lease
                    .renewed
                    .is_some_and(|renewed| (wall_clock - renewed).abs() <= FRESH_SECONDS);
                self.alive = before.is_some() || fresh;
                self.seen = Some((lease, now));
                now
            }
        };
        let stale = now.saturating_duration_since(moved_at) >= STALE;
        if stale {
            self.alive = false;
            return Allocation::All;
        }
        if !self.alive {
            return Allocation::Unknown(format!(
                "waiting whether the holder of Lease {NAMESPACE}/{LEASE} still lives; --ipam on or off spares the wait"
            ));
        }
        of_config(&config.unwrap_or_default())
    }
}

/// What a living operator does, by its configuration.
fn of_config(config: &BTreeMap<String, String>) -> Allocation {
    let value = |key: &str| {
        config
            .get(key)
            .map(|text| text.trim().to_ascii_lowercase())
            .unwrap_or_default()
    };
    let gives_to_classes = !["false", "0", "f"].contains(&value("enable-lb-ipam").as_str());
    let node_ipam = ["true", "1", "t"].contains(&value("enable-node-ipam").as_str());
    let gives_to_classless = match value("default-lb-service-ipam").as_str() {
        "none" => false,
        // Node IPAM is a part of its own.
        "nodeipam" => node_ipam,
        _ => gives_to_classes,
    };
    match (gives_to_classes, gives_to_classless) {
        (true, true) => Allocation::Cilium,
        (true, false) => Allocation::ClasslessOnly,
        (false, true) => Allocation::ClassesOnly,
        (false, false) => Allocation::All,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn lease(holder: &str, renewed: i64) -> Option<LeaseView> {
        Some(LeaseView {
            holder: holder.to_owned(),
            renewed: Some(renewed),
            version: renewed.to_string(),
        })
    }

    fn config(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        Some(
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[expect(clippy::disallowed_methods, reason = "a start for the virtual clock")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn without_cilium_everything_is_ours_at_once() {
        let mut operator = Operator::default();
        assert_eq!(operator.judge(None, None, (start(), 1000)), Allocation::All);
        assert_eq!(
            operator.judge(lease("", 999), None, (start(), 1000)),
            Allocation::All,
            "a released lease"
        );
    }

    #[test]
    fn a_living_operator_gives_addresses_unless_it_is_told_not_to() {
        for (pairs, expected) in [
            (&[][..], Allocation::Cilium),
            (&[("enable-lb-ipam", "true")], Allocation::Cilium),
            (&[("enable-lb-ipam", "false")], Allocation::All),
            (
                &[("default-lb-service-ipam", "none")],
                Allocation::ClasslessOnly,
            ),
            (
                &[("default-lb-service-ipam", "nodeipam")],
                Allocation::ClasslessOnly,
            ),
            (&[("default-lb-service-ipam", "lbipam")], Allocation::Cilium),
            (
                &[
                    ("default-lb-service-ipam", "nodeipam"),
                    ("enable-node-ipam", "true"),
                ],
                Allocation::Cilium,
            ),
            (
                &[
                    ("enable-lb-ipam", "false"),
                    ("default-lb-service-ipam", "nodeipam"),
                    ("enable-node-ipam", "true"),
                ],
                Allocation::ClassesOnly,
            ),
            (
                &[
                    ("enable-lb-ipam", "false"),
                    ("default-lb-service-ipam", "nodeipam"),
                ],
                Allocation::All,
            ),
        ] {
            let mut operator = Operator::default();
            let judged = operator.judge(lease("a", 995), config(pairs), (start(), 1000));
            assert_eq!(judged, expected, "{pairs:?}");
        }
    }

    #[test]
    fn an_operator_that_renews_no_more_is_gone_and_one_that_starts_again_is_back() {
        let (mut operator, begin) = (Operator::default(), start());
        let at = |seconds: u64| {
            (
                begin + Duration::from_secs(seconds),
                1000 + i64::try_from(seconds).unwrap(),
            )
        };
        assert_eq!(
            operator.judge(lease("a", 999), None, at(0)),
            Allocation::Cilium
        );
        assert_eq!(
            operator.judge(lease("a", 1009), None, at(10)),
            Allocation::Cilium
        );
        assert_eq!(
            operator.judge(lease("a", 1009), None, at(25)),
            Allocation::Cilium
        );
        assert_eq!(
            operator.judge(lease("a", 1009), None, at(30)),
            Allocation::All
        );
        assert_eq!(
            operator.judge(lease("b", 1044), None, at(45)),
            Allocation::Cilium
        );
    }

    #[test]
    fn a_renewal_that_looks_old_is_watched_before_it_is_believed() {
        let (mut operator, begin) = (Operator::default(), start());
        let at = |seconds: u64| (begin + Duration::from_secs(seconds), 5000);
        let first = operator.judge(lease("a", 1000), None, at(0));
        assert!(matches!(first, Allocation::Unknown(_)), "{first:?}");
        let mut skewed = Operator::default();
        skewed.judge(lease("a", 1000), None, at(0));
        assert_eq!(
            skewed.judge(lease("a", 1005), None, at(4)),
            Allocation::Cilium,
            "it moves, so its clock is merely another"
        );
        assert_eq!(
            operator.judge(lease("a", 1000), None, at(21)),
            Allocation::All
        );
    }
}
