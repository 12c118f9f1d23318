//! The `fairway` binary as users run it: a process with manifests, a state folder and a local API.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::clock::{eventually, now, wall_clock};
use crate::lab::Host;
use crate::process::{Process, text};

/// The release binary: `FAIRWAY_BIN`, else beside this test's own build (`cargo build --release -p controller` makes it).
///
/// # Panics
/// When it is not there.
#[track_caller]
pub fn binary() -> PathBuf {
    let path = std::env::var_os("FAIRWAY_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("a running test has a file");
            let target = test
                .ancestors()
                .nth(3)
                .expect("tests live in target/<profile>/deps");
            target.join("release/fairway")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --release -p controller`, or tests/run which does it",
        path.display()
    );
    path
}

/// A running `fairway run`.
#[derive(Debug)]
pub struct Fairway {
    /// The process.
    pub process: Process,
    host: Host,
    node: String,
    api: PathBuf,
    /// When it was started.
    pub started: Instant,
    /// The same on the wall clock, as time since 1970.
    pub started_wall_clock: Duration,
}

/// Where Fairway's objects come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// `--manifests`, and `--state`.
    Directory(PathBuf),
    /// `--kubeconfig`.
    Cluster(PathBuf),
}

/// How Fairway is started.
#[derive(Clone, Debug)]
pub struct FairwaySetup {
    /// `--node`.
    pub node: String,
    /// `--manifests` or `--kubeconfig`.
    pub source: Source,
    /// `--state`, with manifests.
    pub state: PathBuf,
    /// `--api`.
    pub api: PathBuf,
    /// More switches.
    pub switches: Vec<String>,
}

impl FairwaySetup {
    /// Node `node` on `manifests`, with state and API socket in `directory`.
    pub fn new(node: &str, manifests: &Path, directory: &Path) -> Self {
        Self {
            node: node.to_owned(),
            source: Source::Directory(manifests.to_owned()),
            state: directory.join(format!("{node}.state")),
            api: directory.join(format!("{node}.sock")),
            switches: Vec::new(),
        }
    }

    /// Node `node` of the cluster that `kubeconfig` reaches, with its API socket in `directory`.
    pub fn in_cluster(node: &str, kubeconfig: &Path, directory: &Path) -> Self {
        Self {
            source: Source::Cluster(kubeconfig.to_owned()),
            ..Self::new(node, kubeconfig, directory)
        }
    }

    /// With one more switch.
    #[must_use]
    pub fn with(mut self, switch: &str) -> Self {
        self.switches.push(switch.to_owned());
        self
    }

    /// In a cluster several run on one host, and what the log of one says must not be another's.
    fn log_name(&self) -> String {
        static STARTS: AtomicU32 = AtomicU32::new(0);
        match &self.source {
            Source::Directory(_) => "fairway".to_owned(),
            Source::Cluster(_) => format!(
                "fairway-{}-{}",
                self.node,
                STARTS.fetch_add(1, Ordering::Relaxed)
            ),
        }
    }

    /// Starts it on `host` and does not wait for anything.
    #[track_caller]
    pub fn launch(&self, host: &Host) -> Fairway {
        let mut command = Command::new(binary());
        command.arg("run").args(["--node", &self.node]);
        match &self.source {
            Source::Directory(manifests) => {
                command.arg("--manifests").arg(manifests);
                command.arg("--state").arg(&self.state);
            }
            Source::Cluster(kubeconfig) => {
                command.arg("--kubeconfig").arg(kubeconfig);
            }
        }
        command
            .arg("--api")
            .arg(&self.api)
            .args(["--listen", "off"])
            .args(&self.switches);
        let (started, started_wall_clock) = (now(), wall_clock());
        let process = host.start(&self.log_name(), command);
        Fairway {
            process,
            host: host.clone(),
            node: self.node.clone(),
            api: self.api.clone(),
            started,
            started_wall_clock,
        }
    }

    /// Starts it and waits until its API answers.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn start(&self, host: &Host) -> Fairway {
        let mut fairway = self.launch(host);
        eventually("fairway's API answers", Duration::from_secs(10), || {
            assert!(fairway.process.is_running(), "fairway ended at its start");
            fairway.ask(&["peers", "-o", "json"]).map(|_| ())
        });
        fairway
    }
}

impl Fairway {
    /// Runs a command of the binary against this process' API: its standard output, or what it complained about.
    ///
    /// # Errors
    /// Exit code and standard error, where it is not 0.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let api = self.api.display().to_string();
        let all = [arguments, &["--api", &api]].concat();
        let output = self.host.inside(|| command(&all));
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{}: {}", output.status, text(&output.stderr)))
        }
    }

    /// The same as JSON.
    ///
    /// # Panics
    /// When it fails or prints no JSON.
    #[track_caller]
    pub fn ask_json(&self, arguments: &[&str]) -> Value {
        let printed = self
            .ask(&[arguments, &["-o", "json"]].concat())
            .unwrap_or_else(|error| panic!("fairway {arguments:?}: {error}"));
        serde_json::from_str(&printed).unwrap_or_else(|error| {
            panic!("fairway {arguments:?} printed no JSON ({error}): {printed}")
        })
    }

    /// Its API socket.
    pub fn api(&self) -> &Path {
        &self.api
    }

    /// One peer as `fairway peers` shows it; null where there is none.
    #[track_caller]
    pub fn peer(&self, address: &str) -> Value {
        let peers = self.ask_json(&["peers"]);
        peers[&self.node]
            .as_array()
            .into_iter()
            .flatten()
            .find(|peer| peer["peer-address"] == address)
            .cloned()
            .unwrap_or_default()
    }

    /// Whether the session with this peer is Established.
    #[track_caller]
    pub fn is_established(&self, address: &str) -> bool {
        self.peer(address)["session-state"] == "established"
    }

    /// The prefixes advertised to a peer (`ipv4`, `ipv6`), sorted.
    #[track_caller]
    pub fn advertised(&self, peer: &str, family: &str) -> Vec<String> {
        let routes = self.ask_json(&["routes", "advertised", family, "unicast"]);
        let of_node = routes[&self.node].as_array().cloned().unwrap_or_default();
        let mut prefixes: Vec<String> = of_node
            .iter()
            .filter(|route| route["neighbor"] == peer)
            .filter_map(|route| route["prefix"].as_str().map(str::to_owned))
            .collect();
        prefixes.sort();
        prefixes
    }

    /// A Service with the status Fairway would write; null where there is none.
    #[track_caller]
    pub fn service(&self, namespace: &str, name: &str) -> Value {
        let list = self.ask_json(&["services"]);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items
            .into_iter()
            .find(|item| {
                item["metadata"]["namespace"] == namespace && item["metadata"]["name"] == name
            })
            .unwrap_or_default()
    }

    /// The addresses of all Services: `namespace/name` and addresses, sorted.
    #[track_caller]
    pub fn addresses(&self) -> Vec<(String, Vec<String>)> {
        let list = self.ask_json(&["services"]);
        let mut all: Vec<(String, Vec<String>)> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| {
                let meta = &item["metadata"];
                let name = format!(
                    "{}/{}",
                    meta["namespace"].as_str().unwrap_or("default"),
                    meta["name"].as_str().unwrap_or_default()
                );
                (name, addresses_of(item))
            })
            .collect();
        all.sort();
        all
    }

    /// Asks it to end (SIGTERM) and waits for that.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop()
    }

    /// Kills it as the kernel would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.kill();
    }
}

/// The ingress addresses of a Service object.
pub fn addresses_of(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ingress
        .iter()
        .filter_map(|entry| entry["ip"].as_str().map(str::to_owned))
        .collect()
}

/// Runs `fairway` to its end.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn command(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}
