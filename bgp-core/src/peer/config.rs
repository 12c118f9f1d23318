use std::net::IpAddr;
use std::time::Duration;

use crate::capability::{Capability, GracefulRestart};
use crate::fsm::Offer;
use crate::types::{Asn, Family, HoldTime, RouterId};

/// What is wanted of a neighbour. Transport matters (port, password, TTL) are the shell's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its AS; `None` accepts whichever it announces.
    pub asn: Option<Asn>,
    /// Wait to be called instead of calling.
    pub passive: bool,
    /// The hold time we offer; the lower of both is used.
    pub hold_time: HoldTime,
    /// Our keepalive interval where it is to be shorter than a third of the negotiated hold time.
    pub keepalive: Option<Duration>,
    /// Wait between connection attempts, jittered (RFC 4271 section 10) and backed off after failures.
    pub connect_retry: Duration,
    /// The families we offer.
    pub families: Vec<Family>,
    /// Graceful restart as offered; `None` leaves the capability out. `restarting` is said until the first session stands:
    /// after that, nothing was restarted.
    pub graceful_restart: Option<GracefulRestart>,
    /// Offer messages of 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// Capabilities sent besides those that follow from the fields above (FQDN, software version).
    pub extra_capabilities: Vec<Capability>,
    /// Send capabilities at all; off after a peer said that it knows none (RFC 5492 section 3).
    pub capabilities: bool,
    /// Treat routes of an external peer as withdrawn whose AS_PATH does not start with its AS (RFC 4271 section 6.3). Off
    /// towards a route server (RFC 7947 section 2.2.2.1).
    pub enforce_first_as: bool,
}

impl PeerConfig {
    /// The RFC's defaults: hold time 90 s, connect retry 120 s, both unicast families, active.
    pub fn new(address: IpAddr, asn: Asn) -> Self {
        Self {
            address,
            asn: Some(asn),
            passive: false,
            hold_time: HoldTime::DEFAULT,
            keepalive: None,
            connect_retry: Duration::from_secs(120),
            families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
            graceful_restart: None,
            extended_message: true,
            extra_capabilities: vec![],
            capabilities: true,
            enforce_first_as: true,
        }
    }
}

impl PeerConfig {
    /// The capabilities of our OPEN, in order, for status before there is a session.
    pub fn offered_capabilities(&self, local: Local) -> Vec<Capability> {
        self.offer(local).open().capabilities
    }

    /// What the OPEN says.
    pub(super) fn offer(&self, local: Local) -> Offer {
        Offer {
            local_asn: local.asn,
            router_id: local.router_id,
            peer_asn: self.asn,
            hold_time: self.hold_time,
            keepalive: self.keepalive,
            families: self.families.clone(),
            graceful_restart: self.graceful_restart.clone(),
            extended_message: self.extended_message,
            extra_capabilities: self.extra_capabilities.clone(),
            capabilities: self.capabilities,
        }
    }

    /// Whether a session made with `self` cannot go on with `other`.
    pub(super) fn needs_new_session(&self, other: &Self, local: Local) -> bool {
        self.address != other.address || self.offer(local) != other.offer(local)
    }
}

/// Who we are towards a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
}
