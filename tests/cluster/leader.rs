//! Who allocates: one of several Fairways, and another one soon after it died, fell asleep or left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::clock::{eventually, holds, now};
use support::cluster::{Cluster, NAMESPACE};
use support::fairway::{Fairway, addresses_of};
use support::manifests::pool;
use support::observer::{POOLS, SERVICES};

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);
/// From the death of the leader to the first thing its successor does.
const TAKEOVER: Duration = Duration::from_secs(3);
/// From when it falls asleep: it can no longer answer, but nothing says that it will not.
const REPLACEMENT: Duration = Duration::from_secs(5);
/// From a clean stop.
const HANDOVER: Duration = Duration::from_secs(1);
const LEASE: &str = "kube-system/fairway-operator";

#[test]
fn a_leader_that_is_killed_while_it_writes_is_replaced_within_three_seconds() {
    const COUNT: usize = 200;
    const ROUNDS: usize = 3;
    let mut stage = Stage::new(2);
    let mark = stage.cluster.observer().mark();
    for round in 0..ROUNDS {
        let namespace = format!("round{round}");
        let names: Vec<String> = (0..COUNT).map(|number| format!("s{number}")).collect();
        stage.cluster.make_namespace(&namespace);
        let leader = stage.leader();
        let before = stage.cluster.observer().mark();
        let cluster = &stage.cluster;
        let killed = std::thread::scope(|scope| {
            let admin = cluster.admin.clone();
            let (collection, names) = (format!("/api/v1/namespaces/{namespace}/services"), &names);
            let creating = scope.spawn(move || {
                for name in names {
                    admin
                        .create(&collection, &support::cluster::service(name))
                        .expect("a Service can be made");
                }
            });
            eventually("a part of them is served", LATER, || {
                let written = served_since(cluster, before);
                holds(written >= COUNT / 4, written)
            });
            let process = stage.fairways.remove(&leader).expect("the leader runs");
            let killed = now();
            drop(process);
            creating.join().expect("all are made");
            killed
        });
        let served = served_since(&stage.cluster, before);
        println!(
            "round {round}: {leader} was killed when at least {} of {COUNT} were served ({served} when all were made)",
            COUNT / 4
        );
        let taken = stage.check_takeover(&leader, killed, TAKEOVER);
        stage.check_service(killed, taken, TAKEOVER);
        stage.until_all_served(&namespace, COUNT);
        stage.start(&leader);
    }
    stage.check_addresses(mark);
}

#[test]
fn a_leader_that_slept_past_its_lease_cannot_write_over_its_successor() {
    const COUNT: usize = 100;
    let mut stage = Stage::new(2);
    let mark = stage.cluster.observer().mark();
    for round in 0..2 {
        let leader = stage.leader();
        let namespace = format!("round{round}");
        let names: Vec<String> = (0..COUNT).map(|number| format!("s{number}")).collect();
        let before = stage.cluster.observer().mark();
        stage.cluster.make_namespace(&namespace);
        let cluster = &stage.cluster;
        let asleep = std::thread::scope(|scope| {
            let creating = scope.spawn(|| {
                let admin = cluster.admin.clone();
                let collection = format!("/api/v1/namespaces/{namespace}/services");
                for name in &names {
                    admin
                        .create(&collection, &support::cluster::service(name))
                        .expect("a Service can be made");
                }
            });
            eventually("a part of them is served", LATER, || {
                let written = served_since(cluster, before);
                holds(written >= COUNT / 4, written)
            });
            let sleeper = stage.fairways.get_mut(&leader).expect("the leader runs");
            let asleep = now();
            sleeper.process.signal(Signal::STOP);
            creating.join().expect("all are made");
            asleep
        });
        let taken = stage.check_takeover(&leader, asleep, REPLACEMENT);
        stage.check_service(asleep, taken, REPLACEMENT);
        stage.until_all_served(&namespace, COUNT);

        let sleeper = stage.fairways.get_mut(&leader).expect("it is there");
        sleeper.process.signal(Signal::CONT);
        let late: Vec<String> = (0..20).map(|number| format!("late{number}")).collect();
        stage.cluster.make_services(&namespace, &late);
        stage.until_all_served(&namespace, COUNT + late.len());
        assert_ne!(stage.leader(), leader, "the successor goes on");
        let sleeper = stage.fairways.get_mut(&leader).expect("it is there");
        assert!(sleeper.process.is_running(), "it follows now");
    }
    stage.check_addresses(mark);
}

