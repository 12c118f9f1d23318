//! kube-proxy in a node's network namespace: it has the kernel send what arrives for a Service's address to the endpoints.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::api_server::program;
use crate::lab::Host;
use crate::process::Process;

/// Starts it on `node` (mode nftables); `kubeconfig` has to reach the API server from there.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn start(node: &Host, kubeconfig: &Path) -> Process {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node.name(),
        "clientConnection": { "kubeconfig": kubeconfig.display().to_string() },
        "conntrack": { "maxPerCore": 0, "min": 0 },
        "healthzBindAddress": "",
        "metricsBindAddress": "",
        "nftables": { "syncPeriod": "5s", "minSyncPeriod": "100ms" },
    });
    let file = node
        .directory()
        .join(format!("{}-kube-proxy.json", node.name()));
    fs::write(&file, config.to_string()).expect("kube-proxy's file");
    let mut command = Command::new(program("kube-proxy"));
    command.arg("--config").arg(&file);
    node.start("kube-proxy", command)
}
