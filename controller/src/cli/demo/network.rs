//! The reference network: its manifests with loopback addresses, its nodes as processes, and its router.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::args::DemoRouter;
use crate::cli::client::Client;

use super::place::{HOME_ROUTER, Place};
use super::process::{Process, words};
use super::router::Router;
use super::{Failure, LOOK_AGAIN, eventually};

/// AS of the cluster, as the manifests have it.
pub(super) const CLUSTER_ASN: u32 = 64512;
/// AS of the router, as the manifests have it.
pub(super) const ROUTER_ASN: u32 = 64513;
/// The speaking nodes: at home, and on loopback.
const NODES: [(&str, Ipv4Addr, Ipv4Addr); 3] = [
    (
        "k3s1",
        Ipv4Addr::new(192, 168, 10, 21),
        Ipv4Addr::new(127, 0, 0, 21),
    ),
    (
        "k3s2",
        Ipv4Addr::new(192, 168, 10, 23),
        Ipv4Addr::new(127, 0, 0, 23),
    ),
    (
        "k3s3",
        Ipv4Addr::new(192, 168, 10, 31),
        Ipv4Addr::new(127, 0, 0, 31),
    ),
];
/// The node that does not speak.
const MASTER: (Ipv4Addr, Ipv4Addr) = (
    Ipv4Addr::new(192, 168, 10, 30),
    Ipv4Addr::new(127, 0, 0, 30),
);
/// Unix socket paths end at 107 octets; ours add about twenty to the directory's.
const DIRECTORY_LENGTH_MAX: usize = 80;

/// What is there from the beginning.
const MANIFESTS: [(&str, &str); 4] = [
    (
        "nodes.yaml",
        include_str!("../../../../deploy/homelab/nodes.yaml"),
    ),
    (
        "pool.yaml",
        include_str!("../../../../deploy/homelab/pool.yaml"),
    ),
    (
        "bgp.yaml",
        include_str!("../../../../deploy/homelab/bgp.yaml"),
    ),
    (
        "gateway.yaml",
        include_str!("../../../../deploy/homelab/gateway.yaml"),
    ),
];
/// The gateway's pods, edited by the story.
const ENDPOINTS: (&str, &str) = (
    "gateway-endpoints.yaml",
    include_str!("../../../../deploy/homelab/gateway-endpoints.yaml"),
);
/// What the story adds later.
pub(super) const SECOND_SERVICE: (&str, &str) = (
    "photos.yaml",
    include_str!("../../../../deploy/homelab/photos.yaml"),
);

/// One speaking node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
    process: Option<Process>,
}

/// Everything together. Dropping it ends the processes, then removes the files.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) nodes: Vec<Node>,
    pub(super) router: Router,
    pub(super) place: Place,
    executable: PathBuf,
    directory: TempDir,
}

impl Network {
    /// Writes the manifests and starts the router, but no node yet.
    pub(super) async fn lay_out(router: DemoRouter, place: Place) -> Result<Self, Failure> {
        let executable = std::env::current_exe().map_err(|error| {
            Failure::Unreachable(format!("this program's own file cannot be found: {error}"))
        })?;
        let directory = temporary_directory().map_err(|error| {
            Failure::Unreachable(format!("cannot make a temporary directory: {error}"))
        })?;
        let path = directory.path();
        let nodes: Vec<Node> = NODES
            .iter()
            .map(|&(name, home, loopback)| Node {
                name,
                address: place.address(home, loopback),
                socket: path.join(format!("{name}.sock")),
                log: path.join(format!("{name}.log")),
                process: None,
            })
            .collect();
        let address = place.address(HOME_ROUTER, Ipv4Addr::LOCALHOST);
        let port = free_port(address)?;
        let callers: Vec<(&str, IpAddr)> = nodes
            .iter()
            .map(|node| (node.name, node.address.into()))
            .collect();
        let router = Router::start(router, address.into(), port, &callers, path).await?;
        let network = Self {
            nodes,
            router,
            place,
            executable,
            directory,
        };
        fs::create_dir(network.manifests()).map_err(|error| {
            Failure::Unreachable(format!("{}: {error}", network.manifests().display()))
        })?;
        for (name, text) in MANIFESTS.into_iter().chain([ENDPOINTS]) {
            network.put(name, &moved(text, place, port))?;
        }
        Ok(network)
    }

