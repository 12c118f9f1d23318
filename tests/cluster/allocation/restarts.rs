//! What stays over restarts, and how little is written at one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use support::clock::{eventually, holds, now, throughout};
use support::cluster::{Cluster, NODE};
use support::fault_proxy::{Fault, FaultProxy, Trouble};
use support::observer::{POOLS, SERVICES};

use super::{LATER, QUIET, SOON, pool, until_pool};

#[test]
fn a_service_that_is_made_again_gets_its_old_address_even_over_a_restart() {
    let cluster = Cluster::new();
    let mut fairway = cluster.fairway();
    cluster.kubectl.apply(&pool(
        "v2",
        "blue",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/24" }] }),
    ));
    let names: Vec<String> = (0..5).map(|number| format!("s{number}")).collect();
    cluster.make_services("default", &names);
    for name in &names {
        cluster.until_served("default", name, SOON);
    }
    let third = cluster.addresses("default", "s2");

    cluster.kubectl.call(&["delete", "service", "s2"]);
    until_pool(&cluster, "blue", "cilium.io/IPsUsed", "4");
    cluster.make_services("default", &["stranger".into()]);
    let other = cluster.until_served("default", "stranger", SOON);
    assert_ne!(
        [other],
        third[..],
        "the address is kept for its former holder"
    );
    cluster.make_services("default", &["s2".into()]);
    cluster.until_served("default", "s2", SOON);
    assert_eq!(cluster.addresses("default", "s2"), third);

    cluster.kubectl.call(&["delete", "service", "s2"]);
    until_pool(&cluster, "blue", "cilium.io/IPsUsed", "5");
    fairway.stop();
    let fairway = cluster.fairway();
    cluster.make_services("default", &["another".into()]);
    let other = cluster.until_served("default", "another", SOON);
    assert_ne!([other], third[..], "over a restart, too");
    cluster.make_services("default", &["s2".into()]);
    cluster.until_served("default", "s2", SOON);
    assert_eq!(cluster.addresses("default", "s2"), third);
    drop(fairway);
}

#[test]
fn a_thousand_services_are_written_once_each_and_never_at_a_restart() {
    const COUNT: usize = 1_000;
    let cluster = Cluster::new();
    cluster.kubectl.apply(&pool(
        "v2",
        "wide",
        &json!({ "blocks": [{ "cidr": "10.0.0.0/16" }] }),
    ));
    let names: Vec<String> = (0..COUNT).map(|number| format!("s{number}")).collect();
    cluster.make_services("many", &names);
    let mark = cluster.observer().mark();
    let mut fairway = cluster.fairway();
    let begin = now();
    eventually("all have an address", LATER, || {
        let served = cluster
            .all_addresses()
            .iter()
            .filter(|(_, addresses)| addresses.len() == 1)
            .count();
        holds(served == COUNT, served)
    });
    println!(
        "{COUNT} waiting Services were served {:?} after the API answered",
        begin.elapsed()
    );
    until_pool(&cluster, "wide", "cilium.io/IPsUsed", &COUNT.to_string());
    let written = cluster.observer().written_by_fairway(mark, SERVICES);
    let (fewest, most) = (written.values().min(), written.values().max());
    println!(
        "{} Services written, each between {fewest:?} and {most:?} times",
        written.len()
    );
    assert_eq!((written.len(), fewest, most), (COUNT, Some(&1), Some(&1)));
    let before = cluster.all_addresses();
    let distinct: BTreeSet<&String> = before.iter().flat_map(|(_, addresses)| addresses).collect();
    assert_eq!(distinct.len(), COUNT);

    fairway.stop();
    cluster
        .observer()
        .until_quiet(&[SERVICES, POOLS], QUIET, LATER);
    let mark = cluster.observer().mark();
    let begin = now();
    let fairway = cluster.fairway();
    cluster.make_services("many", &["new".into()]);
    cluster.until_served("many", "new", SOON);
    let took = begin.elapsed();
    println!("start -> a new Service is served: {took:?}");
    assert!(took <= Duration::from_secs(3), "{took:?}");
    cluster
        .observer()
        .until_quiet(&[SERVICES, POOLS], QUIET, LATER);
    let written = cluster.observer().written_by_fairway(mark, SERVICES);
    println!("written at the restart: {written:?}");
    assert_eq!(
        written.into_iter().collect::<Vec<_>>(),
        [("many/new".to_owned(), 1)]
    );
    let after: Vec<_> = cluster
        .all_addresses()
        .into_iter()
        .filter(|(name, _)| name != "many/new")
        .collect();
    assert_eq!(after, before);

    // And when nothing changes, nothing is written, whatever else about the objects does change.
    let mark = cluster.observer().mark();
    cluster.kubectl.call(&[
        "annotate",
        "service",
        "-n",
        "many",
        "s1",
        "example.com/note=hello",
    ]);
    cluster.kubectl.call(&[
        "label",
        "ciliumloadbalancerippools",
        "wide",
        "example.com/note=hello",
    ]);
    throughout("nothing is written", QUIET, || {
        let seen = cluster.observer().since(mark);
        let by_fairway: Vec<_> = seen
            .into_iter()
            .filter(|write| [SERVICES, POOLS].contains(&write.collection) && write.is_by_fairway())
            .collect();
        holds(by_fairway.is_empty(), by_fairway)
    });
    drop(fairway);
}

