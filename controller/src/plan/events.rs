//! What a Service's owner should hear of: what its status says x what it is about to say -> events.

use std::net::IpAddr;

use super::addresses::{Departure, ServiceStatus};
use super::status::{FIELD_MANAGER, foreign_message};
use crate::cluster::Service;

/// Something that happens to a Service with the next write of its status.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Happening {
    /// `reason` of the Event, such as `AddressAllocated`.
    pub reason: &'static str,
    /// What was done: `action` of the Event.
    pub action: &'static str,
    /// Whether it is a Warning.
    pub is_warning: bool,
    /// The text for people.
    pub note: String,
}

/// What happens to a Service once its desired status is recorded; nothing where it is recorded already. `departures`: why
/// its addresses go; `pool_of` names the pool of an address.
///
/// | reason | when |
/// |---|---|
/// | `AddressAllocated` | it gets addresses and loses none |
/// | `AddressTakenOver` | it keeps addresses that another controller gave it, and is ours from now on |
/// | `AddressChanged` | it loses addresses and gets others |
/// | `AddressRemoved` | it loses addresses and gets none |
/// | `AddressRefused` | it does not get all it asks for, or for another reason than before |
/// | `ForeignController` | another controller keeps writing its addresses |
pub fn happenings<'a>(
    recorded: &Service,
    desired: &ServiceStatus,
    departures: &[Departure],
    pool_of: impl Fn(IpAddr) -> Option<&'a str>,
) -> Vec<Happening> {
    let before: Vec<IpAddr> = recorded
        .ingress
        .iter()
        .filter_map(|entry| entry.ip)
        .collect();
    let after: Vec<IpAddr> = desired
        .ingress
        .iter()
        .filter_map(|entry| entry.ip)
        .collect();
    let without = |all: &[IpAddr], others: &[IpAddr]| -> Vec<IpAddr> {
        let missing = all.iter().filter(|address| !others.contains(address));
        missing.copied().collect()
    };
    let gained = without(&after, &before);
    let lost = without(&before, &after);
    let kept = without(&before, &lost);
    let mut happenings = Vec::new();
    match (gained.is_empty(), lost.is_empty()) {
        (false, true) => happenings.push(normal(
            "AddressAllocated",
            "Allocate",
            format!("allocated {}", list(&gained, &pool_of)),
        )),
        (false, false) => happenings.push(warning(
            "AddressChanged",
            "Renumber",
            format!(
                "changed from {} to {}: {}",
                plain(&lost),
                list(&gained, &pool_of),
                why(&lost, departures)
            ),
        )),
        (true, false) => happenings.push(warning(
            "AddressRemoved",
            "Release",
            format!("removed {}: {}", plain(&lost), why(&lost, departures)),
        )),
        (true, true) => {}
    }
    happenings.extend(taken_over(recorded, desired, &kept));
    happenings.extend(refused(recorded, desired));
    if let Some(manager) = &desired.foreign
        && recorded.recorded_foreign != Some(foreign_message(manager))
    {
        happenings.push(warning(
            "ForeignController",
            "LeaveAlone",
            foreign_message(manager),
        ));
    }
    happenings
}

fn taken_over(recorded: &Service, desired: &ServiceStatus, kept: &[IpAddr]) -> Option<Happening> {
    // With our condition on it the Service is ours already, whoever wrote it once.
    let is_new = recorded.recorded_condition.is_none() && desired.condition.is_some();
    let writer = recorded.ingress_writer.as_ref()?;
    if !is_new || kept.is_empty() || desired.foreign.is_some() || writer.manager == FIELD_MANAGER {
        return None;
    }
    Some(normal(
        "AddressTakenOver",
        "TakeOver",
        format!("keeps {}, which {} gave it", plain(kept), writer.manager),
    ))
}

fn refused(recorded: &Service, desired: &ServiceStatus) -> Option<Happening> {
    let condition = desired
        .condition
        .as_ref()
        .filter(|condition| !condition.satisfied)?;
    let known = recorded
        .recorded_condition
        .as_ref()
        .is_some_and(|(status, reason, message, _)| {
            status == "False" && reason == condition.reason && *message == condition.message
        });
    let note = format!("{}: {}", condition.reason, condition.message);
    (!known).then(|| warning("AddressRefused", "Allocate", note))
}

fn normal(reason: &'static str, action: &'static str, note: String) -> Happening {
    Happening {
        reason,
        action,
        is_warning: false,
        note,
    }
}

fn warning(reason: &'static str, action: &'static str, note: String) -> Happening {
    Happening {
        is_warning: true,
        ..normal(reason, action, note)
    }
}

fn plain(addresses: &[IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    texts.join(", ")
}

fn list<'a>(addresses: &[IpAddr], pool_of: impl Fn(IpAddr) -> Option<&'a str>) -> String {
    let text = |address: &IpAddr| match pool_of(*address) {
        Some(pool) => format!("{address} from pool {pool}"),
        None => address.to_string(),
    };
    let texts: Vec<_> = addresses.iter().map(text).collect();
    texts.join(", ")
}

