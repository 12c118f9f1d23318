//! Objects from the API server: every kind is listed in full, then watched, and what changes is shown in one view.
//!
//! The requests are our own rather than those of `kube_runtime::watcher`, for three reasons. Its errors do not tell when a
//! server wants us back, nor "not served at the moment" from "gone". It decodes objects before anybody can leave something
//! out of them. And it gives a new list away object by object, where what a list lacks must count only when it is whole.
//!
//! Nothing that goes wrong withdraws anything: objects go when the API server says that they went, when a full list lacks
//! them, or when it has steadily said for ten seconds that their kind does not exist.

mod backoff;
mod failure;
mod freshness;
mod kind;
mod known;
mod request;
mod shared;
mod transform;
mod versions;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::Kind;
use crate::kubernetes_client::KubernetesClient;

use self::kind::Follower;
use self::shared::Shared;
use self::versions::Discovery;
use super::Observed;

pub use self::freshness::Freshness;
pub use self::shared::{KindHealth, SourceHealth};

/// What a source is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace whose Secrets are read, and no other's.
    pub secrets_namespace: String,
    /// Spreads waits over the nodes.
    pub seed: u64,
}

/// A task of the source ended, which none does by itself.
#[derive(Debug, thiserror::Error)]
#[error("the API server is no longer watched: {0}")]
pub struct SourceEnded(String);

/// The API server and the view of the objects in it.
#[derive(Debug)]
pub struct KubernetesSource {
    client: KubernetesClient,
    options: Options,
    shared: Arc<Shared>,
}

impl KubernetesSource {
    /// A source that has not asked for anything yet.
    pub fn open(client: KubernetesClient, options: Options) -> Self {
        Self {
            client,
            options,
            shared: Shared::new(),
        }
    }

    /// The newest view: an incomplete one without objects until all kinds are known, then everything.
    pub fn observed(&self) -> watch::Receiver<Observed> {
        self.shared.observed()
    }

    /// How the source fares.
    pub fn health(&self) -> SourceHealth {
        self.shared.health()
    }

    /// Asks how new the view is.
    pub fn freshness(&self) -> Freshness {
        Freshness::new(self.client.clone(), self.shared.clone())
    }

    /// Keeps the view up to date. Returns only where something of ours failed.
    pub async fn run(self) -> SourceEnded {
        let discovery = Arc::new(Discovery::new(self.client.clone()));
        let mut tasks = JoinSet::new();
        for kind in Kind::all() {
            let (shared, discovery) = (self.shared.clone(), discovery.clone());
            let (client, options) = (self.client.clone(), self.options.clone());
            tasks.spawn(Follower::new(kind, client, options, shared, discovery).run());
        }
        let shared = self.shared.clone();
        tasks.spawn(async move { shared.publish().await });
        match tasks.join_next().await {
            Some(Err(error)) => SourceEnded(error.to_string()),
            _ => SourceEnded("a task came to its end".to_owned()),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the source owns the clock of its watches"
)]
fn now() -> Instant {
    Instant::now()
}
