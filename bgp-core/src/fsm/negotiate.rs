use std::time::Duration;

use bytes::Bytes;

use crate::capability::{AddPathMode, Capability, GracefulRestart};
use crate::codec::ProtocolError;
use crate::message::{Open, WireContext};
use crate::types::{Afi, Asn, Family, HoldTime, OpenSubcode, Reason, RouterId};

/// Our side of a session: what the OPEN says and what is expected of the peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Our AS.
    pub local_asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// The peer's AS; `None`, like AS 0, accepts whichever it announces.
    pub peer_asn: Option<Asn>,
    /// The hold time we offer.
    pub hold_time: HoldTime,
    /// Our keepalive interval where it is to be shorter than a third of the negotiated hold time.
    pub keepalive: Option<Duration>,
    /// The families we offer; none stands for IPv4 unicast alone, as RFC 4760 has it.
    pub families: Vec<Family>,
    /// Graceful restart (RFC 4724); `None` leaves the capability out.
    pub graceful_restart: Option<GracefulRestart>,
    /// Offer messages of 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// Capabilities besides those that follow from the fields above.
    pub extra_capabilities: Vec<Capability>,
    /// Send capabilities at all (RFC 5492 section 3).
    pub capabilities: bool,
}

/// What two OPENs settled on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Their AS, as they said.
    pub peer_asn: Asn,
    /// Their BGP Identifier.
    pub peer_router_id: RouterId,
    /// Whether the peer is in another AS.
    pub external: bool,
    /// The hold time in use.
    pub hold_time: HoldTime,
    /// The keepalive interval before jitter; `None` where none are sent.
    pub keepalive: Option<Duration>,
    /// How messages are decoded.
    pub receive: WireContext,
    /// How messages are encoded.
    pub send: WireContext,
    /// What we offered.
    pub local_capabilities: Vec<Capability>,
    /// What they offered.
    pub remote_capabilities: Vec<Capability>,
    /// Whether both know ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
    /// Whether both know its beginning and end (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Whether both know graceful restart (RFC 4724).
    pub graceful_restart: bool,
    /// Whether a NOTIFICATION, too, makes the peer keep our routes, unless it is a Hard Reset (RFC 8538).
    pub graceful_notification: bool,
}

/// The largest message where nothing else was agreed (RFC 4271 section 4.1).
const MESSAGE_LIMIT: usize = 4096;
/// The largest message of those who know more (RFC 8654 section 4).
const EXTENDED_MESSAGE_LIMIT: usize = 65_535;

impl Offer {
    /// The OPEN that we send.
    pub fn open(&self) -> Open {
        let my_as = if self.local_asn.is_two_octet() {
            self.local_asn
        } else {
            Asn::TRANS
        };
        Open {
            my_as: u16::try_from(my_as.0).unwrap_or_default(),
            hold_time: self.hold_time,
            router_id: self.router_id,
            capabilities: self.capabilities(),
        }
    }

    fn capabilities(&self) -> Vec<Capability> {
        if !self.capabilities {
            return vec![];
        }
        let families = self.families.iter().copied();
        let mut offered: Vec<Capability> = families.map(Capability::Multiprotocol).collect();
        offered.push(Capability::RouteRefresh);
        if self.families.contains(&Family::IPV4_UNICAST) {
            offered.push(Capability::ExtendedNextHop(vec![(
                Family::IPV4_UNICAST,
                Afi::IPV6,
            )]));
        }
        if self.extended_message {
            offered.push(Capability::ExtendedMessage);
        }
        if let Some(restart) = &self.graceful_restart {
            let mut restart = restart.clone();
            // A helper waits for the End-of-RIB of every family in this list, so one that is not offered must not be in it.
            restart
                .families
                .retain(|(family, _)| self.families.contains(family));
            offered.push(Capability::GracefulRestart(restart));
        }
        offered.push(Capability::FourOctetAs(self.local_asn));
        offered.push(Capability::EnhancedRouteRefresh);
        offered.extend(self.extra_capabilities.iter().cloned());
        offered
    }

