//! Peers that get the same octets share them; who is behind, and what is still dirty for whom.
// Seam between the helpers "rib" (this file, routes_out.rs, rib/*) and "session" (mod.rs, routes_in.rs).

use bytes::Bytes;

use crate::peer::Session;
use crate::rib::{Policy, Route};
use crate::types::{Asn, Family, Prefix};

use super::PeerId;

/// All Adj-RIB-Outs of a speaker.
#[derive(Debug, Default)]
pub(crate) struct UpdateGroups {}

/// What decides whether two peers get the same octets.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// Our AS.
    pub(crate) local_asn: Asn,
    /// The peer's export policy.
    pub(crate) policy: std::sync::Arc<Policy>,
    /// Only locally originated routes go out.
    pub(crate) originated_only: bool,
}

#[expect(unused, reason = "seam")]
impl UpdateGroups {
    /// A session came up: all of the Loc-RIB is dirty for it, End-of-RIB of each negotiated family is due after it.
    pub(crate) fn join(&mut self, peer: PeerId, session: &Session, export: Export, loc_rib: impl Iterator<Item = Route>) {
        todo!()
    }
    /// The session is gone.
    pub(crate) fn leave(&mut self, peer: PeerId) {
        todo!()
    }
    /// The export policy changed: the difference becomes dirty.
    pub(crate) fn set_policy(&mut self, peer: PeerId, policy: std::sync::Arc<Policy>, loc_rib: impl Iterator<Item = Route>) {
        todo!()
    }
    /// The best route of a prefix changed (`None`: there is none any more).
    pub(crate) fn route_changed(&mut self, prefix: Prefix, best: Option<&Route>) {
        todo!()
    }
    /// The peer asked for all routes of a family again (RFC 2918; BoRR and EoRR around them where RFC 7313 is agreed).
    pub(crate) fn refresh(&mut self, peer: PeerId, family: Family) {
        todo!()
    }
    /// Whether [`Self::next_octets`] would give something.
    pub(crate) fn is_dirty(&self, peer: PeerId) -> bool {
        todo!()
    }
    /// The next messages for the peer, at most about `budget` octets (at least one message where anything is due).
    pub(crate) fn next_octets(&mut self, peer: PeerId, budget: usize) -> Option<Bytes> {
        todo!()
    }
    /// What the peer was sent and not withdrawn from, as sent.
    pub(crate) fn advertised(&self, peer: PeerId, family: Family) -> Vec<Route> {
        todo!()
    }
    /// How many that are.
    pub(crate) fn advertised_count(&self, peer: PeerId, family: Family) -> usize {
        todo!()
    }
}
