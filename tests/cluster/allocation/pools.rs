//! What pools give, and what happens when they change.

use serde_json::json;
use support::clock::{eventually, holds};
use support::cluster::Cluster;
use support::observer::{POOLS, SERVICES};

use super::{
    LATER, QUIET, SOON, annotate, patch_pool, pool, service, until_condition, until_condition_in,
    until_pool,
};

#[test]
fn pools_of_both_versions_obey_every_field() {
    let cluster = Cluster::new();
    let _fairway = cluster.fairway();
    cluster.make_namespace("team");
    cluster.kubectl.apply(&pool(
        "v2alpha1",
        "small",
        &json!({
            "blocks": [{ "cidr": "10.0.1.0/30" }], "allowFirstLastIPs": "No",
            "serviceSelector": { "matchLabels": { "io.kubernetes.service.namespace": "team" } },
        }),
    ));
    cluster.kubectl.apply(&pool(
        "v2",
        "named",
        &json!({
            "blocks": [{ "start": "10.0.2.10", "stop": "10.0.2.11" }, { "start": "10.0.2.20" }],
            "serviceSelector": { "matchExpressions": [
                { "key": "io.kubernetes.service.name", "operator": "In", "values": ["chosen"] },
            ] },
        }),
    ));
    cluster.kubectl.apply(&pool(
        "v2",
        "asleep",
        &json!({ "blocks": [{ "cidr": "10.0.3.0/29" }], "disabled": true,
        "serviceSelector": { "matchLabels": { "color": "grey" } } }),
    ));
    until_pool(&cluster, "small", "cilium.io/IPsTotal", "4");
    until_pool(&cluster, "small", "cilium.io/IPsUsed", "2");
    until_pool(&cluster, "named", "cilium.io/IPsTotal", "3");

    cluster
        .kubectl
        .apply(&service("team", "a", &json!({}), &[]));
    cluster
        .kubectl
        .apply(&service("default", "chosen", &json!({}), &[]));
    let inside = cluster.until_served("team", "a", SOON);
    assert!(
        ["10.0.1.1", "10.0.1.2"].contains(&inside.as_str()),
        "{inside}"
    );
    let named = cluster.until_served("default", "chosen", SOON);
    assert!(named.starts_with("10.0.2."), "{named}");

    cluster.kubectl.apply(&service(
        "default",
        "grey",
        &json!({}),
        &[("lbipam.cilium.io/ips", "10.0.3.3")],
    ));
    cluster
        .kubectl
        .call(&["label", "service", "grey", "color=grey"]);
    let message = "The pool with the CIDR containing '10.0.3.3' is disabled";
    until_condition(&cluster, "grey", "False", "no_pool", message);
    patch_pool(&cluster, "asleep", &json!({ "disabled": false }));
    cluster.until_addresses("default", "grey", &["10.0.3.3"], SOON);

    cluster
        .kubectl
        .apply(&service("default", "nobody", &json!({}), &[]));
    let message = "There are no enabled CiliumLoadBalancerIPPools that match this service";
    until_condition(&cluster, "nobody", "False", "no_pool", message);
    cluster
        .kubectl
        .apply(&service("team", "b", &json!({}), &[]));
    cluster.until_served("team", "b", SOON);
    cluster
        .kubectl
        .apply(&service("team", "c", &json!({}), &[]));
    let message =
        "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs";
    until_condition_in(&cluster, "team", "c", "False", "out_of_ips", message);
}

#[test]
fn conflicts_edits_and_deletions_of_pools_move_only_what_has_to_move() {
    let cluster = Cluster::new();
    let _fairway = cluster.fairway();
    cluster.kubectl.apply(&pool(
        "v2",
        "old",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/28" }] }),
    ));
    cluster.kubectl.apply(&service(
        "default",
        "web",
        &json!({}),
        &[("lbipam.cilium.io/ips", "10.0.10.7")],
    ));
    cluster
        .kubectl
        .apply(&service("default", "free", &json!({}), &[]));
    cluster.until_addresses("default", "web", &["10.0.10.7"], SOON);
    let free = cluster.until_served("default", "free", SOON);
    annotate(&cluster, "web", "lbipam.cilium.io/ips-");
    cluster.observer().until_quiet(&[SERVICES], QUIET, LATER);

    let mark = cluster.observer().mark();
    // Younger by a second at least, for that decides.
    eventually("a second has passed", SOON, || {
        let name = "young";
        let spec = json!({ "blocks": [{ "cidr": "10.0.10.0/24" }] });
        cluster.kubectl.apply(&pool("v2", name, &spec));
        let created = |name: &str| {
            cluster
                .admin
                .get(&format!("{POOLS}/{name}"))
                .map(|pool| pool["metadata"]["creationTimestamp"].clone())
        };
        if created("old") == created(name) {
            cluster
                .kubectl
                .call(&["delete", "ciliumloadbalancerippools", name]);
            return Err("not yet");
        }
        Ok(())
    });
    until_pool(
        &cluster,
        "young",
        "cilium.io/PoolConflict",
        "Pool conflicts since range '10.0.10.0 - 10.0.10.255' overlaps range '10.0.10.0 - 10.0.10.15' from IP Pool 'old'",
    );
    // The block shrinks and grows around what is held; then another form of the same; then the pool is disabled.
    for blocks in [
        json!([{ "start": "10.0.10.0", "stop": "10.0.10.7" }]),
        json!([{ "cidr": "10.0.10.0/28" }]),
    ] {
        patch_pool(&cluster, "old", &json!({ "blocks": blocks }));
    }
    patch_pool(&cluster, "old", &json!({ "disabled": true }));
    cluster
        .observer()
        .until_quiet(&[SERVICES, POOLS], QUIET, LATER);
    // And deleted: the younger one contains all that it served.
    cluster
        .kubectl
        .call(&["delete", "ciliumloadbalancerippools", "old"]);
    until_pool(&cluster, "young", "cilium.io/IPsUsed", "2");
    until_pool(&cluster, "young", "cilium.io/PoolConflict", "");
    let written = cluster.observer().written_by_fairway(mark, SERVICES);
    println!("writes to Services over conflict, edits, disabling and handing over: {written:?}");
    assert!(written.is_empty());
    assert_eq!(cluster.addresses("default", "web"), ["10.0.10.7"]);
    assert_eq!(cluster.addresses("default", "free"), [free]);

    patch_pool(
        &cluster,
        "young",
        &json!({ "blocks": [{ "cidr": "10.0.20.0/24" }] }),
    );
    eventually("both are moved, in one write each", SOON, || {
        let moved = ["web", "free"].iter().all(|name| {
            let addresses = cluster.addresses("default", name);
            addresses.len() == 1 && addresses[0].starts_with("10.0.20.")
        });
        holds(moved, cluster.all_addresses())
    });
    let written = cluster.observer().written_by_fairway(mark, SERVICES);
    assert!(written.values().all(|count| *count == 1), "{written:?}");
    cluster
        .kubectl
        .call(&["delete", "ciliumloadbalancerippools", "young"]);
    cluster.until_addresses("default", "web", &[], SOON);
    cluster.until_addresses("default", "free", &[], SOON);
}
