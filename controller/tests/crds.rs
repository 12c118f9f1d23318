//! What `fairway crds` prints, at work in a real API server: which objects it accepts and refuses, what it fills in, and how
//! kubectl shows them.

#[path = "crds/corpus.rs"]
mod corpus;
#[path = "crds/recorded.rs"]
mod recorded;
#[path = "crds/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use corpus::{Document, corpus, documents, surprises, yaml_files};
use recorded::recorded;
use server::{fairway_crds, server, soon};

#[test]
fn the_definitions_can_be_applied_again_and_again_in_both_ways() {
    let server = server();
    let again = server.succeed(&["apply", "-f", "-"], &fairway_crds(&[]));
    assert_eq!(again.matches("unchanged").count(), 9, "{again}");
    let words = ["apply", "--server-side", "--validate=strict", "-f", "-"];
    let first = server.succeed(&words, &fairway_crds(&[]));
    assert_eq!(first.matches("serverside-applied").count(), 9, "{first}");
    let version = |name: &str| server.object("crd", name)["metadata"]["generation"].clone();
    let before = version("ciliumloadbalancerippools.cilium.io");
    server.succeed(&words, &fairway_crds(&["ippool"]));
    assert_eq!(version("ciliumloadbalancerippools.cilium.io"), before);
}

#[test]
fn the_definitions_are_structural_and_their_names_are_free() {
    let server = server();
    let list: Value =
        serde_json::from_str(&server.succeed(&["get", "crd", "-o", "json"], "")).unwrap();
    let all = list["items"].as_array().unwrap().iter();
    for definition in all.filter(|definition| definition["spec"]["group"] == "cilium.io") {
        let conditions = definition["status"]["conditions"].as_array().unwrap();
        let conditions: BTreeSet<_> = conditions
            .iter()
            .map(|condition| {
                let text = |key: &str| condition[key].as_str().unwrap();
                (text("type"), text("status"))
            })
            .collect();
        let expected = BTreeSet::from([("Established", "True"), ("NamesAccepted", "True")]);
        assert_eq!(conditions, expected, "{}", definition["metadata"]["name"]);
    }
}

#[test]
fn every_field_is_accepted_in_every_version_without_a_warning() {
    let accepted = corpus("accepted");
    assert!(accepted.iter().all(|document| document.refused.is_none()));
    assert_none(surprises(&server(), &accepted));
}

#[test]
fn what_the_schemas_forbid_is_refused_and_the_field_is_named() {
    let refused = corpus("refused");
    assert!(refused.iter().any(|document| document.refused.is_none()));
    assert_none(surprises(&server(), &refused));
}

#[test]
fn the_example_manifests_are_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/homelab");
    let all = yaml_files(&folder)
        .into_iter()
        .flat_map(|file| documents(&file));
    let ours: Vec<_> = all.filter(Document::is_ours).collect();
    assert_eq!(ours.len(), 2);
    assert_none(surprises(&server(), &ours));
}

#[test]
fn an_operators_own_manifests_are_accepted() {
    let Some(shared) = shared("homelab") else {
        return;
    };
    let ours = documents(&shared.join("bgp-config.yaml"));
    let kinds: Vec<_> = ours
        .iter()
        .map(|document| document.value["kind"].as_str().unwrap())
        .collect();
    let expected = [
        "CiliumBGPPeeringPolicy",
        "CiliumL2AnnouncementPolicy",
        "CiliumLoadBalancerIPPool",
    ];
    assert_eq!(kinds, expected);
    assert_none(surprises(&server(), &ours));
}

#[test]
fn recorded_scenarios_are_accepted_and_refused_as_they_were_by_cilium() {
    let Some(shared) = shared("vectors/lbipam") else {
        return;
    };
    let all = recorded(&shared);
    let refused = all
        .iter()
        .filter(|document| document.refused.is_some())
        .count();
    assert_eq!(refused, 5, "four peer configurations and an override");
    assert!(all.len() > 100);
    assert_none(surprises(&server(), &all));
}