/// Each reason once.
fn why(lost: &[IpAddr], departures: &[Departure]) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for departure in departures
        .iter()
        .filter(|departure| lost.contains(&departure.address))
    {
        if !reasons.contains(&departure.reason) {
            reasons.push(departure.reason);
        }
    }
    if reasons.is_empty() {
        return "it may not have it any more".to_owned();
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::addresses::ServiceCondition;
    use super::*;
    use crate::cluster::{IngressEntry, IngressIpMode, Writer};

    fn entries(ips: &[&str]) -> Vec<IngressEntry> {
        let entry = |ip: &&str| IngressEntry {
            ip: Some(ip.parse().unwrap()),
            hostname: None,
            ip_mode: IngressIpMode::Vip,
        };
        ips.iter().map(entry).collect()
    }

    fn service(ips: &[&str], condition: Option<(&str, &str, &str)>) -> Service {
        let recorded = |(status, reason, message): (&str, &str, &str)| {
            (status.into(), reason.into(), message.into(), String::new())
        };
        Service {
            ingress: entries(ips),
            recorded_condition: condition.map(recorded),
            ..Service::default()
        }
    }

    fn desired(ips: &[&str], refusal: Option<(&'static str, &str)>) -> ServiceStatus {
        let (reason, message) = refusal.unwrap_or(("satisfied", ""));
        ServiceStatus {
            ingress: entries(ips),
            condition: Some(ServiceCondition {
                satisfied: refusal.is_none(),
                reason,
                message: message.into(),
            }),
            foreign: None,
        }
    }

    fn told(recorded: &Service, desired: &ServiceStatus, departures: &[Departure]) -> Vec<String> {
        let pool = |address: IpAddr| address.is_ipv4().then_some("blue");
        happenings(recorded, desired, departures, pool)
            .into_iter()
            .map(|happening| {
                let kind = if happening.is_warning {
                    "Warning"
                } else {
                    "Normal"
                };
                format!("{kind} {}: {}", happening.reason, happening.note)
            })
            .collect()
    }

    const SATISFIED: Option<(&str, &str, &str)> = Some(("True", "satisfied", ""));

    #[test]
    fn a_service_hears_what_it_got_and_from_which_pool() {
        assert_eq!(
            told(
                &service(&[], None),
                &desired(&["10.0.0.1", "fd00::1"], None),
                &[]
            ),
            ["Normal AddressAllocated: allocated 10.0.0.1 from pool blue, fd00::1"]
        );
    }

    #[test]
    fn nothing_is_told_where_nothing_changes() {
        assert!(
            told(
                &service(&["10.0.0.1"], SATISFIED),
                &desired(&["10.0.0.1"], None),
                &[]
            )
            .is_empty()
        );
        let refused = service(&[], Some(("False", "no_pool", "none")));
        assert!(told(&refused, &desired(&[], Some(("no_pool", "none"))), &[]).is_empty());
    }

    #[test]
    fn a_change_and_a_loss_say_why() {
        let departure = Departure {
            address: "10.0.0.1".parse().unwrap(),
            reason: "no pool contains it any more",
        };
        let recorded = service(&["10.0.0.1"], SATISFIED);
        let departures = [departure];
        assert_eq!(
            told(&recorded, &desired(&["10.0.0.2"], None), &departures),
            [
                "Warning AddressChanged: changed from 10.0.0.1 to 10.0.0.2 from pool blue: no pool contains it any more"
            ]
        );
        assert_eq!(
            told(
                &recorded,
                &desired(&[], Some(("no_pool", "none"))),
                &departures
            ),
            [
                "Warning AddressRemoved: removed 10.0.0.1: no pool contains it any more",
                "Warning AddressRefused: no_pool: none"
            ]
        );
    }

    #[test]
    fn what_another_controller_gave_is_taken_over_once() {
        let mut recorded = service(&["10.0.0.1"], None);
        let writer = |manager: &str| {
            Some(Writer {
                manager: manager.into(),
                time: None,
            })
        };
        recorded.ingress_writer = writer("metallb-controller");
        assert_eq!(
            told(&recorded, &desired(&["10.0.0.1"], None), &[]),
            ["Normal AddressTakenOver: keeps 10.0.0.1, which metallb-controller gave it"]
        );
        recorded.ingress_writer = writer("fairway");
        assert!(told(&recorded, &desired(&["10.0.0.1"], None), &[]).is_empty());
        recorded.ingress_writer = writer("metallb-controller");
        recorded.recorded_condition = service(&[], SATISFIED).recorded_condition;
        assert!(told(&recorded, &desired(&["10.0.0.1"], None), &[]).is_empty());
    }

    #[test]
    fn a_controller_that_keeps_writing_is_told_once() {
        let mut recorded = service(&["10.0.0.1"], SATISFIED);
        let foreign = ServiceStatus {
            foreign: Some("kube-vip".into()),
            ..desired(&["10.0.0.1"], None)
        };
        let events = told(&recorded, &foreign, &[]);
        assert_eq!(events.len(), 1);
        assert!(
            events[0].starts_with("Warning ForeignController: kube-vip keeps"),
            "{events:?}"
        );
        recorded.recorded_foreign = Some(foreign_message("kube-vip"));
        assert!(told(&recorded, &foreign, &[]).is_empty());
    }
}
