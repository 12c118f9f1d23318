//! Watches that break, and servers that die and come back.

use std::collections::BTreeSet;
use std::time::Duration;

use support::clock::{eventually, holds, now, throughout};
use support::cluster::Cluster;
use support::fault_proxy::{Fault, Trouble};
use support::manifests::pool;
use support::observer::SERVICES;

use super::{LATER, QUIET, SOON, Stage, known, until_known};

#[test]
fn a_watch_that_is_cut_misses_nothing() {
    let stage = Stage::new();
    let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    stage.cluster.make_services("default", &names);
    stage.until_served("default", &names);
    let mark = stage.cluster.observer().mark();
    // While no watch stands: one is made, one deleted, one made anew under the same name, and the pool grows.
    stage.proxy.make(Fault::new(Trouble::Silence).watches(true));
    let cut = stage.proxy.cut_watches();
    assert!(cut > 0, "there were watches");
    stage.cluster.make_services("default", &["new".into()]);
    for name in ["s1", "s2"] {
        let path = format!("/api/v1/namespaces/default/services/{name}");
        stage.cluster.admin.delete(&path).expect("it is there");
    }
    stage.cluster.make_services("default", &["s2".into()]);
    stage
        .cluster
        .kubectl
        .apply(&pool("wide", &["10.0.0.0/16", "10.1.0.0/16"]));
    stage.proxy.calm();
    let begin = now();
    stage.until_served("default", &["new".into(), "s2".into()]);
    println!(
        "{cut} watches were cut; what had changed meanwhile was served {:?} after they could come back",
        begin.elapsed()
    );
    until_known(&stage.fairway, &stage.cluster);
    let written = stage.cluster.observer().written_by_fairway(mark, SERVICES);
    let names: BTreeSet<&str> = written.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        BTreeSet::from(["default/new", "default/s2"]),
        "{written:?}"
    );
    stage.check_distinct();
}

#[test]
fn a_watch_whose_past_was_compacted_away_begins_anew_and_moves_nothing() {
    let mut stage = Stage::new();
    stage.cluster.spoil();
    let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    stage.cluster.make_services("default", &names);
    stage.until_served("default", &names);
    let mark = stage.cluster.observer().mark();
    stage.proxy.make(Fault::new(Trouble::Silence).watches(true));
    stage.proxy.cut_watches();
    stage.cluster.make_services("default", &["new".into()]);
    let path = "/api/v1/namespaces/default/services/s1";
    stage.cluster.admin.delete(path).expect("it is there");
    stage.cluster.etcd.compact();
    // With the API server goes its memory of former versions.
    stage.cluster.restart_server();
    let seen = stage.proxy.requests().len();
    stage.proxy.calm();
    stage.until_served("default", &["new".into()]);
    until_known(&stage.fairway, &stage.cluster);
    let gone = stage.proxy.requests()[seen..]
        .iter()
        .filter(|request| request.code == 410)
        .count();
    println!(
        "after the compaction {gone} watches were refused as gone at once (others are told in the stream)"
    );
    stage
        .cluster
        .observer()
        .until_quiet(&[SERVICES], QUIET, LATER);
    let written = stage.cluster.observer().written_by_fairway(mark, SERVICES);
    assert_eq!(written.keys().collect::<Vec<_>>(), ["default/new"]);
    stage.check_distinct();
}

#[test]
fn etcd_and_the_api_server_may_die_and_come_back() {
    let mut cluster = Cluster::new();
    cluster.kubectl.apply(&pool("wide", &["10.0.0.0/16"]));
    let fairway = cluster.fairway();
    let names: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
    cluster.make_services("default", &names);
    for name in &names {
        cluster.until_served("default", name, SOON);
    }
    cluster.observer().until_quiet(&[SERVICES], QUIET, LATER);
    let before = cluster.all_addresses();
    let served = known(&fairway);
    let mark = cluster.observer().mark();
    for who in ["the API server", "etcd", "both"] {
        if who != "etcd" {
            cluster.kill_server();
        }
        if who != "the API server" {
            cluster.etcd.kill();
        }
        throughout("what it knows stays", Duration::from_secs(4), || {
            holds(known(&fairway) == served, known(&fairway))
        });
        if who != "the API server" {
            cluster.etcd.restart();
        }
        if who != "etcd" {
            cluster.restart_server();
        }
        cluster.until_ready();
        let begin = now();
        let name = who.replace(' ', "-").to_lowercase();
        eventually("Services can be made again", LATER, || {
            let made = cluster.admin.create(
                "/api/v1/namespaces/default/services",
                &support::cluster::service(&name),
            );
            made.map(|_| ()).or_else(|error| {
                if error.contains(": 409:") {
                    Ok(())
                } else {
                    Err(error)
                }
            })
        });
        cluster.until_served("default", &name, LATER);
        println!(
            "{who} died and came back -> a new Service was served {:?} after it was ready",
            begin.elapsed()
        );
        let path = format!("/api/v1/namespaces/default/services/{name}");
        cluster.admin.delete(&path).expect("it is there");
        eventually("it is forgotten", LATER, || {
            holds(known(&fairway) == served, known(&fairway))
        });
    }
    assert_eq!(cluster.all_addresses(), before);
    let written = cluster.observer().written_by_fairway(mark, SERVICES);
    let again: Vec<_> = written
        .keys()
        .filter(|name| {
            names
                .iter()
                .any(|known| name.ends_with(&format!("/{known}")))
        })
        .collect();
    println!(
        "writes to the {} Services that were served before: {}",
        names.len(),
        again.len()
    );
    assert!(again.is_empty(), "{again:?}");
}
