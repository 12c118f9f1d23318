//! Addresses in a cluster, with kubectl as the other hand: what Services get, what they and their pools are told, what stays
//! over restarts, and how little is written.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use support::clock::{eventually, holds, now, throughout};
use support::cluster::{Cluster, NODE, condition};
use support::fairway::{Fairway, addresses_of};
use support::fault_proxy::{Fault, FaultProxy, Trouble};
use support::observer::{POOLS, SERVICES};

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(30);
/// How long nobody must have written until we say that it is quiet.
const QUIET: Duration = Duration::from_secs(2);
const SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";
const FOREIGN: &str = "fairway.dev/ForeignController";

#[test]
fn a_service_is_served_changed_refused_and_told_so() {
    let cluster = Cluster::new();
    let _fairway = cluster.fairway();
    cluster.kubectl.apply(&pool(
        "v2",
        "blue",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/24" }] }),
    ));
    cluster
        .kubectl
        .apply(&service("default", "web", &json!({}), &[]));
    let first = cluster.until_served("default", "web", SOON);
    until_condition(&cluster, "web", "True", "satisfied", "");
    until_event(
        &cluster,
        "web",
        "AddressAllocated",
        &format!("{first} from pool blue"),
    );

    // Another controller's condition has to survive all that follows.
    let ready = json!({ "conditions": [{
        "type": "example.com/Ready", "status": "True", "reason": "Fine", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }, condition(&cluster.service("default", "web"), SATISFIED)] });
    cluster
        .write_status("example", "default", "web", &ready)
        .expect("a condition can be written");

    annotate(&cluster, "web", "lbipam.cilium.io/ips=10.0.10.77");
    cluster.until_addresses("default", "web", &["10.0.10.77"], SOON);
    until_event(&cluster, "web", "AddressChanged", "10.0.10.77");

    annotate(&cluster, "web", "lbipam.cilium.io/ips=10.9.9.9");
    let message = "No pool exists with a CIDR containing '10.9.9.9'";
    until_condition(&cluster, "web", "False", "no_pool", message);
    until_event(&cluster, "web", "AddressRefused", message);
    assert_eq!(
        cluster.addresses("default", "web"),
        ["10.0.10.77"],
        "a refusal takes nothing away"
    );

    annotate(&cluster, "web", "lbipam.cilium.io/ips=10.0.10.78");
    cluster.until_addresses("default", "web", &["10.0.10.78"], SOON);
    let kept = condition(&cluster.service("default", "web"), "example.com/Ready");
    assert_eq!(kept["reason"], "Fine", "{kept}");

    until_pool(&cluster, "blue", "cilium.io/IPsUsed", "1");
    cluster.kubectl.call(&[
        "patch",
        "service",
        "web",
        "-p",
        r#"{"spec":{"type":"ClusterIP"}}"#,
    ]);
    eventually(
        "a Service that needs none has no address and no condition",
        SOON,
        || {
            let service = cluster.service("default", "web");
            let clean =
                addresses_of(&service).is_empty() && condition(&service, SATISFIED).is_null();
            holds(clean, service["status"].clone())
        },
    );
    until_pool(&cluster, "blue", "cilium.io/IPsUsed", "0");
    until_pool(&cluster, "blue", "cilium.io/IPsTotal", "256");
    until_pool(&cluster, "blue", "cilium.io/IPsAvailable", "256");
    until_pool(&cluster, "blue", "cilium.io/PoolConflict", "");
}

#[test]
fn both_annotation_prefixes_and_the_field_ask_for_addresses() {
    let cluster = Cluster::new();
    let _fairway = cluster.fairway();
    cluster.kubectl.apply(&pool(
        "v2",
        "blue",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/24" }] }),
    ));
    for (name, spec, annotation) in [
        (
            "new",
            json!({}),
            ("lbipam.cilium.io/ips", "10.0.10.20, 10.0.10.21"),
        ),
        ("old", json!({}), ("io.cilium/lb-ipam-ips", "10.0.10.30")),
        (
            "field",
            json!({ "loadBalancerIP": "10.0.10.40" }),
            ("example.com/none", ""),
        ),
    ] {
        cluster
            .kubectl
            .apply(&service("default", name, &spec, &[annotation]));
    }
    cluster.until_addresses("default", "new", &["10.0.10.20", "10.0.10.21"], SOON);
    cluster.until_addresses("default", "old", &["10.0.10.30"], SOON);
    cluster.until_addresses("default", "field", &["10.0.10.40"], SOON);

    cluster.kubectl.apply(&service(
        "default",
        "late",
        &json!({}),
        &[("io.cilium/lb-ipam-ips", "10.0.10.40")],
    ));
    let message = "The IP '10.0.10.40' is already allocated to another service";
    until_condition(&cluster, "late", "False", "already_allocated", message);
    cluster.kubectl.apply(&service(
        "default",
        "typo",
        &json!({}),
        &[("lbipam.cilium.io/ips", "10.0.10.5/32")],
    ));
    let message = "The requested address '10.0.10.5/32' is not an IP address";
    until_condition(&cluster, "typo", "False", "invalid_request", message);
    cluster.kubectl.call(&["delete", "service", "field"]);
    cluster.until_addresses("default", "late", &["10.0.10.40"], SOON);
}

