use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::message::{Message, Notification};
use crate::types::{CeaseSubcode, HoldTime, Reason};

use super::negotiate::{Negotiated, Offer};
use super::output::{Ending, Output};
use super::timers::{Timer, Timers};
use super::{Input, Jitter, StateName};

/// One state of RFC 4271 section 8.2.2 with exactly the data that exists in it.
#[derive(Debug)]
pub(super) enum State {
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm(OpenConfirm),
    Established(Established),
}

/// The peer's OPEN was good; its first KEEPALIVE is awaited.
#[derive(Debug)]
pub(super) struct OpenConfirm {
    pub(super) negotiated: Negotiated,
}

/// Routes are exchanged.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) negotiated: Negotiated,
}

impl State {
    pub(super) fn name(&self) -> StateName {
        match self {
            Self::Idle => StateName::Idle,
            Self::Connect => StateName::Connect,
            Self::Active => StateName::Active,
            Self::OpenSent => StateName::OpenSent,
            Self::OpenConfirm(_) => StateName::OpenConfirm,
            Self::Established(_) => StateName::Established,
        }
    }

    pub(super) fn negotiated(&self) -> Option<&Negotiated> {
        match self {
            Self::OpenConfirm(OpenConfirm { negotiated })
            | Self::Established(Established { negotiated }) => Some(negotiated),
            Self::Idle | Self::Connect | Self::Active | Self::OpenSent => None,
        }
    }

    /// Consumes the state, so that no field outlives it.
    pub(super) fn handle(self, input: Input, context: &mut Context<'_>) -> Self {
        match self {
            Self::Idle => context.idle(input),
            Self::Connect => context.connect(input),
            Self::Active => context.active(input),
            Self::OpenSent => context.open_sent(input),
            Self::OpenConfirm(state) => state.handle(input, context),
            Self::Established(state) => state.handle(input, context),
        }
    }
}

/// What a transition may touch besides the state: the clock's reading, the timers and the outputs.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) offer: &'a Offer,
    pub(super) connect_retry: Duration,
    pub(super) timers: &'a mut Timers,
    pub(super) jitter: &'a mut Jitter,
    pub(super) outputs: &'a mut VecDeque<Output>,
}

/// How long we wait for the OPEN (RFC 4271 section 8.2.2: "a large value"), and then for the first KEEPALIVE where the
/// hold time gives no limit.
const HOLD_UNTIL_OPEN: Duration = Duration::from_secs(240);
/// No attempt is given up earlier, however short the configured interval.
const CONNECT_RETRY_AT_LEAST: Duration = Duration::from_secs(1);
/// The least SendHoldTimer (RFC 9687 section 4).
const SEND_HOLD_AT_LEAST: Duration = Duration::from_secs(480);

impl Context<'_> {
    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn send(&mut self, message: Message) {
        self.output(Output::Send(message));
    }

    pub(super) fn start_connect_retry(&mut self) {
        let wait = self
            .jitter
            .shorten(self.connect_retry.max(CONNECT_RETRY_AT_LEAST));
        self.timers.set(Timer::ConnectRetry, self.now + wait);
    }

    pub(super) fn start_hold_until_open(&mut self) {
        self.timers.set(Timer::Hold, self.now + HOLD_UNTIL_OPEN);
    }

    /// Restarts the HoldTimer for the first KEEPALIVE. A peer has to send that one whatever the hold time is, and one that
    /// died before it did must not hold the place of its successor for ever.
    pub(super) fn restart_hold_until_keepalive(&mut self, negotiated: &Negotiated) {
        if negotiated.hold_time == HoldTime::ZERO {
            self.start_hold_until_open();
        } else {
            self.restart_hold(negotiated);
        }
    }

    /// Restarts the HoldTimer; a hold time of zero means that there is none.
    pub(super) fn restart_hold(&mut self, negotiated: &Negotiated) {
        let hold_time = negotiated.hold_time.duration();
        if hold_time.is_zero() {
            self.timers.stop(Timer::Hold);
        } else {
            self.timers.set(Timer::Hold, self.now + hold_time);
        }
    }

    pub(super) fn restart_keepalive(&mut self, negotiated: &Negotiated) {
        let Some(interval) = negotiated.keepalive else {
            return;
        };
        // Jitter must not take the interval below one second (RFC 4271 section 4.4).
        let wait = self
            .jitter
            .shorten(interval)
            .max(interval.min(Duration::from_secs(1)));
        self.timers.set(Timer::Keepalive, self.now + wait);
    }

    pub(super) fn restart_send_hold(&mut self, negotiated: &Negotiated) {
        let hold_time = negotiated.hold_time.duration();
        if !hold_time.is_zero() {
            let wait = SEND_HOLD_AT_LEAST.max(hold_time * 2);
            self.timers.set(Timer::SendHold, self.now + wait);
        }
    }

    /// To Idle, the connection closed and the reason told.
    pub(super) fn end(&mut self, ending: Ending) -> State {
        self.output(Output::Close);
        self.ended(ending)
    }

    /// To Idle, where the connection is gone already.
    pub(super) fn ended(&mut self, ending: Ending) -> State {
        self.timers.stop_all();
        self.output(Output::Ended(ending));
        State::Idle
    }

    /// To Idle with a NOTIFICATION as the last message.
    pub(super) fn notify(&mut self, notification: impl Into<Notification>) -> State {
        let notification = notification.into();
        self.send(Message::Notification(notification.clone()));
        self.end(Ending::Sent(notification))
    }

    pub(super) fn stop(&mut self, cease: Option<Notification>) -> State {
        match cease {
            Some(notification) => self.notify(notification),
            None => self.end(Ending::Silent),
        }
    }

    /// The other one of two connections is kept: Cease/7, whose cause is told as what it is.
    pub(super) fn collision(&mut self) -> State {
        let cease = Reason::Cease(CeaseSubcode::ConnectionCollision);
        self.send(Message::Notification(cease.into()));
        self.end(Ending::Collision)
    }
}
