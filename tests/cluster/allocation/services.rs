//! What Services ask for, get, and are told.

use std::collections::BTreeSet;

use serde_json::json;
use support::clock::{eventually, holds};
use support::cluster::{Cluster, condition};
use support::fairway::addresses_of;

use super::{SATISFIED, SOON, annotate, pool, service, until_condition, until_event, until_pool};

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
