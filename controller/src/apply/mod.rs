//! What was planned, carried out: statuses go where objects keep them.

pub mod directory;
pub mod kubernetes;
mod record;
