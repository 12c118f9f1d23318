//! The CustomResourceDefinitions for clusters that do not have Cilium's.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::{
    CiliumBGPAdvertisement, CiliumBGPClusterConfig, CiliumBGPNodeConfig,
    CiliumBGPNodeConfigOverride, CiliumBGPPeerConfig, CiliumBGPPeeringPolicy,
    CiliumL2AnnouncementPolicy, CiliumLoadBalancerIPPool, bgp_advertisement, node,
};

/// One kind's CustomResourceDefinition.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The kind, such as `CiliumLoadBalancerIPPool`.
    pub kind: String,
    /// The plural that names the resource in URLs, such as `ciliumloadbalancerippools`.
    pub plural: String,
    /// Every other name that the API server knows it by: the singular and the short names.
    pub other_names: Vec<String>,
    /// The object, ready to be written.
    pub object: Value,
}

impl Definition {
    /// Whether somebody who says `name` means this kind: kind, plural, singular or short name, with or without the group,
    /// in any case.
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix(".cilium.io").unwrap_or(&name);
        let names = [&self.kind, &self.plural].into_iter();
        names
            .chain(&self.other_names)
            .any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The definitions of the kinds that Fairway reads. That of CiliumNode, the last one, takes anything: it is Cilium's own, and
/// here only for clusters where something else makes such objects.
pub fn definitions() -> Vec<Definition> {
    let mut advertisement = in_both_versions(CiliumBGPAdvertisement::crd());
    replace_rules(&mut advertisement);
    [
        in_both_versions(CiliumLoadBalancerIPPool::crd()),
        without_required_spec(finished(CiliumBGPPeeringPolicy::crd())),
        in_both_versions(CiliumBGPClusterConfig::crd()),
        in_both_versions(CiliumBGPPeerConfig::crd()),
        advertisement,
        in_both_versions(CiliumBGPNodeConfig::crd()),
        in_both_versions(CiliumBGPNodeConfigOverride::crd()),
        without_required_spec(finished(CiliumL2AnnouncementPolicy::crd())),
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": metadata(Some(&format!("{}.cilium.io", node::PLURAL))),
            "spec": node::definition_spec(),
        }),
    ]
    .map(definition)
    .into()
}

fn definition(object: Value) -> Definition {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = &object["spec"]["names"];
    let short_names = names["shortNames"].as_array().into_iter().flatten();
    let other_names = [&names["singular"]].into_iter().chain(short_names);
    Definition {
        kind: text(&names["kind"]),
        plural: text(&names["plural"]),
        other_names: other_names.map(text).collect(),
        object,
    }
}

/// `v2`, which is stored, and `v2alpha1` with the same schema, so that no conversion is needed. `v2alpha1` is not marked as
/// deprecated: manifests that use it go on working, and need no warning at every apply.
fn in_both_versions(derived: CustomResourceDefinition) -> Value {
    let mut object = finished(derived);
    if let Some(versions) = object["spec"]["versions"].as_array_mut() {
        let mut older = versions[0].clone();
        older["name"] = json!("v2alpha1");
        older["storage"] = json!(false);
        versions.push(older);
    }
    object
}

/// `v2alpha1` of CiliumBGPAdvertisement keeps its fewer rules.
fn replace_rules(object: &mut Value) {
    let rules = "/spec/versions/1/schema/openAPIV3Schema/properties/spec/properties/advertisements/items/x-kubernetes-validations";
    if let Some(rules) = object.pointer_mut(rules) {
        *rules = json!(bgp_advertisement::v2alpha1_rules());
    }
}

/// Cilium's schemas of the two policies take an object without `spec`. It has no effect, and is reported by whoever reads it.
fn without_required_spec(mut object: Value) -> Value {
    if let Some(root) = object.pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        && let Some(root) = root.as_object_mut()
    {
        root.shift_remove("required");
    }
    object
}

fn finished(derived: CustomResourceDefinition) -> Value {
    let mut object = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata(derived.metadata.name.as_deref()),
        "spec": derived.spec,
    });
    let versions = object["spec"]["versions"].as_array_mut();
    for version in versions.into_iter().flatten() {
        if version["subresources"] == json!({})
            && let Some(version) = version.as_object_mut()
        {
            version.shift_remove("subresources");
        }
        finish_root(&mut version["schema"]["openAPIV3Schema"]);
    }
    object
}

fn metadata(name: Option<&str>) -> Value {
    json!({
        "name": name,
        "labels": {"app.kubernetes.io/part-of": "fairway"},
        // Whoever removes a definition removes all objects of its kind. Helm, Flux and Argo CD, in this order, leave it in
        // place when it is no longer among what they install.
        "annotations": {
            "helm.sh/resource-policy": "keep",
            "kustomize.toolkit.fluxcd.io/prune": "disabled",
            "argocd.argoproj.io/sync-options": "Prune=false",
        },
    })
}

/// The fields that every object has; tools that check manifests without an API server ask for them.
fn finish_root(root: &mut Value) {
    finish_schema(root);
    if let Some(fields) = root.as_object_mut() {
        fields.shift_remove("title");
    }
    root["description"] = root["properties"]["spec"]["description"].take();
    root["properties"]["spec"]["description"] = json!("What is wanted.");
    root["properties"]["apiVersion"] =
        json!({"type": "string", "description": "The group and version of this object's form."});
    root["properties"]["kind"] = json!({"type": "string", "description": "The kind."});
    root["properties"]["metadata"] = json!({"type": "object"});
    root["properties"]
        .as_object_mut()
        .into_iter()
        .for_each(serde_json::Map::sort_keys);
}

/// What the derived schemas say differently from what is meant: an `Option` is a field that may be absent, not one that
/// may be null; whole numbers have no point; descriptions are one line.
fn finish_schema(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    fields.shift_remove("nullable");
    for (key, value) in fields.iter_mut() {
        match (key.as_str(), value) {
            ("minimum" | "maximum", limit) => {
                if let Some(whole) = limit.as_f64().filter(|number| number.fract() == 0.0) {
                    *limit = json!(whole as i64);
                }
            }
            ("description", Value::String(text)) => *text = text.replace('\n', " "),
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(finish_schema);
            }
            ("items" | "additionalProperties", below) => finish_schema(below),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
