//! Whether the view is as new as the API server: a watch may lag behind by any time.
//!
//! Whoever begins to give addresses has to know what the former leader gave. A quorum read says which version every
//! Service has; the view is new enough once it shows each of them at least in that version (docs/decisions/0003-lease.md).

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::client::Body;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::failure::Failure;
use super::request;
use super::shared::Shared;
use crate::cluster::{Kind, ObjectKey, ObjectName, Objects};
use crate::kubernetes_client::KubernetesClient;
use crate::watch::Observed;

/// Metadata alone, and what an old server gives instead is fine too.
const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// How long the view may take before the API server is asked again: a Service that is gone by now never comes.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a read that failed rests; it doubles up to the longest.
const AGAIN: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);

/// Asks the API server how new the view is; a clone asks the same.
#[derive(Clone, Debug)]
pub struct Freshness {
    client: KubernetesClient,
    shared: Arc<Shared>,
}

impl Freshness {
    pub(super) fn new(client: KubernetesClient, shared: Arc<Shared>) -> Self {
        Self { client, shared }
    }

    /// Waits until the view shows every Service as new as it was when this was called, or newer.
    pub async fn reached(&self) {
        let mut observed = self.shared.observed();
        let mut rest = AGAIN;
        loop {
            match self.versions().await {
                Ok(versions) => {
                    rest = AGAIN;
                    if timeout(PATIENCE, shown(&mut observed, &versions))
                        .await
                        .is_ok()
                    {
                        return;
                    }
                }
                Err(failure) => {
                    tracing::debug!("it is not known yet what the former leader wrote: {failure}");
                    sleep(rest).await;
                    rest = (rest * 2).min(LONGEST);
                }
            }
        }
    }

    /// Every Service and its resourceVersion, as the quorum has them.
    async fn versions(&self) -> Result<Vec<(ObjectKey, String)>, Failure> {
        let mut versions = vec![];
        let mut from: Option<String> = None;
        loop {
            let path = request::list("/api/v1/services", Kind::Service, from.as_deref());
            let page = Request::get(path)
                .header(http::header::ACCEPT, METADATA)
                .body(Body::empty())
                .map_err(|error| Failure::Invalid(error.to_string()))?;
            let page = request::whole(&self.client, page).await?;
            let page: Page = serde_json::from_slice(&page)
                .map_err(|error| Failure::Garbage(format!("a list: {error}")))?;
            versions.extend(page.items.into_iter().map(|item| {
                let Metadata {
                    namespace,
                    name,
                    resource_version,
                } = item.metadata;
                let name = ObjectName {
                    namespace: namespace.into(),
                    name: name.into(),
                };
                let kind = Kind::Service;
                (ObjectKey { kind, name }, resource_version)
            }));
            from = page.metadata.next.filter(|token| !token.is_empty());
            if from.is_none() {
                return Ok(versions);
            }
        }
    }
}

async fn shown(observed: &mut watch::Receiver<Observed>, versions: &[(ObjectKey, String)]) {
    // The sender lives as long as the source does.
    let shows_all = |view: &Observed| {
        versions
            .iter()
            .all(|(key, version)| shows(&view.objects, key, version))
    };
    let _view = observed.wait_for(shows_all).await;
}

/// Whether an object is seen in this version or a newer one. The versions of one kind are numbers that grow.
fn shows(objects: &Objects, key: &ObjectKey, version: &str) -> bool {
    let Some(object) = objects.find(key) else {
        return false;
    };
    let (_, seen) = object.version();
    let number = |version: &str| version.parse::<u64>().ok();
    match (number(&seen), number(version)) {
        (Some(seen), Some(wanted)) => seen >= wanted,
        _ => seen == version,
    }
}

#[derive(Deserialize)]
struct Page {
    metadata: request::PageMetadata,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    namespace: String,
    name: String,
    resource_version: String,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::Document;

    fn service(name: &str, version: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "a", "resourceVersion": version}})
    }

    fn view(services: &[Value]) -> Observed {
        let mut objects = Objects::default();
        for service in services {
            for (key, object) in Document::read(service.clone(), None, "").objects {
                objects.insert(key, object);
            }
        }
        Observed {
            objects: Arc::new(objects),
            ..Observed::default()
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            kind: Kind::Service,
            name: ObjectName {
                namespace: "a".into(),
                name: name.into(),
            },
        }
    }

    #[test]
    fn a_view_is_waited_for_until_it_shows_every_version_that_was_read() {
        let (sender, mut observed) = watch::channel(view(&[service("x", "9"), service("y", "12")]));
        let versions = [(key("x"), "10".to_owned()), (key("y"), "11".to_owned())];
        let mut is_shown = || shown(&mut observed, &versions).now_or_never().is_some();
        assert!(!is_shown(), "x is older than what was read");
        sender.send_replace(view(&[service("y", "12")]));
        assert!(!is_shown(), "x is not seen at all");
        sender.send_replace(view(&[service("x", "10"), service("y", "12")]));
        assert!(is_shown());
    }
}
