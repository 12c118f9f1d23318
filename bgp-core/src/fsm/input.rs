use crate::codec::ProtocolError;
use crate::message::{Message, Notification};

use super::timers::Timer;

/// What happens to one connection, and which event of RFC 4271 section 8.1 (9687 for the last) each variant stands for.
///
/// | event | where it went |
/// |---|---|
/// | 1 ManualStart, 3 AutomaticStart | [`Start`](Self::Start): who decided makes no difference to a connection |
/// | 4, 5 the same, passive | [`StartPassive`](Self::StartPassive) |
/// | 2 ManualStop, 8 AutomaticStop | [`Stop`](Self::Stop) |
/// | 6, 7 damped start, 13 IdleHoldTimer_Expires | unused: a machine lives for one connection, and the peer's back-off decides when the next one starts |
/// | 9 ConnectRetryTimer_Expires, 10 HoldTimer_Expires, 11 KeepaliveTimer_Expires, 29 SendHoldTimer_Expires | [`Expired`](Self::Expired) |
/// | 12 DelayOpenTimer_Expires, 20 BGPOpen while it runs | unused: DelayOpen is optional, and the OPEN is sent at once |
/// | 14 TcpConnection_Valid, 15 Tcp_CR_Invalid | unused: TrackTcpState is optional; the embedder reports finished connections only, and the speaker refuses strangers |
/// | 16 Tcp_CR_Acked, 17 TcpConnectionConfirmed | [`Connected`](Self::Connected): a second connection has a machine of its own |
/// | 18 TcpConnectionFails | [`Failed`](Self::Failed) |
/// | 19 BGPOpen, 24 NotifMsgVerErr, 25 NotifMsg, 26 KeepAliveMsg, 27 UpdateMsg | [`Received`](Self::Received); ROUTE-REFRESH (RFC 2918) counts as an UPDATE does |
/// | 21 BGPHeaderErr, 22 BGPOpenMsgErr, 28 UpdateMsgErr | [`Malformed`](Self::Malformed): the error knows its code |
/// | 23 OpenCollisionDump | [`Collision`](Self::Collision) |
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an UPDATE is the common case and is moved once"
)]
pub enum Input {
    /// Events 1 and 3: call the peer.
    Start,
    /// Events 4 and 5: wait for the peer's call.
    StartPassive,
    /// Events 2 and 8: end it, with this NOTIFICATION where one can be sent, or without a word.
    Stop(Option<Notification>),
    /// Events 16 and 17: the connection stands.
    Connected,
    /// Event 18: the connection failed or could not be made; the system's words.
    Failed(String),
    /// Events 19 and 24 to 27.
    Received(Message),
    /// Events 21, 22 and 28: what the peer sent was no message; the error is the NOTIFICATION it deserves.
    Malformed(ProtocolError),
    /// Event 23: the other one of two connections is kept (RFC 4271 section 6.8).
    Collision,
    /// Events 9, 10, 11 and 29.
    Expired(Timer),
    /// No event of the RFC: an UPDATE was sent past this machine, which makes the next KEEPALIVE less urgent.
    Sent,
    /// No event of the RFC: the peer's side took octets, which restarts the SendHoldTimer (RFC 9687).
    Progress,
}
