//! The benchmark's own hand at the API server, and its eye: a watch that notes when something was seen.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::process::{Outcome, Process, now};

/// All Services of the benchmark are here.
pub(crate) const NAMESPACE: &str = "bench";
const SERVICES: &str = "/api/v1/namespaces/bench/services";
const ALL_SERVICES: &str = "/api/v1/services";
/// How many requests the benchmark has under way at once.
pub(crate) const CONNECTIONS: usize = 16;

/// A client.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

/// An object, as far as the benchmark cares.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Object {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: Spec,
    #[serde(default)]
    pub(crate) status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Spec {
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(default)]
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct LoadBalancer {
    #[serde(default)]
    ingress: Vec<Ingress>,
}

#[derive(Clone, Debug, Deserialize)]
struct Ingress {
    #[serde(default)]
    ip: String,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct List<T> {
    metadata: ListMetadata,
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

impl Object {
    /// The address it has been given.
    pub(crate) fn address(&self) -> Option<&str> {
        self.status
            .load_balancer
            .ingress
            .first()
            .map(|ingress| ingress.ip.as_str())
    }
}

impl Api {
    pub(crate) async fn connect(kubeconfig: &Path) -> Outcome<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // A refusal is a finding here, not something to be patient with.
        config.default_retry = false;
        Ok(Self {
            client: Client::try_from(config)?,
        })
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let Ok(request) = Request::new("/readyz").list(&ListParams::default()) else {
            return false;
        };
        self.client.request_text(request).await.is_ok()
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Outcome<Object> {
        let request =
            Request::new(path).create(&PostParams::default(), object.to_string().into_bytes())?;
        Ok(self.client.request(request).await?)
    }

    /// Whether objects of a kind can be listed at all.
    pub(crate) async fn serves(&self, path: &str) -> bool {
        let Ok(request) = Request::new(path).list(&ListParams::default().limit(1)) else {
            return false;
        };
        self.client.request_text(request).await.is_ok()
    }

    pub(crate) async fn create_service(&self, name: &str) -> Outcome<Object> {
        self.create(SERVICES, &service(name)).await
    }

    /// Creates Services `PREFIX-FROM` to `PREFIX-TO` (excluded).
    pub(crate) async fn create_services(
        &self,
        prefix: &str,
        numbers: std::ops::Range<usize>,
    ) -> Outcome<Vec<Object>> {
        stream::iter(numbers)
            .map(|number| async move { self.create_service(&format!("{prefix}-{number}")).await })
            .buffer_unordered(CONNECTIONS)
            .try_collect()
            .await
    }

    /// Creates objects of any kind.
    pub(crate) async fn create_all(
        &self,
        path: &str,
        objects: impl Iterator<Item = Value>,
    ) -> Outcome<()> {
        stream::iter(objects)
            .map(|object| async move { self.create(path, &object).await.map(drop) })
            .buffer_unordered(CONNECTIONS)
            .try_collect()
            .await
    }

    /// Deletes every Service of the benchmark.
    pub(crate) async fn delete_services(&self) -> Outcome<()> {
        let (services, _) = self.list_services().await?;
        stream::iter(
            services
                .into_iter()
                .filter(|service| service.spec.kind == "LoadBalancer"),
        )
        .map(|service| async move {
            let request =
                Request::new(SERVICES).delete(&service.metadata.name, &DeleteParams::default())?;
            self.client.request_text(request).await?;
            Ok(())
        })
        .buffer_unordered(CONNECTIONS)
        .try_collect()
        .await
    }

    /// All Services of the cluster and the resource version of the list.
    pub(crate) async fn list_services(&self) -> Outcome<(Vec<Object>, String)> {
        let request = Request::new(ALL_SERVICES).list(&ListParams::default())?;
        let list: List<Object> = self.client.request(request).await?;
        Ok((list.items, list.metadata.resource_version))
    }

    /// Gives a Service an address, as long as nobody has changed it: what each status write of Fairway is, and no less.
    pub(crate) async fn write_status(&self, service: &Object, address: &str) -> Outcome<()> {
        let patch = json!({
            "metadata": { "uid": service.metadata.uid, "resourceVersion": service.metadata.resource_version },
            "status": {
                "loadBalancer": { "ingress": [{ "ip": address, "ipMode": "VIP" }] },
                "conditions": [{
                    "type": "cilium.io/IPAMRequestSatisfied",
                    "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                    "reason": "satisfied",
                    "message": "",
                }],
            },
        });
        let parameters = PatchParams {
            field_manager: Some("bench".into()),
            ..PatchParams::default()
        };
        let name = &service.metadata.name;
        let request = Request::new(SERVICES).patch_subresource(
            "status",
            name,
            &parameters,
            &Patch::Merge(&patch),
        )?;
        self.client.request_text(request).await?;
        Ok(())
    }

    /// Changes a Service without changing what it means.
    pub(crate) async fn touch(&self, name: &str, how_often: u64) -> Outcome<()> {
        let patch = json!({ "metadata": { "annotations": { "bench.fairway.dev/touched": how_often.to_string() } } });
        let request =
            Request::new(SERVICES).patch(name, &PatchParams::default(), &Patch::Merge(&patch))?;
        self.client.request_text(request).await?;
        Ok(())
    }

    /// Everything that happens to Services from that resource version on.
    pub(crate) async fn watch_services(
        &self,
        resource_version: &str,
    ) -> Outcome<impl Stream<Item = kube::Result<WatchEvent<Object>>> + use<>> {
        let parameters = WatchParams::default().timeout(290);
        let request = Request::new(ALL_SERVICES).watch(&parameters, resource_version)?;
        Ok(self.client.request_events(request).await?)
    }
}

/// A Service as people write them and `kubectl apply` makes them: with labels, and with what kubectl keeps for itself.
fn service(name: &str) -> Value {
    let labels = json!({ "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "bench", "team": "one" });
    let spec = json!({
        "type": "LoadBalancer",
        "allocateLoadBalancerNodePorts": false,
        "selector": { "app.kubernetes.io/name": name },
        "ports": [
            { "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" },
            { "name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP" },
        ],
    });
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": labels },
        "spec": spec,
    });
    let applied = object.to_string();
    object["metadata"]["annotations"] =
        json!({ "kubectl.kubernetes.io/last-applied-configuration": applied });
    object
}

/// The benchmark's watch.
pub(crate) struct Observer {
    sightings: mpsc::UnboundedReceiver<Sighting>,
    task: JoinHandle<()>,
}

/// A Service as it was seen.
pub(crate) struct Sighting {
    pub(crate) at: Instant,
    pub(crate) change: Change,
    pub(crate) service: Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Observer {
    /// Watches from now on.
    pub(crate) async fn start(api: &Api) -> Outcome<Self> {
        let (_, resource_version) = api.list_services().await?;
        let (sender, sightings) = mpsc::unbounded_channel();
        let task = tokio::spawn(watch(api.clone(), resource_version, sender));
        Ok(Self { sightings, task })
    }

    /// The next sighting; an error when there is none in time, or when the program it depends on has ended.
    pub(crate) async fn next(
        &mut self,
        program: &mut Process,
        deadline: Instant,
    ) -> Outcome<Sighting> {
        loop {
            program.check()?;
            if now() > deadline {
                let log = program.last_lines();
                return Err(format!(
                    "it does not get done in time; the last lines of its log:\n{log}"
                )
                .into());
            }
            match tokio::time::timeout(Duration::from_millis(500), self.sightings.recv()).await {
                Ok(Some(sighting)) => return Ok(sighting),
                Ok(None) => return Err("the benchmark's watch has ended".into()),
                Err(_) => {}
            }
        }
    }

    /// What has been seen and not yet been taken.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Sighting> {
        std::iter::from_fn(|| self.sightings.try_recv().ok())
    }
}

/// Notes what happens from that resource version on, over as many watches as it takes. Ends when one is refused.
async fn watch(api: Api, mut resource_version: String, sender: mpsc::UnboundedSender<Sighting>) {
    while let Ok(events) = api.watch_services(&resource_version).await {
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            let at = now();
            let (change, service) = match event {
                WatchEvent::Added(service) => (Change::Added, service),
                WatchEvent::Modified(service) => (Change::Modified, service),
                WatchEvent::Deleted(service) => (Change::Deleted, service),
                WatchEvent::Bookmark(bookmark) => {
                    resource_version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(_) => return,
            };
            resource_version.clone_from(&service.metadata.resource_version);
            let sighting = Sighting {
                at,
                change,
                service,
            };
            if sender.send(sighting).is_err() {
                return;
            }
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
