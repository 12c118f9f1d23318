//! An API server that answers wrongly, slowly or not at all; watches that break; rights, versions and definitions that are
//! missing, come and go.

mod answers;
mod outages;
mod rights;

use std::collections::BTreeMap;
use std::time::Duration;

use support::clock::{eventually, holds};
use support::cluster::{Cluster, NODE};
use support::fairway::Fairway;
use support::fault_proxy::FaultProxy;
use support::manifests::pool;
use support::observer::{POOLS, SERVICES};

const SOON: Duration = Duration::from_secs(15);
const LATER: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(2);

/// Fairway behind a door that makes trouble, with a pool.
struct Stage {
    fairway: Fairway,
    proxy: FaultProxy,
    cluster: Cluster,
}

impl Stage {
    #[track_caller]
    fn new() -> Self {
        let cluster = Cluster::new();
        cluster.kubectl.apply(&pool("wide", &["10.0.0.0/16"]));
        let proxy = FaultProxy::start(&cluster);
        let kubeconfig = cluster.kubeconfig_through(&proxy.url());
        let fairway = cluster.setup_with(NODE, kubeconfig).start(cluster.host());
        cluster.make_services("default", &["warm-up".into()]);
        cluster.until_served("default", "warm-up", SOON);
        cluster
            .observer()
            .until_quiet(&[SERVICES, POOLS], QUIET, LATER);
        Self {
            fairway,
            proxy,
            cluster,
        }
    }

    #[track_caller]
    fn until_served(&self, namespace: &str, names: &[String]) {
        for name in names {
            self.cluster.until_served(namespace, name, LATER);
        }
    }

    #[track_caller]
    fn check_distinct(&self) {
        let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, addresses) in self.cluster.all_addresses() {
            assert_eq!(addresses.len(), 1, "{name}: {addresses:?}");
            holders.entry(addresses[0].clone()).or_default().push(name);
        }
        let twice: Vec<_> = holders
            .iter()
            .filter(|(_, names)| names.len() > 1)
            .collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

/// The Services that Fairway knows, but for the one that the API server makes for itself when it starts.
#[track_caller]
fn known(fairway: &Fairway) -> Vec<(String, Vec<String>)> {
    let mut known = fairway.addresses();
    known.retain(|(name, _)| name != "default/kubernetes");
    known
}

/// Fairway's own picture of the Services is the cluster's.
#[track_caller]
fn until_known(fairway: &Fairway, cluster: &Cluster) {
    eventually("Fairway knows what the cluster holds", SOON, || {
        let mut there = cluster.all_addresses();
        there.sort();
        let known = known(fairway);
        holds(known == there, (known, there))
    });
}
