//! `fairway run` as a process: what it refuses, how it ends, and several of them side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);

struct Lab {
    directory: TempDir,
}

impl Lab {
    /// Nodes by name and InternalIP.
    fn new(nodes: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("manifests")).unwrap();
        let nodes: Vec<String> = nodes
            .iter()
            .map(|(name, address)| {
                format!(
                    "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
                     status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
                )
            })
            .collect();
        fs::write(
            directory.path().join("manifests/nodes.yaml"),
            nodes.join("---\n"),
        )
        .unwrap();
        Self { directory }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, socket: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command
            .args(["run", "--log-format", "human", "--manifests"])
            .arg(self.directory.path().join("manifests"))
            .arg("--api")
            .arg(self.socket(socket))
            .args(words)
            .env_remove("NODE_NAME")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Started and answering on its API.
    async fn running(&self, socket: &str, words: &[&str]) -> Child {
        let child = self.run(socket, words).spawn().unwrap();
        let path = self.socket(socket);
        until(|| UnixStream::connect(&path)).await;
        child
    }

    async fn refused(&self, socket: &str, words: &[&str]) -> (Option<i32>, String) {
        let output: Output = timeout(LIMIT, self.run(socket, words).output())
            .await
            .expect("it ends")
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = text.lines().last().unwrap_or_default().to_owned();
        (output.status.code(), last)
    }
}

/// Tries until it works.
async fn until<T, E, F: Future<Output = Result<T, E>>>(attempt: impl Fn() -> F) -> T {
    timeout(LIMIT, async {
        loop {
            if let Ok(value) = attempt().await {
                return value;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it did not happen in time")
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().expect("it runs")).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

async fn ended(mut child: Child) -> ExitStatus {
    timeout(LIMIT, child.wait())
        .await
        .expect("it ends")
        .unwrap()
}

async fn health(address: &str, path: &str) -> String {
    let mut stream = until(|| TcpStream::connect(address)).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[tokio::test]
async fn sigterm_ends_it_with_success_and_takes_its_socket_away() {
    let lab = Lab::new(&[("k3s1", "127.0.0.121")]);
    let child = lab.running("a.sock", &["--listen", "off"]).await;
    // A hang-up is no reason to go.
    signal(&child, Signal::HUP);
    signal(&child, Signal::TERM);
    assert!(ended(child).await.success());
    assert!(!exists(&lab.socket("a.sock")));
}

#[tokio::test]
async fn two_nodes_on_loopback_addresses_run_side_by_side_with_their_own_health() {
    let lab = Lab::new(&[("k3s1", "127.0.0.122"), ("k3s2", "127.0.0.123")]);
    let first = lab.running("1.sock", &["--node", "k3s1"]).await;
    let second = lab.running("2.sock", &["--node", "k3s2"]).await;
    for (address, node) in [("127.0.0.122:9633", "k3s1"), ("127.0.0.123:9633", "k3s2")] {
        assert!(
            health(address, "/healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        assert!(
            health(address, "/metrics")
                .await
                .contains(&format!("node=\"{node}\""))
        );
    }
    drop((first, second));
}

#[tokio::test]
async fn a_place_that_is_taken_is_named_with_exit_code_three() {
    let lab = Lab::new(&[("k3s1", "127.0.0.124")]);
    let _first = lab.running("a.sock", &["--listen", "off"]).await;
    let (code, text) = lab.refused("a.sock", &["--listen", "off"]).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("a.sock") && text.contains("--api"), "{text}");
    let taken = TcpListener::bind("127.0.0.124:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = lab.refused("b.sock", &["--listen", &address]).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains(&address) && text.contains("--listen"),
        "{text}"
    );
    assert!(
        !exists(&lab.socket("b.sock")),
        "what it took before it gave up is given back"
    );
}

#[tokio::test]
async fn among_several_nodes_one_has_to_be_named() {
    let lab = Lab::new(&[("k3s1", "127.0.0.125"), ("k3s2", "127.0.0.126")]);
    let (code, text) = lab.refused("a.sock", &["--listen", "off"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("k3s1, k3s2") && text.contains("--node"),
        "{text}"
    );
}