#[test]
fn a_leader_that_is_stopped_hands_over_at_once_and_its_follower_is_warm() {
    const COUNT: usize = 1_000;
    let mut stage = Stage::new(2);
    let names: Vec<String> = (0..COUNT).map(|number| format!("s{number}")).collect();
    stage.cluster.make_services("many", &names);
    stage.until_all_served("many", COUNT);
    let quiet = [SERVICES, POOLS];
    stage
        .cluster
        .observer()
        .until_quiet(&quiet, Duration::from_secs(2), LATER);
    for round in 0..3 {
        let mark = stage.cluster.observer().mark();
        let leader = stage.leader();
        let name = format!("new{round}");
        let begin = now();
        let process = stage.fairways.get_mut(&leader).expect("the leader runs");
        process.process.signal(Signal::TERM);
        stage
            .cluster
            .make_services("many", std::slice::from_ref(&name));
        stage.cluster.until_served("many", &name, SOON);
        let took = begin.elapsed();
        println!("{leader} was stopped -> its successor served a new Service: {took:?}");
        assert!(took < HANDOVER, "{took:?}");
        let process = stage.fairways.get_mut(&leader).expect("it is there");
        assert!(process.process.wait_for_end(SOON).success());
        stage.check_takeover(&leader, begin, HANDOVER);
        stage
            .cluster
            .observer()
            .until_quiet(&quiet, Duration::from_secs(2), LATER);
        let written = stage.cluster.observer().written_by_fairway(mark, SERVICES);
        println!("written over the handover: {written:?}");
        assert_eq!(
            written.into_iter().collect::<Vec<_>>(),
            [(format!("many/{name}"), 1)]
        );
        stage.start(&leader);
    }
}

/// Several Fairways on one pool, and no other such stage at the same time: what is measured here is what a machine with nothing
/// else to do needs.
struct Stage {
    fairways: BTreeMap<String, Fairway>,
    cluster: Cluster,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Stage {
    #[track_caller]
    fn new(number: usize) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Cluster::new();
        cluster.kubectl.apply(&pool("wide", &["10.0.0.0/16"]));
        let mut stage = Self {
            fairways: BTreeMap::new(),
            cluster,
            _turn: turn,
        };
        for number in 1..=number {
            stage.start(&format!("n{number}"));
        }
        stage.leader();
        stage
    }

    #[track_caller]
    fn start(&mut self, name: &str) {
        self.cluster.make_node(name, "127.0.0.1", true);
        let fairway = self.cluster.setup(name).start(self.cluster.host());
        self.fairways.insert(name.to_owned(), fairway);
    }

    /// The node whose Fairway holds the lease.
    #[track_caller]
    fn leader(&self) -> String {
        eventually("somebody leads", SOON, || {
            let path = format!(
                "/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/fairway-operator"
            );
            let lease = self.cluster.admin.get(&path)?;
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            let names = self.fairways.keys();
            let leads = |name: &&String| holder.contains(name.as_str());
            names
                .into_iter()
                .find(leads)
                .cloned()
                .ok_or_else(|| lease.to_string())
        })
    }

