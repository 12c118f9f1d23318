//! What the session tests share: speakers on in-memory links, a hand-driven peer, and builders. Time is virtual.
#![allow(
    clippy::allow_attributes,
    dead_code,
    clippy::disallowed_methods,
    reason = "not every test file uses everything; any instant serves as a start"
)]

pub mod network;
pub mod probe;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_core::attribute::{AsPath, Attributes};
use bgp_core::rib::Origination;
use bgp_core::speaker::PeerSettings;
use bgp_core::{Asn, PeerConfig, Policy, Prefix, RouterId, SpeakerConfig};

pub const LEFT_AS: Asn = Asn(64512);
pub const RIGHT_AS: Asn = Asn(64513);

pub fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 10, last))
}

pub fn router_id(last: u8) -> RouterId {
    RouterId::new(Ipv4Addr::new(192, 168, 10, last)).expect("not zero")
}

pub fn speaker_config(asn: Asn, last: u8, seed: u64) -> SpeakerConfig {
    SpeakerConfig {
        asn,
        router_id: router_id(last),
        seed,
        transit: false,
    }
}

/// Everything in, everything out.
pub fn open_settings(last: u8, asn: Asn) -> PeerSettings {
    settings(PeerConfig::new(address(last), asn))
}

pub fn settings(session: PeerConfig) -> PeerSettings {
    PeerSettings {
        session,
        export: Arc::new(Policy::accept_all()),
        import: Arc::new(Policy::accept_all()),
        max_prefixes: None,
    }
}

pub fn prefix(text: &str) -> Prefix {
    Prefix::new(text.parse().expect("a prefix"))
}

pub fn origination(text: &str) -> Origination {
    Origination {
        prefix: prefix(text),
        attributes: Arc::new(Attributes::default()),
        next_hop: None,
    }
}

pub fn attributes_of(path: &[u32]) -> Attributes {
    Attributes {
        as_path: AsPath::sequence(path.iter().copied().map(Asn)),
        ..Attributes::default()
    }
}
