//! Other controllers that write the same status.

use std::time::Duration;

use serde_json::{Value, json};
use support::clock::{eventually, holds, now, throughout, timestamp};
use support::cluster::{Cluster, NODE, condition};
use support::fairway::{Fairway, addresses_of};
use support::observer::SERVICES;

use super::{LATER, QUIET, SOON, pool, until_event};

const FOREIGN: &str = "fairway.dev/ForeignController";

#[test]
fn a_second_controller_is_named_and_not_fought() {
    let cluster = Cluster::new();
    let fairway = cluster.fairway();
    cluster.kubectl.apply(&pool(
        "v2",
        "blue",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/24" }] }),
    ));
    cluster.make_services("default", &["web".into(), "quiet".into()]);
    cluster.until_served("default", "web", SOON);
    let quiet = cluster.until_served("default", "quiet", SOON);
    let mark = cluster.observer().mark();
    let theirs = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.66" }] } });
    let begin = now();
    let mut insisted = 0;
    eventually("the other one is named in a condition", LATER, || {
        let service = cluster.service("default", "web");
        if addresses_of(&service) != ["192.0.2.66"] {
            insisted += 1;
            cluster
                .write_status("speaker", "default", "web", &theirs)
                .expect("a status can be written");
        }
        let named = condition(&service, FOREIGN);
        holds(
            named["status"] == "True"
                && named["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("speaker")),
            service["status"].clone(),
        )
    });
    let ours = cluster
        .observer()
        .written_by_fairway(mark, SERVICES)
        .remove("default/web")
        .unwrap_or_default();
    println!(
        "after {:?}: the other wrote {insisted} times, Fairway {ours} times, and left it alone",
        begin.elapsed()
    );
    assert!(ours <= 10, "that was a fight: {ours} writes");
    until_event(&cluster, "web", "ForeignController", "speaker");
    if addresses_of(&cluster.service("default", "web")) != ["192.0.2.66"] {
        cluster
            .write_status("speaker", "default", "web", &theirs)
            .expect("a status can be written");
    }
    let mark = cluster.observer().mark();
    throughout("it is left alone", QUIET, || {
        let written = cluster.observer().written_by_fairway(mark, SERVICES);
        holds(
            written.is_empty() && cluster.addresses("default", "web") == ["192.0.2.66"],
            written,
        )
    });
    let table = fairway.ask(&["services"]).expect("the API answers");
    let row = table
        .lines()
        .find(|line| line.contains("web"))
        .unwrap_or_default();
    assert!(row.contains("speaker"), "{table}");
    assert_eq!(
        cluster.addresses("default", "quiet"),
        [quiet],
        "nobody else is concerned"
    );
}

#[test]
fn auto_leaves_allocation_to_a_cilium_that_does_it() {
    let cluster = Cluster::new();
    cluster.kubectl.apply(&pool(
        "v2",
        "blue",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/24" }] }),
    ));
    renew_cilium_lease(&cluster);
    cilium_config(&cluster, &json!({}));
    let fairway = start_auto(&cluster);
    cluster.make_services("default", &["web".into()]);
    let mark = cluster.observer().mark();
    throughout(
        "Cilium allocates, so Fairway does not",
        Duration::from_secs(4),
        || {
            renew_cilium_lease(&cluster);
            let written = cluster.observer().written_by_fairway(mark, SERVICES);
            holds(written.is_empty(), written)
        },
    );
    // What Cilium gives is shown as it is.
    let theirs = json!({ "loadBalancer": { "ingress": [{ "ip": "10.0.10.200" }] } });
    cluster
        .write_status("cilium-operator-lb-ipam", "default", "web", &theirs)
        .expect("a status can be written");
    eventually("Fairway knows the address that Cilium gave", SOON, || {
        let service = fairway.service("default", "web");
        holds(addresses_of(&service) == ["10.0.10.200"], service)
    });
    drop(fairway);

    // Told not to, Cilium leaves it to others.
    for (number, config) in [
        json!({ "enable-lb-ipam": "false" }),
        json!({ "default-lb-service-ipam": "none" }),
    ]
    .iter()
    .enumerate()
    {
        cilium_config(&cluster, config);
        renew_cilium_lease(&cluster);
        let fairway = start_auto(&cluster);
        let name = format!("ours-{number}");
        cluster.make_services("default", std::slice::from_ref(&name));
        cluster.until_served("default", &name, LATER);
        assert_eq!(cluster.addresses("default", "web"), ["10.0.10.200"]);
        drop(fairway);
    }
}

#[track_caller]
fn start_auto(cluster: &Cluster) -> Fairway {
    let mut setup = cluster.setup(NODE);
    let ipam = setup.switches.iter().position(|switch| switch == "on");
    "auto".clone_into(&mut setup.switches[ipam.expect("--ipam on")]);
    setup.start(cluster.host())
}

/// As Cilium's operator does every few seconds.
#[track_caller]
fn renew_cilium_lease(cluster: &Cluster) {
    let collection = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let spec = json!({ "spec": { "holderIdentity": "cilium", "leaseDurationSeconds": 15, "renewTime": timestamp() } });
    let name = "cilium-operator-resource-lock";
    if cluster
        .admin
        .merge(&format!("{collection}/{name}"), &spec)
        .is_err()
    {
        let mut lease = spec.clone();
        lease["metadata"] = json!({ "name": name });
        cluster
            .admin
            .create(collection, &lease)
            .expect("a lease can be made");
    }
}

#[track_caller]
fn cilium_config(cluster: &Cluster, data: &Value) {
    let collection = "/api/v1/namespaces/kube-system/configmaps";
    let _ = cluster.admin.delete(&format!("{collection}/cilium-config"));
    let config = json!({ "metadata": { "name": "cilium-config" }, "data": data });
    cluster
        .admin
        .create(collection, &config)
        .expect("a ConfigMap can be made");
}
