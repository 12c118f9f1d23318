//! Routes for the tests of this room and of the speaker's.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::attribute::{AsPath, Attributes, NextHop};
use crate::types::PeerId;
use crate::types::{Asn, Prefix, RouterId};

use super::{Route, Source};

pub(crate) fn prefix(text: &str) -> Prefix {
    Prefix::new(text.parse().expect("a prefix"))
}

pub(crate) fn local(net: &str) -> Route {
    Route {
        prefix: prefix(net),
        attributes: Arc::new(Attributes::default()),
        next_hop: None,
        source: Source::Local,
    }
}

/// A route of peer `n`: AS 65000 + n, router identifier and address 10.255.0.n, external.
pub(crate) fn learned(net: &str, n: u8) -> Route {
    let address = Ipv4Addr::new(10, 255, 0, n);
    let asn = Asn(65000 + u32::from(n));
    Route {
        prefix: prefix(net),
        attributes: Arc::new(Attributes {
            as_path: AsPath::sequence([asn]),
            ..Attributes::default()
        }),
        next_hop: Some(NextHop::V4(address)),
        source: Source::Peer {
            peer: PeerId(u32::from(n)),
            address: IpAddr::V4(address),
            asn,
            router_id: RouterId::new(address).expect("not zero"),
            external: true,
            path_id: None,
        },
    }
}
