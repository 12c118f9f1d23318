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
    let limit_of_many = options.scale.strict.then_some(40);
    progress(&format!("memory: {few}, then {many} Services"));
    let mut cluster = Cluster::start(&options.program, options.port).await?;
    let mut observer = cluster.observe().await?;
    let mut process = options.program.start(&cluster)?;
    cluster.admin.create_services("service", 0..few).await?;
    super::all_served(&mut observer, &mut process, few, LIMIT).await?;
    let memory = settled(options, &mut cluster, &process).await?;
    tell(report, &format!("{few} Services"), memory, Some(15));

    cluster.admin.create_services("service", few..many).await?;
    super::all_served(&mut observer, &mut process, many - few, LIMIT).await?;
    let memory = settled(options, &mut cluster, &process).await?;
    tell(report, &format!("{many} Services"), memory, limit_of_many);
    process.stop().await?;

    progress("memory: after a restart, then with EndpointSlices");
    let mut process = options.program.start(&cluster)?;
    let mut observer = cluster.observe().await?;
    cluster.admin.create_service("one-more").await?;
    super::served(&mut observer, &mut process, "one-more", LIMIT).await?;
    let memory = settled(options, &mut cluster, &process).await?;
    let what = format!("{many} Services, after a restart");
    tell(report, &what, memory, limit_of_many);
    let slices = (0..many).map(slice);
    cluster.admin.create_all(SLICES, slices).await?;
    let memory = settled(options, &mut cluster, &process).await?;
    let what = format!("{many} Services and EndpointSlices");
    tell(report, &what, memory, None);
    Ok(())
}

/// What it holds when it has stopped writing.
async fn settled(options: &Options, cluster: &mut Cluster, process: &Process) -> Outcome<Memory> {
    cluster
        .audit
        .wait_until_quiet(Duration::from_secs(5), options.scale.patience)
        .await?;
    process.memory()
}

fn tell(report: &mut Report, what: &str, memory: Memory, limit: Option<u64>) {
    let (resident, peak) = (mebibytes(memory.resident), mebibytes(memory.peak));
    let (what, text) = (
        format!("memory, {what}"),
        format!("{resident} (at most {peak})"),
    );
    match limit {
        Some(limit) => {
            let met = memory.resident <= limit * 1024;
            report.judge(what, format!("<= {limit} MiB"), text, met);
        }
        None => report.note(what, text),
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
