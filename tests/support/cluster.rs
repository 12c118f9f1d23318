//! A cluster for one test: a control plane that earlier tests of this process may have used, swept clean, and what a test does
//! with it.
//!
//! Whatever allocates addresses sees the whole cluster, so two tests never share a control plane at the same time; one after the
//! other they do, because a fresh one costs seconds.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api_client::{ApiClient, MERGE};
use crate::api_server::{ControlPlane, ControlPlaneSetup, ServiceAccount};
use crate::clock::{eventually, holds};
use crate::crds;
use crate::fairway::{Fairway, FairwaySetup, addresses_of};
use crate::kubectl::Kubectl;
use crate::lab::Host;
use crate::observer::{EVENTS, LEASES, Observer, POOLS, SERVICES};

/// How many control planes stand beside each other.
const LIMIT: usize = 3;

/// The namespace of Fairway's lease in the tests.
pub const NAMESPACE: &str = "kube-system";
/// The node that Services are given addresses from.
pub const NODE: &str = "n1";

struct Planes {
    idle: Vec<ControlPlane>,
    lent: usize,
}

static PLANES: Mutex<Planes> = Mutex::new(Planes {
    idle: Vec::new(),
    lent: 0,
});
static RETURNED: Condvar = Condvar::new();

/// A clean cluster. Dropping it gives the control plane back.
#[derive(Debug)]
pub struct Cluster {
    observer: Option<Observer>,
    plane: Option<ControlPlane>,
    /// May do everything.
    pub admin: ApiClient,
    /// The operator's hand.
    pub kubectl: Kubectl,
    spoilt: bool,
}

impl Cluster {
    /// With all CRDs, the node [`NODE`], and an observer on all that Fairway writes.
    ///
    /// # Panics
    /// When no control plane comes up.
    #[track_caller]
    pub fn new() -> Self {
        let mut cluster = Self::without_crds();
        cluster.install_crds();
        cluster.observe(&[SERVICES, POOLS, LEASES, EVENTS]);
        cluster.spoilt = false;
        cluster
    }

    /// The same without CRDs and without an observer, on a control plane that nobody gets afterwards.
    ///
    /// # Panics
    /// As [`Cluster::new`].
    #[track_caller]
    pub fn fresh() -> Self {
        Self::on(begin_lending(false))
    }

    #[track_caller]
    fn without_crds() -> Self {
        Self::on(begin_lending(true))
    }

    #[track_caller]
    fn on(lent: Option<ControlPlane>) -> Self {
        // From here on the place is taken; a start that fails gives it back.
        let giver = Giver;
        let plane = lent.unwrap_or_else(|| {
            let host = Host::lasting("plane");
            ControlPlaneSetup::new(&host, host.directory()).start()
        });
        let cluster = Self {
            observer: None,
            admin: plane.admin(),
            kubectl: plane.kubectl(),
            plane: Some(plane),
            spoilt: true,
        };
        std::mem::forget(giver);
        cluster.sweep();
        cluster.make_namespace(NAMESPACE);
        cluster.grant();
        cluster.make_node(NODE, "127.0.0.1", true);
        cluster
    }

    /// Installs the CRDs that `fairway crds` prints.
    ///
    /// # Panics
    /// When the API server refuses one.
    #[track_caller]
    pub fn install_crds(&self) {
        crds::install(&self.admin, crds::all(&self.kubectl));
    }

