//! The state of a running Fairway, for people and their tools. Everything here reads; nothing changes anything.

pub mod api;
pub mod health;
mod http;
pub mod log;
mod metrics;
mod peers;
mod routes;
pub mod shapes;
mod state;

pub use state::{ClusterView, State};
