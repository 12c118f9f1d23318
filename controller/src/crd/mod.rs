//! The custom resources, one file per kind: schema, no logic.
//!
//! Field names, defaults and limits are Cilium's; the descriptions are what `kubectl explain` shows. Numbers are kept as wide
//! as the schema's `int64`, so that a value out of range reaches [`cluster`](crate::cluster), which names the field and the
//! limit, instead of failing here. `definition` makes of the types what `fairway crds` prints.

mod bgp_advertisement;
mod bgp_cluster_config;
mod bgp_node_config;
mod bgp_node_config_override;
mod bgp_peer_config;
mod bgp_peering_policy;
mod definition;
mod l2_announcement_policy;
mod load_balancer_ip_pool;
mod node;
mod pod_ip_pool;
mod schema;

pub use bgp_advertisement::{
    Advertisement, CiliumBGPAdvertisement, CiliumBGPAdvertisementSpec, InterfaceAdvertisement,
    RouteAttributes, ServiceAdvertisement,
};
pub use bgp_cluster_config::{
    AutoDiscovery, BgpInstance, BgpPeer, CiliumBGPClusterConfig, CiliumBGPClusterConfigSpec,
    CiliumBGPClusterConfigStatus, DefaultGateway, PeerConfigReference,
};
pub use bgp_node_config::{
    AppliedTimers, BgpInstanceStatus, BgpPeerStatus, CiliumBGPNodeConfig, CiliumBGPNodeConfigSpec,
    CiliumBGPNodeConfigStatus, NodeBgpInstance, NodeBgpPeer, RouteCount,
};
pub use bgp_node_config_override::{
    BgpInstanceOverride, BgpPeerOverride, CiliumBGPNodeConfigOverride,
    CiliumBGPNodeConfigOverrideSpec,
};
pub use bgp_peer_config::{
    CiliumBGPPeerConfig, CiliumBGPPeerConfigSpec, CiliumBGPPeerConfigStatus,
    FamilyWithAdvertisements, Timers, Transport,
};
pub use bgp_peering_policy::{
    AdvertisedPathAttributes, CiliumBGPPeeringPolicy, CiliumBGPPeeringPolicySpec, Communities,
    FamilyPair, GracefulRestart, Neighbor, VirtualRouter,
};
pub use definition::{Definition, definitions};
pub use l2_announcement_policy::{
    CiliumL2AnnouncementPolicy, CiliumL2AnnouncementPolicySpec, CiliumL2AnnouncementPolicyStatus,
};
pub use load_balancer_ip_pool::{
    CiliumLoadBalancerIPPool, CiliumLoadBalancerIPPoolSpec, CiliumLoadBalancerIPPoolStatus,
    PoolBlock,
};
pub use node::{AllocatedPool, CiliumNode, CiliumNodeAddress, CiliumNodeSpec, NodeIpam, NodePools};
pub use pod_ip_pool::{CiliumPodIPPool, CiliumPodIPPoolSpec, PodPoolFamily};
