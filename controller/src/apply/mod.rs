//! What was planned, carried out: statuses go where objects keep them.

pub mod directory;
mod record;
