//! Schemas that several kinds share and that no Rust type can say: selectors, conditions, patterns.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// A label selector. `values` may be empty for every operator: Cilium's schemas let that pass, and so must ours, for a
/// manifest that was accepted there has to be accepted here.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels that an object must carry with exactly these values.",
                "type": "object",
                "additionalProperties": {
                    "type": "string",
                    "maxLength": 63,
                    "pattern": "^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$",
                },
            },
            "matchExpressions": {
                "description": "Requirements on labels; all of them, and all of `matchLabels`, must hold.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "The label's key.", "type": "string"},
                        "operator": {
                            "description": "`In` and `NotIn` compare the label with `values`; an object without the label \
                                is `NotIn` every list. `Exists` and `DoesNotExist` ask for the key alone.",
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "For `In` and `NotIn`: at least one value. A selector without one selects \
                                nothing new and is reported.",
                            "type": "array",
                            "items": {"type": "string"},
                            "x-kubernetes-list-type": "atomic",
                        },
                    },
                },
            },
        },
        "x-kubernetes-map-type": "atomic",
    })
}

/// A list of conditions, one for each type.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "description": "What this condition is about, such as `cilium.io/PoolConflict`.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$",
                },
                "status": {
                    "description": "Whether it is so.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, as one word for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, as text for people, or the figure that the condition is about.",
                    "type": "string",
                    "maxLength": 32768,
                },
                "observedGeneration": {
                    "description": "The `metadata.generation` of the object that this was said of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "description": "When `status` changed last.",
                    "type": "string",
                    "format": "date-time",
                },
            },
        },
    })
}

/// A plain IPv4 or IPv6 address: no mask, no brackets, no port; an IPv6 one may name its zone (`fe80::1%eth0`).
pub(super) fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": address_pattern()})
}

/// The address families that BGP's registry has; Fairway speaks `ipv4` and `ipv6`.
pub(super) fn afi(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["ipv4", "ipv6", "l2vpn", "ls", "opaque"]})
}

/// The subsequent address families; Fairway speaks `unicast`.
pub(super) fn safi(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": [
        "unicast", "multicast", "mpls_label", "encapsulation", "vpls", "evpn", "ls", "sr_policy", "mup", "mpls_vpn",
        "mpls_vpn_multicast", "route_target_constraints", "flowspec_unicast", "flowspec_vpn", "key_value",
    ]})
}

/// Kinds of addresses that a Service has.
pub(super) fn service_addresses(_: &mut SchemaGenerator) -> Schema {
    let kinds = ["LoadBalancerIP", "ClusterIP", "ExternalIP"];
    json_schema!({"type": "array", "items": {"type": "string", "enum": kinds}})
}

/// Communities of four octets, as a number or as two.
pub(super) fn standard_communities(_: &mut SchemaGenerator) -> Schema {
    let (half, whole) = (up_to_65535(), up_to_4294967295());
    texts(&format!("^({whole}|{half}:{half})$"))
}

/// Large communities: three numbers.
pub(super) fn large_communities(_: &mut SchemaGenerator) -> Schema {
    let number = up_to_4294967295();
    texts(&format!("^{number}:{number}:{number}$"))
}

fn texts(pattern: &str) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string", "pattern": pattern}})
}

/// A rule of the API server's expression language, and what it says to who breaks it.
pub(super) fn rule(rule: &str, message: &str) -> serde_json::Value {
    json!({"rule": rule, "message": message})
}

/// RFC 4291 section 2.2: eight groups, or fewer around one `::`; the last two may be written as an IPv4 address.
fn address_pattern() -> String {
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let v4 = format!("({octet}\\.){{3}}{octet}");
    let group = "[0-9a-fA-F]{1,4}";
    let mut v6 = vec![
        format!("({group}:){{7}}{group}"),
        format!("({group}:){{6}}{v4}"),
        format!("::(({group}:){{0,6}}{group})?"),
        format!("::({group}:){{0,5}}{v4}"),
    ];
    // `before` groups, `::`, and at most as many behind it as leave one group to be left out.
    for before in 1..=7_usize {
        let head = format!("{group}(:{group}){{{}}}::", before - 1);
        v6.push(match 7 - before {
            0 => head.clone(),
            behind => format!("{head}(({group}:){{0,{}}}{group})?", behind - 1),
        });
        if let Some(behind) = 5_usize.checked_sub(before) {
            v6.push(format!("{head}({group}:){{0,{behind}}}{v4}"));
        }
    }
    format!("^({v4}|({})(%.+)?)$", v6.join("|"))
}

fn up_to_65535() -> &'static str {
    "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|0)"
}

fn up_to_4294967295() -> &'static str {
    "(429496729[0-5]|42949672[0-8][0-9]|4294967[01][0-9]{2}|429496[0-6][0-9]{3}|42949[0-5][0-9]{4}|4294[0-8][0-9]{5}\
     |429[0-3][0-9]{6}|42[0-8][0-9]{7}|4[01][0-9]{8}|[1-3][0-9]{9}|[1-9][0-9]{0,8}|0)"
}
