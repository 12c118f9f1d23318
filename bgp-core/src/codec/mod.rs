//! The cursor, the buffer and the error of the wire rooms; the only code that indexes a slice.

mod error;
mod reader;
mod writer;

pub use error::ProtocolError;
pub use reader::{Reader, Truncated};
pub use writer::Writer;
