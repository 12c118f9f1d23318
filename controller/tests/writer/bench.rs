//! Numbers, on request: `cargo test --release -p controller --features lab --test writer -- --ignored --nocapture`.

use std::time::Instant;

use futures_util::stream::{self, StreamExt as _};
use hyper::Method;
use serde_json::{Value, json};

use super::*;

const SERVICES: usize = 5_000;
const CONNECTIONS: usize = 16;

fn address(number: usize) -> String {
    format!(
        "10.{}.{}.{}",
        number / 65_536,
        number / 256 % 256,
        number % 256
    )
}

async fn create(lab: &Lab, names: impl Iterator<Item = String>) {
    stream::iter(names)
        .for_each_concurrent(CONNECTIONS, |name| async move {
            lab.service(&name).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn five_thousand_wait() {
    let lab = Lab::new("many").await;
    let reached = async |round: usize| {
        // The plain loop: the same patches, nothing else, over as many connections.
        create(
            &lab,
            (0..SERVICES).map(|number| format!("p{round}-{number}")),
        )
        .await;
        create(
            &lab,
            (0..SERVICES).map(|number| format!("w{round}-{number}")),
        )
        .await;
        let observed = lab.observe().await;
        let list = observed.services_list();
        let patches: Vec<(String, Value)> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["metadata"]["name"].as_str().unwrap().starts_with(&format!("p{round}-")))
            .enumerate()
            .map(|(number, item)| {
                let metadata = &item["metadata"];
                let path = format!(
                    "/api/v1/namespaces/many/services/{}/status?fieldManager=fairway",
                    metadata["name"].as_str().unwrap()
                );
                let patch = json!({
                    "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
                    "status": {
                        "loadBalancer": {"ingress": [{"ip": address(number), "ipMode": "VIP"}]},
                        "conditions": [{"type": "cilium.io/IPAMRequestSatisfied", "status": "True",
                            "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "satisfied", "message": ""}],
                    },
                });
                (path, patch)
            })
            .collect();
        let plan: Vec<(String, Vec<String>)> = (0..SERVICES)
            .map(|number| {
                (
                    format!("w{round}-{number}"),
                    vec![address(number + 100_000)],
                )
            })
            .collect();
        let plan: Vec<(&str, Vec<&str>)> = plan
            .iter()
            .map(|(name, ips)| (name.as_str(), ips.iter().map(String::as_str).collect()))
            .collect();
        let plan = lab.plan(&plan);

        let plain = async {
            let start = now();
            stream::iter(&patches)
                .for_each_concurrent(CONNECTIONS, |(path, patch)| {
                    let client = &lab.admin;
                    async move {
                        let merge = "application/merge-patch+json";
                        request(client, Method::PATCH, path, merge, Some(patch))
                            .await
                            .unwrap();
                    }
                })
                .await;
            SERVICES as f64 / start.elapsed().as_secs_f64()
        };
        let ours = async {
            let start = now();
            lab.want(&observed, &plan);
            let wanted_after = start.elapsed();
            lab.until("all are written", || {
                lab.written() as usize >= SERVICES * (round + 1)
            })
            .await;
            println!("  want with {SERVICES} to write took {wanted_after:?}");
            SERVICES as f64 / start.elapsed().as_secs_f64()
        };
        // Whoever goes second meets a fuller server, so they take turns.
        let (plain, ours) = if round.is_multiple_of(2) {
            let plain = plain.await;
            (plain, ours.await)
        } else {
            let ours = ours.await;
            (plain.await, ours)
        };
        println!(
            "round {round}: plain loop {plain:.0}/s, writer {ours:.0}/s: {:.0} %",
            100.0 * ours / plain
        );
        ours / plain
    };
    let mut ratios = Vec::new();
    for round in 0..4 {
        ratios.push(reached(round).await);
    }
    assert_eq!(lab.written() as usize, SERVICES * 4, "each once");
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    println!(
        "mean {:.0} %; {:?}",
        100.0 * mean,
        lab.writer.stats().latency
    );
    assert!(mean >= 0.95, "{ratios:?}");
}

#[tokio::test]
#[ignore = "a measurement"]
async fn want_with_ten_thousand_services_of_which_one_changed() {
    const COUNT: usize = 10_000;
    let lab = Lab::new("cost").await;
    let mut objects = Vec::new();
    let mut wanted = Vec::new();
    for number in 0..COUNT {
        let name = format!("s{number}");
        objects.push(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "cost", "uid": format!("u{number}"), "resourceVersion": "7",
                "labels": {"app": name}, "annotations": {"lbipam.cilium.io/ips": address(number)}},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.43.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": address(number), "ipMode": "VIP"}]},
                "conditions": [{"type": "cilium.io/IPAMRequestSatisfied", "status": "True", "reason": "satisfied", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }));
        let address = if number == 77 {
            "10.99.99.99".to_owned()
        } else {
            address(number)
        };
        wanted.push((name, vec![address]));
    }
    let observed = observed(objects);
    let wanted: Vec<(&str, Vec<&str>)> = wanted
        .iter()
        .map(|(name, ips)| (name.as_str(), ips.iter().map(String::as_str).collect()))
        .collect();
    let plan = lab.plan(&wanted);
    // Nothing may be sent: these objects do not exist.
    lab.lose_the_lease();
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let start: Instant = now();
            lab.want(&observed, &plan);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "want, {COUNT} Services, one changed: median {:?}, worst {:?}",
        times[100], times[199]
    );
    assert_eq!(lab.writer.stats().queued, 1);
    assert!(times[100].as_micros() < 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn one_address_when_idle() {
    let lab = Lab::new("idle").await;
    let mut times = Vec::new();
    for number in 0..200_usize {
        let name = format!("s{number}");
        lab.service(&name).await;
        let observed = lab.observe().await;
        let ip = address(number);
        let mut all: Vec<(String, String)> =
            (0..number).map(|n| (format!("s{n}"), address(n))).collect();
        all.push((name, ip));
        let wanted: Vec<(&str, Vec<&str>)> = all
            .iter()
            .map(|(name, ip)| (name.as_str(), vec![ip.as_str()]))
            .collect();
        let plan = lab.plan(&wanted);
        let before = lab.written();
        let start = now();
        lab.want(&observed, &plan);
        while lab.written() == before {
            tokio::task::yield_now().await;
        }
        times.push(start.elapsed());
    }
    let mut plain = Vec::new();
    for number in 0..200_usize {
        let path =
            format!("/api/v1/namespaces/idle/services/s{number}/status?fieldManager=fairway");
        let patch = json!({"status": {"conditions": [{"type": "example.com/X", "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "x", "message": ""}]}});
        let start = now();
        request(
            &lab.admin,
            Method::PATCH,
            &path,
            "application/merge-patch+json",
            Some(&patch),
        )
        .await
        .unwrap();
        plain.push(start.elapsed());
    }
    for (what, times) in [
        ("want -> answered", &mut times),
        ("a plain PATCH", &mut plain),
    ] {
        times.sort();
        println!("{what}: p50 {:?}, p99 {:?}", times[100], times[198]);
    }
}
