//! What the view of a cluster costs: memory, the conversion of everything, one change, one clone.
//!
//!     cargo run --release -p controller --example view_cost -- [SERVICES] [values|compact|converted]
//!
//! `values` keeps the raw objects alone as values, `compact` keeps them alone as texts, `converted` is the whole store.

use std::hint::black_box;
use std::time::{Duration, Instant};

use controller::cluster::{Document, Store};
use serde_json::{Value, json};

fn service(index: usize, generation: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {
            "name": format!("service-{index}"), "namespace": format!("team-{}", index % 50), "uid": format!("7a0c3b0e-0000-4000-8000-{index:012}"),
            "resourceVersion": format!("{}", 1000 + index + generation), "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app.kubernetes.io/name": format!("service-{index}"), "app.kubernetes.io/managed-by": "Helm", "team": format!("team-{}", index % 50)},
            "annotations": {"meta.helm.sh/release-name": format!("release-{index}"), "meta.helm.sh/release-namespace": format!("team-{}", index % 50)}},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5"], "allocateLoadBalancerNodePorts": true,
            "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30000 + index % 2000},
                {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 8443, "nodePort": 32000 + index % 700}],
            "selector": {"app.kubernetes.io/name": format!("service-{index}")}, "sessionAffinity": "None"},
        "status": {"loadBalancer": {"ingress": [{"ip": format!("10.0.{}.{}", index / 250, index % 250), "ipMode": "VIP"}]},
            "conditions": [{"type": "cilium.io/IPAMRequestSatisfied", "status": "True", "reason": "satisfied", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}

fn slice(index: usize) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {
            "name": format!("service-{index}-abcde"), "namespace": format!("team-{}", index % 50), "uid": format!("9a0c3b0e-0000-4000-8000-{index:012}"),
            "resourceVersion": "1000", "labels": {"kubernetes.io/service-name": format!("service-{index}"), "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..3).map(|pod| json!({"addresses": [format!("10.42.{pod}.{}", index % 250)], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("node-{pod}"), "targetRef": {"kind": "Pod", "name": format!("service-{index}-{pod}"), "namespace": "x"}})).collect::<Vec<_>>()})
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "this measures time")]
fn now() -> Instant {
    Instant::now()
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(10_000);
    let what = arguments.next().unwrap_or_else(|| "converted".to_owned());
    let before = resident_kib();
    let objects = (0..count).flat_map(|index| [service(index, 0), slice(index)]);
    let mut read = objects.flat_map(|value| Document::read(value, None, "").objects);
    if what != "converted" {
        let kept: Vec<_> = read
            .by_ref()
            .map(|(key, object)| match &*what {
                "compact" => (
                    key,
                    std::sync::Arc::unwrap_or_clone(object)
                        .into_compact()
                        .into(),
                ),
                _ => (key, object),
            })
            .collect();
        println!(
            "{what}: {} raw objects in {} KiB",
            kept.len(),
            resident_kib() - before
        );
        return;
    }
    let mut store = Store::default();
    let start = now();
    for (key, object) in read {
        store.apply(&key, Some(std::sync::Arc::unwrap_or_clone(object)));
    }
    store.set_complete();
    println!(
        "{count} Services and {count} EndpointSlices taken in {:?}",
        start.elapsed()
    );
    let mut held = (store.snapshot(), store.objects());
    println!("memory {} KiB with a snapshot", resident_kib() - before);
    let mut times = vec![];
    for generation in 1..200 {
        let value = service(generation * 7 % count, generation);
        let object = Document::read(value, None, "").objects.remove(0);
        let start = now();
        store.apply(&object.0, Some(std::sync::Arc::unwrap_or_clone(object.1)));
        let next = (store.snapshot(), store.objects());
        times.push(start.elapsed());
        held = next;
    }
    black_box(&held);
    println!(
        "one changed Service and the new snapshot: {:?}",
        middle(times)
    );
    let times = (0..200).map(|_| {
        let start = now();
        black_box((held.0.clone(), held.1.clone()));
        start.elapsed()
    });
    println!("a clone of the snapshot: {:?}", middle(times.collect()));
    println!("memory {} KiB after 200 changes", resident_kib() - before);
}
