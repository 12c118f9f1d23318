//! What goes to the log, once each.

use bgp_core::Asn;
use bgp_core::peer::DownReason;
use bgp_core::speaker::{Event as SpeakerEvent, PeerId};
use bgp_core::types::{OpenSubcode, Reason};
use tracing::{debug, info, warn};

use super::{Driver, LOGGED_ROUTES, PeerState};
use crate::cluster::ObjectName;
use crate::plan::PeerPlan;
use crate::plan::action::Change;

/// More reasons than these in turn, and they are logged anew.
const REASONS_KEPT: usize = 8;

impl Driver {
    pub(super) fn tell(&mut self, peer: PeerId, event: SpeakerEvent) {
        let instance = self.context.name.as_str();
        let Some(name) = self.peers.get(&peer) else {
            return;
        };
        let Some(state) = self.names.get_mut(name) else {
            if let SpeakerEvent::Down {
                reason,
                was_established: true,
            } = event
            {
                info!(instance, peer = name, "session ended: {reason}");
            }
            return;
        };
        match event {
            SpeakerEvent::Established(session) => {
                state.logged.clear();
                state.objection = None;
                info!(
                    instance,
                    peer = name,
                    asn = session.peer_asn.0,
                    router_id = %session.peer_router_id,
                    local = %session.local,
                    remote = %session.remote,
                    hold_time = session.hold_time.seconds(),
                    "session established"
                );
            }
            SpeakerEvent::Down {
                reason: DownReason::Collision,
                ..
            } => {
                debug!(instance, peer = name, "one of two connections closed");
            }
            SpeakerEvent::Down {
                reason,
                was_established,
            } => {
                let text = describe(&reason, &state.plan, self.identity.local_asn);
                if state.logged.len() >= REASONS_KEPT {
                    state.logged.clear();
                }
                let is_new = state.logged.insert(text.clone());
                if was_established {
                    warn!(instance, peer = name, "session ended: {text}");
                } else if is_new {
                    warn!(instance, peer = name, "no session: {text}");
                } else {
                    debug!(instance, peer = name, "no session: {text}");
                }
                if matches!(reason, DownReason::Sent(_) | DownReason::Received(_)) {
                    state.objection = Some(text);
                }
            }
            SpeakerEvent::Fault(fault) => warn!(instance, peer = name, "faulty UPDATE: {fault:?}"),
            SpeakerEvent::State(now) => debug!(instance, peer = name, state = %now, "state"),
            SpeakerEvent::RoutesReceived {
                announced,
                withdrawn,
            } => {
                debug!(
                    instance,
                    peer = name,
                    announced = announced.len(),
                    withdrawn = withdrawn.len(),
                    "routes received"
                );
            }
            SpeakerEvent::EndOfRib(family) => debug!(instance, peer = name, %family, "end of RIB"),
        }
    }

    /// Called before the changes are made, while the reasons of withdrawn routes are still known.
    pub(super) fn log_routes(&self, changes: &[Change]) {
        let instance = self.context.name.as_str();
        let (mut announced, mut withdrawn) = (0, 0);
        for change in changes {
            match change {
                Change::Originate(route) => {
                    announced += 1;
                    if announced <= LOGGED_ROUTES {
                        let prefix = route.origination.prefix;
                        let what = if self.routes.contains_key(&prefix) {
                            "route changed"
                        } else {
                            "announcing"
                        };
                        info!(instance, %prefix, because = because(&route.because), "{what}");
                    }
                }
                Change::Withdraw(prefix) => {
                    withdrawn += 1;
                    if withdrawn <= LOGGED_ROUTES {
                        let because = self
                            .routes
                            .get(prefix)
                            .map(|route| because(&route.because))
                            .unwrap_or_default();
                        info!(instance, %prefix, because, "withdrawing");
                    }
                }
                Change::SetPeer { .. } | Change::RemovePeer { .. } => {}
            }
        }
        if announced > LOGGED_ROUTES || withdrawn > LOGGED_ROUTES {
            info!(
                instance,
                announced, withdrawn, "route changes of this plan in all"
            );
        }
    }
}

fn because(objects: &[ObjectName]) -> String {
    match objects {
        [] => "pod CIDR".to_owned(),
        objects => objects
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// Why there is no session, with what the policy says where that may be the mistake.
pub(super) fn describe(reason: &DownReason, plan: &PeerPlan, local_asn: Asn) -> String {
    let bad_peer_as = Reason::Open(OpenSubcode::BadPeerAs);
    match (reason, plan.asn) {
        (DownReason::Sent(sent), Some(asn)) if sent.reason == bad_peer_as => {
            format!("{reason}: it is not AS {asn}, as its peerASN says")
        }
        (DownReason::Received(received), _) if received.reason == bad_peer_as => {
            format!("{reason}: it expects another AS of us than {local_asn}, our localASN")
        }
        _ => reason.to_string(),
    }
}

/// Why there is no session now; where that is a mere connection, also what was said against a session before.
pub(super) fn describe_state(state: &PeerState, last: &DownReason, local_asn: Asn) -> String {
    let text = describe(last, &state.plan, local_asn);
    match (&state.objection, last) {
        (
            Some(objection),
            DownReason::ConnectionLost(_) | DownReason::ConnectFailed(_) | DownReason::Collision,
        ) => format!("{objection} (since then: {text})"),
        _ => text,
    }
}
