use std::fmt;

use crate::codec::ProtocolError;

/// A fault of an UPDATE that does not end the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What would have been sent if it did.
    pub error: ProtocolError,
    /// The attribute type concerned, where it is one.
    pub attribute: Option<u8>,
    /// What was done.
    pub treatment: Treatment,
}

/// RFC 7606 section 2, in ascending strength; a session reset is an `Err` instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// The attribute was dropped.
    Discard,
    /// The routes were handled as withdrawn.
    Withdraw,
}

impl fmt::Display for Fault {
    /// One line for a log: which attribute, what about it, what was done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attribute.map(|kind| (kind, super::name(kind))) {
            Some((_, Some(name))) => write!(f, "{name}: ")?,
            Some((kind, None)) => write!(f, "attribute {kind}: ")?,
            None => {}
        }
        write!(f, "{}; {}", self.error, self.treatment)
    }
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discard => "dropped",
            Self::Withdraw => "routes treated as withdrawn",
        })
    }
}
