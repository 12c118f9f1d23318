use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Meta;

/// A Service, as far as allocation and announcing depend on it. Kept for every type, so that a change of type is seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Name, labels, annotations.
    pub meta: Meta,
    /// `spec.type` is `LoadBalancer`.
    pub is_load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// `spec.loadBalancerIP`, as written.
    pub load_balancer_ip: Option<String>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: Option<String>,
    /// `spec.ipFamilies`: `IPv4`, `IPv6`.
    pub ip_families: Vec<String>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// Union of `spec.clusterIP` and `spec.clusterIPs` without `None`, empty and unparsable entries.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None` or the label `service.kubernetes.io/headless`.
    pub headless: bool,
    /// `spec.externalIPs`, unparsable ones left out.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`, as the API (or the state directory) has it.
    pub ingress: Vec<IngressEntry>,
    /// The condition `cilium.io/IPAMRequestSatisfied` as recorded: status, reason, message, lastTransitionTime.
    pub recorded_condition: Option<(String, String, String, String)>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicePort {
    /// Port name, may be empty.
    pub name: String,
    /// Port number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`; `TCP` where absent.
    pub protocol: String,
}

/// `externalTrafficPolicy` and `internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficPolicy {
    /// Every node may take traffic.
    #[default]
    Cluster,
    /// Only nodes with an endpoint of their own.
    Local,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressEntry {
    /// `ip`, where present and parsable.
    pub ip: Option<IpAddr>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `ipMode`.
    pub ip_mode: IngressIpMode,
}

/// `ipMode` of an ingress entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IngressIpMode {
    /// Not given: treated as `VIP`.
    #[default]
    Absent,
    /// `VIP`.
    Vip,
    /// `Proxy` or anything else: never announced.
    Other,
}
