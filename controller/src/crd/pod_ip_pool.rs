use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// A CiliumPodIPPool, as far as it is read; Fairway neither installs nor writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CiliumPodIPPool {
    /// Name and labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Mask lengths.
    #[serde(default)]
    pub spec: CiliumPodIPPoolSpec,
}

/// Mask lengths of the CIDRs that nodes get from the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CiliumPodIPPoolSpec {
    /// IPv4; absent: the pool has none.
    #[serde(default)]
    pub ipv4: Option<PodPoolFamily>,
    /// IPv6; absent: the pool has none.
    #[serde(default)]
    pub ipv6: Option<PodPoolFamily>,
}

/// One family of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPoolFamily {
    /// Prefix length of a node's CIDR.
    #[serde(rename = "maskSize")]
    pub mask_size: u8,
}
