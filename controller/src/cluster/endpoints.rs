use std::net::IpAddr;

use super::{Meta, ObjectName};

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSlice {
    /// Name and labels.
    pub meta: Meta,
    /// The Service: same namespace, label `kubernetes.io/service-name`.
    pub service: ObjectName,
    /// Whether `addressType` is `IPv6` (`FQDN` slices are left out altogether).
    pub ipv6: bool,
    /// `ports`.
    pub ports: Vec<EndpointPort>,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// Port name, may be empty.
    pub name: String,
    /// `TCP` where absent.
    pub protocol: String,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; an absent value counts as true.
    pub ready: bool,
    /// `nodeName`; an endpoint without one counts as local everywhere.
    pub node: Option<String>,
}