#[test]
fn what_is_written_as_v2alpha1_is_there_as_v2() {
    let server = server();
    let apply = ["apply", "--server-side", "--validate=strict", "-f", "-"];
    let pool = json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "both-versions"},
        "spec": {"blocks": [{"cidr": "10.0.0.0/24"}, {"start": "fd00::1"}], "serviceSelector": {"matchLabels": {"a": "b"}}}});
    server.succeed(&apply, &pool.to_string());
    let read = server.object("ciliumloadbalancerippools.v2.cilium.io", "both-versions");
    assert_eq!(read["apiVersion"], "cilium.io/v2");
    let mut spec = pool["spec"].clone();
    spec["disabled"] = json!(false);
    assert_eq!(read["spec"], spec);

    // And the other way round; the same manager takes its fields along.
    let mut newer = pool.clone();
    newer["apiVersion"] = json!("cilium.io/v2");
    newer["spec"] = json!({"cidrs": [{"cidr": "10.1.0.0/24"}]});
    server.succeed(&apply, &newer.to_string());
    let read = server.object(
        "ciliumloadbalancerippools.v2alpha1.cilium.io",
        "both-versions",
    );
    assert_eq!(
        read["spec"],
        json!({"cidrs": [{"cidr": "10.1.0.0/24"}], "disabled": false})
    );

    // Fields that only 1.17 had.
    let peer = json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumBGPClusterConfig", "metadata": {"name": "both-versions"},
        "spec": {"bgpInstances": [{"name": "a", "peers": [{"name": "p", "peerASN": 64513,
            "peerConfigRef": {"group": "cilium.io", "kind": "CiliumBGPPeerConfig", "name": "c"}}]}]}});
    server.succeed(&apply, &peer.to_string());
    let read = server.object("ciliumbgpclusterconfigs.v2.cilium.io", "both-versions");
    assert_eq!(read["spec"], peer["spec"]);
}

#[test]
fn absent_fields_get_their_defaults() {
    let cases = [
        (
            "CiliumLoadBalancerIPPool",
            "v2",
            json!({}),
            json!({"disabled": false}),
        ),
        (
            "CiliumBGPPeeringPolicy",
            "v2alpha1",
            json!({"virtualRouters": [{"localASN": 1, "neighbors": [{"peerAddress": "10.0.0.1/32", "peerASN": 2, "gracefulRestart": {"enabled": true}}]}]}),
            json!({"virtualRouters": [{"localASN": 1, "exportPodCIDR": false, "serviceAdvertisements": ["LoadBalancerIP"], "neighbors": [{
                "peerAddress": "10.0.0.1/32", "peerASN": 2, "peerPort": 179, "eBGPMultihopTTL": 1, "connectRetryTimeSeconds": 120,
                "holdTimeSeconds": 90, "keepAliveTimeSeconds": 30, "gracefulRestart": {"enabled": true, "restartTimeSeconds": 120}}]}]}),
        ),
        (
            "CiliumBGPClusterConfig",
            "v2",
            json!({"bgpInstances": [{"name": "a", "peers": [{"name": "p"}]}]}),
            json!({"bgpInstances": [{"name": "a", "peers": [{"name": "p", "peerASN": 0}]}]}),
        ),
        (
            "CiliumBGPNodeConfig",
            "v2",
            json!({"bgpInstances": [{"name": "a", "peers": [{"name": "p"}]}]}),
            json!({"bgpInstances": [{"name": "a", "peers": [{"name": "p", "peerASN": 0}]}]}),
        ),
        (
            "CiliumBGPPeerConfig",
            "v2",
            json!({}),
            json!({"ebgpMultihop": 1}),
        ),
        (
            "CiliumBGPPeerConfig",
            "v2alpha1",
            json!({"transport": {}, "timers": {"holdTimeSeconds": 60}, "gracefulRestart": {"enabled": true}}),
            json!({"ebgpMultihop": 1, "transport": {"peerPort": 179}, "gracefulRestart": {"enabled": true, "restartTimeSeconds": 120},
                "timers": {"connectRetryTimeSeconds": 120, "holdTimeSeconds": 60, "keepAliveTimeSeconds": 30}}),
        ),
        (
            "CiliumBGPNodeConfigOverride",
            "v2",
            json!({"bgpInstances": [{"name": "a", "peers": [{"name": "p"}]}]}),
            json!({"bgpInstances": [{"name": "a", "peers": [{"name": "p"}]}]}),
        ),
        (
            "CiliumL2AnnouncementPolicy",
            "v2alpha1",
            json!({}),
            json!({}),
        ),
    ];
    let server = server();
    for (kind, version, spec, filled) in cases {
        let object = json!({"apiVersion": format!("cilium.io/{version}"), "kind": kind, "metadata": {"name": "defaults"}, "spec": spec});
        let words = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let stored: Value =
            serde_json::from_str(&server.succeed(&words, &object.to_string())).unwrap();
        assert_eq!(stored["spec"], filled, "{kind} {version}");
    }
}