    /// The lease has another holder, soon enough after `since`.
    #[track_caller]
    fn check_takeover(&self, former: &str, since: Instant, limit: Duration) -> Instant {
        let taken = eventually("another one holds the lease", SOON, || {
            let seen = self.cluster.observer().since(0);
            let taken = seen.iter().find(|write| {
                let holder = write.object["spec"]["holderIdentity"]
                    .as_str()
                    .unwrap_or_default();
                write.name == LEASE
                    && write.at >= since
                    && !holder.is_empty()
                    && !holder.contains(former)
            });
            taken.map(|write| write.at).ok_or("not yet")
        });
        let took = taken.duration_since(since);
        println!("{former} was gone -> another one held the lease: {took:?}");
        assert!(took <= limit, "{took:?}");
        taken
    }

    /// And while Services wait, the first of them has its address from the new one as soon.
    #[track_caller]
    fn check_service(&self, since: Instant, taken: Instant, limit: Duration) {
        let served = eventually("the new leader serves", SOON, || {
            let seen = self.cluster.observer().since(0);
            let served = seen.iter().find(|write| {
                let is_served = !addresses_of(&write.object).is_empty();
                write.collection == SERVICES && write.at >= taken && is_served
            });
            served.map(|write| write.at).ok_or("not yet")
        });
        let took = served.duration_since(since);
        println!("... -> and served the first Service: {took:?}");
        assert!(took <= limit, "{took:?}");
    }

    #[track_caller]
    fn until_all_served(&self, namespace: &str, count: usize) {
        eventually(
            &format!("all {count} of {namespace} are served"),
            LATER,
            || {
                let prefix = format!("{namespace}/");
                let all = self.cluster.all_addresses();
                let served = all
                    .iter()
                    .filter(|(name, addresses)| name.starts_with(&prefix) && addresses.len() == 1)
                    .count();
                holds(served == count, served)
            },
        );
    }

    /// Over all that was ever written: no address on two Services, and no Service with two addresses one after the other.
    #[track_caller]
    fn check_addresses(&self, mark: usize) {
        self.cluster.observer().catch_up();
        let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut writes: BTreeMap<String, usize> = BTreeMap::new();
        let seen = self.cluster.observer().since(mark);
        for write in seen.iter().filter(|write| write.collection == SERVICES) {
            for address in addresses_of(&write.object) {
                holders
                    .entry(address.clone())
                    .or_default()
                    .insert(write.name.clone());
                held.entry(write.name.clone()).or_default().insert(address);
            }
            if write.is_by_fairway() && write.kind == "MODIFIED" {
                *writes.entry(write.name.clone()).or_default() += 1;
            }
        }
        let twice: Vec<_> = holders
            .iter()
            .filter(|(_, names)| names.len() > 1)
            .collect();
        assert!(
            twice.is_empty(),
            "addresses that two Services held: {twice:?}"
        );
        let moved: Vec<_> = held
            .iter()
            .filter(|(_, addresses)| addresses.len() > 1)
            .collect();
        assert!(
            moved.is_empty(),
            "Services that changed their address: {moved:?}"
        );
        let most = writes.values().max().copied().unwrap_or_default();
        let sum: usize = writes.values().sum();
        println!(
            "{} Services, {} addresses, none twice, none moved; {sum} writes, at most {most} to one Service",
            held.len(),
            holders.len()
        );
        let current = self.cluster.all_addresses();
        let lost: Vec<_> = current
            .iter()
            .filter(|(_, addresses)| addresses.len() != 1)
            .collect();
        assert!(lost.is_empty(), "without their address: {lost:?}");
        // Its own, the mark of a takeover, and what a condition may need after both.
        assert!(most <= 4, "{writes:?}");
    }
}

/// How many Services were given an address after `mark`, as far as has been seen.
fn served_since(cluster: &Cluster, mark: usize) -> usize {
    let seen = cluster.observer().since(mark);
    let served: BTreeSet<&str> = seen
        .iter()
        .filter(|write| write.collection == SERVICES && !addresses_of(&write.object).is_empty())
        .map(|write| write.name.as_str())
        .collect();
    served.len()
}
