//! The state of a running Fairway, for people and their tools. Everything here reads; nothing changes anything.

pub mod api;
mod cluster;
pub mod health;
mod http;
pub mod log;
mod metrics;
mod peers;
mod processing;
mod routes;
pub mod shapes;
mod state;

pub use cluster::ClusterNumbers;
pub use processing::Processing;
pub use state::{ClusterView, State};
