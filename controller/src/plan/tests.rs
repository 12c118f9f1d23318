//! Manifests as strangers write them, from the text of a file to the plan.

use std::fs;
use std::time::Instant;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::cluster::{Document, Objects, RecordedStatuses, Snapshot, Store};
use crate::watch::directory::read_once;

use super::addresses::AddressBook;
use super::peers;
use super::testing::{node, policy, router, service, settings, slice};
use super::{BgpPlan, addresses::AddressPlan};

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: k3s1, labels: {bgp: enabled}}
status: {addresses: [{type: InternalIP, address: 192.168.10.21}]}
";
const POLICY: &str = "
apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: p}
spec:
  nodeSelector: {matchLabels: {bgp: enabled}}
  virtualRouters:
  - localASN: 64512
    serviceSelector: {}
    neighbors: [{peerAddress: 192.168.10.1/32, peerASN: 64513}]
";
const POOL: &str = "
apiVersion: cilium.io/v2alpha1
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec: {blocks: [{cidr: 192.168.10.224/28}]}
";
const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, ports: [{port: 80, targetPort: http}]}
";

fn read(files: &[(&str, &str)]) -> Snapshot {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let observed = read_once(directory.path(), "kube-system").unwrap();
    observed.snapshot.as_ref().clone()
}

#[expect(clippy::disallowed_methods, reason = "any moment will do")]
fn plan(snapshot: &Snapshot) -> (BgpPlan, AddressPlan) {
    let addresses = AddressBook::default().plan(snapshot, &settings(), Instant::now());
    (peers::plan(snapshot, &addresses, &settings()), addresses)
}

/// The prefixes that the one instance announces.
fn announced(snapshot: &Snapshot) -> Vec<String> {
    let plan = plan(snapshot).0;
    let routes = plan
        .instances
        .values()
        .flat_map(|instance| instance.routes.keys());
    routes.map(ToString::to_string).collect()
}

fn problems(snapshot: &Snapshot) -> Vec<String> {
    snapshot.problems.iter().map(ToString::to_string).collect()
}

fn joined(documents: &[&str]) -> String {
    documents.join("\n---\n")
}

#[test]
fn one_file_with_everything_is_read_in_any_encoding() {
    let plain = joined(&["", NODE, "", POLICY, "\n# nothing\n", POOL, SERVICE, ""]);
    let windows = format!("\u{feff}{}", plain.replace('\n', "\r\n"));
    for text in [plain, windows] {
        let snapshot = read(&[("all.yaml", &text)]);
        assert_eq!(problems(&snapshot), Vec::<String>::new());
        assert_eq!(announced(&snapshot), ["192.168.10.224/32"]);
    }
}

#[test]
fn json_files_and_lists_are_read_like_yaml() {
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [
        node("k3s1", &["192.168.10.21"]), policy("p", json!([router(json!({}))])), service("web", "", json!({}))]});
    let snapshot = read(&[
        ("all.json", &format!("{list:#}").replace("  ", "\t")),
        ("pool.yml", POOL),
    ]);
    assert_eq!(problems(&snapshot), Vec::<String>::new());
    assert_eq!(announced(&snapshot), ["192.168.10.224/32"]);
}

#[test]
fn what_else_lies_in_a_gitops_repository_is_no_mistake() {
    let others = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ciliumloadbalancerippools.cilium.io}
