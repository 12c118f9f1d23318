use std::collections::BTreeSet;

use super::*;

/// Kind, plural, short names, versions with the stored one first, whether there is a status.
type Row = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    bool,
);

const BOTH: &[&str] = &["v2", "v2alpha1"];
const OLD: &[&str] = &["v2alpha1"];

const TABLE: [Row; 9] = [
    (
        "CiliumLoadBalancerIPPool",
        "ciliumloadbalancerippools",
        &["ippools", "ippool", "lbippool", "lbippools"],
        BOTH,
        true,
    ),
    (
        "CiliumBGPPeeringPolicy",
        "ciliumbgppeeringpolicies",
        &["bgpp"],
        OLD,
        false,
    ),
    (
        "CiliumBGPClusterConfig",
        "ciliumbgpclusterconfigs",
        &["cbgpcluster"],
        BOTH,
        true,
    ),
    (
        "CiliumBGPPeerConfig",
        "ciliumbgppeerconfigs",
        &["cbgppeer"],
        BOTH,
        true,
    ),
    (
        "CiliumBGPAdvertisement",
        "ciliumbgpadvertisements",
        &["cbgpadvert"],
        BOTH,
        false,
    ),
    (
        "CiliumBGPNodeConfig",
        "ciliumbgpnodeconfigs",
        &["cbgpnode"],
        BOTH,
        true,
    ),
    (
        "CiliumBGPNodeConfigOverride",
        "ciliumbgpnodeconfigoverrides",
        &["cbgpnodeoverride"],
        BOTH,
        false,
    ),
    (
        "CiliumL2AnnouncementPolicy",
        "ciliuml2announcementpolicies",
        &["l2announcement"],
        OLD,
        true,
    ),
    (
        "CiliumNode",
        "ciliumnodes",
        &["cn", "ciliumn"],
        &["v2"],
        true,
    ),
];

fn versions(definition: &Definition) -> &Vec<Value> {
    definition.object["spec"]["versions"].as_array().unwrap()
}

/// Every schema of a definition with its path, properties and items alike.
fn schemas(definition: &Definition) -> Vec<(String, &Value)> {
    let mut found = vec![];
    for version in versions(definition) {
        let place = format!("{} {}", definition.kind, version["name"]);
        let mut below = vec![(place, &version["schema"]["openAPIV3Schema"])];
        while let Some((place, schema)) = below.pop() {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                below.push((format!("{place}.{name}"), property));
            }
            for key in ["items", "additionalProperties"] {
                if let Some(inner) = schema.get(key) {
                    below.push((format!("{place}[]"), inner));
                }
            }
            found.push((place, schema));
        }
    }
    found
}

