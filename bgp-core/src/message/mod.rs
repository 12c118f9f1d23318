//! The five messages of BGP and the framer that finds them in a byte stream.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

mod framer;
mod header;
mod notification;
mod open;
mod route_refresh;
mod update;

use bytes::Bytes;

pub use framer::Framer;
pub use notification::Notification;
pub use open::Open;
pub use route_refresh::{RefreshKind, RouteRefresh};
pub use update::Update;

pub use crate::attribute::{Fault, Treatment};
pub use crate::codec::WireContext;

use crate::codec::{ProtocolError, Writer};
use header::{Header, Kind};

/// A whole message without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an UPDATE is the common case and is moved once"
)]
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

impl Message {
    /// The largest message where RFC 8654 was not negotiated, and of an OPEN or KEEPALIVE anyway; header included.
    pub const MAX: usize = header::MAX;
    /// The largest message where RFC 8654 was negotiated; header included.
    pub const MAX_EXTENDED: usize = header::MAX_EXTENDED;

    /// Decodes one whole message, header included, as the [`Framer`] cut it out.
    ///
    /// # Errors
    /// What ends the session. Faults of an UPDATE that do not (RFC 7606) are in [`Update::faults`], and the UPDATE is
    /// already what they make of it.
    ///
    /// ```
    /// use bgp_core::message::{Framer, Message, WireContext};
    ///
    /// let mut framer = Framer::new(Message::MAX);
    /// framer.push(&[0xFF; 16]);
    /// framer.push(&[0, 19, 4]);
    /// let octets = framer.next_message()?.expect("a whole message");
    /// // What the OPENs settled on is in the session's context; before them, it is this.
    /// let message = Message::decode(octets, &WireContext::initial())?;
    /// assert_eq!(message, Message::Keepalive);
    /// # Ok::<(), bgp_core::codec::ProtocolError>(())
    /// ```
    pub fn decode(octets: Bytes, context: &WireContext) -> Result<Self, ProtocolError> {
        let (header, body) = Header::split(&octets, context.max_message)?;
        Ok(match header.kind {
            Kind::Open => Self::Open(Open::decode(body)?),
            Kind::Update => Self::Update(Update::decode(&octets, body, context)?),
            Kind::Notification => Self::Notification(Notification::decode(&octets, body)?),
            Kind::Keepalive => Self::Keepalive,
            Kind::RouteRefresh => Self::RouteRefresh(RouteRefresh::decode(&octets, body)?),
        })
    }

    /// Encodes the message, header included. Messages that do not fit `context.max_message` are refused by a value.
    ///
    /// The data of a NOTIFICATION is cut where it does not fit, as half of it is better than none. An UPDATE is
    /// written as it stands: that it is best to put only one of withdrawn, announced, MP_REACH_NLRI and
    /// MP_UNREACH_NLRI into each (RFC 7606 section 5.1) is its builder's business.
    ///
    /// # Errors
    /// [`TooLong`] where the message would exceed the limit.
    pub fn encode(&self, context: &WireContext) -> Result<Bytes, TooLong> {
        match self {
            Self::Open(open) => header::message(Kind::Open, context, |writer| open.encode(writer)),
            Self::Update(update) => update.encode(context),
            Self::Notification(notification) => {
                header::message(Kind::Notification, context, |writer| {
                    notification.encode(context, writer);
                })
            }
            Self::Keepalive => header::message(Kind::Keepalive, context, |_: &mut Writer| {}),
            Self::RouteRefresh(refresh) => {
                header::message(Kind::RouteRefresh, context, |writer| refresh.encode(writer))
            }
        }
    }
}

impl From<Update> for Message {
    fn from(update: Update) -> Self {
        Self::Update(update)
    }
}

impl From<Notification> for Message {
    fn from(notification: Notification) -> Self {
        Self::Notification(notification)
    }
}

/// The message does not fit the session's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{octets} octets do not fit into one message of at most {limit}")]
pub struct TooLong {
    /// Octets needed; where they are withdrawals of several families, in one message for each.
    pub octets: usize,
    /// Octets that one message of the session may have.
    pub limit: usize,
}
