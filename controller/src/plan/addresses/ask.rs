//! What a Service asks for: addresses by name or by family, and on which terms it shares them.

use std::net::IpAddr;

use ipam::{Consent, Exposure, Family, Port, Sharing};

use crate::cluster::{Service, TrafficPolicy};
use crate::plan::Settings;

const ADDRESSES: [&str; 2] = ["lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"];
const SHARING_KEY: [&str; 2] = [
    "lbipam.cilium.io/sharing-key",
    "io.cilium/lb-ipam-sharing-key",
];
const SHARING_CROSS_NAMESPACE: [&str; 2] = [
    "lbipam.cilium.io/sharing-cross-namespace",
    "io.cilium/lb-ipam-sharing-cross-namespace",
];

/// The request of a Service.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// What it names. Where this is not empty the request is specific: it is met by these and nothing else.
    pub(super) items: Vec<Item>,
    wants: Families,
    has: Families,
    /// The terms on which it shares; `None` where it has no key.
    pub(super) sharing: Option<Box<Sharing>>,
}

/// One thing a Service names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Address(IpAddr),
    /// The text that is no address.
    Unparsable(String),
}

#[derive(Clone, Copy, Debug, Default)]
struct Families {
    v4: bool,
    v6: bool,
}

impl Ask {
    pub(super) fn of(service: &Service, settings: &Settings) -> Self {
        let wants = wanted_families(service, settings);
        let has = match service.ip_families.as_slice() {
            [] => wants,
            listed => Families {
                v4: listed.iter().any(|family| family == "IPv4"),
                v6: listed.iter().any(|family| family == "IPv6"),
            },
        };
        if !has_annotations(service) {
            return Self {
                items: items(service, ""),
                wants,
                has,
                sharing: None,
            };
        }
        let named = annotation(service, ADDRESSES).unwrap_or_default();
        Self {
            items: items(service, named),
            wants,
            has,
            sharing: sharing(service).map(Box::new),
        }
    }

    pub(super) fn is_specific(&self) -> bool {
        !self.items.is_empty()
    }

    pub(super) fn names(&self, address: IpAddr) -> bool {
        self.items.contains(&Item::Address(address))
    }

    /// Whether the families it asks for include this one, were the request generic.
    pub(super) fn wants(&self, family: Family) -> bool {
        self.wants.has(family)
    }

    /// Whether the Service can serve addresses of this family at all.
    pub(super) fn has(&self, family: Family) -> bool {
        self.has.has(family)
    }

    /// Whether an address it holds already may stay, as far as its family goes.
    pub(super) fn tolerates(&self, address: IpAddr) -> bool {
        self.wants(Family::of(address)) || self.names(address)
    }
}

