//! The five messages of BGP and the framer that finds them in a byte stream.

mod framer;
mod notification;
mod open;
mod route_refresh;
mod update;

use bytes::Bytes;

pub use framer::Framer;
pub use notification::Notification;
pub use open::Open;
pub use route_refresh::{RefreshKind, RouteRefresh};
pub use update::{Fault, Treatment, Update};

use crate::codec::ProtocolError;
use crate::types::Family;

/// A whole message without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "an UPDATE is the common case and is moved once")]
pub enum Message {
    /// Type 1.
    Open(Open),
    /// Type 2.
    Update(Update),
    /// Type 3.
    Notification(Notification),
    /// Type 4.
    Keepalive,
    /// Type 5 (RFC 2918, 7313).
    RouteRefresh(RouteRefresh),
}

/// What this session negotiated, as far as the wire form depends on it. One value per direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireContext {
    /// Four-octet AS numbers in AS_PATH and AGGREGATOR (RFC 6793).
    pub four_octet_as: bool,
    /// Whether the session is external: decides what LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST mean (RFC 7606).
    pub external: bool,
    /// The families negotiated by multiprotocol capabilities (IPv4 unicast where the peer sent none).
    pub families: Vec<Family>,
    /// The families whose NLRI carry path identifiers in this direction (RFC 7911).
    pub add_path: Vec<Family>,
    /// The families whose next hop may be of another AFI (RFC 8950).
    pub extended_next_hop: Vec<Family>,
    /// The largest message of this direction in octets: 4096, or 65535 (RFC 8654).
    pub max_message: usize,
}

impl WireContext {
    /// Before the OPENs: two-octet AS numbers, IPv4 unicast, 4096 octets.
    pub fn initial() -> Self {
        Self {
            four_octet_as: false,
            external: true,
            families: vec![Family::IPV4_UNICAST],
            add_path: vec![],
            extended_next_hop: vec![],
            max_message: 4096,
        }
    }
}

impl Message {
    /// Decodes one whole message, header included, as the [`Framer`] cut it out.
    ///
    /// # Errors
    /// What ends the session. Faults of an UPDATE that do not (RFC 7606) are in [`Update::faults`], and the UPDATE is
    /// already what they make of it.
    pub fn decode(octets: Bytes, context: &WireContext) -> Result<Self, ProtocolError> {
        let _ = (octets, context);
        todo!()
    }

    /// Encodes the message, header included. Messages that do not fit `context.max_message` are refused by a value.
    ///
    /// # Errors
    /// [`TooLong`] where the message would exceed the limit.
    pub fn encode(&self, context: &WireContext) -> Result<Bytes, TooLong> {
        let _ = context;
        todo!()
    }
}

/// The message would exceed the session's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message would have {octets} octets, the session allows {limit}")]
pub struct TooLong {
    /// Octets needed.
    pub octets: usize,
    /// Octets allowed.
    pub limit: usize,
}
