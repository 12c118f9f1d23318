//! A real etcd and kube-apiserver on loopback, gone with the value.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tempfile::TempDir;

const TOKENS: &str = "admin-token,admin,admin,system:masters\nnobody-token,nobody,nobody,\n";

pub(crate) struct ApiServer {
    folder: TempDir,
    port: u16,
    etcd: Child,
    server: Option<Child>,
}

impl ApiServer {
    /// `None`, with a word why, where the binaries are missing.
    pub(crate) async fn start() -> Option<Self> {
        let binary = binaries().join("kube-apiserver");
        if !binary.exists() {
            eprintln!("skipped: no {} (set KUBEBUILDER_ASSETS)", binary.display());
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports();
        fs::create_dir(folder.path().join("pki")).unwrap();
        fs::write(folder.path().join("tokens.csv"), TOKENS).unwrap();
        let key = folder.path().join("pki/sa.key");
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&key)
            .arg("2048")
            .output()
            .unwrap();
        assert!(made.status.success(), "openssl genrsa failed");
        let etcd = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder.path().join("etcd"))
            .args([
                "--unsafe-no-fsync",
                "--listen-client-urls",
                &format!("http://127.0.0.1:{}", port + 1),
            ])
            .args([
                "--advertise-client-urls",
                &format!("http://127.0.0.1:{}", port + 1),
            ])
            .args([
                "--listen-peer-urls",
                &format!("http://127.0.0.1:{}", port + 2),
            ])
            .stdout(Stdio::null())
            .stderr(log(folder.path(), "etcd.log"))
            .spawn()
            .unwrap();
        let mut lab = Self {
            folder,
            port,
            etcd,
            server: None,
        };
        lab.run().await;
        Some(lab)
    }

    /// Starts the API server again, and waits until it is ready.
    pub(crate) async fn run(&mut self) {
        let folder = self.folder.path();
        let key = folder.join("pki/sa.key");
        let server = Command::new(binaries().join("kube-apiserver"))
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.port + 1))
            .arg(format!("--cert-dir={}", folder.join("pki").display()))
            .arg(format!("--secure-port={}", self.port))
            .arg("--bind-address=127.0.0.1")
            .arg(format!(
                "--token-auth-file={}",
                folder.join("tokens.csv").display()
            ))
            .arg(format!("--service-account-key-file={}", key.display()))
            .arg(format!(
                "--service-account-signing-key-file={}",
                key.display()
            ))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg("--service-cluster-ip-range=10.43.0.0/16")
            .arg("--authorization-mode=RBAC")
            .arg("--disable-admission-plugins=ServiceAccount")
            .stdout(Stdio::null())
            .stderr(log(folder, "api.log"))
            .spawn()
            .unwrap();
        self.server = Some(server);
        let client = self.client("admin-token").await;
        let namespaces: Api<Namespace> = Api::all(client);
        let deadline = now() + Duration::from_secs(120);
        while namespaces.get("kube-system").await.is_err() {
            assert!(
                now() < deadline,
                "the API server is not ready: {}",
                self.folder.path().display()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn client(&self, token: &str) -> Client {
        client(self.port, token).await.0
    }

    pub(crate) async fn namespace(&self, name: &str) -> String {
        let namespaces: Api<Namespace> = Api::all(self.client("admin-token").await);
        let namespace =
            serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).unwrap();
        namespaces
            .create(&Default::default(), &namespace)
            .await
            .unwrap();
        name.to_owned()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.kill();
        let _ended = self.etcd.kill();
        let _reaped = self.etcd.wait();
    }
}

/// A client of the API server on `port`, and the server's URL.
pub(crate) async fn client(port: u16, token: &str) -> (Client, hyper::Uri) {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         clusters: [{{name: lab, cluster: {{server: 'https://127.0.0.1:{port}', insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: me, user: {{token: {token}}}}}]\n\
         contexts: [{{name: lab, context: {{cluster: lab, user: me}}}}]\n"
    );
    let (file, options) = (
        Kubeconfig::from_yaml(&text).unwrap(),
        KubeConfigOptions::default(),
    );
    let config = Config::from_custom_kubeconfig(file, &options)
        .await
        .unwrap();
    let url = config.cluster_url.clone();
    (Client::try_from(config).unwrap(), url)
}

fn binaries() -> PathBuf {
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return assets.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache
        .unwrap_or_else(home)
        .join("fairway/kubernetes/v1.36.3")
}

/// The first of three ports in a row that nobody uses.
fn free_ports() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut candidates = (23_000..23_990).step_by(10);
    candidates
        .find(|port| (0..3).all(|next| free(port + next)))
        .unwrap()
}

fn log(folder: &Path, name: &str) -> Stdio {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(name))
        .unwrap()
        .into()
}

#[expect(
    clippy::disallowed_methods,
    reason = "against a real API server time is real"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
