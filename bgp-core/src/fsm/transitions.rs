//! The whole (state, input) table of RFC 4271 section 8.2.2, one function per state.
//!
//! ```text
//!             Start, StartPassive            Connected          OPEN           KEEPALIVE
//!   Idle ───────────────┬──> Connect ──┬──────────────> OpenSent ───> OpenConfirm ───> Established
//!     ^                 └──> Active ───┘                   │               │                │
//!     └────────────────────────────────────────────────────┴───────────────┴────────────────┘
//!                 whatever ends the connection: NOTIFICATION where one is due, close, tell why
//! ```
//!
//! | | Idle | Connect | Active | OpenSent | OpenConfirm | Established |
//! |---|---|---|---|---|---|---|
//! | Start | **Connect**: connect | - | - | - | - | - |
//! | StartPassive | **Active** | - | - | - | - | - |
//! | Stop | - | Idle: close | Idle: close | Idle: Cease | Idle: Cease | Idle: Cease |
//! | Collision | - | Idle: close | Idle: close | Idle: 6/7 | Idle: 6/7 | Idle: 6/7 |
//! | Connected | - | **OpenSent**: OPEN | **OpenSent**: OPEN | - | - | - |
//! | Failed | - | Idle | Idle | Idle | Idle | Idle |
//! | OPEN, good | - | Idle | Idle | **OpenConfirm**: KEEPALIVE | Idle: 5/2 | Idle: 5/3 |
//! | OPEN, bad | - | Idle | Idle | Idle: 2/n | Idle: 5/2 | Idle: 5/3 |
//! | NOTIFICATION | - | Idle | Idle | Idle: close | Idle: close | Idle: close |
//! | KEEPALIVE | - | Idle | Idle | Idle: 5/1 | **Established** | hold |
//! | UPDATE, ROUTE-REFRESH | - | Idle | Idle | Idle: 5/1 | Idle: 5/2 | hold, deliver |
//! | Malformed | - | Idle | Idle | Idle: the error | Idle: the error | Idle: the error |
//! | ConnectRetry expired | - | connect again | **Connect**: connect | Idle: 5/1 | Idle: 5/2 | Idle: 5/3 |
//! | Hold expired | - | Idle | Idle | Idle: 4 | Idle: 4 | Idle: 4 |
//! | Keepalive expired | - | Idle | Idle | Idle: 5/1 | KEEPALIVE | KEEPALIVE |
//! | SendHold expired | - | Idle | Idle | Idle: 5/1 | Idle: 5/2 | Idle: 8 |
//! | Sent, Progress | - | - | - | - | - | timer restarted |
//!
//! "-" is ignored. The ConnectRetryCounter is the peer's back-off, and a machine whose connection is over stays in
//! Idle: that RFC 4271 goes from OpenSent to Active on a lost connection is the peer's waiting for the next one.

use crate::message::Message;
use crate::types::{FsmSubcode, Reason};

use super::Input;
use super::output::{Ending, Output};
use super::state::{Context, Established, OpenConfirm, State};
use super::timers::Timer;

/// What is told of a connection on which something came before it stood: a mistake of the embedder.
const NOT_CONNECTED: &str = "something was received before the connection was made";