#[test]
fn nothing_is_written_before_every_kind_was_listed() {
    let cluster = Cluster::new();
    cluster.kubectl.apply(&pool(
        "v2",
        "blue",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/24" }] }),
    ));
    cluster.kubectl.apply(&pool(
        "v2",
        "red",
        &json!({ "blocks": [{ "cidr": "10.0.20.0/24" }] }),
    ));
    let held = json!({ "loadBalancer": { "ingress": [{ "ip": "10.0.20.5" }] } });
    cluster.make_services("default", &["holder".into(), "waiter".into()]);
    cluster
        .write_status("fairway", "default", "holder", &held)
        .expect("a status can be written");
    let proxy = FaultProxy::start(&cluster);
    let kubeconfig = cluster.kubeconfig_through(&proxy.url());
    for kind in [
        "/services",
        "/ciliumloadbalancerippools",
        "/nodes",
        "/endpointslices",
        "/ciliumbgppeeringpolicies",
    ] {
        let mark = cluster.observer().mark();
        let silent = Fault::new(Trouble::Silence).on(kind);
        proxy.make(silent);
        let setup = cluster.setup_with(NODE, kubeconfig.clone());
        let fairway = setup.launch(cluster.host());
        eventually("all other kinds are asked for", SOON, || {
            let asked: BTreeSet<String> = proxy
                .requests()
                .into_iter()
                .map(|request| request.target)
                .collect();
            holds(
                asked.iter().any(|target| target.contains(kind)) && asked.len() >= 5,
                asked,
            )
        });
        throughout(
            &format!("nothing is written while {kind} is not listed"),
            QUIET,
            || {
                let written = cluster.observer().written_by_fairway(mark, SERVICES);
                holds(written.is_empty(), written)
            },
        );
        proxy.calm();
        cluster.until_served("default", "waiter", LATER);
        assert_eq!(cluster.addresses("default", "holder"), ["10.0.20.5"]);
        println!(
            "{kind} came late: {:?} was written, and nothing before",
            cluster.observer().written_by_fairway(mark, SERVICES)
        );
        drop(fairway);
        cluster
            .write_status(
                "lab",
                "default",
                "waiter",
                &json!({ "loadBalancer": null, "conditions": null }),
            )
            .expect("a status can be cleared");
        cluster
            .admin
            .delete("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/fairway-operator")
            .expect("the lease is there");
    }
}