#[test]
fn names_versions_and_subresources_are_those_of_cilium() {
    let all = definitions();
    assert_eq!(all.len(), TABLE.len());
    for (definition, (kind, plural, short_names, names, has_status)) in all.iter().zip(TABLE) {
        let spec = &definition.object["spec"];
        assert_eq!(definition.kind, kind);
        assert_eq!(definition.plural, plural);
        assert_eq!(
            definition.object["metadata"]["name"],
            format!("{plural}.cilium.io")
        );
        assert_eq!(spec["group"], "cilium.io");
        assert_eq!(spec["scope"], "Cluster");
        assert_eq!(spec["names"]["singular"], kind.to_lowercase());
        assert_eq!(spec["names"]["shortNames"], json!(short_names), "{kind}");
        let categories: &[&str] = if kind.starts_with("CiliumBGP") {
            &["cilium", "ciliumbgp"]
        } else {
            &["cilium"]
        };
        assert_eq!(spec["names"]["categories"], json!(categories), "{kind}");
        let found: Vec<_> = versions(definition)
            .iter()
            .map(|version| version["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{kind}");
        for (index, version) in versions(definition).iter().enumerate() {
            assert_eq!(version["served"], true);
            assert_eq!(
                version["storage"],
                index == 0,
                "{kind}: the first is stored"
            );
            assert_eq!(
                version.get("subresources"),
                has_status.then(|| json!({"status": {}})).as_ref(),
                "{kind}"
            );
        }
        assert!(spec.get("conversion").is_none(), "{kind} needs no webhook");
    }
}

#[test]
fn columns_are_those_of_cilium() {
    for definition in definitions() {
        for version in versions(&definition) {
            let columns = version["additionalPrinterColumns"].as_array().unwrap();
            let columns: Vec<_> = columns
                .iter()
                .map(|column| {
                    (
                        column["name"].as_str().unwrap(),
                        column["jsonPath"].as_str().unwrap(),
                    )
                })
                .collect();
            let age = ("Age", ".metadata.creationTimestamp");
            if definition.kind == "CiliumLoadBalancerIPPool" {
                let conflict = ".status.conditions[?(@.type==\"cilium.io/PoolConflict\")].status";
                let available = ".status.conditions[?(@.type==\"cilium.io/IPsAvailable\")].message";
                assert_eq!(
                    columns,
                    [
                        ("Disabled", ".spec.disabled"),
                        ("Conflicting", conflict),
                        ("IPs Available", available),
                        age
                    ]
                );
            } else {
                assert_eq!(columns, [age], "{}", definition.kind);
            }
        }
    }
}

#[test]
fn both_versions_have_the_same_schema_but_for_the_rules_of_advertisements() {
    for definition in definitions() {
        let versions = versions(&definition);
        let [newer, older] = versions.as_slice() else {
            continue;
        };
        let (newer, mut older) = (&newer["schema"], older["schema"].clone());
        if definition.kind == "CiliumBGPAdvertisement" {
            let entries = "/openAPIV3Schema/properties/spec/properties/advertisements/items/x-kubernetes-validations";
            let rules = |schema: &Value| schema.pointer(entries).unwrap().as_array().unwrap().len();
            assert_eq!((rules(newer), rules(&older)), (5, 2));
            *older.pointer_mut(entries).unwrap() = newer.pointer(entries).unwrap().clone();
        }
        assert_eq!(*newer, older, "{}", definition.kind);
    }
}

#[test]
fn every_field_says_what_it_means() {
    for definition in definitions() {
        for (place, schema) in schemas(&definition) {
            let is_field = !place.ends_with("[]") && !place.ends_with(".metadata");
            let text = schema["description"].as_str().unwrap_or_default();
            assert!(!is_field || !text.is_empty(), "{place} has no description");
            assert!(
                !text.contains('\n') && !text.contains("Auto-generated"),
                "{place}: {text}"
            );
        }
    }
}

#[test]
fn nothing_may_be_null_and_every_limit_is_whole() {
    for definition in definitions() {
        for (place, schema) in schemas(&definition) {
            assert!(schema["type"].is_string(), "{place} has no type");
            assert!(schema.get("nullable").is_none(), "{place}");
            for limit in ["minimum", "maximum", "default"] {
                assert!(
                    !schema[limit].is_f64(),
                    "{place}: {limit} {}",
                    schema[limit]
                );
            }
            assert!(
                schema
                    .get("default")
                    .is_none_or(|default| !default.is_null()),
                "{place}"
            );
        }
    }
}

#[test]
fn a_key_of_a_list_is_required_in_its_items() {
    let mut lists = 0;
    for definition in definitions() {
        for (place, schema) in schemas(&definition) {
            for key in schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
            {
                assert!(
                    schema["items"]["required"]
                        .as_array()
                        .unwrap()
                        .contains(key),
                    "{place}"
                );
                lists += 1;
            }
        }
    }
    assert!(lists > 10);
}

#[test]
fn no_two_kinds_answer_to_one_name() {
    let mut names = BTreeSet::new();
    for definition in definitions() {
        for name in definition.other_names.iter().chain([&definition.plural]) {
            assert!(names.insert(name.clone()), "{name}");
        }
    }
}

/// An object through its Rust type and back.
fn through<T: serde::de::DeserializeOwned + serde::Serialize>(object: &Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    serde_json::to_value(typed).unwrap()
}

#[test]
fn the_types_have_every_field_that_the_schemas_have() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crds/accepted");
    let mut kinds = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for mut object in objects {
            let kind = object["kind"].as_str().unwrap().to_owned();
            if object.get("spec").is_none() {
                continue;
            }
            let read = match kind.as_str() {
                "CiliumLoadBalancerIPPool" => through::<CiliumLoadBalancerIPPool>(&object),
                "CiliumBGPPeeringPolicy" => through::<CiliumBGPPeeringPolicy>(&object),
                "CiliumBGPClusterConfig" => through::<CiliumBGPClusterConfig>(&object),
                "CiliumBGPPeerConfig" => through::<CiliumBGPPeerConfig>(&object),
                "CiliumBGPAdvertisement" => through::<CiliumBGPAdvertisement>(&object),
                "CiliumBGPNodeConfig" => through::<CiliumBGPNodeConfig>(&object),
                "CiliumBGPNodeConfigOverride" => through::<CiliumBGPNodeConfigOverride>(&object),
                "CiliumL2AnnouncementPolicy" => through::<CiliumL2AnnouncementPolicy>(&object),
                other => panic!("{other}"),
            };
            assert_eq!(read["spec"], object["spec"].take(), "{kind}");
            kinds.insert(kind);
        }
    }
    assert_eq!(kinds.len(), definitions().len() - 1, "all but CiliumNode");
}