impl Context<'_> {
    pub(super) fn idle(&mut self, input: Input) -> State {
        match input {
            Input::Start => self.call(),
            Input::StartPassive => State::Active,
            Input::Stop(_)
            | Input::Connected
            | Input::Failed(_)
            | Input::Received(_)
            | Input::Malformed(_)
            | Input::Collision
            | Input::Expired(_)
            | Input::Sent
            | Input::Progress => State::Idle,
        }
    }

    pub(super) fn connect(&mut self, input: Input) -> State {
        match input {
            Input::Stop(_) => self.end(Ending::Silent),
            Input::Collision => self.end(Ending::Collision),
            Input::Connected => self.greet(),
            Input::Failed(error) => self.ended(Ending::NotConnected(error)),
            Input::Expired(Timer::ConnectRetry) => {
                self.output(Output::Close);
                self.call()
            }
            Input::Received(_)
            | Input::Malformed(_)
            | Input::Expired(Timer::Hold | Timer::Keepalive | Timer::SendHold) => {
                self.end(Ending::NotConnected(NOT_CONNECTED.to_owned()))
            }
            Input::Start | Input::StartPassive | Input::Sent | Input::Progress => State::Connect,
        }
    }

    pub(super) fn active(&mut self, input: Input) -> State {
        match input {
            Input::Stop(_) => self.end(Ending::Silent),
            Input::Collision => self.end(Ending::Collision),
            Input::Connected => self.greet(),
            Input::Failed(error) => self.ended(Ending::NotConnected(error)),
            Input::Expired(Timer::ConnectRetry) => self.call(),
            Input::Received(_)
            | Input::Malformed(_)
            | Input::Expired(Timer::Hold | Timer::Keepalive | Timer::SendHold) => {
                self.end(Ending::NotConnected(NOT_CONNECTED.to_owned()))
            }
            Input::Start | Input::StartPassive | Input::Sent | Input::Progress => State::Active,
        }
    }

    pub(super) fn open_sent(&mut self, input: Input) -> State {
        match input {
            Input::Stop(cease) => self.stop(cease),
            Input::Collision => self.collision(),
            Input::Failed(error) => self.ended(Ending::Lost(error)),
            Input::Received(Message::Open(open)) => match self.offer.negotiate(&open) {
                Ok(negotiated) => {
                    self.send(Message::Keepalive);
                    self.restart_hold_until_keepalive(&negotiated);
                    self.restart_keepalive(&negotiated);
                    State::OpenConfirm(OpenConfirm { negotiated })
                }
                Err(error) => self.notify(error),
            },
            Input::Received(Message::Notification(received)) => {
                self.end(Ending::Received(received))
            }
            Input::Malformed(error) => self.notify(error),
            Input::Expired(Timer::Hold) => self.notify(Reason::HoldTimerExpired),
            Input::Received(Message::Keepalive | Message::Update(_) | Message::RouteRefresh(_))
            | Input::Expired(Timer::ConnectRetry | Timer::Keepalive | Timer::SendHold) => {
                self.notify(Reason::Fsm(FsmSubcode::OpenSent))
            }
            Input::Start
            | Input::StartPassive
            | Input::Connected
            | Input::Sent
            | Input::Progress => State::OpenSent,
        }
    }

    /// Idle, Connect or Active to Connect.
    fn call(&mut self) -> State {
        self.start_connect_retry();
        self.output(Output::Connect);
        State::Connect
    }

    /// Connect or Active to OpenSent.
    fn greet(&mut self) -> State {
        self.timers.stop(Timer::ConnectRetry);
        self.start_hold_until_open();
        self.send(Message::Open(self.offer.open()));
        State::OpenSent
    }
}

impl OpenConfirm {
    pub(super) fn handle(self, input: Input, context: &mut Context<'_>) -> State {
        match input {
            Input::Stop(cease) => context.stop(cease),
            Input::Collision => context.collision(),
            Input::Failed(error) => context.ended(Ending::Lost(error)),
            Input::Received(Message::Keepalive) => {
                context.restart_hold(&self.negotiated);
                context.restart_send_hold(&self.negotiated);
                context.output(Output::Established(self.negotiated.clone()));
                State::Established(Established {
                    negotiated: self.negotiated,
                })
            }
            Input::Received(Message::Notification(received)) => {
                context.end(Ending::Received(received))
            }
            Input::Malformed(error) => context.notify(error),
            Input::Expired(Timer::Hold) => context.notify(Reason::HoldTimerExpired),
            Input::Expired(Timer::Keepalive) => {
                context.send(Message::Keepalive);
                context.restart_keepalive(&self.negotiated);
                State::OpenConfirm(self)
            }
            Input::Received(Message::Open(_) | Message::Update(_) | Message::RouteRefresh(_))
            | Input::Expired(Timer::ConnectRetry | Timer::SendHold) => {
                context.notify(Reason::Fsm(FsmSubcode::OpenConfirm))
            }
            Input::Start
            | Input::StartPassive
            | Input::Connected
            | Input::Sent
            | Input::Progress => State::OpenConfirm(self),
        }
    }
}

impl Established {
    pub(super) fn handle(self, input: Input, context: &mut Context<'_>) -> State {
        match input {
            Input::Stop(cease) => context.stop(cease),
            Input::Collision => context.collision(),
            Input::Failed(error) => context.ended(Ending::Lost(error)),
            Input::Received(Message::Update(update)) => {
                context.restart_hold(&self.negotiated);
                context.output(Output::Update(update));
                State::Established(self)
            }
            Input::Received(Message::RouteRefresh(refresh)) => {
                context.restart_hold(&self.negotiated);
                context.output(Output::Refresh(refresh));
                State::Established(self)
            }
            Input::Received(Message::Keepalive) => {
                context.restart_hold(&self.negotiated);
                State::Established(self)
            }
            Input::Received(Message::Notification(received)) => {
                context.end(Ending::Received(received))
            }
            Input::Malformed(error) => context.notify(error),
            Input::Expired(Timer::Hold) => context.notify(Reason::HoldTimerExpired),
            Input::Expired(Timer::Keepalive) => {
                context.send(Message::Keepalive);
                context.restart_keepalive(&self.negotiated);
                State::Established(self)
            }
            Input::Expired(Timer::SendHold) => context.notify(Reason::SendHoldTimerExpired),
            Input::Received(Message::Open(_)) | Input::Expired(Timer::ConnectRetry) => {
                context.notify(Reason::Fsm(FsmSubcode::Established))
            }
            Input::Sent => {
                context.restart_keepalive(&self.negotiated);
                State::Established(self)
            }
            Input::Progress => {
                context.restart_send_hold(&self.negotiated);
                State::Established(self)
            }
            Input::Start | Input::StartPassive | Input::Connected => State::Established(self),
        }
    }
}