spec: {versions: [{name: v2, schema: {openAPIV3Schema: {properties: {x: {enum: [\"Yes\", No], pattern: '^\\d+$'}}}}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: embedded}
data:
  8080: ns/svc
  pool.yaml: |
    ---
    apiVersion: cilium.io/v2
    kind: CiliumLoadBalancerIPPool
    metadata: {name: '{{ name }}'}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: h}
spec: {values: {service: {type: LoadBalancer}, tcp: {22: a/b}}}
---
apiVersion: v1
kind: Secret
metadata: {name: other, namespace: apps}
stringData: {token: 'ENC[AES256_GCM,data:x]'}
sops: {mac: 'ENC[x]', version: 3.9.0}
";
    let chart = "apiVersion: v2\nname: web\nversion: 0.1.0\n";
    let values = "kind: Deployment\nreplicaCount: 2\nservice: {type: ClusterIP}\n";
    let snapshot = read(&[
        ("others.yaml", others),
        ("chart/Chart.yaml", chart),
        ("chart/values.yaml", values),
    ]);
    assert_eq!(problems(&snapshot), Vec::<String>::new());
}

#[test]
fn a_label_without_value_has_the_empty_one() {
    let node = NODE.replace("bgp: enabled", "node-role.kubernetes.io/worker: ");
    let policy = POLICY.replace(
        "{matchLabels: {bgp: enabled}}",
        "{matchExpressions: [{key: node-role.kubernetes.io/worker, operator: Exists}]}",
    );
    let snapshot = read(&[("all.yaml", &joined(&[&node, &policy, POOL, SERVICE]))]);
    assert_eq!(problems(&snapshot), Vec::<String>::new());
    assert_eq!(announced(&snapshot), ["192.168.10.224/32"]);
}

#[test]
fn a_selector_with_a_missing_value_does_not_select_everything() {
    let pool = POOL.replace(
        "spec: {",
        "spec: {serviceSelector: {matchLabels: {pool: }}, ",
    );
    let snapshot = read(&[("all.yaml", &joined(&[NODE, POLICY, &pool, SERVICE]))]);
    assert_eq!(announced(&snapshot), Vec::<String>::new());
    assert!(
        problems(&snapshot)[0].contains("spec.serviceSelector.matchLabels.pool"),
        "{:?}",
        problems(&snapshot)
    );
}

#[test]
fn the_booleans_of_yaml_1_1_are_what_kubectl_takes_them_for() {
    for (text, disabled) in [("yes", true), ("On", true), ("no", false), ("OFF", false)] {
        let pool = POOL.replace(
            "spec: {",
            &format!("spec: {{disabled: {text}, allowFirstLastIPs: No, "),
        );
        let snapshot = read(&[("pool.yaml", &pool)]);
        assert_eq!(problems(&snapshot), Vec::<String>::new());
        let spec = snapshot.pools["pool"].spec.as_ref().unwrap();
        assert_eq!(
            (spec.disabled, spec.reserve_first_last),
            (disabled, true),
            "{text}"
        );
    }
    let policy = POLICY.replace("localASN: 64512", "localASN: 64512\n    exportPodCIDR: yes");
    assert!(read(&[("p.yaml", &policy)]).peering_policies["p"].virtual_routers[0].export_pod_cidr);
}

#[test]
fn a_number_in_quotes_is_refused_with_the_remedy() {
    let policy = POLICY.replace("peerASN: 64513", "peerASN: \"64513\"");
    let snapshot = read(&[("p.yaml", &policy)]);
    let problems = problems(&snapshot);
    assert!(
        problems[0].starts_with(
            "p.yaml:10: CiliumBGPPeeringPolicy p: spec.virtualRouters[0].neighbors[0].peerASN"
        ),
        "{problems:?}"
    );
    assert!(problems[0].contains("without quotes"), "{problems:?}");
}

#[test]
fn whatever_else_a_status_says_a_node_is_taken() {
    let node = "
apiVersion: v1
kind: Node
metadata: {name: k3s1, labels: {bgp: enabled}}
spec: {podCIDR: 10.42.1.0/24, taints: [{key: a, effect: NoSchedule}]}
status:
  capacity: {cpu: 4, memory: 8Gi, pods: 110}
  conditions: [{status: true}]
  images: all of them
  addresses:
  - {type: Hostname, address: k3s1}
  - {type: InternalIP, address: 192.168.10.21}
";
    let snapshot = read(&[("node.yaml", node)]);
    assert_eq!(problems(&snapshot), Vec::<String>::new());
    assert_eq!(snapshot.nodes["k3s1"].internal_addresses().count(), 1);
}

#[test]
fn an_endpoint_without_address_is_no_endpoint() {
    let service = SERVICE.replace("spec: {", "spec: {externalTrafficPolicy: Local, ");
    let slices = |endpoint: &str| {
        format!(
            "\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{endpoint}]\n"
        )
    };
    for (endpoint, expected) in [
        ("{addresses: [10.42.1.5]}", 1),
        (
            "{addresses: [10.42.1.5], nodeName: k3s1, conditions: {ready: true, terminating: true}}",
            1,
        ),
        ("{addresses: [10.42.1.5], nodeName: k3s2}", 0),
        (
            "{addresses: [10.42.1.5], conditions: {ready: false, serving: true, terminating: true}}",
            0,
        ),
        ("{addresses: [], nodeName: k3s1}", 0),
    ] {
        let snapshot = read(&[(
            "all.yaml",
            &joined(&[NODE, POLICY, POOL, &service, &slices(endpoint)]),
        )]);
        assert_eq!(announced(&snapshot).len(), expected, "{endpoint}");
    }
}

#[test]
fn empty_text_is_an_absent_field_as_the_api_takes_it() {
    let service = SERVICE
        .replace("port: 80,", "port: 80, name: '', protocol: '', ")
        .replace(
            "spec: {",
            "spec: {externalTrafficPolicy: '', ipFamilyPolicy: '', loadBalancerIP: '', ",
        );
    let snapshot = read(&[("all.yaml", &joined(&[NODE, POLICY, POOL, &service]))]);
    assert_eq!(problems(&snapshot), Vec::<String>::new());
    assert_eq!(announced(&snapshot), ["192.168.10.224/32"]);
}

#[test]
fn a_kind_in_the_wrong_case_is_told() {
    let pool = POOL.replace("CiliumLoadBalancerIPPool", "CiliumLoadbalancerIPPool");
    assert!(problems(&read(&[("pool.yaml", &pool)]))[0].contains("CiliumLoadBalancerIPPool"));
}

#[test]
fn braces_elsewhere_do_not_make_a_template_of_a_file_with_a_fault() {
    let text = "data:\n  a: |\n    {{ x }}\nb: 1\nc: [\n";
    let told = problems(&read(&[("a.yaml", text)]));
    assert!(!told[0].contains("template"), "{told:?}");
    let told = problems(&read(&[(
        "a.yaml",
        "a: 1\n{{- if .Values.x }}\nb: 2\n{{- end }}\n",
    )]));
    assert!(told[0].contains("template"), "{told:?}");
}

#[test]
fn every_field_of_a_policy_counts() {
    let secret = "
apiVersion: v1
kind: Secret
metadata: {name: router, namespace: kube-system}
data: {password: czNjcjN0}
";
    let policy = "
apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: p}
spec:
  nodeSelector: {}
  virtualRouters:
  - localASN: 64512
    exportPodCIDR: true
    serviceSelector: {matchExpressions: [{key: somekey, operator: NotIn, values: ['never-used-value']}]}
    serviceAdvertisements: [LoadBalancerIP, ClusterIP, ExternalIP]
    neighbors:
    - peerAddress: 192.168.10.1/32
      peerASN: 64513
      peerPort: 1790
      authSecretRef: router
      eBGPMultihopTTL: 4
      connectRetryTimeSeconds: 12
      holdTimeSeconds: 9
      keepAliveTimeSeconds: 3
      gracefulRestart: {enabled: true, restartTimeSeconds: 60}
      families: [{afi: ipv4, safi: unicast}, {afi: ipv6, safi: unicast}]
      advertisedPathAttributes:
      - {selectorType: CiliumLoadBalancerIPPool, communities: {standard: ['64512:100'], wellKnown: [no-export], large: ['64512:1:1']}}
  - localASN: 4200000000
    serviceSelector: {matchLabels: {io.kubernetes.service.namespace: default, io.kubernetes.service.name: web}}
    neighbors: [{peerAddress: 'fd00::1/128', peerASN: 4200000000}]
";
    let node = NODE.replace("labels:", "annotations: {cilium.io/bgp-virtual-router.4200000000: 'router-id=10.0.0.9,local-port=1179'}, labels:").replace("status:", "spec: {podCIDR: 10.42.1.0/24}\nstatus:");
    let service = SERVICE.replace(
        "spec: {",
        "spec: {clusterIP: 10.43.0.7, externalIPs: [203.0.113.7], ",
    );
    let snapshot = read(&[(
        "all.yaml",
        &joined(&[&node, secret, policy, POOL, &service]),
    )]);
    assert_eq!(problems(&snapshot), Vec::<String>::new());
    let plan = plan(&snapshot).0;
    let external = &plan.instances["64512"];
    let prefixes: Vec<_> = external.routes.keys().map(ToString::to_string).collect();
    assert_eq!(prefixes.len(), 4, "{prefixes:?}");
    let peer = &external.peers["192.168.10.1"];
    assert_eq!(
        (peer.port, peer.ttl, peer.graceful_restart),
        (1790, 4, Some(60))
    );
    assert_eq!(
        peer.password.as_ref().map(|password| password.0.as_slice()),
        Some(&b"s3cr3t"[..])
    );
    assert_eq!(peer.export.statements.len(), 1);
    let internal = &plan.instances["4200000000"];
    assert_eq!(
        (internal.router_id.to_string(), internal.listen_port),
        ("10.0.0.9".to_owned(), Some(1179))
    );
    assert_eq!(internal.routes.len(), 1);
    assert_eq!(internal.peers["fd00::1"].ttl, 255);
    assert!(!format!("{snapshot:?}{plan:?}").contains("s3cr3t"));
}

/// What mutations put in place of what stands there.
fn stranger() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!("")),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!(0)),
        Just(json!(u64::MAX)),
        Just(json!(1.5)),
        Just(json!([null])),
        Just(json!({"": null})),
        Just(json!("::/0")),
        Just(json!("0.0.0.0/0")),
        Just(json!("255.255.255.255/32")),
        Just(json!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128")),
        Just(json!("é".repeat(300))),
        Just(json!("::ffff:1.2.3.4")),
        Just(json!("a=b,c in (d")),
        Just(json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}])),
        any::<i64>().prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(|text| json!(text)),
    ]
}

