//! The same driver as a small router: it is called by its neighbours, takes what they announce and announces nothing.

use std::sync::Arc;

use bgp_core::speaker::PeerSettings;
use bgp_core::{Family, Policy, Route};
use tokio::sync::mpsc;

use super::{COMMANDS, Context, Driver, InstanceHandle};
use crate::plan::action::Identity;

/// What an instance does with its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Calls them, announces its own routes, uses none of theirs.
    Agent,
    /// Waits for their calls and uses what they announce.
    Router,
}

/// A router without peers, as [`super::instance`] otherwise. `fairway demo` plays one.
pub fn router(
    identity: Identity,
    context: Context,
) -> (InstanceHandle, impl Future<Output = ()> + Send + 'static) {
    let (commands, received) = mpsc::channel(COMMANDS);
    let mut driver = Driver::new(identity, context);
    driver.role = Role::Router;
    (InstanceHandle::new(commands), driver.run(received))
}

impl Role {
    pub(super) fn apply(self, mut settings: PeerSettings) -> PeerSettings {
        if self == Self::Router {
            settings.session.passive = true;
            settings.import = Arc::new(Policy::accept_all());
        }
        settings
    }
}

impl Driver {
    pub(super) fn table(&self, family: Family) -> Vec<Route> {
        self.speaker
            .loc_rib(family)
            .into_iter()
            .flat_map(|best| self.speaker.candidates(best.prefix))
            .collect()
    }
}
