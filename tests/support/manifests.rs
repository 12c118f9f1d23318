//! Manifests as an operator writes them: their own files, and the Nodes, Services and EndpointSlices a cluster would hold.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A folder of manifests that a test edits while Fairway watches it.
#[derive(Debug)]
pub struct Manifests {
    folder: PathBuf,
}

impl Manifests {
    /// An empty folder.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    pub fn in_folder(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder for the manifests");
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The reference homelab: the operator's own files as they stand, plus its four Nodes.
    ///
    /// # Panics
    /// When the files cannot be copied.
    #[track_caller]
    pub fn homelab(folder: &Path) -> Self {
        let manifests = Self::in_folder(folder);
        for from in homelab_files() {
            let to = manifests.folder.join(from.file_name().unwrap_or_default());
            fs::copy(&from, to)
                .unwrap_or_else(|error| panic!("cannot copy {}: {error}", from.display()));
        }
        let bgp = &[("bgp", "enabled")][..];
        let nodes = [
            ("k3s-master1", "192.168.10.30", &[][..]),
            ("k3s1", "192.168.10.21", bgp),
            ("k3s2", "192.168.10.23", bgp),
            ("k3s3", "192.168.10.31", bgp),
        ];
        let nodes: Vec<String> = nodes
            .iter()
            .map(|(name, address, labels)| node(name, &[address], labels))
            .collect();
        manifests.write("nodes.yaml", &nodes.join("---\n"));
        manifests
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file in one step, as editors and Git do: a new file that takes the old one's place.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, name: &str, content: &str) {
        let file = self.folder.join(name);
        let beside = file.with_extension("new");
        fs::write(&beside, content).expect("a manifest can be written");
        fs::rename(&beside, file).expect("a manifest can be renamed");
    }

    /// Overwrites a file in place, as a shell's `>` does: it is empty for a moment.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn overwrite(&self, name: &str, content: &str) {
        fs::write(self.folder.join(name), content).expect("a manifest can be written");
    }

    /// Removes a file.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).expect("a manifest can be removed");
    }
}

/// What is no part of the repository, but may lie beside the checkout: `../shared`; `FAIRWAY_SHARED` names another place.
pub fn shared() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("FAIRWAY_SHARED").map_or_else(|| package.join("../../shared"), PathBuf::from)
}

/// The operator's own files: `homelab` of [`shared`], else pool and policy of the repository's own example. First the objects of
/// Cilium, then what else there is.
pub fn homelab_files() -> Vec<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let theirs = shared().join("homelab");
    let (folder, names) = if theirs.is_dir() {
        (theirs, ["bgp-config.yaml", "gateway.yaml"])
    } else {
        (package.join("../deploy/homelab"), ["bgp.yaml", "pool.yaml"])
    };
    names.iter().map(|name| folder.join(name)).collect()
}

/// A Node.
pub fn node(name: &str, addresses: &[&str], labels: &[(&str, &str)]) -> String {
    annotated_node(name, addresses, labels, &[])
}

/// A Node with annotations.
pub fn annotated_node(
    name: &str,
    addresses: &[&str],
    labels: &[(&str, &str)],
    annotations: &[(&str, &str)],
) -> String {
    let mut yaml = format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n");
    yaml.push_str(&format!("  labels:\n    kubernetes.io/hostname: {name}\n"));
    for (key, value) in labels {
        yaml.push_str(&format!("    {key}: {value}\n"));
    }
    if !annotations.is_empty() {
        yaml.push_str("  annotations:\n");
        for (key, value) in annotations {
            yaml.push_str(&format!("    {key}: \"{value}\"\n"));
        }
    }
    yaml.push_str("status:\n  addresses:\n");
    for address in addresses {
        yaml.push_str(&format!(
            "    - type: InternalIP\n      address: \"{address}\"\n"
        ));
    }
    yaml
}

/// A Service of type LoadBalancer with port 80.
#[derive(Clone, Debug)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `externalTrafficPolicy`.
    pub policy: &'static str,
    /// `ipFamilyPolicy` and `ipFamilies`, where given.
    pub families: Option<(&'static str, Vec<&'static str>)>,
    /// Annotations.
    pub annotations: Vec<(String, String)>,
    /// Labels.
    pub labels: Vec<(String, String)>,
}

impl Service {
    /// With policy Cluster and nothing special.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            policy: "Cluster",
            families: None,
            annotations: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// The homelab's gateway Service.
    pub fn gateway() -> Self {
        Self::new("networking", "cilium-gateway-main-gateway")
    }