impl Families {
    fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// The single-stack rows do not ask whether the family is enabled in the cluster; the others do.
fn wanted_families(service: &Service, settings: &Settings) -> Families {
    let listed = |name: &str| service.ip_families.iter().any(|family| family == name);
    let enabled = Families {
        v4: settings.ipv4,
        v6: settings.ipv6,
    };
    match (
        service.ip_family_policy.as_deref(),
        service.ip_families.first(),
    ) {
        (Some("RequireDualStack"), _) | (Some("PreferDualStack"), None) => enabled,
        (Some("PreferDualStack"), Some(_)) => Families {
            v4: enabled.v4 && listed("IPv4"),
            v6: enabled.v6 && listed("IPv6"),
        },
        (_, Some(first)) => Families {
            v4: first == "IPv4",
            v6: first != "IPv4",
        },
        (_, None) => Families {
            v4: enabled.v4,
            v6: enabled.v6 && !enabled.v4,
        },
    }
}

fn items(service: &Service, annotation: &str) -> Vec<Item> {
    let field = service.load_balancer_ip.as_deref().unwrap_or_default();
    let mut items = Vec::new();
    if field.is_empty() && annotation.is_empty() {
        return items;
    }
    for text in std::iter::once(field)
        .chain(annotation.split(','))
        .map(str::trim)
    {
        if text.is_empty() {
            continue;
        }
        let item = match text.parse() {
            Ok(address) => Item::Address(address),
            Err(_) => Item::Unparsable(text.to_owned()),
        };
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items
}

fn sharing(service: &Service) -> Option<Sharing> {
    let key = annotation(service, SHARING_KEY).filter(|key| !key.is_empty())?;
    let namespaces = annotation(service, SHARING_CROSS_NAMESPACE).unwrap_or_default();
    let namespaces: Vec<String> = namespaces
        .split(',')
        .map(str::trim)
        .filter(|namespace| !namespace.is_empty())
        .map(str::to_owned)
        .collect();
    let port = |port: &crate::cluster::ServicePort| Port {
        number: port.port,
        protocol: port.protocol.clone(),
    };
    let mut sharing = Sharing {
        key: key.to_owned(),
        group: service.meta.name.namespace.to_string(),
        consent: if namespaces.iter().any(|namespace| namespace == "*") {
            Consent::Everybody
        } else {
            Consent::Groups(namespaces)
        },
        ports: service.ports.iter().map(port).collect(),
        exposure: match service.external_traffic_policy {
            TrafficPolicy::Cluster => Exposure::Everywhere,
            TrafficPolicy::Local => Exposure::WithBackends(service.selector.clone().into()),
        },
    };
    sharing.sort_ports();
    Some(sharing)
}

/// Whether any annotation of ours is there. Most Services have none, and looking at each once is cheaper than looking for
/// each of ours.
fn has_annotations(service: &Service) -> bool {
    let ours = |key: &String| key.starts_with("lbipam.cilium.io/") || key.starts_with("io.cilium/");
    service.meta.annotations.keys().any(ours)
}

/// The value under the new key, or, only where that key is absent, under the old one.
fn annotation<'a>(service: &'a Service, keys: [&str; 2]) -> Option<&'a str> {
    let annotations = &service.meta.annotations;
    let value = annotations
        .get(keys[0])
        .or_else(|| annotations.get(keys[1]));
    value.map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            node: "n1".into(),
            no_service_endpoints_routable: true,
            default_ipam: true,
            ipv4: true,
            ipv6: true,
            bgp_enabled: true,
            l2_enabled: true,
            address_memory: std::time::Duration::from_secs(3600),
        }
    }

    fn wants(policy: Option<&str>, families: &[&str], settings: &Settings) -> (bool, bool) {
        let service = Service {
            ip_family_policy: policy.map(str::to_owned),
            ip_families: families.iter().map(|family| (*family).to_owned()).collect(),
            ..Service::default()
        };
        let ask = Ask::of(&service, settings);
        (ask.wants(Family::V4), ask.wants(Family::V6))
    }

    #[test]
    fn families_follow_the_table() {
        let both = settings();
        let only_v4 = Settings {
            ipv6: false,
            ..settings()
        };
        let only_v6 = Settings {
            ipv4: false,
            ..settings()
        };
        assert_eq!(wants(None, &["IPv4"], &both), (true, false));
        assert_eq!(
            wants(Some("SingleStack"), &["IPv6"], &only_v4),
            (false, true),
            "not asked whether it is enabled"
        );
        assert_eq!(wants(None, &[], &both), (true, false));
        assert_eq!(wants(None, &[], &only_v6), (false, true));
        assert_eq!(
            wants(Some("PreferDualStack"), &["IPv6", "IPv4"], &both),
            (true, true)
        );
        assert_eq!(
            wants(Some("PreferDualStack"), &["IPv6"], &both),
            (false, true)
        );
        assert_eq!(
            wants(Some("PreferDualStack"), &["IPv6", "IPv4"], &only_v4),
            (true, false)
        );
        assert_eq!(wants(Some("PreferDualStack"), &[], &only_v6), (false, true));
        assert_eq!(
            wants(Some("RequireDualStack"), &["IPv4"], &both),
            (true, true)
        );
        assert_eq!(
            wants(Some("RequireDualStack"), &["IPv4"], &only_v4),
            (true, false)
        );
    }

    fn annotated(pairs: &[(&str, &str)]) -> Service {
        let mut service = Service::default();
        service.meta.annotations = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        service
    }

    #[test]
    fn what_is_named_is_trimmed_and_told_apart_from_what_is_no_address() {
        let mut service = annotated(&[(
            ADDRESSES[0],
            " 10.0.10.5 ,,10.0.10.6/32, fd00:0::7,10.0.10.5",
        )]);
        service.load_balancer_ip = Some(" 10.0.10.4".into());
        let address = |text: &str| Item::Address(text.parse().unwrap());
        assert_eq!(
            Ask::of(&service, &settings()).items,
            [
                address("10.0.10.4"),
                address("10.0.10.5"),
                Item::Unparsable("10.0.10.6/32".into()),
                address("fd00::7")
            ]
        );
        assert!(!Ask::of(&annotated(&[(ADDRESSES[0], " , ")]), &settings()).is_specific());
    }

    #[test]
    fn a_new_key_hides_the_old_one_even_when_it_is_empty() {
        let both = annotated(&[(SHARING_KEY[0], ""), (SHARING_KEY[1], "k")]);
        assert_eq!(Ask::of(&both, &settings()).sharing, None);
        let old = annotated(&[(SHARING_KEY[1], "k"), (SHARING_CROSS_NAMESPACE[1], "a, b")]);
        let sharing = Ask::of(&old, &settings()).sharing.unwrap();
        assert_eq!(
            sharing.consent,
            Consent::Groups(vec!["a".into(), "b".into()])
        );
        let star = annotated(&[(SHARING_KEY[0], "k"), (SHARING_CROSS_NAMESPACE[0], "a, *")]);
        assert_eq!(
            Ask::of(&star, &settings()).sharing.unwrap().consent,
            Consent::Everybody
        );
    }
}
