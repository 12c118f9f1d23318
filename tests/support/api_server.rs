//! A real control plane: etcd and kube-apiserver as processes that can be killed and come back, the rights of whoever talks to it.
//!
//! The programs come from `KUBEBUILDER_ASSETS` or `FAIRWAY_KUBERNETES`, else from the cache that `tests/run` fills.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::api_client::ApiClient;
use crate::clock::{eventually, holds, wall_clock};
use crate::etcd::Etcd;
use crate::kubectl::Kubectl;
use crate::lab::Host;
use crate::place::Place;
use crate::process::{Process, output_of};

/// The version that the cache holds.
pub const VERSION: &str = "v1.36.3";
/// Where the API server listens, unless told otherwise; etcd takes the two ports after it.
pub const PORT: u16 = 6443;

const START: Duration = Duration::from_secs(60);
/// What the API server lets clocks differ, seconds.
const LEEWAY: u64 = 60;
const ADMIN_TOKEN: &str = "admin-token";
const ISSUER: &str = "https://kubernetes.default.svc";

/// One program of the control plane.
///
/// # Panics
/// When it is nowhere: with what to do.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let cache = || {
        let home = std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
        let caches =
            std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        caches.join("fairway/kubernetes").join(VERSION)
    };
    let named = ["KUBEBUILDER_ASSETS", "FAIRWAY_KUBERNETES"]
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from);
    let beside = named.chain([cache(), "/usr/bin".into()]);
    let mut places = beside.map(|folder| folder.join(name));
    places.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{name} is nowhere: run tests/run, which brings it, or say with KUBEBUILDER_ASSETS where it is")
    })
}

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct ControlPlaneSetup {
    /// Where its processes run.
    pub place: Place,
    /// The address the API server listens on.
    pub address: IpAddr,
    /// The API server's port; etcd takes the next two.
    pub port: u16,
    /// Everything it keeps.
    pub directory: PathBuf,
    /// More switches of the API server.
    pub switches: Vec<String>,
}

impl ControlPlaneSetup {
    /// On loopback of `place`, in `directory` (made where it is not there).
    pub fn new(place: impl Into<Place>, directory: &Path) -> Self {
        Self {
            place: place.into(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: PORT,
            directory: directory.to_owned(),
            switches: Vec::new(),
        }
    }

    /// On another port.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// On an address that others reach.
    #[must_use]
    pub fn on_address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// With one more switch of the API server.
    #[must_use]
    pub fn with(mut self, switch: &str) -> Self {
        self.switches.push(switch.to_owned());
        self
    }

    /// Starts etcd and the API server and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(self) -> ControlPlane {
        fs::create_dir_all(self.directory.join("pki")).expect("a directory for the control plane");
        let key = self.directory.join("pki/sa.key");
        output_of(
            "openssl",
            &["genrsa", "-out", &key.display().to_string(), "2048"],
        );
        fs::write(
            self.directory.join("tokens.csv"),
            format!("{ADMIN_TOKEN},admin,admin,system:masters\n"),
        )
        .expect("a file of tokens");
        let etcd = Etcd::start(
            &program("etcd"),
            &self.place,
            &self.directory,
            self.port + 1,
        );
        let admin = ApiClient::new(
            &self.place,
            SocketAddr::new(self.address, self.port),
            ADMIN_TOKEN,
        );
        let mut plane = ControlPlane {
            etcd,
            server: None,
            admin,
            kubeconfigs: AtomicU32::new(0),
            setup: self,
        };
        plane.launch();
        plane.until_ready();
        plane
    }
}

/// A running control plane. Dropping it kills it.
#[derive(Debug)]
pub struct ControlPlane {
    // The API server goes first.
    server: Option<Process>,
    /// Its store.
    pub etcd: Etcd,
    admin: ApiClient,
    kubeconfigs: AtomicU32,
    setup: ControlPlaneSetup,
}

impl ControlPlane {
    /// Where it runs.
    pub fn place(&self) -> &Place {
        &self.setup.place
    }

    /// The host it runs on.
    ///
    /// # Panics
    /// When it runs beside the test itself.
    #[track_caller]
    pub fn host(&self) -> &Host {
        match &self.setup.place {
            Place::On(host) => host,
            Place::Here => panic!("this control plane is not on a host of a lab"),
        }
    }

