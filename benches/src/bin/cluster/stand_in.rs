//! The least that can be called an address controller: what no controller can be faster than, and, with a mistake built
//! in, the proof that the benchmark notices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use futures_util::StreamExt;
use kube::api::WatchEvent;
use tokio::sync::Semaphore;

use crate::api::{Api, CONNECTIONS, NAMESPACE, Object};
use crate::process::Outcome;

/// What the stand-in may get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mistake {
    /// Waits before each write, and writes one Service after the other.
    Slow,
    /// Writes each Service twice.
    Twice,
    /// Writes to a Service every second for no reason, and to all of them when it starts.
    Restless,
    /// Keeps more in memory than it needs.
    Greedy,
}

/// Gives every Service of type LoadBalancer that has none an address, until it is killed.
pub(crate) async fn run(kubeconfig: &Path, mistake: Option<Mistake>) -> Outcome<()> {
    let api = Api::connect(kubeconfig).await?;
    let kept = vec![
        1_u8;
        if mistake == Some(Mistake::Greedy) {
            64 << 20
        } else {
            0
        }
    ];
    let connections = if mistake == Some(Mistake::Slow) {
        1
    } else {
        CONNECTIONS
    };
    let mut stand_in = StandIn {
        api,
        mistake,
        connections: Arc::new(Semaphore::new(connections)),
        given: BTreeMap::new(),
        taken: BTreeSet::new(),
        next: u32::from(Ipv4Addr::new(10, 64, 0, 1)),
    };
    let mut is_start = true;
    loop {
        let (services, resource_version) = stand_in.api.list_services().await?;
        // What others hold has to be known before anything is given out.
        stand_in.taken = services
            .iter()
            .filter_map(Object::address)
            .map(str::to_owned)
            .collect();
        if is_start && mistake == Some(Mistake::Restless) {
            for service in services
                .iter()
                .filter(|service| service.address().is_some())
            {
                stand_in.api.touch(&service.metadata.name, 0).await?;
            }
        }
        is_start = false;
        for service in services {
            stand_in.see(service);
        }
        let events = stand_in.api.watch_services(&resource_version).await?;
        let mut events = std::pin::pin!(events);
        let mut touched = 0;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(WatchEvent::Added(service) | WatchEvent::Modified(service))) => stand_in.see(service),
                    Some(Ok(WatchEvent::Deleted(service))) => stand_in.forget(&service),
                    Some(Ok(WatchEvent::Bookmark(_))) => {}
                    Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => break,
                },
                _ = second.tick(), if mistake == Some(Mistake::Restless) => {
                    touched += 1;
                    if let Some(name) = stand_in.given.keys().next() {
                        stand_in.api.touch(name, touched).await?;
                    }
                }
            }
        }
        std::hint::black_box(&kept);
    }
}

struct StandIn {
    api: Api,
    mistake: Option<Mistake>,
    connections: Arc<Semaphore>,
    /// Service -> uid, of those that need nothing more.
    given: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    next: u32,
}

impl StandIn {
    fn see(&mut self, service: Object) {
        let Object { metadata, spec, .. } = &service;
        if spec.kind != "LoadBalancer" || self.given.get(&metadata.name) == Some(&metadata.uid) {
            return;
        }
        self.given
            .insert(metadata.name.clone(), metadata.uid.clone());
        if service.address().is_some() {
            return;
        }
        let address = self.free_address();
        let (api, mistake, connections) = (
            self.api.clone(),
            self.mistake,
            Arc::clone(&self.connections),
        );
        tokio::spawn(async move {
            let Ok(_one_of_them) = connections.acquire_owned().await else {
                return;
            };
            if mistake == Some(Mistake::Slow) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let name = &service.metadata.name;
            if let Err(error) = api.write_status(&service, &address).await {
                eprintln!("{NAMESPACE}/{name}: {error}");
            }
            if mistake == Some(Mistake::Twice)
                && let Err(error) = api.touch(name, 2).await
            {
                eprintln!("{NAMESPACE}/{name}: {error}");
            }
        });
    }

    fn forget(&mut self, service: &Object) {
        if self.given.get(&service.metadata.name) == Some(&service.metadata.uid) {
            self.given.remove(&service.metadata.name);
        }
    }

    fn free_address(&mut self) -> String {
        loop {
            let address = Ipv4Addr::from(self.next).to_string();
            self.next += 1;
            if self.taken.insert(address.clone()) {
                return address;
            }
        }
    }
}
