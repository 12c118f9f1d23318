//! What the rest of the controller holds of an instance: commands in, answers out.

use bgp_core::{Family, Route};
use tokio::sync::{mpsc, oneshot};

use super::status::{AdvertisedRoute, AvailableRoute, InstanceStatus};
use crate::plan::action::{Change, StopReason};

/// A running instance.
#[derive(Clone, Debug)]
pub struct InstanceHandle {
    commands: mpsc::Sender<Command>,
}

/// The driver task ended, although nobody stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the instance's task has ended")]
pub struct Gone;

/// How an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is no longer wanted: withdraw everything and say so.
    Stopped(StopReason),
    /// The process stops: say so, but leave peers with graceful restart their routes.
    ProcessStops,
}

#[derive(Debug)]
pub(super) enum Command {
    Change(Vec<Change>),
    Status(oneshot::Sender<InstanceStatus>),
    Available(Family, oneshot::Sender<Vec<AvailableRoute>>),
    Advertised(Family, oneshot::Sender<Vec<AdvertisedRoute>>),
    Table(Family, oneshot::Sender<Vec<Route>>),
    Stop(Ending, oneshot::Sender<()>),
}

impl InstanceHandle {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }

    /// Applies changes, in order.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn change(&self, changes: Vec<Change>) -> Result<(), Gone> {
        self.commands
            .send(Command::Change(changes))
            .await
            .map_err(|_| Gone)
    }

    /// The state of instance and peers.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn status(&self) -> Result<InstanceStatus, Gone> {
        self.ask(Command::Status).await
    }

    /// The best routes of a family.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn available(&self, family: Family) -> Result<Vec<AvailableRoute>, Gone> {
        self.ask(|answer| Command::Available(family, answer)).await
    }

    /// What was sent to the peers.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn advertised(&self, family: Family) -> Result<Vec<AdvertisedRoute>, Gone> {
        self.ask(|answer| Command::Advertised(family, answer)).await
    }

    /// All routes of a family that are held side by side, not only the best: prefix by prefix, the best first.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn table(&self, family: Family) -> Result<Vec<Route>, Gone> {
        self.ask(|answer| Command::Table(family, answer)).await
    }

    /// Ends all sessions and the driver; returns when the peers had their time to hear of it.
    pub async fn stop(&self, ending: Ending) {
        // An instance that is gone has nothing left to stop.
        let _ = self.ask(|answer| Command::Stop(ending, answer)).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }
}