    /// Starts the observer on these collections.
    ///
    /// # Panics
    /// When one of them cannot be watched.
    #[track_caller]
    pub fn observe(&mut self, collections: &[&'static str]) {
        self.observer = Some(Observer::start(&self.admin, collections));
    }

    /// What is written to the cluster.
    ///
    /// # Panics
    /// Before [`Cluster::observe`].
    #[track_caller]
    pub fn observer(&self) -> &Observer {
        self.observer.as_ref().expect("an observer was started")
    }

    /// Nobody gets this control plane after this test: it changed what sweeping does not put right.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Removes what tests make.
    #[track_caller]
    fn sweep(&self) {
        let namespaces = self
            .admin
            .get("/api/v1/namespaces")
            .expect("namespaces can be listed");
        let custom = self
            .admin
            .get("/apis/cilium.io/v2")
            .and_then(|_| self.admin.get("/apis/cilium.io/v2alpha1"))
            .is_ok();
        let mut collections = vec!["/api/v1/nodes".to_owned()];
        if custom {
            collections.push(POOLS.to_owned());
            collections.push("/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies".to_owned());
        }
        for namespace in namespaces["items"].as_array().into_iter().flatten() {
            let namespace = namespace["metadata"]["name"].as_str().unwrap_or_default();
            let core = format!("/api/v1/namespaces/{namespace}");
            for kind in ["services", "events", "pods", "configmaps"] {
                collections.push(format!("{core}/{kind}"));
            }
            let of =
                |group: &str, kind: &str| format!("/apis/{group}/namespaces/{namespace}/{kind}");
            collections.push(of("coordination.k8s.io/v1", "leases"));
            collections.push(of("discovery.k8s.io/v1", "endpointslices"));
        }
        for collection in &collections {
            self.admin
                .delete(collection)
                .unwrap_or_else(|error| panic!("sweeping: {error}"));
        }
    }

    /// Gives Fairway the rights that `deploy/kubernetes/rbac.yaml` says, and no more.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn grant(&self) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/rbac.yaml");
        self.kubectl
            .call(&["apply", "-f", &file.display().to_string()]);
    }

    /// Fairway's own service account.
    ///
    /// # Panics
    /// When it was not [granted](Cluster::grant) anything.
    #[track_caller]
    pub fn account(&self) -> ServiceAccount {
        self.find_service_account(NAMESPACE, "fairway")
    }

    /// A kubeconfig for Fairway with its own rights, through `url` (the API server's own, or a proxy's).
    ///
    /// # Panics
    /// When the API server gives no token.
    #[track_caller]
    pub fn kubeconfig_through(&self, url: &str) -> PathBuf {
        let token = self.token(&self.account());
        self.kubeconfig_for(url, &json!({ "token": token }))
    }

    /// How Fairway runs as node `name` with its own rights, allocating.
    #[track_caller]
    pub fn setup(&self, name: &str) -> FairwaySetup {
        self.setup_with(name, self.kubeconfig_through(&self.url()))
    }

    /// The same with this kubeconfig.
    pub fn setup_with(&self, name: &str, kubeconfig: PathBuf) -> FairwaySetup {
        FairwaySetup::in_cluster(name, &kubeconfig, self.directory())
            .with("--ipam")
            .with("on")
            .with("--namespace")
            .with(NAMESPACE)
    }

    /// Starts Fairway as node [`NODE`] with its own rights.
    ///
    /// # Panics
    /// When its API does not answer.
    #[track_caller]
    pub fn fairway(&self) -> Fairway {
        self.setup(NODE).start(self.host())
    }

