//! A real API server with its etcd, on loopback, in a directory that goes with them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::api::Api;
use crate::audit::Audit;
use crate::process::{Outcome, Process, now};

const VERSION: &str = "v1.36.3";
/// Whose requests the audit log tells: the program that is measured, and the loop it is compared with.
pub(crate) const MEASURED: &str = "fairway";
pub(crate) const LOOP: &str = "loop";
const ADMIN: &str = "admin";

/// etcd and kube-apiserver.
pub(crate) struct ControlPlane {
    api_server: Process,
    etcd: Process,
    directory: TempDir,
    /// The API server's port; the three after it are etcd's and Fairway's.
    port: u16,
    kubernetes: PathBuf,
}

impl ControlPlane {
    /// Starts it and waits until it is ready. `port` is the first of four; without it the kernel chooses.
    pub(crate) async fn start(port: Option<u16>) -> Outcome<Self> {
        let kubernetes = kubernetes_directory()?;
        let directory = tempfile::Builder::new()
            .prefix("fairway-bench-")
            .tempdir()?;
        let port = port.map_or_else(free_ports, Ok)?;
        write_files(directory.path(), port)?;
        let etcd = start_etcd(&kubernetes, directory.path(), port)?;
        let api_server = start_api_server(&kubernetes, directory.path(), port)?;
        let mut plane = Self {
            api_server,
            etcd,
            directory,
            port,
            kubernetes,
        };
        plane.wait_until_ready().await?;
        plane.let_users_do_everything().await?;
        Ok(plane)
    }

    /// A client with all rights whose requests are not counted.
    pub(crate) async fn admin(&self) -> Outcome<Api> {
        Api::connect(&self.kubeconfig(ADMIN)).await
    }

    /// A client for the loop of plain writes.
    pub(crate) async fn plain_loop(&self) -> Outcome<Api> {
        Api::connect(&self.kubeconfig(LOOP)).await
    }

    /// The kubeconfig of a user.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.directory.path().join(user)
    }

    /// A file or directory of the run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the measured program may listen.
    pub(crate) fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.port + 3)
    }

    /// What the counted users have asked of the API server.
    pub(crate) fn audit(&self) -> Audit {
        Audit::new(self.path("audit.log"))
    }

    /// Applies manifests with kubectl.
    pub(crate) fn apply(&self, manifests: &str) -> Outcome<()> {
        let file = self.path("manifests.yaml");
        fs::write(&file, manifests)?;
        let kubectl = self.kubernetes.join("kubectl");
        let output = Command::new(&kubectl)
            .arg("--kubeconfig")
            .arg(self.kubeconfig(ADMIN))
            .args(["apply", "--server-side", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start {}: {error}", kubectl.display()))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("kubectl apply: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    }

    async fn wait_until_ready(&mut self) -> Outcome<()> {
        let admin = self.admin().await?;
        let deadline = now() + Duration::from_secs(60);
        while !admin.is_ready().await {
            self.etcd.check()?;
            self.api_server.check()?;
            if now() > deadline {
                return Err(format!(
                    "kube-apiserver is not ready\n{}",
                    self.api_server.last_lines()
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// By RBAC, not as `system:masters`: that group goes past the API server's fair queues, and no pod is in it.
    async fn let_users_do_everything(&self) -> Outcome<()> {
        let subjects: Vec<_> = [MEASURED, LOOP]
            .map(|name| json!({ "kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io" }))
            .into();
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "bench" },
            "roleRef": { "kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io" },
            "subjects": subjects,
        });
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        self.admin()
            .await?
            .create(bindings, &binding)
            .await
            .map(drop)
    }
}

/// `$KUBEBUILDER_ASSETS`, or where the tests keep what they have built.
fn kubernetes_directory() -> Outcome<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let directory = variable("KUBEBUILDER_ASSETS")
        .or_else(|| variable("FAIRWAY_KUBERNETES"))
        .or_else(|| {
            let cache =
                variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
            Some(cache.join("fairway/kubernetes").join(VERSION))
        })
        .ok_or("set KUBEBUILDER_ASSETS to a directory with kube-apiserver and kubectl")?;
    for program in ["kube-apiserver", "kubectl"] {
        if !directory.join(program).is_file() {
            let directory = directory.display();
            return Err(format!("no {program} in {directory}: set KUBEBUILDER_ASSETS, or run tests/run once, which builds it").into());
        }
    }
    Ok(directory)
}

/// Four ports in a row that nobody listens on at present.
fn free_ports() -> Outcome<u16> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?;
        let port = first.local_addr()?.port();
        let others =
            (1..4).map(|offset| TcpListener::bind(("127.0.0.1", port.checked_add(offset)?)).ok());
        if others.collect::<Option<Vec<_>>>().is_some() {
            return Ok(port);
        }
    }
    Err("found no four free ports in a row".into())
}

