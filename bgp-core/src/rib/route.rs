use std::net::IpAddr;
use std::sync::Arc;

use crate::attribute::{Attributes, NextHop};
use crate::types::{Asn, PathId, Prefix, RouterId};

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// We originate it.
    Local,
    /// A neighbour sent it.
    Peer {
        /// The handle that the embedder gave the peer.
        peer: crate::types::PeerId,
        /// Its address, a tie breaker.
        address: IpAddr,
        /// Its AS.
        asn: Asn,
        /// Its BGP Identifier, a tie breaker.
        router_id: RouterId,
        /// Whether the session is external.
        external: bool,
        /// The path identifier it was received with.
        path_id: Option<PathId>,
    },
}

impl Source {
    /// The peer it came from; `None` for our own.
    pub fn peer(&self) -> Option<crate::types::PeerId> {
        match self {
            Self::Local => None,
            Self::Peer { peer, .. } => Some(*peer),
        }
    }

    /// The path identifier that the route was received with.
    pub fn path_id(&self) -> Option<PathId> {
        match self {
            Self::Local => None,
            Self::Peer { path_id, .. } => *path_id,
        }
    }

    /// The same source with another path identifier; our own routes have none.
    #[must_use]
    pub fn with_path_id(self, id: Option<PathId>) -> Self {
        match self {
            Self::Local => Self::Local,
            Self::Peer {
                peer,
                address,
                asn,
                router_id,
                external,
                ..
            } => Self::Peer {
                peer,
                address,
                asn,
                router_id,
                external,
                path_id: id,
            },
        }
    }
}

impl From<&Origination> for Route {
    fn from(origination: &Origination) -> Self {
        Self {
            prefix: origination.prefix,
            attributes: Arc::clone(&origination.attributes),
            next_hop: origination.next_hop.clone(),
            source: Source::Local,
        }
    }
}

/// A prefix with what it carries and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub prefix: Prefix,
    /// Shared among all routes that carry the same.
    pub attributes: Arc<Attributes>,
    /// `None` for a local route whose next hop is the session's own address.
    pub next_hop: Option<NextHop>,
    /// Local or learned.
    pub source: Source,
}

/// A route that the embedder wants to have announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origination {
    /// The prefix.
    pub prefix: Prefix,
    /// Shared attributes; AS_PATH empty (the export prepends our AS towards external peers).
    pub attributes: Arc<Attributes>,
    /// `None`: the session's own address (of the prefix's AFI, or RFC 8950 where that is negotiated).
    pub next_hop: Option<NextHop>,
}
