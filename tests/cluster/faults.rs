//! An API server that answers wrongly, slowly or not at all; watches that break; rights, versions and definitions that are
//! missing, come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::clock::{eventually, holds, now, throughout};
use support::cluster::{Cluster, NODE};
use support::crds;
use support::fairway::Fairway;
use support::fault_proxy::{Fault, FaultProxy, Trouble};
use support::manifests::pool;
use support::observer::{POOLS, SERVICES};

const SOON: Duration = Duration::from_secs(15);
const LATER: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(2);

#[test]
fn wrong_slow_and_lost_answers_lose_nothing_and_repeat_nothing() {
    const COUNT: usize = 30;
    let stage = Stage::new();
    let troubles = [
        ("500", Trouble::Answer(500, None)),
        ("503", Trouble::Answer(503, None)),
        ("429", Trouble::Answer(429, Some(1))),
        ("slow", Trouble::Delay(Duration::from_secs(1))),
        ("cut", Trouble::Cut),
        ("lost", Trouble::LoseAnswer),
    ];
    for (name, trouble) in troubles {
        let mark = stage.cluster.observer().mark();
        let names: Vec<String> = (0..COUNT)
            .map(|number| format!("{name}-{number}"))
            .collect();
        let fault = Fault::new(trouble)
            .method("PATCH")
            .on("/services/")
            .times(20);
        stage.proxy.make(fault);
        let begin = now();
        stage.cluster.make_services("default", &names);
        stage.until_served("default", &names);
        let took = begin.elapsed();
        stage.proxy.calm();
        stage
            .cluster
            .observer()
            .until_quiet(&[SERVICES], QUIET, LATER);
        let written = stage.cluster.observer().written_by_fairway(mark, SERVICES);
        let most = written.values().max().copied().unwrap_or_default();
        println!(
            "{name}: {COUNT} Services were served after {took:?}, each written at most {most} times"
        );
        assert_eq!(written.len(), COUNT);
        assert_eq!(most, 1, "{written:?}");
    }
    stage.check_distinct();
}

#[test]
fn a_retry_after_is_waited_for() {
    const WAIT: Duration = Duration::from_secs(3);
    let stage = Stage::new();
    let fault = Fault::new(Trouble::Answer(429, Some(3)))
        .method("PATCH")
        .on("/services/busy")
        .times(1);
    stage.proxy.make(fault);
    stage.cluster.make_services("default", &["busy".into()]);
    stage.until_served("default", &["busy".into()]);
    let requests = stage.proxy.requests();
    let writes: Vec<(Instant, u16)> = requests
        .iter()
        .filter(|request| request.method == "PATCH" && request.target.contains("/services/busy"))
        .map(|request| (request.at, request.code))
        .collect();
    let codes: Vec<u16> = writes.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, [429, 200]);
    let waited = writes[1].0.duration_since(writes[0].0);
    println!("told to wait {WAIT:?}, waited {waited:?}");
    assert!((WAIT..WAIT * 2).contains(&waited), "{waited:?}");
}

