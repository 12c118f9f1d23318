//! Shared parts of the tests: the lab (namespaces, routers, containers), the manifests they run on, and Fairway as a process.
//!
//! Nothing here sleeps a fixed time: every wait is a condition with a deadline ([`clock::eventually`]). Everything a lab makes
//! (namespaces, processes, containers, directories) goes away when the value that stands for it is dropped, and is written down
//! for `tests/run` first, so that a killed run leaves nothing behind either.

pub mod clock;
pub mod fairway;
pub mod lab;
pub mod manifests;
pub mod process;
pub mod reference;
pub mod router;
pub mod scripted;
