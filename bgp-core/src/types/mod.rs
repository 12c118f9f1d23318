//! BGP's words with their own rules, and no bytes.

mod asn;
mod family;
mod hold_time;
mod peer_id;
mod prefix;
mod reason;
mod router_id;

pub use asn::{Asn, ParseAsnError};
pub use family::{Afi, Family, Safi};
pub use hold_time::HoldTime;
pub use peer_id::PeerId;
pub use prefix::{Nlri, ParsePrefixError, PathId, Prefix};
pub use reason::{
    CeaseSubcode, FsmSubcode, HeaderSubcode, OpenSubcode, Reason, RefreshSubcode, UpdateSubcode,
};
pub use router_id::{ParseRouterIdError, RouterId};