#[test]
fn a_bad_quarter_of_a_minute_for_every_request_is_survived() {
    let stage = Stage::new();
    let names = |prefix: &str| -> Vec<String> {
        (0..10).map(|number| format!("{prefix}-{number}")).collect()
    };
    stage.cluster.make_services("default", &names("before"));
    stage.until_served("default", &names("before"));
    let before = stage.cluster.all_addresses();
    let mark = stage.cluster.observer().mark();
    for trouble in [
        Trouble::Answer(500, None),
        Trouble::Answer(429, Some(1)),
        Trouble::Silence,
    ] {
        stage.proxy.make(Fault::new(trouble.clone()));
        stage.proxy.cut();
        let name = format!("{trouble:?}")
            .to_lowercase()
            .replace(|c: char| !c.is_alphanumeric(), "");
        stage.cluster.make_services("default", &names(&name));
        throughout(
            "what it knows stays, and it runs",
            Duration::from_secs(5),
            || {
                let known = stage.fairway.addresses();
                let kept = before.iter().all(|entry| known.contains(entry));
                holds(kept, known)
            },
        );
        stage.proxy.calm();
        let begin = now();
        stage.until_served("default", &names(&name));
        println!(
            "{trouble:?} for all requests: served {:?} after it ended",
            begin.elapsed()
        );
    }
    stage
        .cluster
        .observer()
        .until_quiet(&[SERVICES], QUIET, LATER);
    let written = stage.cluster.observer().written_by_fairway(mark, SERVICES);
    let again: Vec<_> = written
        .iter()
        .filter(|(name, count)| name.contains("before") || **count > 2)
        .collect();
    assert!(again.is_empty(), "{again:?}");
    stage.check_distinct();
}

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
    let known = fairway.addresses();
    let mark = cluster.observer().mark();
    for who in ["the API server", "etcd", "both"] {
        if who != "etcd" {
            cluster.kill_server();
        }
        if who != "the API server" {
            cluster.etcd.kill();
        }
        throughout("what it knows stays", Duration::from_secs(4), || {
            holds(fairway.addresses() == known, fairway.addresses())
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
            holds(fairway.addresses() == known, fairway.addresses())
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

#[test]
fn a_token_that_expires_is_replaced_by_the_one_in_the_file() {
    const LIFETIME: Duration = Duration::from_secs(12);
    let cluster = Cluster::new();
    cluster.kubectl.apply(&pool("wide", &["10.0.0.0/16"]));
    let account = cluster.account();
    let file = cluster.directory().join("token");
    let renew = |lifetime: Duration| {
        let fresh = file.with_extension("new");
        fs::write(&fresh, cluster.short_token(&account, lifetime)).expect("a token can be written");
        fs::rename(&fresh, &file).expect("a file can be renamed");
    };
    renew(LIFETIME);
    let proxy = FaultProxy::start(&cluster);
    let kubeconfig = cluster.kubeconfig_for(&proxy.url(), &json!({ "tokenFile": file }));
    let fairway = cluster.setup_with(NODE, kubeconfig).start(cluster.host());
    cluster.make_services("default", &["first".into()]);
    cluster.until_served("default", "first", SOON);

    // As a kubelet does, well before the old one ends.
    renew(Duration::from_secs(600));
    let begin = now();
    let old = cluster.short_token(&account, LIFETIME);
    let client = support::api_client::ApiClient::new(cluster.place(), cluster.address(), &old);
    eventually(
        "a token as old as the first one is refused",
        LATER,
        || match client.get("/api/v1/nodes") {
            Err(error) if error.contains(": 401:") => Ok(()),
            other => Err(other.map(|_| ())),
        },
    );
    cluster.make_services("default", &["second".into()]);
    cluster.until_served("default", "second", LATER);
    let refused = proxy
        .requests()
        .iter()
        .filter(|request| request.code == 401)
        .count();
    println!(
        "{:?} after the renewal: the old token is refused, Fairway goes on; {refused} of its requests were refused",
        begin.elapsed()
    );

    // And a server that suddenly refuses for a while is no reason to give up.
    proxy.make(Fault::new(Trouble::Answer(401, None)).times(10));
    cluster.make_services("default", &["third".into()]);
    cluster.until_served("default", "third", LATER);
    drop(fairway);
}

#[test]
fn definitions_may_come_after_fairway_go_and_come_back() {
    let mut cluster = Cluster::fresh();
    let mut fairway = cluster.fairway();
    cluster.make_services("default", &["web".into()]);
    throughout(
        "nothing happens without a pool",
        Duration::from_secs(3),
        || {
            holds(
                fairway.process.is_running() && cluster.addresses("default", "web").is_empty(),
                fairway.process.log(),
            )
        },
    );
    let begin = now();
    cluster.install_crds();
    cluster.kubectl.apply(&pool("blue", &["10.0.10.0/24"]));
    let address = cluster.until_served("default", "web", LATER);
    println!(
        "definitions came -> the first Service was served: {:?}",
        begin.elapsed()
    );
    cluster.observe(&[SERVICES]);

    crds::remove(&cluster.admin, crds::POOLS);
    throughout("it runs on", Duration::from_secs(3), || {
        holds(fairway.process.is_running(), fairway.process.log())
    });
    let begin = now();
    cluster.install_crds();
    cluster.kubectl.apply(&pool("blue", &["10.0.10.0/24"]));
    cluster.make_services("default", &["later".into()]);
    cluster.until_served("default", "later", LATER);
    cluster.until_addresses("default", "web", &[&address], LATER);
    println!("definitions came back -> served: {:?}", begin.elapsed());
}

#[test]
fn one_version_of_the_definition_is_enough_whichever_it_is() {
    let cluster = Cluster::fresh();
    cluster.install_crds();
    for versions in [
        &["v2"][..],
        &["v2alpha1"],
        &["v2alpha1", "v2"],
        &["v2", "v2alpha1"],
    ] {
        crds::remove(&cluster.admin, crds::POOLS);
        let definition = crds::pools_of_versions(&cluster.kubectl, versions);
        crds::install(&cluster.admin, &[definition]);
        for version in versions {
            let name = format!("pool-{version}");
            let third = if *version == "v2" { 2 } else { 1 };
            let manifest = pool(&name, &[&format!("10.0.{third}.0/24")])
                .replace("cilium.io/v2alpha1", &format!("cilium.io/{version}"));
            eventually("kubectl knows the kind", SOON, || {
                cluster.kubectl.ask(&["apply", "-f", "-"], &manifest)
            });
        }
        let fairway = cluster.fairway();
        let name = versions.join("-");
        cluster.make_services("default", std::slice::from_ref(&name));
        let address = cluster.until_served("default", &name, LATER);
        println!("{versions:?}: {address}");
        let path = format!("/apis/cilium.io/{}/ciliumloadbalancerippools", versions[0]);
        eventually("the pools say how full they are", SOON, || {
            let list = cluster.admin.get(&path)?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let told = items
                .iter()
                .all(|pool| !support::cluster::condition(pool, "cilium.io/IPsTotal").is_null());
            holds(told && items.len() == versions.len(), list.to_string())
        });
        drop(fairway);
        let path = format!("/api/v1/namespaces/default/services/{name}");
        cluster.admin.delete(&path).expect("it is there");
    }
}

#[test]
fn a_right_that_is_missing_is_named_hinders_nothing_else_and_is_used_once_it_is_there() {
    let mut cluster = Cluster::new();
    cluster.spoil();
    cluster.kubectl.apply(&pool("blue", &["10.0.10.0/24"]));
    // Without EndpointSlices addresses are given all the same.
    without_right(&cluster, "endpointslices");
    let fairway = cluster.fairway();
    cluster.make_services("default", &["one".into()]);
    cluster.until_served("default", "one", SOON);
    until_complained(&fairway, "endpointslices");
    drop(fairway);

    // Without pools there are none; with the right they are there, without a restart.
    without_right(&cluster, "ciliumloadbalancerippools");
    let fairway = cluster.fairway();
    cluster.make_services("default", &["two".into()]);
    until_complained(&fairway, "ciliumloadbalancerippools");
    assert_eq!(
        cluster.addresses("default", "one").len(),
        1,
        "what is there stays"
    );
    assert!(cluster.addresses("default", "two").is_empty());
    cluster.grant();
    let begin = now();
    cluster.until_served("default", "two", LATER);
    println!("right to read pools given -> served: {:?}", begin.elapsed());
    drop(fairway);

    // The right to write, taken while it runs.
    let fairway = cluster.fairway();
    cluster.make_services("default", &["three".into()]);
    cluster.until_served("default", "three", SOON);
    without_right(&cluster, "services/status");
    cluster.make_services("default", &["four".into()]);
    until_complained(&fairway, "services");
    cluster.grant();
    let begin = now();
    cluster.until_served("default", "four", LATER);
    println!(
        "right to write statuses given -> served: {:?}",
        begin.elapsed()
    );
}

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

/// Fairway's own picture of the Services is the cluster's.
#[track_caller]
fn until_known(fairway: &Fairway, cluster: &Cluster) {
    eventually("Fairway knows what the cluster holds", SOON, || {
        let mut there = cluster.all_addresses();
        there.sort();
        let known: Vec<_> = fairway
            .addresses()
            .into_iter()
            .filter(|(name, _)| name != "default/kubernetes")
            .collect();
        holds(known == there, (known, there))
    });
}

/// Takes the right to one resource from Fairway's role.
#[track_caller]
fn without_right(cluster: &Cluster, resource: &str) {
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/fairway";
    cluster.grant();
    let role = cluster.admin.get(path).expect("the role is there");
    let rules: Vec<Value> = role["rules"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| {
            let mut rule = rule.clone();
            let resources = rule["resources"].as_array_mut()?;
            resources.retain(|name| name != resource);
            (!resources.is_empty()).then_some(rule)
        })
        .collect();
    cluster
        .admin
        .merge(path, &json!({ "rules": rules }))
        .expect("a role can be changed");
}

/// The log says what is refused.
#[track_caller]
fn until_complained(fairway: &Fairway, resource: &str) {
    let line = eventually(&format!("the log names {resource}"), LATER, || {
        let log = fairway.process.log();
        let found = log.lines().find(|line| {
            let line = line.to_lowercase();
            line.contains(&resource.to_lowercase())
                && ["forbidden", "refuse", "may not", "allow"]
                    .iter()
                    .any(|word| line.contains(word))
        });
        found.map(str::to_owned).ok_or("nothing yet")
    });
    println!("{line}");
}