#[test]
fn kubectl_shows_the_columns_and_knows_the_short_names() {
    let server = server();
    let pool = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "columns"},
        "spec": {"disabled": true}});
    server.succeed(&["apply", "-f", "-"], &pool.to_string());
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let status = json!({"status": {"conditions": [
        condition("cilium.io/PoolConflict", "False", "resolved", ""),
        condition("cilium.io/IPsTotal", "Unknown", "noreason", "256"),
        condition("cilium.io/IPsAvailable", "Unknown", "noreason", "254"),
        condition("cilium.io/IPsUsed", "Unknown", "noreason", "2"),
        condition("fairway.dev/Invalid", "True", "invalid_block", "spec.blocks[1]: stop 10.0.30.1 is before start 10.0.30.9"),
    ]}});
    server.succeed(
        &[
            "patch",
            "ippool",
            "columns",
            "--subresource=status",
            "--type=merge",
            "-p",
            &status.to_string(),
        ],
        "",
    );
    for version in ["v2", "v2alpha1"] {
        let resource = format!("ciliumloadbalancerippools.{version}.cilium.io");
        let table = server.succeed(&["get", &resource, "columns"], "");
        let lines: Vec<Vec<_>> = table
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            lines[0],
            ["NAME", "DISABLED", "CONFLICTING", "IPS AVAILABLE", "AGE"],
            "{table}"
        );
        assert_eq!(
            lines[1][..4],
            ["columns", "true", "False", "254"],
            "{table}"
        );
    }
    for (name, plural) in [
        ("ippools", "ciliumloadbalancerippools"),
        ("ippool", "ciliumloadbalancerippools"),
        ("lbippool", "ciliumloadbalancerippools"),
        ("lbippools", "ciliumloadbalancerippools"),
        ("bgpp", "ciliumbgppeeringpolicies"),
        ("cbgpcluster", "ciliumbgpclusterconfigs"),
        ("cbgppeer", "ciliumbgppeerconfigs"),
        ("cbgpadvert", "ciliumbgpadvertisements"),
        ("cbgpnode", "ciliumbgpnodeconfigs"),
        ("cbgpnodeoverride", "ciliumbgpnodeconfigoverrides"),
        ("l2announcement", "ciliuml2announcementpolicies"),
    ] {
        let told = server.succeed(&["get", "--raw", "/apis/cilium.io/v2alpha1"], "");
        let told: Value = serde_json::from_str(&told).unwrap();
        let resources = told["resources"].as_array().unwrap();
        let resource = resources
            .iter()
            .find(|resource| resource["name"] == plural)
            .unwrap();
        assert!(
            resource["shortNames"]
                .as_array()
                .unwrap()
                .contains(&json!(name)),
            "{name}"
        );
        assert!(server.kubectl(&["get", name], "").ok, "{name}");
    }
    let category = |name: &str| {
        let known = [
            "api-resources",
            "--api-group=cilium.io",
            "--categories",
            name,
            "-o",
            "name",
        ];
        let known = server.succeed(&known, "");
        known.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(category("cilium").len(), 9);
    let bgp = category("ciliumbgp");
    assert_eq!(bgp.len(), 6);
    assert!(
        bgp.iter().all(|name| name.starts_with("ciliumbgp")),
        "{bgp:?}"
    );
}

