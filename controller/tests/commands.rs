//! The showing commands against a real `fairway run`, as users and scripts call them.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    command
        .args(words)
        .env_remove("FAIRWAY_API")
        .env_remove("XDG_RUNTIME_DIR")
        .kill_on_drop(true);
    command
}

async fn fairway(words: &[&str]) -> Output {
    timeout(LIMIT, program(words).output())
        .await
        .expect("it ends")
        .expect("it starts")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A `fairway run` on node k3s1 of the example manifests, without a router.
struct Running {
    directory: TempDir,
    api: String,
    _child: Child,
}

/// Copies an example manifest. Nobody listens on the router's port there, and nothing leaves the machine.
fn add(manifests: &Path, name: &str) {
    let example = format!(
        "{}/../deploy/homelab/{name}.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = fs::read_to_string(example).unwrap();
    let moved = text
        .replace("192.168.10.1/32", "127.0.0.99/32")
        .replace("192.168.10.21}", "127.0.0.21}");
    fs::write(manifests.join(format!("{name}.yaml")), moved).unwrap();
}

impl Running {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manifests = directory.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        for name in ["nodes", "pool", "bgp", "gateway", "gateway-endpoints"] {
            add(&manifests, name);
        }
        let api = directory.path().join("api.sock").display().to_string();
        let state = directory.path().join("state").display().to_string();
        let words = [
            "run",
            "--manifests",
            &manifests.display().to_string(),
            "--node",
            "k3s1",
            "--state",
            &state,
            "--api",
            &api,
            "--listen",
            "off",
        ];
        let child = program(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self {
            directory,
            api,
            _child: child,
        };
        running
            .until_address("main-gateway", "192.168.10.224")
            .await;
        add(&running.directory.path().join("manifests"), "photos");
        running.until_address("photos", "192.168.10.225").await;
        running
    }

    async fn json(&self, words: &[&str]) -> Value {
        let output = fairway(&[words, &["-o", "json", "--api", &self.api]].concat()).await;
        assert!(
            output.status.success(),
            "{words:?}: {}",
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn until_address(&self, name: &str, address: &str) {
        let reached = timeout(LIMIT, async {
            loop {
                let output = fairway(&["services", "-o", "json", "--api", &self.api]).await;
                let services: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                let items = services["items"].as_array().cloned().unwrap_or_default();
                let service = items.iter().find(|item| item["metadata"]["name"] == name);
                if service.is_some_and(|service| {
                    service["status"]["loadBalancer"]["ingress"][0]["ip"] == address
                }) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        reached.await.expect("the address is given out");
    }
}

#[tokio::test]
async fn services_and_pools_are_kubernetes_lists_of_whole_objects() {
    let running = Running::start().await;
    let services = running.json(&["services"]).await;
    assert_eq!(
        (&services["apiVersion"], &services["kind"]),
        (&"v1".into(), &"List".into())
    );
    let items = services["items"].as_array().unwrap();
    let gateway = items
        .iter()
        .find(|item| item["metadata"]["name"] == "main-gateway")
        .unwrap();
    assert_eq!(gateway["kind"], "Service");
    assert_eq!(gateway["spec"]["externalTrafficPolicy"], "Local");
    let conditions = gateway["status"]["conditions"].as_array().unwrap();
    let satisfied = conditions
        .iter()
        .find(|condition| condition["type"] == "cilium.io/IPAMRequestSatisfied")
        .unwrap();
    assert_eq!(
        (&satisfied["status"], &satisfied["reason"]),
        (&"True".into(), &"satisfied".into())
    );
    let pools = running.json(&["pools"]).await;
    let pool = &pools["items"][0];
    assert_eq!(
        (&pool["kind"], &pool["metadata"]["name"]),
        (&"CiliumLoadBalancerIPPool".into(), &"home-lan".into())
    );
    assert!(
        text(
            &fairway(&["pools", "-o", "yaml", "--api", &running.api])
                .await
                .stdout
        )
        .contains("192.168.10.224/28")
    );
}

#[tokio::test]
async fn peers_and_routes_have_ciliums_shapes_and_tables() {
    let running = Running::start().await;
    let peers = running.json(&["peers"]).await;
    assert_eq!(
        (
            &peers["k3s1"][0]["local-asn"],
            &peers["k3s1"][0]["peer-asn"]
        ),
        (&64512.into(), &64513.into())
    );
    let table = fairway(&["peers", "--api", &running.api]).await;
    let head = text(&table.stdout).lines().next().unwrap().to_owned();
    assert_eq!(
        head.split("  ")
            .filter(|cell| !cell.is_empty())
            .map(str::trim)
            .collect::<Vec<_>>(),
        [
            "Node",
            "Local AS",
            "Peer AS",
            "Peer Address",
            "Session State",
            "Uptime",
            "Family",
            "Received",
            "Advertised"
        ]
    );
    let routes = running.json(&["routes"]).await;
    let prefixes: Vec<&str> = routes["k3s1"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|route| route["prefix"].as_str())
        .collect();
    assert_eq!(prefixes, ["192.168.10.224/32", "192.168.10.225/32"]);
    let table = text(&fairway(&["routes", "--api", &running.api]).await.stdout);
    assert!(
        table.starts_with("(showing the default: available ipv4 unicast)\n\nNode "),
        "{table}"
    );
    assert!(
        table.contains("[{Origin: i} {Nexthop: 0.0.0.0}]"),
        "{table}"
    );
    assert_eq!(
        running
            .json(&["routes", "advertised", "ipv4", "unicast"])
            .await["k3s1"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn a_watch_shows_what_changed() {
    let running = Running::start().await;
    let mut watch = program(&["services", "-w", "--api", &running.api])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let seen = timeout(LIMIT, async {
        let mut shown = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            shown += usize::from(line.contains("main-gateway"));
            if shown == 1 && line.contains("main-gateway") {
                fs::remove_file(running.directory.path().join("manifests/photos.yaml")).unwrap();
            }
            if line.is_empty() && shown == 1 {
                return true;
            }
        }
        false
    });
    assert!(seen.await.expect("the change is shown"));
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_is_no_error() {
    let running = Running::start().await;
    for command in ["services", "services -w", "peers -o json"] {
        // The reader is gone before anything is written: the pipe's other end is closed while the program starts.
        let script = format!(
            "{{ '{}' {command} --api '{}'; echo $? >&2; }} | true",
            env!("CARGO_BIN_EXE_fairway"),
            running.api
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).kill_on_drop(true);
        let output = timeout(LIMIT, shell.output())
            .await
            .expect("it ends")
            .unwrap();
        assert_eq!(text(&output.stderr), "0\n", "{command}");
    }
}

#[tokio::test]
async fn failures_are_one_line_with_the_exit_code_of_their_kind() {
    for (words, code, named) in [
        (
            &["peers", "--api", "/nonexistent/api.sock"][..],
            3,
            "/nonexistent/api.sock: No such file",
        ),
        (&["pools", "--api", "nowhere"], 2, "--api nowhere"),
        (&["routes", "ipv5"], 2, "unknown AFI \"ipv5\""),
        (
            &["routes", "available", "peer", "192.168.10.1"],
            2,
            "advertised only",
        ),
        (&["services", "-o", "xml"], 2, "xml"),
        (&["crds", "nodes"], 2, "no definition of a kind \"nodes\""),
    ] {
        let output = fairway(words).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(named), "{words:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn crds_prints_the_same_again_and_only_what_is_asked_for() {
    let all = fairway(&["crds"]).await;
    assert!(all.status.success() && all.stderr.is_empty());
    assert_eq!(fairway(&["crds"]).await.stdout, all.stdout);
    let all = text(&all.stdout);
    assert_eq!(all.matches("kind: CustomResourceDefinition\n").count(), 9);
    let one = text(
        &fairway(&["crds", "CiliumBGPPeeringPolicy", "bgpp"])
            .await
            .stdout,
    );
    assert_eq!(one.matches("kind: CustomResourceDefinition\n").count(), 1);
    assert!(all.contains(&one));
}
