//! Shared parts of the tests: the lab (namespaces, routers, containers), the manifests they run on, Fairway as a process, and a
//! real Kubernetes control plane.
//!
//! Nothing here sleeps a fixed time: every wait is a condition with a deadline ([`clock::eventually`]). Everything a lab makes
//! (namespaces, processes, containers, directories) goes away when the value that stands for it is dropped, and is written down
//! for `tests/run` first, so that a killed run leaves nothing behind either.

pub mod api_client;
pub mod api_server;
pub mod clock;
pub mod cluster;
pub mod controller_manager;
pub mod crds;
pub mod etcd;
pub mod fairway;
pub mod fault_proxy;
pub mod http;
pub mod kube_proxy;
pub mod kubectl;
pub mod lab;
pub mod manifests;
pub mod observer;
pub mod place;
pub mod process;
pub mod reference;
pub mod router;
pub mod scripted;
pub mod tls;
pub mod visitor;