    /// Where it keeps everything.
    pub fn directory(&self) -> &Path {
        &self.setup.directory
    }

    /// The address and port of the API server.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.setup.address, self.setup.port)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// A client that may do everything, with a connection of its own.
    pub fn admin(&self) -> ApiClient {
        self.admin.clone()
    }

    /// kubectl that may do everything.
    pub fn kubectl(&self) -> Kubectl {
        let kubeconfig = self.setup.directory.join("admin.yaml");
        if !kubeconfig.exists() {
            write_kubeconfig(&kubeconfig, &self.url(), &json!({ "token": ADMIN_TOKEN }));
        }
        Kubectl::new(&program("kubectl"), &self.setup.place, &kubeconfig)
    }

    /// A kubeconfig for the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_for(&self.url(), &json!({ "token": ADMIN_TOKEN }))
    }

    /// A kubeconfig that reaches `url` (the API server or a proxy before it) as `user` (`token`, `tokenFile`).
    pub fn kubeconfig_for(&self, url: &str, user: &Value) -> PathBuf {
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let path = self
            .setup
            .directory
            .join(format!("kubeconfig-{number}.yaml"));
        write_kubeconfig(&path, url, user);
        path
    }

    /// The API server's process id.
    ///
    /// # Panics
    /// While it is killed.
    #[track_caller]
    pub fn server_id(&self) -> u32 {
        self.server.as_ref().expect("the API server runs").id()
    }

    /// Kills the API server as the kernel would.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// Starts it again and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn restart_server(&mut self) {
        self.kill_server();
        self.launch();
        self.until_ready();
    }

    /// Waits until the API server serves everything.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn until_ready(&mut self) {
        let (admin, server) = (&self.admin, &mut self.server);
        eventually("the API server is ready", START, || {
            let running = server.as_mut().is_some_and(Process::is_running);
            assert!(running, "the API server ended at its start");
            holds(admin.is_fine("/readyz"), "not ready")
        });
    }

    #[track_caller]
    fn launch(&mut self) {
        let ControlPlaneSetup {
            directory,
            address,
            port,
            ..
        } = &self.setup;
        let key = directory.join("pki/sa.key");
        let mut command = Command::new(program("kube-apiserver"));
        command
            .arg(format!("--etcd-servers={}", self.etcd.url()))
            .arg("--cert-dir")
            .arg(directory.join("pki"))
            .arg(format!("--bind-address={address}"))
            .arg(format!("--secure-port={port}"))
            .arg("--token-auth-file")
            .arg(directory.join("tokens.csv"))
            .arg("--service-account-key-file")
            .arg(&key)
            .arg("--service-account-signing-key-file")
            .arg(&key)
            .arg(format!("--service-account-issuer={ISSUER}"))
            .args([
                "--service-cluster-ip-range=10.43.0.0/16,fd00:43::/108",
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",
                // A host without a route knows no address to advertise; nobody asks for the Service `kubernetes` here.
                "--advertise-address=192.0.2.1",
                "--endpoint-reconciler-type=none",
                "--max-requests-inflight=2000",
                "--max-mutating-requests-inflight=1000",
            ])
            .args(&self.setup.switches);
        self.server = Some(self.setup.place.start("kube-apiserver", command, directory));
    }

    /// Makes a namespace, if it is not there.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn make_namespace(&self, name: &str) {
        let object = json!({ "metadata": { "name": name } });
        self.make("/api/v1/namespaces", &object);
    }

    /// Makes a Node, labelled `bgp=enabled` where it `speaks`.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn make_node(&self, name: &str, address: &str, speaks: bool) {
        let mut node =
            json!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } } });
        if speaks {
            node["metadata"]["labels"]["bgp"] = "enabled".into();
        }
        self.make("/api/v1/nodes", &node);
        let status =
            json!({ "status": { "addresses": [{ "type": "InternalIP", "address": address }] } });
        self.admin
            .merge(&format!("/api/v1/nodes/{name}/status"), &status)
            .expect("a node has addresses");
    }

    /// Makes a Pod that runs and is ready on `node` at `address`, as a kubelet would say.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn make_pod(
        &self,
        namespace: &str,
        name: &str,
        labels: &Value,
        node: &str,
        address: IpAddr,
    ) {
        let collection = format!("/api/v1/namespaces/{namespace}/pods");
        let pod = json!({
            "metadata": { "name": name, "labels": labels },
            "spec": { "nodeName": node, "containers": [{ "name": "main", "image": "main" }] },
        });
        self.make(&collection, &pod);
        let status = json!({ "status": {
            "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        } });
        self.admin
            .merge(&format!("{collection}/{name}/status"), &status)
            .expect("a Pod has a status");
    }

    /// Makes an object, or leaves the one that is there.
    #[track_caller]
    fn make(&self, collection: &str, object: &Value) -> Value {
        match self.admin.create(collection, object) {
            Ok(made) => made,
            Err(error) if error.contains(": 409:") => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                self.admin
                    .get(&format!("{collection}/{name}"))
                    .expect("it is there")
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A service account that may do what `rules` (of a ClusterRole) say.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn service_account(&self, namespace: &str, name: &str, rules: &Value) -> ServiceAccount {
        self.make_namespace(namespace);
        self.make(
            &format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            &json!({ "metadata": { "name": name } }),
        );
        self.allow(name, rules);
        self.make(
            &format!("{RBAC}/clusterrolebindings"),
            &json!({
                "metadata": { "name": name },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
                "subjects": [{ "kind": "ServiceAccount", "namespace": namespace, "name": name }],
            }),
        );
        self.find_service_account(namespace, name)
    }

    /// A service account that is there.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn find_service_account(&self, namespace: &str, name: &str) -> ServiceAccount {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
        let account = self.admin.get(&path).expect("the account is there");
        ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: account["metadata"]["uid"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// Says anew what a service account may do.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn allow(&self, name: &str, rules: &Value) {
        let role = json!({ "metadata": { "name": name }, "rules": rules });
        self.make(&format!("{RBAC}/clusterroles"), &role);
        self.admin
            .merge(&format!("{RBAC}/clusterroles/{name}"), &role)
            .expect("a role can be changed");
    }

    /// A token of a service account as the TokenRequest API gives it.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn token(&self, account: &ServiceAccount) -> String {
        let ServiceAccount {
            namespace, name, ..
        } = account;
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let answer = self
            .admin
            .create(&path, &json!({ "spec": { "expirationSeconds": 3600 } }))
            .expect("a token");
        answer["status"]["token"]
            .as_str()
            .expect("a token is text")
            .to_owned()
    }

    /// The same, but good for this long only: the API itself gives none for less than ten minutes, so it is signed here with the
    /// API server's own key, and as expired for nearly the minute that the API server lets clocks differ. What its cache knows as
    /// good it takes for ten seconds more.
    ///
    /// # Panics
    /// When openssl refuses.
    #[track_caller]
    pub fn short_token(&self, account: &ServiceAccount, lifetime: Duration) -> String {
        let now = wall_clock().as_secs();
        let ServiceAccount {
            namespace,
            name,
            uid,
        } = account;
        let claims = json!({
            "iss": ISSUER, "aud": [ISSUER], "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "iat": now - 3600, "nbf": now - 3600, "exp": now + lifetime.as_secs() - LEEWAY, "jti": format!("{name}-{now}"),
            "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": uid } },
        });
        let encode = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let head = json!({ "alg": "RS256", "typ": "JWT" }).to_string();
        let signed = format!(
            "{}.{}",
            encode(head.as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let file = self.setup.directory.join(format!(
            "token-{}",
            self.kubeconfigs.fetch_add(1, Ordering::Relaxed)
        ));
        fs::write(&file, &signed).expect("what is to be signed");
        let signature = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(self.setup.directory.join("pki/sa.key"))
            .arg(&file)
            .output()
            .expect("openssl starts");
        assert!(signature.status.success(), "openssl signs");
        format!("{signed}.{}", encode(&signature.stdout))
    }
}

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A service account.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name, and that of its ClusterRole and the binding.
    pub name: String,
    uid: String,
}

fn write_kubeconfig(path: &Path, url: &str, user: &Value) {
    let mut cluster = json!({ "server": url });
    if url.starts_with("https:") {
        cluster["insecure-skip-tls-verify"] = true.into();
    }
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{ "name": "lab", "cluster": cluster }],
        "users": [{ "name": "lab", "user": user }],
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
    });
    fs::write(path, config.to_string()).expect("a kubeconfig can be written");
}
