//! Tokens, definitions and rights that are missing, come and go.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::clock::{eventually, holds, now, throughout};
use support::cluster::{Cluster, NODE};
use support::crds;
use support::fairway::Fairway;
use support::fault_proxy::{Fault, FaultProxy, Trouble};
use support::manifests::pool;
use support::observer::SERVICES;

use super::{LATER, SOON};

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
