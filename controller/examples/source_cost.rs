//! What it costs to watch a cluster: time until the first view, memory, and how soon a change is seen.
//!
//!     cargo run --release -p controller --example source_cost -- KUBECONFIG [SERVICES SLICES]
//!
//! With numbers, so many Services and EndpointSlices are created first, in the namespace `default`.

use std::path::Path;
use std::time::{Duration, Instant};

use controller::kubernetes_client::KubernetesClient;
use controller::watch::kubernetes::{KubernetesSource, Options};
use futures_util::{StreamExt, stream};
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

fn service(index: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("service-{index}"),
            "labels": {"app.kubernetes.io/name": format!("service-{index}"), "app.kubernetes.io/managed-by": "Helm", "team": format!("team-{}", index % 50)},
            "annotations": {"meta.helm.sh/release-name": format!("release-{index}"), "meta.helm.sh/release-namespace": "default"}},
        "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
            "selector": {"app.kubernetes.io/name": format!("service-{index}")}}})
}

fn slice(index: usize) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": format!("service-{index}-abcde"),
            "labels": {"kubernetes.io/service-name": format!("service-{index}"), "endpointslice.kubernetes.io/managed-by": "somebody"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..3).map(|pod| json!({"addresses": [format!("10.42.{pod}.{}", index % 250 + 1)], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("node-{pod}"), "targetRef": {"kind": "Pod", "name": format!("service-{index}-{pod}"), "namespace": "default"}})).collect::<Vec<_>>()})
}

async fn create(client: &KubernetesClient, path: &str, object: Value) {
    let body = Body::from(object.to_string().into_bytes());
    let request = Request::post(path).header("content-type", "application/json");
    let answer = client
        .client
        .send(request.body(body).expect("it is a request"));
    let status = answer.await.expect("the API server answers").status();
    assert!(matches!(status.as_u16(), 201 | 409), "{path}: {status}");
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| {
        ["VmHWM", "VmRSS", "RssAnon"].contains(&line.split(':').next().unwrap_or_default())
    });
    let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
    words.join(" ")
}

#[expect(clippy::disallowed_methods, reason = "this measures time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kubeconfig, numbers @ ..] = arguments.as_slice() else {
        panic!("name a kubeconfig");
    };
    let client = KubernetesClient::open(Some(Path::new(kubeconfig)))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    if let [services, slices] = numbers {
        let number = |text: &String| text.parse::<usize>().expect("a number");
        let services = (0..number(services))
            .map(|index| ("/api/v1/namespaces/default/services", service(index)));
        let slices = (0..number(slices)).map(|index| {
            (
                "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
                slice(index),
            )
        });
        let objects = stream::iter(services.chain(slices));
        objects
            .for_each_concurrent(16, |(path, object)| create(&client, path, object))
            .await;
        println!("created");
        return;
    }
    println!("before: {}", memory());
    let options = Options {
        secrets_namespace: "kube-system".to_owned(),
        seed: 1,
    };
    let source = KubernetesSource::open(client.clone(), options);
    let mut observed = source.observed();
    let start = now();
    tokio::spawn(source.run());
    let view = observed
        .wait_for(|view| view.snapshot.complete)
        .await
        .expect("the source runs")
        .clone();
    let (services, slices) = (view.snapshot.services.len(), view.snapshot.endpoints.len());
    println!(
        "{services} Services and EndpointSlices of {slices} seen after {:?}",
        start.elapsed()
    );
    drop(view);
    println!("then: {}", memory());
    let mut times = vec![];
    for round in 0..100 {
        let name = format!("seen-{}-{round}", std::process::id());
        let mut object = service(round);
        object["metadata"]["name"] = json!(name);
        let start = now();
        create(&client, "/api/v1/namespaces/default/services", object).await;
        let created = start.elapsed();
        let seen =
            observed.wait_for(|view| view.snapshot.services.keys().any(|key| key.name == name));
        drop(seen.await.expect("the source runs"));
        times.push((start.elapsed(), created));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    times.sort_unstable();
    println!(
        "a new Service is seen p50 {:?} p99 {:?} after the request was sent; its answer takes about {:?}",
        times[50].0, times[98].0, times[50].1
    );
    println!("at last: {}", memory());
}
