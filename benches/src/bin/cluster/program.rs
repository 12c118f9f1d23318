//! The program that is measured, and what its cluster needs.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::api::{Api, NAMESPACE, Observer};
use crate::audit::Audit;
use crate::control_plane::{ControlPlane, MEASURED};
use crate::process::{Outcome, Process, now};
use crate::stand_in::Mistake;

const NODE: &str = "n1";
const POOLS: &str = "/apis/cilium.io/v2/ciliumloadbalancerippools";
/// Enough of a pool's definition for the stand-in's cluster, which has no `fairway crds` to ask.
const POOL_CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: ciliumloadbalancerippools.cilium.io }
spec:
  group: cilium.io
  scope: Cluster
  names: { kind: CiliumLoadBalancerIPPool, plural: ciliumloadbalancerippools, singular: ciliumloadbalancerippool }
  versions:
    - name: v2
      served: true
      storage: true
      subresources: { status: {} }
      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
"#;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// A build of Fairway.
    Fairway(PathBuf),
    /// This program, playing a controller.
    StandIn(Option<Mistake>),
}

/// A control plane with a pool, and no Services yet.
pub(crate) struct Cluster {
    /// The benchmark's hand; its requests are not counted.
    pub(crate) admin: Api,
    /// What the measured program asks.
    pub(crate) audit: Audit,
    /// The API server.
    pub(crate) plane: ControlPlane,
}

impl Cluster {
    /// Starts one for this program.
    pub(crate) async fn start(program: &Program, port: Option<u16>) -> Outcome<Self> {
        let plane = ControlPlane::start(port).await?;
        let admin = plane.admin().await?;
        plane.apply(&program.custom_resources()?)?;
        let deadline = now() + Duration::from_secs(20);
        while !admin.serves(POOLS).await {
            if now() > deadline {
                return Err("the pools' definition does not come into force".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
        admin.create("/api/v1/namespaces", &namespace).await?;
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } });
        admin.create("/api/v1/nodes", &node).await?;
        let pool = json!({
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumLoadBalancerIPPool",
            "metadata": { "name": "bench" },
            "spec": { "blocks": [{ "cidr": "10.64.0.0/15" }] },
        });
        admin.create(POOLS, &pool).await?;
        Ok(Self {
            audit: plane.audit(),
            admin,
            plane,
        })
    }

    /// A watch of the benchmark.
    pub(crate) async fn observe(&self) -> Outcome<Observer> {
        Observer::start(&self.admin).await
    }
}

impl Program {
    /// The floor: the least a controller can do.
    pub(crate) const FLOOR: Self = Self::StandIn(None);

    /// Starts it on that cluster.
    pub(crate) fn start(&self, cluster: &Cluster) -> Outcome<Process> {
        let plane = &cluster.plane;
        let kubeconfig = plane.kubeconfig(MEASURED);
        let command = match self {
            Self::Fairway(path) => {
                let mut command = Command::new(path);
                command.args([
                    "run",
                    "--node",
                    NODE,
                    "--ipam",
                    "on",
                    "--listen",
                    &plane.listen(),
                ]);
                command
                    .arg("--kubeconfig")
                    .arg(kubeconfig)
                    .arg("--api")
                    .arg(plane.path("fairway.sock"));
                command
            }
            Self::StandIn(mistake) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--act-as-stand-in").arg(kubeconfig);
                if let Some(mistake) = mistake {
                    command
                        .arg("--mistake")
                        .arg(format!("{mistake:?}").to_lowercase());
                }
                command
            }
        };
        Process::start(
            "the measured program",
            &command,
            &plane.path("measured.log"),
        )
    }

    /// The custom resource definitions that its cluster has.
    fn custom_resources(&self) -> Outcome<String> {
        let Self::Fairway(path) = self else {
            return Ok(POOL_CRD.into());
        };
        let output = Command::new(path)
            .arg("crds")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start {}: {error}", path.display()))?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(format!("{} crds: {errors}", path.display()).into())
        }
    }
}
