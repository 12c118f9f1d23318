//! The cursor, the buffer and the error of the wire rooms; the only code that takes octets apart.
//!
//! Everything above it works with values: a short read is [`Truncated`], never a panic, and no other room indexes a
//! slice (the wire rooms deny it by lint).

mod context;
mod error;
mod prefix;
mod reader;
mod text;
mod writer;

pub use context::WireContext;
pub use error::ProtocolError;
pub(crate) use prefix::Run;
pub use reader::{Reader, Truncated};
pub(crate) use text::cut;
pub use writer::{LengthField, Writer};
