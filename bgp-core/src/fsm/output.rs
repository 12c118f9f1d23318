use crate::message::{Message, Notification, RouteRefresh, Update};

use super::negotiate::Negotiated;

/// What the machine of one connection asks for or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make a connection.
    Connect,
    /// Send this message.
    Send(Message),
    /// Close the connection, after what was sent before.
    Close,
    /// The session is up.
    Established(Negotiated),
    /// An UPDATE to apply.
    Update(Update),
    /// A ROUTE-REFRESH to answer.
    Refresh(RouteRefresh),
    /// The connection is over and the machine is idle; always the last output of a connection.
    Ended(Ending),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// We sent this NOTIFICATION.
    Sent(Notification),
    /// They sent this NOTIFICATION.
    Received(Notification),
    /// The connection failed; the system's words.
    Lost(String),
    /// The connection was never made; the system's words.
    NotConnected(String),
    /// The other one of two connections was kept.
    Collision,
    /// We closed without a word.
    Silent,
}
