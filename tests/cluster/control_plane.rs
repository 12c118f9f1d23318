//! The lab's control plane works as the other suites take for granted: real programs that die and come back with their data,
//! an observer that counts, a door that makes trouble.

use std::time::Duration;

use serde_json::json;
use support::api_client::ApiClient;
use support::clock::{eventually, holds, now};
use support::cluster::{Cluster, service};
use support::fault_proxy::{Fault, FaultProxy, Trouble};
use support::manifests::pool;
use support::observer::{POOLS, SERVICES};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn what_kubectl_applies_is_there_after_etcd_and_the_api_server_were_killed() {
    let mut cluster = Cluster::new();
    cluster.kubectl.apply(&pool("blue", &["10.0.10.0/24"]));
    cluster.make_services("default", &["web".into()]);
    let mark = cluster.observer().mark();

    cluster.kill_server();
    cluster.restart_server();
    cluster.etcd.kill();
    cluster.etcd.restart();
    cluster.until_ready();
    eventually("etcd and API server work together again", SOON, || {
        cluster.admin.get(POOLS)
    });
    assert_eq!(
        cluster
            .kubectl
            .json(&["get", "ciliumloadbalancerippools", "blue"])["spec"]["blocks"],
        json!([{ "cidr": "10.0.10.0/24" }])
    );

    cluster.make_services("default", &["later".into()]);
    eventually("the observer goes on", SOON, || {
        let seen = cluster.observer().since(mark);
        let found = seen.iter().any(|write| write.name == "default/later");
        holds(found, seen)
    });
}

#[test]
fn the_observer_counts_each_write_and_names_the_writer() {
    let cluster = Cluster::new();
    cluster.make_services("default", &["web".into()]);
    let mark = cluster.observer().mark();
    for last in 1..=3 {
        let status =
            json!({ "loadBalancer": { "ingress": [{ "ip": format!("10.0.10.{last}") }] } });
        cluster
            .write_status("fairway", "default", "web", &status)
            .expect("a status can be written");
    }
    cluster
        .write_status(
            "speaker",
            "default",
            "web",
            &json!({ "loadBalancer": { "ingress": [{ "ip": "10.0.20.1" }] } }),
        )
        .expect("a status can be written");
    eventually("four writes are seen", SOON, || {
        let seen = cluster.observer().since(mark);
        holds(seen.len() == 4, seen)
    });
    let by_fairway = cluster.observer().written_by_fairway(mark, SERVICES);
    assert_eq!(by_fairway["default/web"], 3);
    assert_eq!(cluster.observer().since(mark)[3].manager, "speaker");
}

#[test]
fn a_watch_from_before_a_compaction_is_told_that_it_is_gone() {
    let cluster = Cluster::new();
    let list = cluster.admin.get(SERVICES).expect("a list");
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    cluster.make_services("default", &["a".into(), "b".into()]);
    cluster.etcd.compact();
    // The API server answers watches from a cache of its own as long as that reaches back far enough.
    let mut cluster = cluster;
    cluster.spoil();
    cluster.restart_server();
    let admin = cluster.admin.clone();
    eventually("410 Gone", SOON, || {
        match admin
            .watch(SERVICES, &version)
            .map(|mut watch| watch.next())
        {
            Err(error) if error.contains("410") => Ok(()),
            Ok(Some(event)) if event["object"]["code"] == 410 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn the_door_passes_watches_on_and_makes_the_trouble_it_is_told_to() {
    let cluster = Cluster::new();
    let proxy = FaultProxy::start(&cluster);
    let user = json!({ "token": "admin-token" });
    let through = cluster
        .kubectl
        .with(&cluster.kubeconfig_for(&proxy.url(), &user));
    assert!(through.call(&["get", "nodes"]).contains("n1"));

    proxy.make(Fault::new(Trouble::Answer(503, None)).on("/nodes").times(1));
    let refused = through.ask(&["get", "--raw", "/api/v1/nodes"], "");
    assert!(refused.is_err(), "{refused:?}");
    assert!(through.ask(&["get", "--raw", "/api/v1/nodes"], "").is_ok());

    let delay = Duration::from_secs(1);
    proxy.make(Fault::new(Trouble::Delay(delay)).on("/services"));
    let begin = now();
    through.call(&["get", "services"]);
    assert!(begin.elapsed() >= delay);
    proxy.calm();

    let watcher = std::thread::scope(|scope| {
        let watching = scope
            .spawn(|| through.call(&["get", "services", "-n", "default", "--watch", "-o", "name"]));
        eventually("a watch stands", SOON, || {
            holds(proxy.watches() == 1, proxy.requests())
        });
        cluster.make_services("default", &["seen".into()]);
        // What it has to pass on is passed on before the cut, or it would come with the next list anyhow.
        eventually("the Service is there", SOON, || {
            holds(!cluster.service("default", "seen").is_null(), "not there")
        });
        assert_eq!(proxy.cut_watches(), 1);
        watching.join().expect("kubectl ends with its watch")
    });
    println!("kubectl saw through the door: {watcher:?}");
}

#[test]
fn a_short_token_works_and_then_does_not() {
    let cluster = Cluster::new();
    let rules = json!([{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"] }]);
    let account = cluster.service_account("kube-system", "short", &rules);
    let client = |token: &str| ApiClient::new(cluster.place(), cluster.address(), token);
    client(&cluster.token(&account))
        .get("/api/v1/nodes")
        .expect("a token of the TokenRequest API works");
    let short = client(&cluster.short_token(&account, Duration::from_secs(3)));
    short.get("/api/v1/nodes").expect("a short token works");
    let refused = short.get("/api/v1/services").expect_err("not allowed");
    assert!(refused.contains(": 403:"), "{refused}");
    eventually(
        "the token has expired",
        Duration::from_secs(20),
        || match short.get("/api/v1/nodes") {
            Err(error) if error.contains(": 401:") => Ok(()),
            other => Err(other),
        },
    );
    let more = cluster
        .admin
        .create("/api/v1/namespaces/default/services", &service("web"));
    assert!(more.is_ok(), "{more:?}");
}
