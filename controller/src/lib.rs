//! Fairway's controller: Kubernetes objects -> [`cluster::Snapshot`] -> [`plan`] (pure) -> apply.
//!
//! The library exists so that tests, benchmarks and the binary reach the same rooms.

pub mod agent;
pub mod apply;
pub mod args;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod crd;
pub mod kubernetes_client;
pub mod lease;
pub mod net;
pub mod observe;
pub mod plan;
pub mod watch;