    /// Where everything is.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the nodes read their objects.
    pub(super) fn manifests(&self) -> PathBuf {
        self.path().join("manifests")
    }

    /// Adds or replaces a manifest in one step, as editors and Git do.
    pub(super) fn put(&self, name: &str, text: &str) -> Result<(), Failure> {
        let draft = self.path().join(format!("{name}.draft"));
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, self.manifests().join(name)))
            .map_err(|error| {
                Failure::Unreachable(format!(
                    "cannot write {name} in {}: {error}",
                    self.path().display()
                ))
            })
    }

    /// Makes the gateway's pod on one node ready or not ready, as Kubernetes would.
    pub(super) fn set_ready(&self, node: &str, ready: bool) -> Result<(), Failure> {
        let text = with_readiness(ENDPOINTS.1, node, ready)
            .map_err(|error| Failure::Wrong(format!("{}: {error}", ENDPOINTS.0)))?;
        self.put(ENDPOINTS.0, &text)
    }

    /// Starts `fairway run` for a node.
    pub(super) fn start(&mut self, index: usize) -> Result<(), Failure> {
        let (manifests, state) = (self.manifests(), self.path().join("state"));
        let Some(node) = self.nodes.get_mut(index) else {
            return Ok(());
        };
        let arguments = words([
            &"run" as &dyn AsRef<OsStr>,
            &"--manifests",
            &manifests,
            &"--node",
            &node.name,
            &"--state",
            &state,
            &"--api",
            &node.socket,
            &"--listen",
            &"off",
            &"--log-format",
            &"human",
        ]);
        let (program, arguments) =
            self.place
                .command(node.name, node.address, &self.executable, arguments);
        node.process = Some(Process::start(&program, &arguments, &node.log)?);
        Ok(())
    }

    /// Ends a node's process as a crash would.
    pub(super) async fn kill(&mut self, index: usize) -> Result<(), Failure> {
        let Some(node) = self.nodes.get_mut(index) else {
            return Ok(());
        };
        let Some(process) = node.process.take() else {
            return Ok(());
        };
        let name = node.name;
        process
            .kill()
            .await
            .map_err(|error| Failure::Wrong(format!("{name} could not be killed: {error}")))
    }

    /// Looks until there is something to see, as [`eventually`], and no longer than all processes run.
    pub(super) async fn eventually<T, F>(
        &self,
        limit: Duration,
        what: &str,
        look: impl FnMut() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, String>>,
    {
        let casualty = async {
            loop {
                match self.casualty() {
                    Some(casualty) => return casualty,
                    None => sleep(LOOK_AGAIN).await,
                }
            }
        };
        tokio::select! {
            biased;
            seen = eventually(limit, what, look) => seen,
            casualty = casualty => Err(Failure::Wrong(format!("{what} did not come: {casualty}"))),
        }
    }

    /// The first process that ended although nobody asked it to, and its last words.
    fn casualty(&self) -> Option<String> {
        let nodes = self.nodes.iter();
        let mut ended = nodes.filter_map(|node| {
            Some(format!(
                "{}: {}",
                node.name,
                node.process.as_ref()?.ended()?
            ))
        });
        ended
            .next()
            .or_else(|| self.router.ended().map(|how| format!("router: {how}")))
    }

    /// Asks every process to end, and waits for it.
    pub(super) async fn shut_down(mut self) {
        for node in &mut self.nodes {
            if let Some(process) = node.process.take() {
                process.end().await;
            }
        }
        self.router.shut_down().await;
    }
}

impl Node {
    /// The process's id, while there is one.
    pub(super) fn id(&self) -> Option<u32> {
        self.process.as_ref()?.id()
    }

