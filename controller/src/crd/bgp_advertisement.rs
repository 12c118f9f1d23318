use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Communities, schema};

/// What is announced, with which attributes. It counts for the peers whose CiliumBGPPeerConfig selects its labels.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumBGPAdvertisement",
    plural = "ciliumbgpadvertisements",
    singular = "ciliumbgpadvertisement",
    shortname = "cbgpadvert",
    category = "cilium",
    category = "ciliumbgp",
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CiliumBGPAdvertisementSpec {
    /// The entries.
    pub advertisements: Vec<Advertisement>,
}

/// One entry: a source of routes and their attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = v2_rules()))]
pub struct Advertisement {
    /// Where the routes come from: the pod CIDRs of the node (`PodCIDR`), those it has of selected pools
    /// (`CiliumPodIPPool`), addresses of selected Services (`Service`), or a network interface (`Interface`).
    #[schemars(extend("enum" = ["PodCIDR", "CiliumPodIPPool", "Service", "Interface"]))]
    pub advertisement_type: String,
    /// The Services or CiliumPodIPPools; absent: none; `{}`: all. Not for `PodCIDR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// Which addresses of the Services; for `Service` alone, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceAdvertisement>,
    /// Which interface; for `Interface` alone, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceAdvertisement>,
    /// What the routes carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<RouteAttributes>,
}

/// The rules of `v2` between an entry's type and its other fields.
fn v2_rules() -> Vec<Value> {
    let mut rules = v2alpha1_rules();
    rules.extend([
        schema::rule(
            "self.advertisementType == 'Service' || !has(self.service)",
            "service is only for the advertisementType Service",
        ),
        schema::rule(
            "self.advertisementType != 'Interface' || has(self.interface)",
            "interface is required for the advertisementType Interface",
        ),
        schema::rule(
            "self.advertisementType == 'Interface' || !has(self.interface)",
            "interface is only for the advertisementType Interface",
        ),
    ]);
    rules
}

/// The two that `v2alpha1` always had; objects that break the others are accepted there.
pub(super) fn v2alpha1_rules() -> Vec<Value> {
    vec![
        schema::rule(
            "self.advertisementType != 'Service' || has(self.service)",
            "service is required for the advertisementType Service",
        ),
        schema::rule(
            "self.advertisementType != 'PodCIDR' || !has(self.selector)",
            "selector is not for the advertisementType PodCIDR",
        ),
    ]
}

/// Which addresses of Services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAdvertisement {
    /// The kinds of addresses, at least one.
    #[schemars(schema_with = "schema::service_addresses", length(min = 1))]
    pub addresses: Vec<String>,
    /// Announce IPv4 addresses as prefixes of this many bits. Absent: each by itself, as it is in any case for Services with
    /// the traffic policy Local.
    #[serde(
        default,
        rename = "aggregationLengthIPv4",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 0, max = 31))]
    pub aggregation_length_ipv4: Option<i64>,
    /// Announce IPv6 addresses as prefixes of this many bits. Absent: each by itself, as it is in any case for Services with
    /// the traffic policy Local.
    #[serde(
        default,
        rename = "aggregationLengthIPv6",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 0, max = 127))]
    pub aggregation_length_ipv6: Option<i64>,
}

/// An interface whose addresses are announced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceAdvertisement {
    /// Its name on the node.
    pub name: String,
}

/// What routes carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteAttributes {
    /// Communities to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<Communities>,
    /// LOCAL_PREF towards internal peers, 0 to 4294967295; absent: 100. External peers never see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<i64>,
}
