//! The custom resources, one file per kind: schema, no logic.
//!
//! Field names, defaults and limits are Cilium's. Numbers are kept as wide as the schema's `int64`, so that a value out
//! of range reaches [`cluster`](crate::cluster), which names the field and the limit, instead of failing here.

mod bgp_peering_policy;
mod l2_announcement_policy;
mod load_balancer_ip_pool;
mod node;
mod pod_ip_pool;

pub use bgp_peering_policy::{
    AdvertisedPathAttributes, CiliumBGPPeeringPolicy, CiliumBGPPeeringPolicySpec, Communities,
    FamilyPair, GracefulRestart, Neighbor, VirtualRouter,
};
pub use l2_announcement_policy::{
    CiliumL2AnnouncementPolicy, CiliumL2AnnouncementPolicySpec, CiliumL2AnnouncementPolicyStatus,
};
pub use load_balancer_ip_pool::{
    CiliumLoadBalancerIPPool, CiliumLoadBalancerIPPoolSpec, CiliumLoadBalancerIPPoolStatus,
    PoolBlock,
};
pub use node::{AllocatedPool, CiliumNode, CiliumNodeAddress, CiliumNodeSpec, NodeIpam, NodePools};
pub use pod_ip_pool::{CiliumPodIPPool, CiliumPodIPPoolSpec, PodPoolFamily};