/// Puts `by` somewhere into `value`.
fn mutate(value: &mut Value, steps: &mut std::slice::Iter<'_, Index>, by: &Value) {
    match (value, steps.next()) {
        (Value::Object(fields), Some(step)) if !fields.is_empty() => {
            let at = step.index(fields.len());
            if let Some(field) = fields.values_mut().nth(at) {
                mutate(field, steps, by);
            }
        }
        (Value::Array(items), Some(step)) if !items.is_empty() => {
            let at = step.index(items.len());
            mutate(&mut items[at], steps, by);
        }
        (value, _) => *value = by.clone(),
    }
}

fn valid_objects() -> Vec<Value> {
    let attributes = json!([{"selectorType": "CiliumLoadBalancerIPPool", "selector": {"matchLabels": {"a": "b"}}, "localPreference": 200,
        "communities": {"standard": ["64512:1"], "wellKnown": ["no-export"], "large": ["1:2:3"]}}, {"selectorType": "PodCIDR"}, {"selectorType": "CiliumPodIPPool"}]);
    let peer = json!({"peerAddress": "192.168.10.1/32", "peerASN": 64513, "peerPort": 179, "authSecretRef": "router", "eBGPMultihopTTL": 2,
        "holdTimeSeconds": 9, "keepAliveTimeSeconds": 3, "connectRetryTimeSeconds": 5, "gracefulRestart": {"enabled": true, "restartTimeSeconds": 9},
        "families": [{"afi": "ipv4", "safi": "unicast"}], "advertisedPathAttributes": attributes});
    let changes = json!({"exportPodCIDR": true, "podIPPoolSelector": {}, "serviceAdvertisements": ["LoadBalancerIP", "ClusterIP", "ExternalIP"], "neighbors": [peer]});
    let mut annotated = node("k3s1", &["192.168.10.21", "fd00::21"]);
    annotated["metadata"]["annotations"] =
        json!({"cilium.io/bgp-virtual-router.64512": "router-id=1.2.3.4,local-port=1790"});
    vec![
        annotated,
        policy("p", json!([router(changes)])),
        service(
            "web",
            "192.168.10.224",
            json!({"metadata": {"labels": {"a": "b"}, "annotations": {"lbipam.cilium.io/ips": "192.168.10.224,fd01::1",
            "lbipam.cilium.io/sharing-key": "k", "service.cilium.io/node-selector": "bgp=enabled"}},
            "spec": {"externalTrafficPolicy": "Local", "clusterIP": "10.43.0.1", "externalIPs": ["203.0.113.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "PreferDualStack"}}),
        ),
        service(
            "mail",
            "",
            json!({"metadata": {"annotations": {"lbipam.cilium.io/sharing-key": "k"}}}),
        ),
        slice("web", &[(Some("k3s1"), true), (None, false)]),
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "pool", "labels": {"a": "b"}}, "spec": {
            "blocks": [{"cidr": "192.168.10.224/28"}, {"start": "10.0.0.5", "stop": "10.0.0.9"}, {"cidr": "fd01::/64"}], "allowFirstLastIPs": "No", "disabled": false,
            "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}},
            "status": {"conditions": [{"type": "cilium.io/PoolConflict", "status": "True", "reason": "cidr_overlap", "message": "m"}]}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "router", "namespace": "kube-system"}, "data": {"password": "czNjcjN0"}, "stringData": {"x": "s3cr3t"}}),
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "k3s2"}, "spec": {"addresses": [{"type": "InternalIP", "ip": "10.0.0.2"}],
            "ipam": {"podCIDRs": ["10.42.2.0/24"], "pools": {"allocated": [{"pool": "blue", "cidrs": ["10.3.0.0/26"]}]}}}}),
        json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumPodIPPool", "metadata": {"name": "blue"}, "spec": {"ipv4": {"maskSize": 26}}}),
        json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy", "metadata": {"name": "l2"}, "spec": {"serviceSelector": {}, "interfaces": ["^eth[0-9]+"], "loadBalancerIPs": true}}),
    ]
}

