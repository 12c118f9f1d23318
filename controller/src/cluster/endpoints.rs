use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice as ApiSlice;
use serde_json::Value;

use super::fault::{Conversion, Fault, typed};
use super::{Labels, Meta, ObjectName};

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSlice {
    /// Name and generation; uid, labels and annotations are left out.
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

const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Takes an EndpointSlice; `None` for one that says nothing about addresses of a Service.
pub(super) fn convert(name: &ObjectName, value: &Value) -> Conversion<Option<EndpointSlice>> {
    let (slice, mut notes): (ApiSlice, _) = typed(value)?;
    let mut meta = super::meta::convert(name, slice.metadata)?;
    let ipv6 = match slice.address_type.as_str() {
        "IPv4" => false,
        "IPv6" => true,
        "FQDN" => return Ok((None, notes)),
        other => {
            return Err(vec![Fault::new(
                "addressType",
                format!("{other:?} is not one of IPv4, IPv6, FQDN"),
            )]);
        }
    };
    let Some(service) = meta
        .labels
        .get(SERVICE_LABEL)
        .filter(|service| !service.is_empty())
        .cloned()
    else {
        let message = format!(
            "the label {SERVICE_LABEL} is missing, so these endpoints belong to no Service"
        );
        notes.push(Fault::new("metadata.labels", message));
        return Ok((None, notes));
    };
    meta.uid = String::new();
    // There is a slice for every Service, and of its labels nobody asks for another.
    (meta.labels, meta.annotations) = (Labels::new(), Labels::new());
    let mut faults = vec![];
    let mut endpoints = vec![];
    for (index, endpoint) in slice.endpoints.into_iter().flatten().enumerate() {
        if endpoint.addresses.is_empty() {
            let message = "there is no address, so this endpoint is left out";
            notes.push(Fault::new(format!("endpoints[{index}].addresses"), message));
            continue;
        }
        let mut addresses = vec![];
        for (at, text) in endpoint.addresses.iter().enumerate() {
            match text.parse::<IpAddr>() {
                Ok(address) if address.is_ipv6() == ipv6 => addresses.push(address),
                _ => faults.push(Fault::new(
                    format!("endpoints[{index}].addresses[{at}]"),
                    format!(
                        "{text:?} is not an address of the slice's addressType {}",
                        slice.address_type
                    ),
                )),
            }
        }
        let ready = endpoint
            .conditions
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true);
        endpoints.push(Endpoint {
            addresses,
            ready,
            node: endpoint.node_name.filter(|node| !node.is_empty()),
        });
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let ports = slice.ports.into_iter().flatten().map(|port| EndpointPort {
        name: port.name.unwrap_or_default(),
        protocol: port
            .protocol
            .filter(|protocol| !protocol.is_empty())
            .unwrap_or_else(|| "TCP".to_owned()),
    });
    let service = ObjectName {
        namespace: name.namespace.clone(),
        name: service.into(),
    };
    Ok((
        Some(EndpointSlice {
            meta,
            service,
            ipv6,
            ports: ports.collect(),
            endpoints,
        }),
        notes,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn convert(value: Value) -> Conversion<Option<EndpointSlice>> {
        super::convert(
            &ObjectName {
                namespace: "a".into(),
                name: "web-1".into(),
            },
            &value,
        )
    }

    #[test]
    fn an_absent_ready_counts_as_true_and_an_absent_node_stays_absent() {
        let (slice, notes) = convert(json!({"metadata": {"labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80}, {"protocol": "UDP"}],
            "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n1"}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {"serving": true}}]}))
        .unwrap();
        let slice = slice.unwrap();
        assert!(notes.is_empty());
        assert_eq!(
            slice.service,
            ObjectName {
                namespace: "a".into(),
                name: "web".into()
            }
        );
        assert_eq!(
            slice.ports,
            [
                EndpointPort {
                    name: "http".into(),
                    protocol: "TCP".into()
                },
                EndpointPort {
                    name: String::new(),
                    protocol: "UDP".into()
                }
            ]
        );
        assert_eq!(
            slice
                .endpoints
                .iter()
                .map(|endpoint| endpoint.ready)
                .collect::<Vec<_>>(),
            [true, false, true]
        );
        assert_eq!(slice.endpoints[0].node.as_deref(), Some("n1"));
        assert_eq!(slice.endpoints[1].node, None);
    }

    #[test]
    fn a_slice_of_nobody_is_told_and_an_fqdn_one_is_not() {
        let (slice, notes) = convert(json!({"addressType": "IPv4", "endpoints": []})).unwrap();
        assert!(slice.is_none() && notes[0].message.contains("belong to no Service"));
        let (slice, notes) =
            convert(json!({"addressType": "FQDN", "endpoints": [{"addresses": ["x.example"]}]}))
                .unwrap();
        assert!(slice.is_none() && notes.is_empty());
    }

    #[test]
    fn wrong_addresses_and_types_are_refused() {
        let labels = json!({"labels": {"kubernetes.io/service-name": "web"}});
        let faults = convert(json!({"metadata": labels, "addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1"]}]})).unwrap_err();
        assert_eq!(faults[0].field, "endpoints[0].addresses[0]");
        assert_eq!(
            convert(json!({"metadata": labels, "endpoints": []})).unwrap_err()[0].field,
            "addressType"
        );
    }
}
