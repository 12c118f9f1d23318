//! The state of an instance as values, for the local API and the metrics.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bgp_core::capability::Capability;
use bgp_core::message::WireContext;
use bgp_core::rib::Route;
use bgp_core::speaker::{PeerId, PeerStatus};
use bgp_core::{Family, Prefix};

use super::telling::describe_state;
use super::{Driver, now};
use crate::plan::PeerPlan;
use crate::plan::action::Identity;

/// An instance as status and metrics show it.
#[derive(Clone, Debug)]
pub struct InstanceStatus {
    /// Who it is.
    pub identity: Identity,
    /// Why it does not listen although it should.
    pub listen_error: Option<String>,
    /// Its peers by name.
    pub peers: Vec<PeerView>,
    /// When this was taken.
    pub now: Instant,
}

/// A peer as status and metrics show it.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// Its name.
    pub name: String,
    /// What is wanted of it.
    pub plan: PeerPlan,
    /// What our OPEN offers.
    pub offered: Vec<Capability>,
    /// What the speaker says; `None` while it is blocked.
    pub status: Option<PeerStatus>,
    /// Why the last session or attempt ended, or why none is made; `None` while all is well.
    pub error: Option<String>,
}

/// A route of the Loc-RIB.
#[derive(Clone, Debug)]
pub struct AvailableRoute {
    /// The route.
    pub route: Route,
    /// Since it is what it is.
    pub age: Duration,
}

/// A route of an Adj-RIB-Out.
#[derive(Clone, Debug)]
pub struct AdvertisedRoute {
    /// The peer's name.
    pub peer: String,
    /// The peer's address.
    pub neighbor: IpAddr,
    /// How the session encodes it.
    pub context: WireContext,
    /// As sent.
    pub route: Route,
    /// Since it is what it is.
    pub age: Duration,
}

impl Driver {
    pub(super) fn status(&self) -> InstanceStatus {
        let mut statuses: HashMap<PeerId, PeerStatus> = self
            .speaker
            .peers()
            .into_iter()
            .map(|status| (status.id, status))
            .collect();
        let peers = self
            .names
            .iter()
            .map(|(name, state)| {
                let status = state.id.and_then(|id| statuses.remove(&id));
                let down = status
                    .as_ref()
                    .filter(|status| status.session.is_none())
                    .and_then(|status| status.last_down.as_ref())
                    .map(|last| describe_state(state, last, self.identity.local_asn));
                let error = state
                    .plan
                    .blocked
                    .clone()
                    .or_else(|| state.fault.clone())
                    .or(down);
                PeerView {
                    name: name.clone(),
                    plan: state.plan.clone(),
                    offered: state.offered.clone(),
                    status,
                    error,
                }
            })
            .collect();
        InstanceStatus {
            identity: self.identity,
            listen_error: self.listen_error.clone(),
            peers,
            now: now(),
        }
    }

    pub(super) fn available(&self, family: Family) -> Vec<AvailableRoute> {
        let now = now();
        self.speaker
            .loc_rib(family)
            .into_iter()
            .map(|route| AvailableRoute {
                age: self.age(route.prefix, now),
                route,
            })
            .collect()
    }

    pub(super) fn advertised(&self, family: Family) -> Vec<AdvertisedRoute> {
        let now = now();
        let sessions = self
            .speaker
            .peers()
            .into_iter()
            .filter_map(|status| Some((status.id, status.session?.send)));
        let mut routes = vec![];
        for (id, context) in sessions {
            let Some((name, state)) = self
                .peers
                .get(&id)
                .and_then(|name| self.names.get_key_value(name))
            else {
                continue;
            };
            routes.extend(
                self.speaker
                    .advertised(id, family)
                    .into_iter()
                    .map(|route| AdvertisedRoute {
                        peer: name.clone(),
                        neighbor: state.plan.address,
                        context: context.clone(),
                        age: self.age(route.prefix, now),
                        route,
                    }),
            );
        }
        routes
    }

    fn age(&self, prefix: Prefix, now: Instant) -> Duration {
        self.routes.get(&prefix).map_or(Duration::ZERO, |route| {
            now.saturating_duration_since(route.since)
        })
    }
}
