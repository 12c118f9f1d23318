//! One TCP connection, RFC 4271 section 8.
//!
//! A machine lives for one connection: it is started, it comes up or not, and it ends with [`Output::Ended`]. When the
//! next connection is tried, and which of two is kept, is the peer's to decide; what a route is, nobody here knows.

mod input;
mod jitter;
mod negotiate;
mod output;
mod state;
mod timers;
mod transitions;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

pub use input::Input;
pub use jitter::Jitter;
pub use negotiate::{Negotiated, Offer};
pub use output::{Ending, Output};
pub use timers::Timer;

use crate::codec::ProtocolError;
use crate::message::Open;
use state::{Context, State};
use timers::Timers;

/// The machine of one connection.
///
/// Every [`handle`](Self::handle) and [`tick`](Self::tick) is followed by a full drain of
/// [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub struct Fsm {
    offer: Offer,
    connect_retry: Duration,
    state: State,
    timers: Timers,
    jitter: Jitter,
    outputs: VecDeque<Output>,
}

impl Fsm {
    /// An idle machine. `connect_retry` bounds one attempt to connect; `seed` feeds the jitter.
    pub fn new(offer: Offer, connect_retry: Duration, seed: u64) -> Self {
        Self {
            offer,
            connect_retry,
            state: State::Idle,
            timers: Timers::default(),
            jitter: Jitter::new(seed),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let mut context = Context {
            now,
            offer: &self.offer,
            connect_retry: self.connect_retry,
            timers: &mut self.timers,
            jitter: &mut self.jitter,
            outputs: &mut self.outputs,
        };
        self.state = state.handle(input, &mut context);
    }

    /// Lets the timers expire whose time has come.
    pub fn tick(&mut self, now: Instant) {
        // At most one round: a timer that is set again lies in the future.
        while let Some(timer) = self.timers.expired(now) {
            self.handle(now, Input::Expired(timer));
        }
    }

    /// The next output, in order; `None` when drained.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`tick`](Self::tick) is due at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// The state.
    pub fn state(&self) -> StateName {
        self.state.name()
    }

    /// What the OPENs settled on; from OpenConfirm on.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.state.negotiated()
    }

    /// What would come of this OPEN; changes nothing. Collisions are decided before the OPEN is answered
    /// (RFC 4271 section 6.8), which needs what it says.
    ///
    /// # Errors
    /// What the OPEN would be refused with.
    pub fn examine(&self, open: &Open) -> Result<Negotiated, ProtocolError> {
        self.offer.negotiate(open)
    }
}

/// The six states of RFC 4271 section 8.2.2, as operators know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateName {
    /// Refusing connections.
    Idle,
    /// Waiting for our connection.
    Connect,
    /// Listening, waiting to try again.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN accepted, waiting for the first KEEPALIVE.
    OpenConfirm,
    /// Exchanging routes.
    Established,
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Connect => "connect",
            Self::Active => "active",
            Self::OpenSent => "open_sent",
            Self::OpenConfirm => "open_confirm",
            Self::Established => "established",
        })
    }
}
