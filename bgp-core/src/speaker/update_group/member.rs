//! Where one peer of a group stands, and the markers that it waits for.

use bytes::Bytes;

use crate::message::{Message, RefreshKind, RouteRefresh, Update, WireContext};
use crate::types::Family;

/// Where one peer stands.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) cohort: u64,
    /// Of the next message of the cohort's log.
    pub(super) position: u64,
    /// Beginnings of refreshes that are due at once.
    pub(super) begins: Vec<Family>,
    pub(super) ends: Vec<End>,
    /// Refreshes that wait for the End-of-RIB or for the end of the one before.
    pub(super) deferred: Vec<Family>,
    /// Whether beginnings and ends of refreshes are told.
    pub(super) enhanced_refresh: bool,
}

/// A marker that follows the routes that were dirty when it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) kind: EndKind,
    pub(super) family: Family,
    /// Due when the cohort has completed a plan of this number or a later one, or is not dirty.
    pub(super) plan: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndKind {
    Rib,
    Refresh,
}

impl Member {
    pub(super) fn new(families: &[Family], enhanced_refresh: bool, plans: u64) -> Self {
        let end = |family: &Family| End {
            kind: EndKind::Rib,
            family: *family,
            plan: plans + 1,
        };
        Self {
            cohort: 0,
            position: 0,
            begins: vec![],
            ends: families.iter().map(end).collect(),
            deferred: vec![],
            enhanced_refresh,
        }
    }
}

impl End {
    pub(super) fn message(self) -> Message {
        match self.kind {
            EndKind::Rib => Message::Update(Update::end_of_rib(self.family)),
            EndKind::Refresh => Message::RouteRefresh(RouteRefresh {
                family: self.family,
                kind: RefreshKind::End,
            }),
        }
    }
}

pub(super) fn begin_of_refresh(family: Family) -> Message {
    Message::RouteRefresh(RouteRefresh {
        family,
        kind: RefreshKind::Begin,
    })
}

/// Markers have at most 29 octets each, which every session allows.
pub(super) fn markers(messages: impl Iterator<Item = Message>, context: &WireContext) -> Bytes {
    let encoded: Vec<Bytes> = messages
        .filter_map(|message| message.encode(context).ok())
        .collect();
    encoded.concat().into()
}
