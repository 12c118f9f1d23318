use std::sync::Arc;

use crate::peer::PeerConfig;
use crate::rib::Policy;
use crate::types::{Asn, RouterId};

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Feeds every jitter.
    pub seed: u64,
    /// Send routes that one peer taught us to others. Off in Fairway's agent: only originated routes go out.
    pub transit: bool,
}

/// A peer as the speaker sees it: the session and the two policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// The session.
    pub session: PeerConfig,
    /// What of the Loc-RIB goes out. Shared: peers with equal policies form one update group.
    pub export: Arc<Policy>,
    /// What comes in. Routes that it refuses stay in the Adj-RIB-In, counted but not used.
    pub import: Arc<Policy>,
    /// Give up a session whose peer sends more routes of one family than this (RFC 4486 subcode 1); `None` stands for
    /// [`Speaker::MOST_PREFIXES`](super::Speaker::MOST_PREFIXES).
    pub max_prefixes: Option<u32>,
}
