//! A Kubernetes API server with its etcd on loopback, and kubectl to talk to it.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const RELEASE: &str = "v1.36.3";
/// A cold start takes seconds; a machine that is busy with other tests takes more.
const START: Duration = Duration::from_secs(180);
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that is expected to change.
const PAUSE: Duration = Duration::from_millis(100);

/// An API server that has what `fairway crds` prints. It ends with the last test that holds it.
pub(crate) struct Server {
    folder: TempDir,
    kubectl: PathBuf,
    // In the order in which they have to end.
    _api: Process,
    _etcd: Process,
}

/// What kubectl said.
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server that all tests of this process share.
pub(crate) fn server() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start());
        *shared = Arc::downgrade(&server);
        server
    })
}

/// What `fairway crds` prints.
pub(crate) fn fairway_crds(kinds: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    let output = command.arg("crds").args(kinds).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Server {
    fn start() -> Self {
        let binaries = binaries();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let openssl = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(at("sa.key"))
            .arg("2048")
            .output()
            .expect("openssl is installed");
        assert!(openssl.status.success(), "{openssl:?}");
        fs::write(at("tokens.csv"), "admin-token,admin,admin,system:masters\n").unwrap();
        let [api_port, etcd_port, etcd_peer_port] = free_ports();
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let etcd = spawn(
            Command::new(beside(&binaries, "etcd"))
                .arg("--data-dir")
                .arg(at("etcd"))
                .args(["--listen-client-urls", &etcd_url])
                .args(["--advertise-client-urls", &etcd_url])
                .args([
                    "--listen-peer-urls",
                    &format!("http://127.0.0.1:{etcd_peer_port}"),
                ])
                .arg("--unsafe-no-fsync"),
            &at("etcd.log"),
        );
        let api = spawn(
            Command::new(binaries.join("kube-apiserver"))
                .args(["--etcd-servers", &etcd_url])
                .arg("--cert-dir")
                .arg(at("pki"))
                .args(["--secure-port", &api_port.to_string()])
                .args(["--bind-address", "127.0.0.1"])
                .arg("--token-auth-file")
                .arg(at("tokens.csv"))
                .arg("--service-account-key-file")
                .arg(at("sa.key"))
                .arg("--service-account-signing-key-file")
                .arg(at("sa.key"))
                .args(["--service-account-issuer", "https://kubernetes.default.svc"])
                .args(["--service-cluster-ip-range", "10.43.0.0/16"])
                .args(["--authorization-mode", "RBAC"])
                .args(["--disable-admission-plugins", "ServiceAccount"]),
            &at("api.log"),
        );
        fs::write(
            at("kubeconfig"),
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
                 clusters: [{{name: lab, cluster: {{server: \"https://127.0.0.1:{api_port}\", insecure-skip-tls-verify: true}}}}]\n\
                 users: [{{name: admin, user: {{token: admin-token}}}}]\n\
                 contexts: [{{name: lab, context: {{cluster: lab, user: admin}}}}]\n"
            ),
        )
        .unwrap();
        let server = Self {
            kubectl: beside(&binaries, "kubectl"),
            folder,
            _api: api,
            _etcd: etcd,
        };
        let is_ready = || server.kubectl(&["get", "--raw", "/readyz"], "").ok;
        if !wait_until(START, is_ready) {
            let log = fs::read_to_string(server.folder.path().join("api.log"));
            panic!("the API server does not come up:\n{}", tail(&log.unwrap()));
        }
        let applied = server.kubectl(&["apply", "-f", "-"], &fairway_crds(&[]));
        assert!(applied.ok, "{}", applied.err);
        let established = server.kubectl(
            &[
                "wait",
                "crd",
                "--all",
                "--for=condition=Established",
                "--timeout=60s",
            ],
            "",
        );
        assert!(established.ok, "{}", established.err);
        server
    }

    /// Runs kubectl with `input` on its standard input.
    pub(crate) fn kubectl(&self, words: &[&str], input: &str) -> Said {
        let mut child = Command::new(&self.kubectl)
            .args(words)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("HOME", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.kubectl.display()));
        // kubectl may have ended already without having read any of it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        Said {
            ok: status.success(),
            out: text(stdout),
            err: text(stderr),
        }
    }

    /// An object as the API server has it, in the version that `resource` names (`ciliumbgppeerconfigs.v2.cilium.io`).
    pub(crate) fn object(&self, resource: &str, name: &str) -> Value {
        let said = self.kubectl(&["get", resource, name, "-o", "json"], "");
        assert!(said.ok, "{}", said.err);
        serde_json::from_str(&said.out).unwrap()
    }

    /// kubectl, which has to succeed without a word of warning.
    pub(crate) fn succeed(&self, words: &[&str], input: &str) -> String {
        let said = self.kubectl(words, input);
        assert!(
            said.ok && said.err.is_empty(),
            "kubectl {}: {}",
            words.join(" "),
            said.err
        );
        said.out
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a condition that has a deadline"
)]
fn pause() {
    thread::sleep(PAUSE);
}

/// Looks again and again until it is so. Whether it came to be in time.
pub(crate) fn wait_until(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = now();
    while !is_so() {
        if now() - start > limit {
            return false;
        }
        pause();
    }
    true
}

/// As `wait_until`, for what takes no longer than an API server needs to take a definition up.
pub(crate) fn soon(is_so: impl FnMut() -> bool) -> bool {
    wait_until(LIMIT, is_so)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test that waits for a real process"
)]
fn now() -> Instant {
    Instant::now()
}

/// Where kube-apiserver is: as for everyone's envtest, or where tests/run builds it.
fn binaries() -> PathBuf {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let folder = assets.unwrap_or_else(|| {
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
        let cache = cache.unwrap_or_else(home);
        cache.join("fairway/kubernetes").join(RELEASE)
    });
    assert!(
        folder.join("kube-apiserver").is_file(),
        "no kube-apiserver in {}: set KUBEBUILDER_ASSETS, or let tests/run build it",
        folder.display()
    );
    folder
}

/// The program in the folder, or else the one on the path.
fn beside(folder: &Path, program: &str) -> PathBuf {
    let file = folder.join(program);
    if file.is_file() { file } else { program.into() }
}

fn spawn(command: &mut Command, log: &Path) -> Process {
    let log = File::create(log).unwrap();
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    Process(child.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program())))
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