#[test]
fn an_address_is_shared_across_namespaces_where_both_consent_and_ports_differ() {
    let cluster = Cluster::new();
    let _fairway = cluster.fairway();
    for namespace in ["one", "two", "three"] {
        cluster.make_namespace(namespace);
    }
    cluster.kubectl.apply(&pool(
        "v2",
        "blue",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/28" }] }),
    ));
    let dns = |protocol: &str| json!({ "ports": [{ "port": 53, "protocol": protocol }] });
    let key = ("lbipam.cilium.io/sharing-key", "dns");
    let consent = "lbipam.cilium.io/sharing-cross-namespace";
    cluster.kubectl.apply(&service(
        "one",
        "udp",
        &dns("UDP"),
        &[key, (consent, "two, three")],
    ));
    let shared = cluster.until_served("one", "udp", SOON);
    cluster.kubectl.apply(&service(
        "two",
        "tcp",
        &dns("TCP"),
        &[key, (consent, "one")],
    ));
    cluster.until_addresses("two", "tcp", &[&shared], SOON);
    cluster
        .kubectl
        .apply(&service("one", "tcp", &dns("TCP"), &[key, (consent, "*")]));
    let own = cluster.until_served("one", "tcp", SOON);
    assert_ne!(own, shared, "its port is taken there");
    cluster
        .kubectl
        .apply(&service("three", "sctp", &dns("SCTP"), &[key]));
    let alone = cluster.until_served("three", "sctp", SOON);
    assert!(![&shared, &own].contains(&&alone), "it consents to nothing");
}

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

#[test]
fn dual_stack_services_get_one_address_of_each_family() {
    let cluster = Cluster::new();
    let mut fairway = cluster.fairway();
    cluster.kubectl.apply(&pool(
        "v2",
        "both",
        &json!({ "blocks": [{ "cidr": "10.0.10.0/24" }, { "cidr": "fd00:10::/64" }] }),
    ));
    let stack = |policy: &str, families: &[&str]| json!({ "ipFamilyPolicy": policy, "ipFamilies": families });
    for (name, spec) in [
        ("both", stack("RequireDualStack", &["IPv4", "IPv6"])),
        ("six", stack("SingleStack", &["IPv6"])),
        ("four", stack("SingleStack", &["IPv4"])),
    ] {
        cluster.kubectl.apply(&service("default", name, &spec, &[]));
    }
    let families = |name: &str| -> BTreeSet<bool> {
        cluster
            .addresses("default", name)
            .iter()
            .map(|address| address.contains(':'))
            .collect()
    };
    for (name, wanted) in [
        ("both", &[false, true][..]),
        ("six", &[true]),
        ("four", &[false]),
    ] {
        let wanted: BTreeSet<bool> = wanted.iter().copied().collect();
        eventually(
            &format!("{name} has an address of each family it wants"),
            SOON,
            || {
                holds(
                    families(name) == wanted,
                    cluster.service("default", name)["status"].clone(),
                )
            },
        );
    }
    until_pool(
        &cluster,
        "both",
        "cilium.io/IPsTotal",
        "18446744073709551872",
    );
    until_pool(&cluster, "both", "cilium.io/IPsUsed", "4");
    assert!(fairway.process.is_running());
    let memory = fairway.process.resident_kib().expect("it runs");
    println!("{memory} KiB resident with a pool of 2^64 addresses");
    assert!(memory < 64 << 10, "{memory} KiB");
}

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
    let spec = json!({ "spec": { "holderIdentity": "cilium", "leaseDurationSeconds": 15, "renewTime": support::clock::timestamp() } });
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

/// A pool's manifest in this version.
fn pool(version: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": format!("cilium.io/{version}"), "kind": "CiliumLoadBalancerIPPool",
        "metadata": { "name": name }, "spec": spec,
    })
    .to_string()
}

/// A Service's manifest; `more` is laid over its spec.
fn service(namespace: &str, name: &str, more: &Value, annotations: &[(&str, &str)]) -> String {
    let mut spec = json!({ "type": "LoadBalancer", "ports": [{ "port": 80, "protocol": "TCP" }] });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).into()))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": namespace, "name": name, "annotations": annotations }, "spec": spec,
    })
    .to_string()
}

#[track_caller]
fn annotate(cluster: &Cluster, name: &str, annotation: &str) {
    cluster
        .kubectl
        .call(&["annotate", "--overwrite", "service", name, annotation]);
}

#[track_caller]
fn patch_pool(cluster: &Cluster, name: &str, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    cluster.kubectl.call(&[
        "patch",
        "ciliumloadbalancerippools",
        name,
        "--type=merge",
        "-p",
        &patch,
    ]);
}

#[track_caller]
fn until_condition(cluster: &Cluster, name: &str, status: &str, reason: &str, message: &str) {
    until_condition_in(cluster, "default", name, status, reason, message);
}

#[track_caller]
fn until_condition_in(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
) {
    eventually(
        &format!("{namespace}/{name} is told {status} {reason}"),
        SOON,
        || {
            let service = cluster.service(namespace, name);
            let found = condition(&service, SATISFIED);
            let told = (&found["status"], &found["reason"], &found["message"])
                == (&status.into(), &reason.into(), &message.into());
            holds(told, service["status"].clone())
        },
    );
}

/// The message of a pool's condition.
#[track_caller]
fn until_pool(cluster: &Cluster, name: &str, kind: &str, message: &str) {
    eventually(
        &format!("pool {name} says {kind} {message:?}"),
        SOON,
        || {
            let pool = cluster
                .admin
                .get(&format!("{POOLS}/{name}"))
                .unwrap_or_default();
            holds(
                condition(&pool, kind)["message"] == message,
                pool["status"].clone(),
            )
        },
    );
}

#[track_caller]
fn until_event(cluster: &Cluster, name: &str, reason: &str, part: &str) {
    eventually(
        &format!("an Event {reason} about {name} with {part:?}"),
        SOON,
        || {
            let events = cluster.events_of("default", name);
            let found = events
                .iter()
                .any(|(found, message)| found == reason && message.contains(part));
            holds(found, events)
        },
    );
}
