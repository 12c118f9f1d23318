use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::capability::Capability;
use crate::fsm::Ending;
use crate::message::{Notification, WireContext};
use crate::types::{Asn, HoldTime, RouterId};

use super::ConnectionId;

/// What an established session settled on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The connection that carries it.
    pub connection: ConnectionId,
    /// Our end.
    pub local: SocketAddr,
    /// Their end.
    pub remote: SocketAddr,
    /// Their AS, as they said.
    pub peer_asn: Asn,
    /// Their BGP Identifier.
    pub peer_router_id: RouterId,
    /// Whether the peer is in another AS.
    pub external: bool,
    /// The hold time in use.
    pub hold_time: HoldTime,
    /// The keepalive interval in use; zero where none are sent.
    pub keepalive: Duration,
    /// How messages are decoded.
    pub receive: WireContext,
    /// How messages are encoded.
    pub send: WireContext,
    /// What we offered.
    pub local_capabilities: Vec<Capability>,
    /// What they offered.
    pub remote_capabilities: Vec<Capability>,
    /// Whether ROUTE-REFRESH may be sent to them (RFC 2918).
    pub route_refresh: bool,
    /// Whether enhanced route refresh is agreed (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// When it was established.
    pub since: Instant,
}

/// Why a session, or an attempt at one, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// We sent this NOTIFICATION.
    Sent(Notification),
    /// They sent this NOTIFICATION.
    Received(Notification),
    /// The connection was closed or reset under us; the text is the system's.
    ConnectionLost(String),
    /// The connection could not be made; the text is the system's.
    ConnectFailed(String),
    /// The other one of two connections was kept (RFC 4271 section 6.8).
    Collision,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(notification) => write!(f, "we sent {notification}"),
            Self::Received(notification) => write!(f, "the peer sent {notification}"),
            Self::ConnectionLost(error) => write!(f, "connection lost: {error}"),
            Self::ConnectFailed(error) => f.write_str(error),
            Self::Collision => f.write_str("the other one of two connections was kept"),
        }
    }
}

impl From<Ending> for DownReason {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Sent(notification) => Self::Sent(notification),
            Ending::Received(notification) => Self::Received(notification),
            Ending::Lost(error) => Self::ConnectionLost(error),
            Ending::NotConnected(error) => Self::ConnectFailed(error),
            Ending::Collision => Self::Collision,
            Ending::Silent => {
                Self::ConnectionLost("closed by us without a NOTIFICATION".to_owned())
            }
        }
    }
}

/// How we end a session on our own account (RFC 4486, RFC 9003).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Send Cease with this subcode and text, then close.
    Cease(crate::types::CeaseSubcode, String),
    /// Close without a word, so that a helper keeps the routes (RFC 4724).
    Silent,
}
