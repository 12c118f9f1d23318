//! Whom this node should talk to and what it should announce (v1 policies).

use crate::cluster::Snapshot;

use super::addresses::AddressPlan;
use super::{BgpPlan, Settings};

/// Plans this node's BGP. Ingress addresses are those of `addresses` where it has the Service, else the recorded ones.
pub fn plan(snapshot: &Snapshot, addresses: &AddressPlan, settings: &Settings) -> BgpPlan {
    let _ = (snapshot, addresses, settings);
    todo!()
}
