//! What is to be done so that the BGP instances of this node become what the plan says.

use std::net::IpAddr;

use bgp_core::{Asn, Prefix, RouterId};

use super::{InstancePlan, PeerPlan, RoutePlan};

/// One step, of one instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start an instance, still without routes and peers.
    Start {
        /// Its name.
        instance: String,
        /// Who it is.
        identity: Identity,
    },
    /// Change a running instance, in this order.
    Change {
        /// Its name.
        instance: String,
        /// At least one.
        changes: Vec<Change>,
    },
    /// Withdraw everything, say so to the peers and end the instance.
    Stop {
        /// Its name.
        instance: String,
        /// For the peers and the log.
        why: StopReason,
    },
}

/// What cannot change while an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our AS.
    pub local_asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Where to listen; `None` = not at all.
    pub listen_port: Option<u16>,
    /// The address to listen on and connect from, where it is not the kernel's choice.
    pub bind_address: Option<IpAddr>,
}

/// Why an instance is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// No object asks for it any more.
    Removed,
    /// Its identity changed: it is started again at once.
    Recreated,
}

/// A change to a running instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Originate a route, or change it.
    Originate(RoutePlan),
    /// No longer originate it.
    Withdraw(Prefix),
    /// Add a peer, or change it.
    SetPeer {
        /// Its name.
        name: String,
        /// What is wanted of it.
        plan: PeerPlan,
    },
    /// Remove a peer.
    RemovePeer {
        /// Its name.
        name: String,
    },
}

impl InstancePlan {
    /// The part that cannot change while the instance runs.
    pub fn identity(&self) -> Identity {
        Identity {
            local_asn: self.local_asn,
            router_id: self.router_id,
            listen_port: self.listen_port,
            bind_address: self.bind_address,
        }
    }
}