#[test]
fn bgp_kinds_and_the_l2_policy_show_their_age_alone() {
    let server = server();
    let apply = ["apply", "--validate=strict", "-f", "-"];
    for (file, resource) in [
        ("bgp_peering_policies", "bgpp"),
        ("bgp_cluster_configs", "cbgpcluster"),
        ("bgp_peer_configs", "cbgppeer"),
        ("bgp_advertisements", "cbgpadvert"),
        ("bgp_node_configs", "cbgpnode"),
        ("bgp_node_config_overrides", "cbgpnodeoverride"),
        ("l2_announcement_policies", "l2announcement"),
    ] {
        let file = format!(
            "{}/tests/crds/accepted/{file}.yaml",
            env!("CARGO_MANIFEST_DIR")
        );
        server.succeed(&apply, &documents(Path::new(&file))[0].text);
        let table = server.succeed(&["get", resource], "");
        let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["NAME", "AGE"], "{resource}");
    }
}

/// A cluster without Cilium can have CiliumNodes all the same; nothing in them gets lost.
#[test]
fn cilium_nodes_can_be_made_without_cilium() {
    let server = server();
    let definition = fairway_crds(&["CiliumNode"]).replace("cilium.io", "nodes.example");
    let mut definition: Value = serde_saphyr::from_str(&definition).unwrap();
    definition["spec"]["names"]["shortNames"] = json!([]);
    let apply = ["apply", "--server-side", "--validate=strict", "-f", "-"];
    server.succeed(&apply, &definition.to_string());
    let node = json!({"apiVersion": "nodes.example/v2", "kind": "CiliumNode", "metadata": {"name": "w1"},
        "spec": {"addresses": [{"type": "InternalIP", "ip": "192.0.2.11"}], "eni": {"a": {"b": [1]}}}});
    assert!(soon(|| server.kubectl(&apply, &node.to_string()).ok));
    let stored = server.object("ciliumnodes.v2.nodes.example", "w1");
    assert_eq!(stored["spec"], node["spec"]);
    server.succeed(&["delete", "crd", "ciliumnodes.nodes.example"], "");
}