fn update(store: &mut Store, values: &[Value]) -> Snapshot {
    let mut objects = Objects::default();
    for value in values {
        let document = Document::read(value.clone(), None, "kube-system");
        document
            .objects
            .into_iter()
            .for_each(|(key, object)| objects.insert(key, object));
        document
            .problems
            .into_iter()
            .for_each(|problem| objects.add_problem(problem));
    }
    store.update(&objects, &RecordedStatuses::new());
    store.snapshot()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Nor is a secret told, nor another peer's session lost through a broken Service.
    #[test]
    fn no_mutation_of_valid_objects_makes_anything_panic(
        mutations in proptest::collection::vec((any::<Index>(), proptest::collection::vec(any::<Index>(), 0..7), stranger()), 1..4),
    ) {
        let mut values = valid_objects();
        let mut store = Store::default();
        let mut book = AddressBook::default();
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        for (which, path, by) in [None].into_iter().chain(mutations.iter().map(Some)).flatten() {
            let at = which.index(values.len());
            mutate(&mut values[at], &mut path.iter(), by);
            let snapshot = update(&mut store, &values);
            let addresses = book.plan(&snapshot, &settings(), now);
            let plan = peers::plan(&snapshot, &addresses, &settings());
            let told = format!("{:?}{:?}{:?}", snapshot.problems, plan.notes, snapshot.passwords);
            prop_assert!(!told.contains("s3cr3t") && !told.contains("czNjcjN0"), "{told}");
        }
    }

    #[test]
    fn no_mutation_of_a_files_text_makes_reading_panic(
        cuts in proptest::collection::vec((any::<Index>(), 0_usize..40, "[ -~\\n\\t{}\\[\\]&*!|>:é-]{0,6}"), 1..4),
    ) {
        let mut text: Vec<char> = joined(&[NODE, POLICY, POOL, SERVICE]).chars().collect();
        for (at, length, by) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, by.chars());
        }
        let text: String = text.into_iter().collect();
        let _ = plan(&read(&[("a.yaml", &text)]));
    }
}