    /// Makes Services of type LoadBalancer without node ports, quickly.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn make_services(&self, namespace: &str, names: &[String]) {
        self.make_namespace(namespace);
        for name in names {
            self.admin
                .create(
                    &format!("/api/v1/namespaces/{namespace}/services"),
                    &service(name),
                )
                .expect("a Service can be made");
        }
    }

    /// The Service as it stands; null where it is not there.
    pub fn service(&self, namespace: &str, name: &str) -> Value {
        let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
        self.admin.get(&path).unwrap_or_default()
    }

    /// The addresses of a Service.
    pub fn addresses(&self, namespace: &str, name: &str) -> Vec<String> {
        addresses_of(&self.service(namespace, name))
    }

    /// Waits until a Service has an address, and returns the first.
    ///
    /// # Panics
    /// When it gets none within `limit`.
    #[track_caller]
    pub fn until_served(&self, namespace: &str, name: &str, limit: Duration) -> String {
        eventually(
            &format!("{namespace}/{name} gets an address"),
            limit,
            || {
                let service = self.service(namespace, name);
                let first = addresses_of(&service).into_iter().next();
                first.ok_or_else(|| service["status"].clone())
            },
        )
    }

    /// Waits until a Service has exactly these addresses, in whatever order.
    ///
    /// # Panics
    /// When it has not within `limit`.
    #[track_caller]
    pub fn until_addresses(&self, namespace: &str, name: &str, wanted: &[&str], limit: Duration) {
        eventually(&format!("{namespace}/{name} has {wanted:?}"), limit, || {
            let service = self.service(namespace, name);
            let mut found = addresses_of(&service);
            found.sort();
            let mut wanted: Vec<&str> = wanted.to_vec();
            wanted.sort_unstable();
            holds(found == wanted, service["status"].clone())
        });
    }

    /// All Services of type LoadBalancer with their addresses.
    ///
    /// # Panics
    /// When the API server does not answer.
    #[track_caller]
    pub fn all_addresses(&self) -> Vec<(String, Vec<String>)> {
        let list = self.admin.get(SERVICES).expect("Services can be listed");
        let items = list["items"].as_array().into_iter().flatten();
        items
            .filter(|service| service["spec"]["type"] == "LoadBalancer")
            .map(|service| (crate::observer::name_of(service), addresses_of(service)))
            .collect()
    }

    /// Writes a Service's status as another controller (`manager`) would.
    ///
    /// # Errors
    /// What the API server says.
    pub fn write_status(
        &self,
        manager: &str,
        namespace: &str,
        name: &str,
        status: &Value,
    ) -> Result<Value, String> {
        let path = format!("/api/v1/namespaces/{namespace}/services/{name}/status");
        let body = json!({ "status": status });
        self.admin
            .named(manager)
            .request("PATCH", &path, Some((MERGE, &body)))
            .map_err(|error| error.to_string())?
            .ok()
    }

    /// The Events about one object: reason and message.
    pub fn events_of(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        let list = self
            .admin
            .get(&format!("/api/v1/namespaces/{namespace}/events"))
            .unwrap_or_default();
        let items = list["items"].as_array().into_iter().flatten();
        items
            .filter(|event| event["involvedObject"]["name"] == name)
            .map(|event| {
                let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
                (text("reason"), text("message"))
            })
            .collect()
    }
}

/// A Service of type LoadBalancer with port 80, without node ports, of which an API server has few.
pub fn service(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{ "port": 80 }] },
    })
}

/// One condition of an object; null where it has none of that type.
pub fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind)
        .cloned()
        .unwrap_or_default()
}

/// Waits for a place, and takes a control plane that is idle, where it may be a used one.
fn begin_lending(used: bool) -> Option<ControlPlane> {
    let planes = PLANES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut planes = RETURNED
        .wait_while(planes, |planes| planes.lent >= LIMIT)
        .unwrap_or_else(PoisonError::into_inner);
    planes.lent += 1;
    let idle = planes.idle.pop();
    if used {
        return idle;
    }
    // Room for the fresh one.
    drop(idle);
    None
}

/// Gives back a place when it is dropped.
struct Giver;

impl Drop for Giver {
    fn drop(&mut self) {
        PLANES.lock().unwrap_or_else(PoisonError::into_inner).lent -= 1;
        RETURNED.notify_one();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _giver = Giver;
        self.observer = None;
        if let Some(plane) = self.plane.take()
            && !self.spoilt
            && !std::thread::panicking()
        {
            let mut planes = PLANES.lock().unwrap_or_else(PoisonError::into_inner);
            planes.idle.push(plane);
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Cluster {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        self.plane.as_ref().expect("it is there until the drop")
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut ControlPlane {
        self.plane.as_mut().expect("it is there until the drop")
    }
}
