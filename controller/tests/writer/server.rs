//! A real API server with etcd, for as long as a test wants it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use controller::crd::CiliumLoadBalancerIPPool;
use hyper::{Method, Request};
use kube::CustomResourceExt as _;
use kube::config::AuthInfo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);
const TOKENS: &str = "admin-token,admin,admin,system:masters\nstranger-token,stranger,stranger\n";

/// Etcd and an API server on loopback.
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
    etcd: Child,
    api: Mutex<Child>,
}

impl Server {
    /// The one that tests share; it ends with the last of them.
    pub(crate) async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<Server>> =
            tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&server);
        server
    }

    /// Starts one and waits until it answers and knows the pools.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_ports();
        fs::write(directory.path().join("tokens.csv"), TOKENS).unwrap();
        let key = directory.path().join("sa.key");
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&key)
            .arg("2048")
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "openssl makes a key");
        let etcd = etcd(directory.path(), port);
        let api = api_server(directory.path(), port);
        let server = Self {
            directory,
            port,
            etcd,
            api: Mutex::new(api),
        };
        server.ready().await;
        server.install_pools().await;
        server
    }

    /// SIGKILL for the API server; etcd stays.
    pub(crate) fn kill(&self) {
        let mut api = self.api.lock().unwrap();
        api.kill().unwrap();
        api.wait().unwrap();
    }

    /// Starts the API server again.
    pub(crate) fn start_again(&self) {
        *self.api.lock().unwrap() = api_server(self.directory.path(), self.port);
    }

    /// A kubeconfig for the user of a token.
    pub(crate) fn kubeconfig(&self, token: &str) -> PathBuf {
        let path = self.directory.path().join(format!("kubeconfig-{token}"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
             users: [{{name: user, user: {{token: {token}}}}}]\n\
             clusters: [{{name: lab, cluster: {{server: 'https://127.0.0.1:{}', insecure-skip-tls-verify: true}}}}]\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: user}}}}]\n",
            self.port
        );
        // Several tests ask for the same one at once, and none may read half of it.
        let mut whole = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        std::io::Write::write_all(&mut whole, text.as_bytes()).unwrap();
        whole.persist(&path).unwrap();
        path
    }

    /// How to reach it, as the user of a token.
    fn config(&self, token: &str) -> kube::Config {
        let url = format!("https://127.0.0.1:{}", self.port);
        let mut config = kube::Config::new(url.parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo {
            token: Some(token.to_owned().into()),
            ..AuthInfo::default()
        };
        config
    }

    /// An ordinary client of the administrator.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::try_from(self.config("admin-token")).unwrap()
    }

    async fn ready(&self) {
        let client = self.client();
        let answers = async {
            while !matches!(request(&client, Method::GET, "/readyz", "", None).await, Ok(text) if text == "ok")
            {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LIMIT, answers)
            .await
            .expect("the API server is ready");
    }

    async fn install_pools(&self) {
        let client = self.client();
        let crd = serde_json::to_value(CiliumLoadBalancerIPPool::crd()).unwrap();
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let json = "application/json";
        request(&client, Method::POST, path, json, Some(&crd))
            .await
            .unwrap();
        let pools = "/apis/cilium.io/v2/ciliumloadbalancerippools";
        let served = async {
            while request(&client, Method::GET, pools, "", None)
                .await
                .is_err()
            {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LIMIT, served).await.expect("pools are served");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let api = self.api.get_mut().unwrap();
        for child in [api, &mut self.etcd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One request, its answer as text.
pub(crate) async fn request(
    client: &kube::Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: Option<&Value>,
) -> Result<String, kube::Error> {
    let mut request = Request::builder().method(method).uri(path);
    if body.is_some() {
        request = request.header("content-type", content_type);
    }
    let body = body.map(|body| serde_json::to_vec(body).unwrap());
    client
        .request_text(request.body(body.unwrap_or_default()).unwrap())
        .await
}

fn binaries() -> PathBuf {
    if let Some(directory) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return directory.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    cache.join("fairway/kubernetes/v1.36.3")
}

/// etcd beside the API server, or else the installed one.
fn etcd(directory: &Path, port: u16) -> Child {
    let beside = binaries().join("etcd");
    let binary = if beside.exists() {
        beside
    } else {
        "etcd".into()
    };
    let client = format!("http://127.0.0.1:{}", port + 1);
    let peer = format!("http://127.0.0.1:{}", port + 2);
    let log = fs::File::create(directory.join("etcd.log")).unwrap();
    Command::new(binary)
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args(["--listen-peer-urls", &peer, "--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("etcd starts: install it, or set KUBEBUILDER_ASSETS")
}

fn api_server(directory: &Path, port: u16) -> Child {
    let path = |name: &str| directory.join(name).display().to_string();
    let log = fs::File::create(directory.join("api.log")).unwrap();
    let option = |name: &str, value: String| format!("--{name}={value}");
    Command::new(binaries().join("kube-apiserver"))
        .arg(option(
            "etcd-servers",
            format!("http://127.0.0.1:{}", port + 1),
        ))
        .arg(option("cert-dir", path("certificates")))
        .arg(option("secure-port", port.to_string()))
        .arg(option("token-auth-file", path("tokens.csv")))
        .arg(option("service-account-key-file", path("sa.key")))
        .arg(option("service-account-signing-key-file", path("sa.key")))
        .args([
            "--bind-address=127.0.0.1",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.43.0.0/16,fd00:43::/108",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
        ])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("kube-apiserver starts: build it with tests/run, or set KUBEBUILDER_ASSETS")
}

/// The first of three free ports in a row.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = u16::try_from(std::process::id() % 200).unwrap() * 5;
        let port = 22_000 + (base + step * 3) % 990;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (port..port + 3).all(is_free) {
            return port;
        }
    }
}
