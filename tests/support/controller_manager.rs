//! kube-controller-manager with the controllers that a test wants: EndpointSlices from Pods, garbage, namespaces.

use std::process::Command;

use crate::api_server::{ControlPlane, program};
use crate::process::Process;

/// EndpointSlices of Services from their Pods, removal of what has lost its owner, removal of namespaces.
pub const CONTROLLERS: &str =
    "endpointslice-controller,garbage-collector-controller,namespace-controller";

/// Starts it beside the API server.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn start(plane: &ControlPlane, controllers: &str) -> Process {
    let mut command = Command::new(program("kube-controller-manager"));
    command
        .arg("--kubeconfig")
        .arg(plane.kubeconfig())
        .args(["--secure-port=0", "--leader-elect=false"])
        .arg(format!("--controllers={controllers}"))
        .arg("--service-account-private-key-file")
        .arg(plane.directory().join("pki/sa.key"));
    plane
        .place()
        .start("kube-controller-manager", command, plane.directory())
}
