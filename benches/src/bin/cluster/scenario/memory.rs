//! What the program holds of the machine's memory once it has nothing more to do.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Options;
use crate::api::NAMESPACE;
use crate::process::{Memory, Outcome, Process};
use crate::program::Cluster;
use crate::report::{Report, mebibytes, progress};

const LIMIT: Duration = Duration::from_secs(280);
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";

pub(crate) async fn measure(options: &Options, report: &mut Report) -> Outcome<()> {
    let (few, many) = (options.scale.few, options.scale.many);
    progress(&format!("memory: {few}, then {many} Services"));
    let mut cluster = Cluster::start(&options.program, options.port).await?;
    let mut observer = cluster.observe().await?;
    let mut process = options.program.start(&cluster)?;
    cluster.admin.create_services("service", 0..few).await?;
    super::all_served(&mut observer, &mut process, few, LIMIT).await?;
    let memory = settled(&mut cluster, &process).await?;
    tell(
        options,
        report,
        &format!("{few} Services"),
        memory,
        Some(15),
    );

    cluster.admin.create_services("service", few..many).await?;
    super::all_served(&mut observer, &mut process, many - few, LIMIT).await?;
    let memory = settled(&mut cluster, &process).await?;
    tell(
        options,
        report,
        &format!("{many} Services"),
        memory,
        Some(40),
    );
    process.stop().await?;

    progress("memory: after a restart, then with EndpointSlices");
    let mut process = options.program.start(&cluster)?;
    let mut observer = cluster.observe().await?;
    cluster.admin.create_service("one-more").await?;
    super::served(&mut observer, &mut process, "one-more", LIMIT).await?;
    let memory = settled(&mut cluster, &process).await?;
    tell(
        options,
        report,
        &format!("{many} Services, after a restart"),
        memory,
        Some(40),
    );
    cluster
        .admin
        .create_all(SLICES, (0..many).map(slice))
        .await?;
    let memory = settled(&mut cluster, &process).await?;
    tell(
        options,
        report,
        &format!("{many} Services and EndpointSlices"),
        memory,
        None,
    );
    Ok(())
}

/// What it holds when it has stopped writing.
async fn settled(cluster: &mut Cluster, process: &Process) -> Outcome<Memory> {
    cluster
        .audit
        .wait_until_quiet(Duration::from_secs(5), Duration::from_secs(120))
        .await?;
    process.memory()
}

fn tell(options: &Options, report: &mut Report, what: &str, memory: Memory, limit: Option<u64>) {
    let text = format!(
        "{} (at most {})",
        mebibytes(memory.resident),
        mebibytes(memory.peak)
    );
    let what = format!("memory, {what}");
    match limit {
        Some(limit) if options.scale.strict => {
            report.judge(
                what,
                format!("<= {limit} MiB"),
                text,
                memory.resident <= limit * 1024,
            );
        }
        _ => report.note(what, text),
    }
}

/// Two ready endpoints of a Service.
fn slice(number: usize) -> Value {
    let endpoint = |last: usize| {
        json!({
            "addresses": [format!("10.42.{}.{last}", number % 256)],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": "n1",
            "targetRef": { "kind": "Pod", "namespace": NAMESPACE, "name": format!("service-{number}-{last}") },
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("service-{number}-abcde"),
            "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": format!("service-{number}") },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": [endpoint(2 + number / 256 % 200), endpoint(3 + number / 256 % 200)],
    })
}
