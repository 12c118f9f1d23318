//! One TCP connection, RFC 4271 section 8.
// helper "session": input.rs, output.rs, state.rs, transitions.rs, timers.rs, negotiate.rs per the house plan.

use std::fmt;

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
