//! Peers in Cilium's shape.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bgp_core::Family;
use bgp_core::capability::Capability;
use bgp_core::fsm::StateName;

use super::shapes;
use super::state::State;
use crate::net::driver::{InstanceStatus, PeerView};

pub(super) async fn peers_by_node(state: &State) -> shapes::PeersByNode {
    let mut peers: Vec<shapes::Peer> = vec![];
    for (instance, status) in state.statuses().await {
        peers.extend(
            status
                .peers
                .iter()
                .map(|view| peer(&instance, &status, view)),
        );
    }
    [(state.node().to_owned(), peers)].into()
}

fn peer(instance: &str, status: &InstanceStatus, view: &PeerView) -> shapes::Peer {
    let plan = &view.plan;
    let session = view
        .status
        .as_ref()
        .and_then(|status| status.session.as_ref());
    let internal = plan.asn == Some(status.identity.local_asn);
    shapes::Peer {
        instance: instance.to_owned(),
        local_asn: status.identity.local_asn.0,
        peer_asn: plan
            .asn
            .or_else(|| session.map(|session| session.peer_asn))
            .map_or(0, |asn| asn.0),
        peer_address: plan.address.to_string(),
        peer_port: plan.port,
        name: view.name.clone(),
        session_state: view
            .status
            .as_ref()
            .map_or(StateName::Idle, |status| status.state)
            .to_string(),
        uptime_nanoseconds: session.map_or(0, |session| {
            nanoseconds(status.now.saturating_duration_since(session.since))
        }),
        families: plan
            .families
            .iter()
            .map(|family| peer_family(*family, view))
            .collect(),
        configured_hold_time_seconds: plan.hold_time.seconds().into(),
        applied_hold_time_seconds: session.map_or(0, |session| session.hold_time.seconds().into()),
        configured_keep_alive_time_seconds: seconds(plan.keepalive),
        applied_keep_alive_time_seconds: session.map_or(0, |session| seconds(session.keepalive)),
        connect_retry_time_seconds: seconds(plan.connect_retry),
        ebgp_multihop_ttl: if internal { 1 } else { plan.ttl.into() },
        graceful_restart: shapes::GracefulRestart {
            enabled: plan.graceful_restart.is_some(),
            restart_time_seconds: plan.graceful_restart.map_or(0, u32::from),
        },
        tcp_password_enabled: plan.password.is_some(),
        local_capabilities: capabilities(
            session.map_or(&view.offered, |session| &session.local_capabilities),
        ),
        remote_capabilities: session
            .map(|session| capabilities(&session.remote_capabilities))
            .unwrap_or_default(),
        last_error: view.error.clone().unwrap_or_default(),
    }
}

fn peer_family(family: Family, view: &PeerView) -> shapes::PeerFamily {
    let counts = view
        .status
        .as_ref()
        .and_then(|status| status.counts.iter().find(|(of, _)| *of == family))
        .map(|(_, counts)| *counts);
    let counts = counts.unwrap_or_default();
    let name = family_name(family);
    shapes::PeerFamily {
        afi: name.afi,
        safi: name.safi,
        received: counts.received as u64,
        accepted: counts.accepted as u64,
        advertised: counts.advertised as u64,
    }
}

pub(super) fn family_name(family: Family) -> shapes::FamilyName {
    let text = family.to_string();
    let (afi, safi) = text.split_once('/').unwrap_or((text.as_str(), ""));
    shapes::FamilyName {
        afi: afi.to_owned(),
        safi: safi.to_owned(),
    }
}

fn capabilities(capabilities: &[Capability]) -> Vec<shapes::Capability> {
    capabilities
        .iter()
        .map(|capability| shapes::Capability {
            capabilities: STANDARD.encode(capability.octets()),
        })
        .collect()
}

fn seconds(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

pub(super) fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