    /// Our OPEN against theirs.
    ///
    /// # Errors
    /// Bad peer AS (2/2), bad BGP Identifier (2/3, RFC 6286 section 2.2), or 2/7 where no family is left to talk about.
    pub fn negotiate(&self, theirs: &Open) -> Result<Negotiated, ProtocolError> {
        let peer_asn = theirs.asn();
        let expected = self.peer_asn.filter(|asn| *asn != Asn(0));
        if peer_asn == Asn(0) || expected.is_some_and(|asn| asn != peer_asn) {
            return Err(open_error(OpenSubcode::BadPeerAs));
        }
        let external = peer_asn != self.local_asn;
        if !external && theirs.router_id == self.router_id {
            return Err(open_error(OpenSubcode::BadBgpIdentifier));
        }

        let ours = self.capabilities();
        let families = common_families(&self.families, &ours, &theirs.capabilities);
        if families.is_empty() {
            return Err(missing_families(&self.families));
        }
        let both = |capability: &Capability| {
            ours.contains(capability) && theirs.capabilities.contains(capability)
        };
        let hold_time = self.hold_time.min(theirs.hold_time);
        let wire = WireContext {
            four_octet_as: has_four_octet_as(&ours) && has_four_octet_as(&theirs.capabilities),
            external,
            families: families.clone(),
            add_path: vec![],
            extended_next_hop: vec![],
            max_message: MESSAGE_LIMIT,
        };
        Ok(Negotiated {
            peer_asn,
            peer_router_id: theirs.router_id,
            external,
            hold_time,
            keepalive: keepalive(hold_time, self.keepalive),
            receive: WireContext {
                add_path: add_path(&families, &ours, &theirs.capabilities),
                extended_next_hop: extended_next_hop(&families, &ours),
                max_message: message_limit(ours.contains(&Capability::ExtendedMessage)),
                ..wire.clone()
            },
            send: WireContext {
                add_path: add_path(&families, &theirs.capabilities, &ours),
                extended_next_hop: extended_next_hop(&families, &theirs.capabilities),
                max_message: message_limit(both(&Capability::ExtendedMessage)),
                ..wire
            },
            route_refresh: both(&Capability::RouteRefresh),
            enhanced_route_refresh: both(&Capability::RouteRefresh)
                && both(&Capability::EnhancedRouteRefresh),
            graceful_restart: graceful_restart(&ours).is_some()
                && graceful_restart(&theirs.capabilities).is_some(),
            graceful_notification: [&ours, &theirs.capabilities].iter().all(|capabilities| {
                graceful_restart(capabilities).is_some_and(|restart| restart.notification)
            }),
            local_capabilities: ours,
            remote_capabilities: theirs.capabilities.clone(),
        })
    }
}

/// A peer that sends no multiprotocol capability at all speaks IPv4 unicast and nothing else (RFC 4760 section 8).
fn common_families(
    configured: &[Family],
    ours: &[Capability],
    theirs: &[Capability],
) -> Vec<Family> {
    let spoken = |capabilities: &[Capability]| {
        let families: Vec<Family> = capabilities
            .iter()
            .filter_map(|capability| match capability {
                Capability::Multiprotocol(family) => Some(*family),
                _ => None,
            })
            .collect();
        if families.is_empty() {
            vec![Family::IPV4_UNICAST]
        } else {
            families
        }
    };
    let theirs = spoken(theirs);
    let mut common = spoken(ours);
    common.retain(|family| {
        theirs.contains(family) && (configured.is_empty() || configured.contains(family))
    });
    common.dedup();
    common
}

fn has_four_octet_as(capabilities: &[Capability]) -> bool {
    capabilities
        .iter()
        .any(|capability| matches!(capability, Capability::FourOctetAs(_)))
}

/// The last one counts where there are several (RFC 4724 section 3).
fn graceful_restart(capabilities: &[Capability]) -> Option<&GracefulRestart> {
    let all = capabilities.iter().rev();
    all.filter_map(|capability| match capability {
        Capability::GracefulRestart(restart) => Some(restart),
        _ => None,
    })
    .next()
}

/// The families of which one side said that it receives, and the other that it sends, several paths (RFC 7911 section 4).
fn add_path(families: &[Family], receiver: &[Capability], sender: &[Capability]) -> Vec<Family> {
    let said = |capabilities: &[Capability], family: Family, wanted: AddPathMode| {
        capabilities.iter().any(|capability| match capability {
            Capability::AddPath(modes) => modes
                .iter()
                .any(|(f, mode)| *f == family && (*mode == wanted || *mode == AddPathMode::Both)),
            _ => false,
        })
    };
    let mut agreed = families.to_vec();
    agreed.retain(|family| {
        said(receiver, *family, AddPathMode::Receive) && said(sender, *family, AddPathMode::Send)
    });
    agreed
}

/// The families for which the receiver can handle next hops of the other AFI (RFC 8950 section 4).
fn extended_next_hop(families: &[Family], receiver: &[Capability]) -> Vec<Family> {
    let mut able = families.to_vec();
    able.retain(|family| {
        receiver.iter().any(|capability| match capability {
            Capability::ExtendedNextHop(tuples) => {
                tuples.iter().any(|(f, afi)| f == family && *afi != f.afi)
            }
            _ => false,
        })
    });
    able
}

fn message_limit(extended: bool) -> usize {
    if extended {
        EXTENDED_MESSAGE_LIMIT
    } else {
        MESSAGE_LIMIT
    }
}

fn keepalive(hold_time: HoldTime, configured: Option<Duration>) -> Option<Duration> {
    let third = hold_time.keepalive()?;
    // Not more than one per second, whatever was configured (RFC 4271 section 4.4).
    Some(configured.map_or(third, |wanted| {
        wanted.clamp(Duration::from_secs(1).min(third), third)
    }))
}

/// The data are the capabilities that the peer would have to offer (RFC 5492 section 5).
fn missing_families(wanted: &[Family]) -> ProtocolError {
    let capabilities = wanted.iter().copied().map(Capability::Multiprotocol);
    let octets: Vec<u8> = capabilities
        .flat_map(|capability| capability.octets())
        .collect();
    ProtocolError {
        reason: Reason::Open(OpenSubcode::UnsupportedCapability),
        data: octets.into(),
    }
}

fn open_error(subcode: OpenSubcode) -> ProtocolError {
    ProtocolError {
        reason: Reason::Open(subcode),
        data: Bytes::new(),
    }
}
