//! Routes in Cilium's shape.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bgp_core::attribute::{MpReach, NextHop, NlriList};
use bgp_core::message::WireContext;
use bgp_core::rib::Route;
use bgp_core::{Family, Nlri};
use bytes::Bytes;

use super::peers::{family_name, nanoseconds};
use super::shapes;
use super::state::State;

/// Attribute type of AS_PATH.
const AS_PATH: u8 = 2;

/// Which routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The Loc-RIB.
    Available,
    /// The Adj-RIBs-Out.
    Advertised,
}

pub(super) async fn routes_by_node(
    state: &State,
    kind: Kind,
    family: Family,
) -> shapes::RoutesByNode {
    let mut routes = vec![];
    for (name, instance) in state.instances() {
        // An instance that is just ending has no routes.
        let Ok(status) = instance.status().await else {
            continue;
        };
        let asn = status.identity.local_asn.0;
        match kind {
            Kind::Available => routes.extend(
                instance
                    .available(family)
                    .await
                    .unwrap_or_default()
                    .iter()
                    .map(|available| {
                        let path = shapes::Path {
                            best: true,
                            ..path(
                                &available.route,
                                available.age,
                                local_attributes(&available.route),
                            )
                        };
                        route(&name, asn, String::new(), &available.route, path)
                    }),
            ),
            Kind::Advertised => routes.extend(
                instance
                    .advertised(family)
                    .await
                    .unwrap_or_default()
                    .iter()
                    .map(|advertised| {
                        let attributes = sent_attributes(&advertised.route, &advertised.context);
                        let path = path(&advertised.route, advertised.age, attributes);
                        route(
                            &name,
                            asn,
                            advertised.neighbor.to_string(),
                            &advertised.route,
                            path,
                        )
                    }),
            ),
        }
    }
    [(state.node().to_owned(), routes)].into()
}

fn route(
    instance: &str,
    router_asn: u32,
    neighbor: String,
    route: &Route,
    path: shapes::Path,
) -> shapes::Route {
    shapes::Route {
        instance: instance.to_owned(),
        router_asn,
        neighbor,
        prefix: route.prefix.to_string(),
        paths: vec![path],
    }
}

fn path(route: &Route, age: std::time::Duration, attributes: Vec<Bytes>) -> shapes::Path {
    shapes::Path {
        age_nanoseconds: nanoseconds(age),
        best: false,
        stale: false,
        family: family_name(route.prefix.family()),
        nlri: octets(nlri(route).octets()),
        path_attributes: attributes
            .iter()
            .map(|attribute| octets(attribute))
            .collect(),
    }
}

/// A route of our own has no next hop and no AS_PATH before it is sent.
fn local_attributes(route: &Route) -> Vec<Bytes> {
    let context = WireContext {
        four_octet_as: true,
        ..WireContext::initial()
    };
    let unspecified = match route.prefix.family() {
        Family::IPV4_UNICAST => NextHop::V4(std::net::Ipv4Addr::UNSPECIFIED),
        _ => NextHop::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    let next_hop = route.next_hop.as_ref().unwrap_or(&unspecified);
    let mut attributes = attributes(route, &context, next_hop);
    if route.attributes.as_path.segments().is_empty() {
        attributes.retain(|attribute| attribute.get(1) != Some(&AS_PATH));
    }
    attributes
}

fn sent_attributes(route: &Route, context: &WireContext) -> Vec<Bytes> {
    match &route.next_hop {
        Some(next_hop) => attributes(route, context, next_hop),
        None => route.attributes.attribute_octets(context, None),
    }
}

fn attributes(route: &Route, context: &WireContext, next_hop: &NextHop) -> Vec<Bytes> {
    match (route.prefix.family(), next_hop) {
        (Family::IPV4_UNICAST, NextHop::V4(_)) => {
            route.attributes.attribute_octets(context, Some(next_hop))
        }
        _ => {
            let mut attributes = route.attributes.attribute_octets(context, None);
            attributes.push(
                MpReach {
                    next_hop: next_hop.clone(),
                    nlri: nlri(route),
                }
                .octets(context),
            );
            attributes.sort_by_key(|attribute| attribute.get(1).copied());
            attributes
        }
    }
}

fn nlri(route: &Route) -> NlriList {
    NlriList::build(route.prefix.family(), false, [Nlri::from(route.prefix)])
}

fn octets(octets: &[u8]) -> shapes::Base64 {
    shapes::Base64 {
        base64: STANDARD.encode(octets),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bgp_core::attribute::{AsPath, Attributes};
    use bgp_core::rib::Source;
    use bgp_core::{Asn, Prefix};

    use super::*;

    fn local(address: &str) -> Route {
        Route {
            prefix: Prefix::host(address.parse().unwrap()),
            attributes: Arc::new(Attributes::default()),
            next_hop: None,
            source: Source::Local,
        }
    }

    fn hex(attributes: &[Bytes]) -> Vec<String> {
        let hex = |octets: &Bytes| octets.iter().map(|octet| format!("{octet:02x}")).collect();
        attributes.iter().map(hex).collect()
    }

    #[test]
    fn an_available_route_has_an_origin_and_no_next_hop_yet() {
        let route = local("192.168.10.224");
        assert_eq!(
            hex(&local_attributes(&route)),
            ["40010100", "40030400000000"]
        );
        let path = path(&route, Duration::from_secs(1), vec![]);
        assert_eq!(
            (path.nlri.base64.as_str(), path.age_nanoseconds),
            ("IMCoCuA=", 1_000_000_000)
        );
        assert_eq!(
            (path.family.afi.as_str(), path.family.safi.as_str()),
            ("ipv4", "unicast")
        );
    }

    #[test]
    fn an_available_ipv6_route_has_its_next_hop_in_mp_reach() {
        let expected = format!(
            "800e26{}{}{}",
            "000201", /* family */
            "10",
            "00".repeat(16 + 1)
        );
        let attributes = hex(&local_attributes(&local("fd00::1")));
        assert_eq!(attributes[0], "40010100");
        assert!(attributes[1].starts_with(&expected), "{attributes:?}");
        assert!(
            attributes[1].ends_with(&format!("80fd{}01", "00".repeat(14))),
            "{attributes:?}"
        );
        assert_eq!(attributes.len(), 2);
    }

    #[test]
    fn an_advertised_route_is_shown_as_it_was_sent() {
        let context = WireContext {
            four_octet_as: true,
            ..WireContext::initial()
        };
        let attributes = Attributes {
            as_path: AsPath::sequence([Asn(64512)]),
            ..Attributes::default()
        };
        let route = Route {
            attributes: Arc::new(attributes),
            next_hop: Some(NextHop::V4([192, 168, 10, 21].into())),
            ..local("192.168.10.224")
        };
        let sent = hex(&sent_attributes(&route, &context));
        assert_eq!(sent, ["40010100", "40020602010000fc00", "400304c0a80a15"]);
    }
}
