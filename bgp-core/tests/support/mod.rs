//! What the session tests share: speakers on in-memory links, a hand-driven peer, and builders. Time is virtual.
#![allow(
    clippy::allow_attributes,
    dead_code,
    clippy::disallowed_methods,
    reason = "not every test file uses everything; any instant serves as a start"
)]

pub(crate) mod network;
pub(crate) mod probe;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_core::attribute::{AsPath, Attributes};
use bgp_core::rib::Origination;
use bgp_core::speaker::PeerSettings;
use bgp_core::{Asn, HoldTime, PeerConfig, Policy, Prefix, RouterId, SpeakerConfig};

pub(crate) const LEFT_AS: Asn = Asn(64512);
pub(crate) const RIGHT_AS: Asn = Asn(64513);

pub(crate) fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 10, last))
}

pub(crate) fn router_id(last: u8) -> RouterId {
    RouterId::new(Ipv4Addr::new(192, 168, 10, last)).expect("not zero")
}

pub(crate) fn speaker_config(asn: Asn, last: u8, seed: u64) -> SpeakerConfig {
    SpeakerConfig {
        asn,
        router_id: router_id(last),
        seed,
        transit: false,
    }
}

/// Everything in, everything out.
pub(crate) fn open_settings(last: u8, asn: Asn) -> PeerSettings {
    settings(PeerConfig::new(address(last), asn))
}

pub(crate) fn settings(session: PeerConfig) -> PeerSettings {
    PeerSettings {
        session,
        export: Arc::new(Policy::accept_all()),
        import: Arc::new(Policy::accept_all()),
        max_prefixes: None,
    }
}

pub(crate) fn prefix(text: &str) -> Prefix {
    Prefix::new(text.parse().expect("a prefix"))
}

pub(crate) fn origination(text: &str) -> Origination {
    Origination {
        prefix: prefix(text),
        attributes: Arc::new(Attributes::default()),
        next_hop: None,
    }
}

pub(crate) fn attributes_of(path: &[u32]) -> Attributes {
    Attributes {
        as_path: AsPath::sequence(path.iter().copied().map(Asn)),
        ..Attributes::default()
    }
}

pub(crate) fn hold(seconds: u16) -> HoldTime {
    HoldTime::new(seconds).expect("valid")
}
