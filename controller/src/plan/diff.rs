//! Plan x what is applied -> actions; none where nothing is to be done.

use std::collections::{BTreeMap, BTreeSet};

use bgp_core::Prefix;

use super::action::{Action, Change, StopReason};
use super::{BgpPlan, InstancePlan};

/// What an instance is, as far as it was told.
pub type Applied = BTreeMap<String, InstancePlan>;

/// What leads from `applied` to `plan`; `applied` is then what it will be once the actions are done.
///
/// Instances are stopped before others are started, because an address or port may pass from one to the other. Routes are
/// put in before peers are added, so that a peer's first burst of UPDATEs is complete before its End-of-RIB.
pub fn diff(applied: &mut Applied, plan: BgpPlan) -> Vec<Action> {
    let mut stops = withdraw_held(applied, &plan.held_routes);
    if plan.hold_all.is_some() {
        return stops;
    }
    let mut starts = vec![];
    let keeps = |name: &String| plan.instances.contains_key(name) || plan.held.contains_key(name);
    applied.retain(|name, _| {
        let keep = keeps(name);
        if !keep {
            stops.push(Action::Stop {
                instance: name.clone(),
                why: StopReason::Removed,
            });
        }
        keep
    });
    for (name, wanted) in plan.instances {
        if plan.held.contains_key(&name) {
            continue;
        }
        let running = applied
            .get(&name)
            .filter(|running| running.identity() == wanted.identity());
        if running.is_none() {
            if applied.contains_key(&name) {
                stops.push(Action::Stop {
                    instance: name.clone(),
                    why: StopReason::Recreated,
                });
            }
            starts.push(Action::Start {
                instance: name.clone(),
                identity: wanted.identity(),
            });
        }
        let changes = changes(running, &wanted);
        if !changes.is_empty() {
            starts.push(Action::Change {
                instance: name.clone(),
                changes,
            });
        }
        applied.insert(name, wanted);
    }
    stops.append(&mut starts);
    stops
}

/// Withdraws what instances that stay as they are may no longer announce.
fn withdraw_held(
    applied: &mut Applied,
    held_routes: &BTreeMap<String, BTreeSet<Prefix>>,
) -> Vec<Action> {
    let mut actions = vec![];
    for (name, may) in held_routes {
        let Some(running) = applied.get_mut(name) else {
            continue;
        };
        let mut changes = vec![];
        running.routes.retain(|prefix, _| {
            let keep = may.contains(prefix);
            if !keep {
                changes.push(Change::Withdraw(*prefix));
            }
            keep
        });
        if !changes.is_empty() {
            actions.push(Action::Change {
                instance: name.clone(),
                changes,
            });
        }
    }
    actions
}

