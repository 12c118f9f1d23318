//! A real kube-apiserver with etcd on loopback, for one test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use controller::kubernetes_client::KubernetesClient;
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const START: Duration = Duration::from_secs(120);

pub(crate) struct Cluster {
    directory: tempfile::TempDir,
    binaries: PathBuf,
    etcd_port: u16,
    pub(crate) port: u16,
    etcd: Child,
    server: Option<Child>,
    pub(crate) admin: KubernetesClient,
}

impl Cluster {
    /// Starts etcd and an API server and waits until it is ready.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let binaries = binaries();
        let key = Command::new("openssl")
            .args(["genrsa", "-out", "sa.key", "2048"])
            .current_dir(place)
            .stderr(Stdio::null())
            .status();
        assert!(key.unwrap().success());
        let users = "admin-token,admin,admin,system:masters\npartial-token,partial,partial\n";
        std::fs::write(place.join("tokens.csv"), users).unwrap();
        let [etcd_port, peer_port, port] = free_ports();
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd = spawn(
            Command::new(if binaries.join("etcd").exists() {
                binaries.join("etcd")
            } else {
                "etcd".into()
            })
            .args(["--data-dir", "etcd", "--unsafe-no-fsync"])
            .args(["--listen-client-urls", &etcd_url])
            .args(["--advertise-client-urls", &etcd_url])
            .args(["--listen-peer-urls", &peer_url]),
            place,
            "etcd.log",
        );
        let file = kubeconfig(place, port, "admin", json!({"token": "admin-token"}));
        let mut cluster = Self {
            admin: KubernetesClient::open(Some(&file)).await.unwrap(),
            binaries,
            etcd_port,
            port,
            etcd,
            server: None,
            directory,
        };
        cluster.start_server().await;
        cluster
    }

    /// A kubeconfig for a user with these credentials.
    pub(crate) fn kubeconfig(&self, name: &str, user: Value) -> PathBuf {
        kubeconfig(self.directory.path(), self.port, name, user)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// kill -9 of the API server; etcd stays.
    pub(crate) fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    pub(crate) async fn start_server(&mut self) {
        let mut server = self.spawn_server(self.port);
        ready(&self.admin, &mut server, self.path()).await;
        self.server = Some(server);
    }

    fn spawn_server(&self, port: u16) -> Child {
        let pki = self.path().join(format!("pki-{port}"));
        spawn(
            Command::new(self.binaries.join("kube-apiserver"))
                .arg(format!(
                    "--etcd-servers=http://127.0.0.1:{}",
                    self.etcd_port
                ))
                .arg(format!("--cert-dir={}", pki.display()))
                .arg(format!("--secure-port={port}"))
                .args([
                    "--bind-address=127.0.0.1",
                    "--token-auth-file=tokens.csv",
                    "--service-account-key-file=sa.key",
                    "--service-account-signing-key-file=sa.key",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    "--service-cluster-ip-range=10.43.0.0/16",
                    "--authorization-mode=RBAC",
                    "--disable-admission-plugins=ServiceAccount",
                ]),
            self.path(),
            &format!("server-{port}.log"),
        )
    }

    /// Does something through another API server on the same data while ours is away, then forgets in etcd how it came to
    /// that.
    pub(crate) async fn behind_its_back(&self, work: impl AsyncFnOnce(&KubernetesClient)) {
        let [port] = free_ports();
        let mut server = self.spawn_server(port);
        let user = json!({"token": "admin-token"});
        let file = kubeconfig(self.path(), port, "other", user);
        let client = KubernetesClient::open(Some(&file)).await.unwrap();
        ready(&client, &mut server, self.path()).await;
        work(&client).await;
        let (_, list) = call(&client, Method::GET, "/api/v1/services", None).await;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
        let compacted = Command::new("curl")
            .args(["-sf", "-X", "POST", "-d"])
            .arg(json!({"revision": revision, "physical": true}).to_string())
            .arg(format!(
                "http://127.0.0.1:{}/v3/kv/compaction",
                self.etcd_port
            ))
            .stdout(Stdio::null())
            .status();
        assert!(compacted.unwrap().success(), "etcd compacts");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Creates an object, or fails the test.
    pub(crate) async fn create(&self, path: &str, object: Value) -> Value {
        let (status, answer) = call(&self.admin, Method::POST, path, Some(object)).await;
        assert_eq!(status, 201, "{answer}");
        answer
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.server.iter_mut().chain([&mut self.etcd]) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Sends a request and gives the status code and the answer.
pub(crate) async fn call(
    client: &KubernetesClient,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(body.map_or_else(Body::empty, |body| {
            Body::from(body.to_string().into_bytes())
        }))
        .unwrap();
    match client.client.send(request).await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let body = answer.into_body().collect_bytes().await.unwrap();
            let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
            (
                status,
                serde_json::from_slice(&body).unwrap_or_else(|_| text()),
            )
        }
        Err(error) => (0, Value::String(error.to_string())),
    }
}

/// A CustomResourceDefinition that takes everything.
pub(crate) fn crd(kind: &str, plural: &str, versions: &[&str]) -> Value {
    let versions: Vec<_> = versions
        .iter()
        .enumerate()
        .map(|(index, version)| {
            json!({"name": version, "served": true, "storage": index == 0, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        })
        .collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.cilium.io")},
        "spec": {"group": "cilium.io", "scope": "Cluster", "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()}, "versions": versions}})
}

async fn ready(client: &KubernetesClient, server: &mut Child, place: &Path) {
    let deadline = Instant::now() + START;
    loop {
        let (status, answer) = call(client, Method::GET, "/readyz", None).await;
        if status == 200 {
            return;
        }
        let ended = server.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "the API server ended; see {}",
            place.display()
        );
        assert!(
            Instant::now() < deadline,
            "the API server is not ready: {answer}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

fn kubeconfig(place: &Path, port: u16, name: &str, user: Value) -> PathBuf {
    let file = place.join(format!("{name}.kubeconfig"));
    let cluster =
        json!({"server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true});
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": cluster}], "users": [{"name": name, "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}]});
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

fn spawn(command: &mut Command, place: &Path, log: &str) -> Child {
    let log = std::fs::File::create(place.join(log)).unwrap();
    command
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Where `tests/run` puts the binaries, or where it is told that they are.
fn binaries() -> PathBuf {
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return assets.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache")
    });
    let versions = cache.join("fairway/kubernetes");
    let newest = std::fs::read_dir(&versions)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|place| place.join("kube-apiserver").exists())
        .max();
    newest.unwrap_or_else(|| {
        panic!(
            "no kube-apiserver in {}: run tests/run, or set KUBEBUILDER_ASSETS",
            versions.display()
        )
    })
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [_; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    std::array::from_fn(|index| listeners[index].local_addr().unwrap().port())
}