fn write_files(directory: &Path, port: u16) -> Outcome<()> {
    let tokens = format!(
        "admin-token,{ADMIN},1,system:masters\n{MEASURED}-token,{MEASURED},2\n{LOOP}-token,{LOOP},3\n"
    );
    fs::write(directory.join("tokens.csv"), tokens)?;
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{ "level": "Metadata", "users": [MEASURED, LOOP] }, { "level": "None" }],
    });
    fs::write(directory.join("audit-policy.json"), policy.to_string())?;
    for user in [ADMIN, MEASURED, LOOP] {
        let server = format!("https://127.0.0.1:{port}");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "bench", "cluster": { "server": server, "insecure-skip-tls-verify": true } }],
            "users": [{ "name": user, "user": { "token": format!("{user}-token") } }],
            "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": user } }],
            "current-context": "bench",
        });
        fs::write(directory.join(user), kubeconfig.to_string())?;
    }
    let key = directory.join("service-account.key");
    let made = Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(&key)
        .arg("2048")
        .stderr(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("openssl genrsa: {other:?}").into()),
    }
}

fn start_etcd(kubernetes: &Path, directory: &Path, port: u16) -> Outcome<Process> {
    let beside = kubernetes.join("etcd");
    let mut command = Command::new(if beside.is_file() {
        beside
    } else {
        "etcd".into()
    });
    let (client, peer) = (
        format!("http://127.0.0.1:{}", port + 1),
        format!("http://127.0.0.1:{}", port + 2),
    );
    command.arg("--data-dir").arg(directory.join("etcd"));
    command.args([
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
    ]);
    // Without fsync the disk of the machine has no say in the figures.
    command.args(["--listen-peer-urls", &peer, "--unsafe-no-fsync"]);
    Process::start("etcd", &command, &directory.join("etcd.log"))
}

fn start_api_server(kubernetes: &Path, directory: &Path, port: u16) -> Outcome<Process> {
    let mut command = Command::new(kubernetes.join("kube-apiserver"));
    let mut flag = |name: &str, value: &dyn std::fmt::Display| {
        command.arg(format!("--{name}={value}"));
    };
    let file = |name: &str| directory.join(name).display().to_string();
    flag("etcd-servers", &format!("http://127.0.0.1:{}", port + 1));
    flag("bind-address", &"127.0.0.1");
    flag("secure-port", &port);
    flag("cert-dir", &file("pki"));
    flag("token-auth-file", &file("tokens.csv"));
    flag("service-account-issuer", &"https://kubernetes.default.svc");
    flag("service-account-key-file", &file("service-account.key"));
    flag(
        "service-account-signing-key-file",
        &file("service-account.key"),
    );
    flag("service-cluster-ip-range", &"10.43.0.0/16");
    flag("authorization-mode", &"RBAC");
    flag("disable-admission-plugins", &"ServiceAccount");
    flag("audit-policy-file", &file("audit-policy.json"));
    flag("audit-log-path", &file("audit.log"));
    Process::start(
        "kube-apiserver",
        &command,
        &directory.join("kube-apiserver.log"),
    )
}