/// Withdrawals first: they are what must not wait. Then routes, removed peers, and last the peers that get the routes.
fn changes(running: Option<&InstancePlan>, wanted: &InstancePlan) -> Vec<Change> {
    let mut changes = vec![];
    if let Some(running) = running {
        changes.extend(
            running
                .routes
                .keys()
                .filter(|prefix| !wanted.routes.contains_key(prefix))
                .map(|prefix| Change::Withdraw(*prefix)),
        );
    }
    changes.extend(
        wanted
            .routes
            .iter()
            .filter(|(prefix, route)| {
                running.and_then(|running| running.routes.get(prefix)) != Some(route)
            })
            .map(|(_, route)| Change::Originate(route.clone())),
    );
    if let Some(running) = running {
        changes.extend(
            running
                .peers
                .keys()
                .filter(|name| !wanted.peers.contains_key(*name))
                .map(|name| Change::RemovePeer { name: name.clone() }),
        );
    }
    changes.extend(
        wanted
            .peers
            .iter()
            .filter(|(name, peer)| {
                running.and_then(|running| running.peers.get(*name)) != Some(peer)
            })
            .map(|(name, peer)| Change::SetPeer {
                name: name.clone(),
                plan: peer.clone(),
            }),
    );
    changes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bgp_core::attribute::Attributes;
    use bgp_core::rib::{Origination, Policy};
    use bgp_core::{Asn, Family, HoldTime, RouterId};

    use super::super::{PeerPlan, RoutePlan};
    use super::*;

    fn route(address: &str) -> (Prefix, RoutePlan) {
        let prefix = Prefix::host(address.parse().unwrap());
        let origination = Origination {
            prefix,
            attributes: Arc::new(Attributes::default()),
            next_hop: None,
        };
        (
            prefix,
            RoutePlan {
                origination,
                because: vec![],
            },
        )
    }

    fn peer(address: &str) -> (String, PeerPlan) {
        let plan = PeerPlan {
            address: address.parse().unwrap(),
            port: 179,
            asn: Some(Asn(64513)),
            local_address: None,
            ttl: 1,
            password: None,
            blocked: None,
            hold_time: HoldTime::DEFAULT,
            keepalive: Duration::from_secs(30),
            connect_retry: Duration::from_secs(120),
            graceful_restart: None,
            families: vec![Family::IPV4_UNICAST],
            export: Arc::new(Policy::accept_all()),
        };
        (address.to_owned(), plan)
    }

    fn instance(routes: &[&str], peers: &[&str]) -> InstancePlan {
        InstancePlan {
            local_asn: Asn(64512),
            router_id: RouterId::new([192, 168, 10, 21].into()).unwrap(),
            listen_port: None,
            bind_address: None,
            peers: peers.iter().map(|address| peer(address)).collect(),
            routes: routes.iter().map(|address| route(address)).collect(),
        }
    }

    fn plan(instance: InstancePlan) -> BgpPlan {
        BgpPlan {
            instances: [("64512".to_owned(), instance)].into(),
            ..BgpPlan::default()
        }
    }

    fn names(actions: &[Action]) -> Vec<String> {
        let mut names = vec![];
        for action in actions {
            match action {
                Action::Start { instance, .. } => names.push(format!("start {instance}")),
                Action::Stop { instance, why } => names.push(format!("stop {instance} {why:?}")),
                Action::Change { changes, .. } => {
                    names.extend(changes.iter().map(|change| match change {
                        Change::Originate(route) => {
                            format!("originate {}", route.origination.prefix)
                        }
                        Change::Withdraw(prefix) => format!("withdraw {prefix}"),
                        Change::SetPeer { name, .. } => format!("set {name}"),
                        Change::RemovePeer { name } => format!("remove {name}"),
                    }))
                }
            }
        }
        names
    }

    #[test]
    fn routes_come_before_peers_and_the_same_plan_again_gives_nothing() {
        let mut applied = Applied::new();
        let wanted = plan(instance(&["10.0.0.1", "10.0.0.2"], &["192.0.2.1"]));
        let first = diff(&mut applied, wanted.clone());
        assert_eq!(
            names(&first),
            [
                "start 64512",
                "originate 10.0.0.1/32",
                "originate 10.0.0.2/32",
                "set 192.0.2.1"
            ]
        );
        assert_eq!(diff(&mut applied, wanted), vec![]);
    }

    #[test]
    fn only_what_differs_is_touched_and_withdrawals_come_first() {
        let mut applied = Applied::new();
        diff(
            &mut applied,
            plan(instance(
                &["10.0.0.1", "10.0.0.2"],
                &["192.0.2.1", "192.0.2.2"],
            )),
        );
        let actions = diff(
            &mut applied,
            plan(instance(
                &["10.0.0.2", "10.0.0.3"],
                &["192.0.2.2", "192.0.2.3"],
            )),
        );
        assert_eq!(
            names(&actions),
            [
                "withdraw 10.0.0.1/32",
                "originate 10.0.0.3/32",
                "remove 192.0.2.1",
                "set 192.0.2.3"
            ]
        );
    }

    #[test]
    fn a_changed_router_id_recreates_the_instance_with_all_it_has() {
        let mut applied = Applied::new();
        diff(&mut applied, plan(instance(&["10.0.0.1"], &["192.0.2.1"])));
        let mut changed = instance(&["10.0.0.1"], &["192.0.2.1"]);
        changed.router_id = RouterId::new([192, 168, 10, 22].into()).unwrap();
        let actions = diff(&mut applied, plan(changed));
        assert_eq!(
            names(&actions),
            [
                "stop 64512 Recreated",
                "start 64512",
                "originate 10.0.0.1/32",
                "set 192.0.2.1"
            ]
        );
    }

    #[test]
    fn what_is_held_stays_and_what_nothing_asks_for_goes() {
        let mut applied = Applied::new();
        diff(&mut applied, plan(instance(&["10.0.0.1"], &["192.0.2.1"])));
        let held = BgpPlan {
            held: [("64512".to_owned(), "no router id".to_owned())].into(),
            ..BgpPlan::default()
        };
        assert_eq!(diff(&mut applied, held), vec![]);
        let all = BgpPlan {
            hold_all: Some("annotation".to_owned()),
            ..BgpPlan::default()
        };
        assert_eq!(diff(&mut applied, all), vec![]);
        assert_eq!(applied.len(), 1);
        assert_eq!(
            names(&diff(&mut applied, BgpPlan::default())),
            ["stop 64512 Removed"]
        );
        assert!(applied.is_empty());
    }

    #[test]
    fn what_is_held_withdraws_what_it_may_no_longer_announce() {
        let mut applied = Applied::new();
        diff(
            &mut applied,
            plan(instance(&["10.0.0.1", "10.0.0.2"], &["192.0.2.1"])),
        );
        let may = [Prefix::host("10.0.0.2".parse().unwrap())].into();
        let held = BgpPlan {
            hold_all: Some("annotation".to_owned()),
            held_routes: [("64512".to_owned(), may)].into(),
            ..BgpPlan::default()
        };
        assert_eq!(
            names(&diff(&mut applied, held.clone())),
            ["withdraw 10.0.0.1/32"]
        );
        assert_eq!(diff(&mut applied, held), vec![]);
    }
}