#[test]
fn conditions_and_the_state_of_sessions_can_be_written_as_status() {
    let server = server();
    let apply = ["apply", "--validate=strict", "-f", "-"];
    let node = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumBGPNodeConfig", "metadata": {"name": "status"},
        "spec": {"bgpInstances": [{"name": "a", "localASN": 64512}]}});
    server.succeed(&apply, &node.to_string());
    let peer = |state: &str| {
        json!({"name": "p", "peerAddress": "10.0.0.1", "peerASN": 64513, "peeringState": state,
        "timers": {"appliedHoldTimeSeconds": 9, "appliedKeepaliveSeconds": 3}, "establishedTime": "2026-01-01T00:00:00Z",
        "routeCount": [{"afi": "ipv4", "safi": "unicast", "received": 1, "advertised": 2}]})
    };
    for state in [
        "idle",
        "connect",
        "active",
        "open_sent",
        "open_confirm",
        "established",
        "unknown",
    ] {
        let status = json!({"status": {"bgpInstances": [{"name": "a", "localASN": 64512, "peers": [peer(state)]}],
            "conditions": [{"type": "cilium.io/BGPReconcileError", "status": "True", "reason": "ReconcileFailed",
                "message": "a: no router ID", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let patch = status.to_string();
        server.succeed(
            &[
                "patch",
                "cbgpnode",
                "status",
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ],
            "",
        );
        let stored = server.object("cbgpnode", "status");
        assert_eq!(stored["status"], status["status"]);
        assert_eq!(stored["spec"], node["spec"]);
    }
    // One condition of each type, each with its own writer.
    for (manager, kind) in [("one", "cilium.io/a"), ("other", "fairway.dev/B")] {
        let status = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumBGPNodeConfig", "metadata": {"name": "status"},
            "status": {"conditions": [{"type": kind, "status": "True", "reason": "because", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let words = [
            "apply",
            "--server-side",
            "--subresource=status",
            "--field-manager",
            manager,
            "-f",
            "-",
        ];
        server.succeed(&words, &status.to_string());
    }
    let stored = server.object("cbgpnode", "status");
    assert_eq!(stored["status"]["conditions"].as_array().unwrap().len(), 3);
}

#[test]
fn explain_tells_what_a_field_means() {
    let server = server();
    for (field, words) in [
        ("ippool.spec.blocks.cidr", "prefix"),
        (
            "bgpp.spec.virtualRouters.neighbors.holdTimeSeconds",
            "Seconds",
        ),
        (
            "cbgppeer.spec.families.advertisements.matchExpressions.operator",
            "NotIn",
        ),
        ("l2announcement.spec.interfaces", "regular expressions"),
    ] {
        assert!(
            soon(|| server.kubectl(&["explain", field], "").ok),
            "{field}"
        );
        let told = server.succeed(&["explain", field], "");
        assert!(told.contains(words), "{told}");
    }
}

/// The trap of who installs Cilium up to 1.17 later: its definition has no v2, and the API server does not let a version go
/// that objects may be stored in.
#[test]
fn a_definition_without_v2_does_not_replace_ours() {
    let server = server();
    let name = "ciliumbgpadvertisements.cilium.io";
    let mut older = server.object("crd", name);
    let versions = older["spec"]["versions"].as_array_mut().unwrap();
    versions.remove(0);
    versions[0]["storage"] = json!(true);
    let said = server.kubectl(
        &["replace", "--dry-run=server", "-f", "-"],
        &older.to_string(),
    );
    assert!(
        !said.ok && said.err.contains("storedVersions"),
        "{}",
        said.err
    );
}

/// Who had Cilium 1.17 and leaves it has definitions with v2alpha1 alone. The group is another one, so that no other test sees it.
#[test]
fn definitions_that_knew_only_v2alpha1_are_taken_over_with_their_objects() {
    let server = server();
    let ours = fairway_crds(&["ippool"]).replace("cilium.io", "older.example");
    let mut ours: Value = serde_saphyr::from_str(&ours).unwrap();
    ours["spec"]["names"]["shortNames"] = json!([]);
    let mut older = ours.clone();
    let versions = older["spec"]["versions"].as_array_mut().unwrap();
    versions.remove(0);
    versions[0]["storage"] = json!(true);
    server.succeed(&["create", "-f", "-"], &older.to_string());
    let resource = "ciliumloadbalancerippools.v2alpha1.older.example";
    assert!(soon(|| server.kubectl(&["get", resource], "").ok));
    let pool = json!({"apiVersion": "older.example/v2alpha1", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "kept"},
        "spec": {"blocks": [{"cidr": "10.0.0.0/24"}], "disabled": true}});
    assert!(soon(|| server
        .kubectl(&["create", "-f", "-"], &pool.to_string())
        .ok));

    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    server.succeed(&apply, &ours.to_string());
    let resource = "ciliumloadbalancerippools.v2.older.example";
    assert!(soon(|| server.kubectl(&["get", resource, "kept"], "").ok));
    assert_eq!(server.object(resource, "kept")["spec"], pool["spec"]);
    let definition = server.object("crd", "ciliumloadbalancerippools.older.example");
    assert_eq!(
        definition["status"]["storedVersions"],
        json!(["v2alpha1", "v2"])
    );
    server.succeed(
        &["delete", "crd", "ciliumloadbalancerippools.older.example"],
        "",
    );
}

fn assert_none(surprises: Vec<String>) {
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// A folder beside the checkout, if it is there.
fn shared(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("FAIRWAY_SHARED").map(PathBuf::from);
    let shared =
        shared.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into());
    let folder = shared.join(name);
    if !folder.is_dir() {
        eprintln!("skipped: no {} (set FAIRWAY_SHARED)", folder.display());
        return None;
    }
    Some(folder)
}
