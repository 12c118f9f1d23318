//! The running BGP instances, and the actions that change them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use tokio::task::{Id, JoinSet};
use tracing::{error, info};

use crate::net::changes::Changes;
use crate::net::driver::{self, Context, Ending, InstanceHandle};
use crate::plan::action::{Action, Change, Identity, StopReason};

/// The instances of this node. One that ends although nobody stopped it is a fault of ours: [`failed`](Self::failed).
#[derive(Debug)]
pub(super) struct Instances {
    node: String,
    changes: Changes,
    /// Whether peers may still have routes of a process before this one. True for the first plan at most.
    restarted: bool,
    running: BTreeMap<String, (InstanceHandle, Id)>,
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
    /// Instances that are saying goodbye; nobody waits for them but the end of the process.
    endings: JoinSet<()>,
}

impl Instances {
    pub(super) fn new(node: String, changes: Changes, restarted: bool) -> Self {
        Self {
            node,
            changes,
            restarted,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            endings: JoinSet::new(),
        }
    }

    pub(super) fn handles(&self) -> BTreeMap<String, InstanceHandle> {
        self.running
            .iter()
            .map(|(name, (handle, _))| (name.clone(), handle.clone()))
            .collect()
    }

    /// The first plan is applied: what starts from now on was not there before.
    pub(super) fn first_plan_applied(&mut self) {
        self.restarted = false;
    }

    /// Performs one action.
    pub(super) async fn perform(&mut self, action: Action) {
        match action {
            Action::Start { instance, identity } => self.start(instance, identity),
            Action::Change { instance, changes } => self.change(&instance, changes).await,
            Action::Stop { instance, why } => self.stop(&instance, why).await,
        }
    }

    fn start(&mut self, name: String, identity: Identity) {
        let context = Context {
            name: name.clone(),
            node: self.node.clone(),
            // The only randomness of the protocol: its jitter. Two nodes that start together must not retry together.
            seed: RandomState::new().hash_one(&name),
            restarted: self.restarted,
            changes: self.changes.clone(),
        };
        let (handle, run) = driver::instance(identity, context);
        let task = self.tasks.spawn(run).id();
        self.names.insert(task, name.clone());
        self.running.insert(name, (handle, task));
    }

    async fn change(&self, name: &str, changes: Vec<Change>) {
        if let Some((handle, _)) = self.running.get(name)
            && let Err(gone) = handle.change(changes).await
        {
            error!(instance = name, "not changed: {gone}");
        }
    }

    async fn stop(&mut self, name: &str, why: StopReason) {
        let Some((handle, task)) = self.running.remove(name) else {
            return;
        };
        self.names.remove(&task);
        match why {
            StopReason::Removed => {
                info!(
                    instance = name,
                    "BGP instance is no longer wanted on this node"
                );
                self.endings
                    .spawn(async move { handle.stop(Ending::Stopped(why)).await });
            }
            // Its successor needs its port.
            StopReason::Recreated => {
                info!(
                    instance = name,
                    "BGP instance starts anew: its identity changed"
                );
                handle.stop(Ending::Stopped(why)).await;
            }
        }
    }

    /// Waits until an instance ends that nobody stopped, and says which and why. May be dropped while it waits.
    pub(super) async fn failed(&mut self) -> String {
        loop {
            match self.tasks.join_next_with_id().await {
                Some(Ok((task, ()))) => {
                    if let Some(name) = self.names.remove(&task) {
                        return format!("BGP instance {name}: its task ended");
                    }
                }
                Some(Err(failure)) => {
                    let name = self.names.remove(&failure.id()).unwrap_or_default();
                    return format!("BGP instance {name}: its task failed: {failure}");
                }
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// Ends all of them side by side and waits until each has said what there is to say.
    pub(super) async fn end(mut self) {
        for (_, (handle, _)) in std::mem::take(&mut self.running) {
            self.endings
                .spawn(async move { handle.stop(Ending::ProcessStops).await });
        }
        while self.endings.join_next().await.is_some() {}
    }
}