    /// `externalTrafficPolicy: Local`.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.policy = "Local";
        self
    }

    /// Asks for addresses by annotation, comma separated.
    #[must_use]
    pub fn asking_for(mut self, addresses: &str) -> Self {
        self.annotations
            .push(("lbipam.cilium.io/ips".to_owned(), addresses.to_owned()));
        self
    }

    /// With a label.
    #[must_use]
    pub fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// `PreferDualStack` over both families, or `SingleStack` of one.
    #[must_use]
    pub fn of_families(mut self, families: &[&'static str]) -> Self {
        self.families = Some((
            if families.len() > 1 {
                "PreferDualStack"
            } else {
                "SingleStack"
            },
            families.to_vec(),
        ));
        self
    }

    /// The manifest.
    pub fn yaml(&self) -> String {
        let mut yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: {}\n  name: {}\n",
            self.namespace, self.name
        );
        for (title, pairs) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !pairs.is_empty() {
                yaml.push_str(&format!("  {title}:\n"));
                for (key, value) in pairs {
                    yaml.push_str(&format!("    {key}: \"{value}\"\n"));
                }
            }
        }
        yaml.push_str(&format!(
            "spec:\n  type: LoadBalancer\n  externalTrafficPolicy: {}\n",
            self.policy
        ));
        if let Some((policy, families)) = &self.families {
            yaml.push_str(&format!(
                "  ipFamilyPolicy: {policy}\n  ipFamilies: [{}]\n",
                families.join(", ")
            ));
        }
        yaml.push_str("  ports:\n    - name: http\n      port: 80\n      protocol: TCP\n");
        yaml
    }

    /// Its IPv4 EndpointSlice: the nodes that have an endpoint, and whether it is ready. Without any, an empty slice.
    pub fn endpoints(&self, endpoints: &[(&str, bool)]) -> String {
        self.slice("IPv4", "abcde", "10.42.0.1", endpoints)
    }

    /// The same for IPv6.
    pub fn ipv6_endpoints(&self, endpoints: &[(&str, bool)]) -> String {
        self.slice("IPv6", "fghij", "fd00:42::1", endpoints)
    }

    fn slice(
        &self,
        family: &str,
        suffix: &str,
        address: &str,
        endpoints: &[(&str, bool)],
    ) -> String {
        let (namespace, name) = (&self.namespace, &self.name);
        let mut yaml = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  namespace: {namespace}\n  name: {name}-{suffix}\n  labels:\n    \
             kubernetes.io/service-name: {name}\naddressType: {family}\nports:\n  - name: http\n    port: 8080\n    protocol: TCP\n"
        );
        if endpoints.is_empty() {
            yaml.push_str("endpoints: []\n");
            return yaml;
        }
        yaml.push_str("endpoints:\n");
        for (index, (node, ready)) in endpoints.iter().enumerate() {
            yaml.push_str(&format!("  - addresses: [\"{address}{index}\"]\n    nodeName: {node}\n    conditions: {{ ready: {ready} }}\n"));
        }
        yaml
    }
}

/// A pool with one block for each entry: a CIDR, or `first-last`.
pub fn pool(name: &str, blocks: &[&str]) -> String {
    let mut yaml = format!(
        "apiVersion: cilium.io/v2alpha1\nkind: CiliumLoadBalancerIPPool\nmetadata:\n  name: {name}\nspec:\n  blocks:\n"
    );
    for block in blocks {
        match block.split_once('-') {
            Some((first, last)) => yaml.push_str(&format!(
                "    - start: \"{first}\"\n      stop: \"{last}\"\n"
            )),
            None => yaml.push_str(&format!("    - cidr: \"{block}\"\n")),
        }
    }
    yaml
}

/// One neighbour of a peering policy.
#[derive(Clone, Copy, Debug)]
pub struct Neighbor {
    /// Address.
    pub address: IpAddr,
    /// AS.
    pub asn: u32,
    /// Port.
    pub port: u16,
    /// Offered hold time, seconds.
    pub hold_time: u32,
    /// Connect retry time, seconds.
    pub connect_retry: u32,
}

impl Neighbor {
    /// On port 179, hold time 9 seconds, retrying each second.
    pub fn new(address: impl Into<IpAddr>, asn: u32) -> Self {
        Self {
            address: address.into(),
            asn,
            port: 179,
            hold_time: 9,
            connect_retry: 1,
        }
    }
}

/// A CiliumBGPPeeringPolicy for all nodes and all Services.
pub fn peering_policy(local_asn: u32, neighbors: &[Neighbor]) -> String {
    let mut yaml = format!(
        "apiVersion: cilium.io/v2alpha1\nkind: CiliumBGPPeeringPolicy\nmetadata:\n  name: policy\nspec:\n  nodeSelector: {{}}\n  \
         virtualRouters:\n    - localASN: {local_asn}\n      serviceSelector: {{}}\n      neighbors:\n"
    );
    for neighbor in neighbors {
        let length = if neighbor.address.is_ipv4() { 32 } else { 128 };
        yaml.push_str(&format!(
            "        - peerAddress: \"{}/{length}\"\n          peerASN: {}\n",
            neighbor.address, neighbor.asn
        ));
        yaml.push_str(&format!(
            "          peerPort: {}\n          holdTimeSeconds: {}\n",
            neighbor.port, neighbor.hold_time
        ));
        yaml.push_str(&format!(
            "          keepAliveTimeSeconds: {}\n",
            neighbor.hold_time / 3
        ));
        yaml.push_str(&format!(
            "          connectRetryTimeSeconds: {}\n",
            neighbor.connect_retry
        ));
    }
    yaml
}