    /// What the node's local API has at `path`, or why there is nothing.
    pub(super) async fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = Client::of_socket(self.socket.clone()).fetch(path).await;
        answer
            .map(|answer| answer.document)
            .map_err(|failure| failure.to_string())
    }
}

fn temporary_directory() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("fairway-demo-");
    let directory = builder.tempdir()?;
    if directory.path().as_os_str().len() > DIRECTORY_LENGTH_MAX {
        builder.tempdir_in("/tmp")
    } else {
        Ok(directory)
    }
}

/// A port that is free now. Whoever takes it before the router does makes the demo fail, with a message.
pub(super) fn free_port(address: Ipv4Addr) -> Result<u16, Failure> {
    let port = TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr());
    port.map(|address| address.port())
        .map_err(|error| Failure::Unreachable(format!("no free port on {address}: {error}")))
}

/// A manifest of the reference network with the addresses of this place; the pool's addresses stay as they are.
fn moved(text: &str, place: Place, port: u16) -> String {
    let router = (HOME_ROUTER, Ipv4Addr::LOCALHOST);
    let all = NODES
        .iter()
        .map(|&(_, home, loopback)| (home, loopback))
        .chain([MASTER, router]);
    let text = all.fold(text.to_owned(), |text, (home, loopback)| {
        let here = place.address(home, loopback);
        // With what follows an address in the manifests, so that .1 is not found in .10.
        ["/32", "}"].iter().fold(text, |text, end| {
            text.replace(&format!("{home}{end}"), &format!("{here}{end}"))
        })
    });
    text.replace("peerPort: 179", &format!("peerPort: {port}"))
}

/// The EndpointSlice with the readiness of one node's endpoint changed.
fn with_readiness(text: &str, node: &str, ready: bool) -> Result<String, String> {
    let mut slice: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let endpoints = slice["endpoints"]
        .as_array_mut()
        .ok_or("it has no endpoints")?;
    let endpoint = endpoints
        .iter_mut()
        .find(|endpoint| endpoint["nodeName"] == node)
        .ok_or("it has no such node")?;
    endpoint["conditions"] =
        serde_json::json!({"ready": ready, "serving": ready, "terminating": false});
    serde_saphyr::to_string(&slice).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_move_to_loopback_and_nothing_else_changes() {
        let all: String = MANIFESTS
            .iter()
            .map(|(_, text)| moved(text, Place::Loopback, 4179))
            .collect();
        for expected in [
            "127.0.0.21}",
            "127.0.0.23}",
            "127.0.0.31}",
            "127.0.0.30}",
            "127.0.0.1/32",
            "peerPort: 4179",
        ] {
            assert!(all.contains(expected), "{expected}");
        }
        assert!(all.contains("cidr: 192.168.10.224/28"));
        for home in NODES
            .iter()
            .map(|node| node.1)
            .chain([MASTER.0, HOME_ROUTER])
        {
            assert!(
                !all.contains(&format!(" {home}/")) && !all.contains(&format!(" {home}}}")),
                "{home}"
            );
        }
        assert!(!all.contains("peerPort: 179"));
        assert!(
            all.contains(&format!("localASN: {CLUSTER_ASN}"))
                && all.contains(&format!("peerASN: {ROUTER_ASN}"))
        );
    }

    #[test]
    fn in_namespaces_the_addresses_stay_as_at_home() {
        for (_, text) in MANIFESTS {
            assert_eq!(moved(text, Place::Namespaces, 179), text);
        }
    }

    #[test]
    fn readiness_changes_for_one_node_only() {
        let ready = |text: &str| -> Vec<bool> {
            let slice: Value = serde_saphyr::from_str(text).unwrap();
            let endpoints = slice["endpoints"].as_array().unwrap().clone();
            endpoints
                .iter()
                .map(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap())
                .collect()
        };
        assert_eq!(ready(ENDPOINTS.1), [true, true, true]);
        let changed = with_readiness(ENDPOINTS.1, "k3s2", false).unwrap();
        assert_eq!(ready(&changed), [true, false, true]);
        assert!(with_readiness(ENDPOINTS.1, "k3s9", false).is_err());
    }
}
