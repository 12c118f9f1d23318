//! What the story looks at: the nodes' own answers and the router's table, reduced to what it tells.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures_util::future::try_join_all;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::output::{Table, go_duration};
use crate::cli::services::{Services, condition, text};
use crate::cli::show::Subject as _;
use crate::observe::shapes::{Peer, PeersByNode};

use super::network::Network;

/// One way that the router knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) next_hop: IpAddr,
    pub(super) as_path: String,
}

/// The router's table.
pub(super) type Ways = BTreeMap<IpNet, Vec<Way>>;

/// The address that a node's own answer gives a Service, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) address: IpAddr,
    /// The pool's name and block.
    pub(super) pool: (String, IpNet),
    /// Free addresses that are left.
    pub(super) left: String,
}

/// What a node says that a Service has which asks for no particular address.
pub(super) fn address(services: &Value, namespace: &str, name: &str) -> Result<IpAddr, String> {
    let items = services["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let named = |item: &&Value| {
        item["metadata"]["namespace"] == namespace && item["metadata"]["name"] == name
    };
    let service = items
        .iter()
        .find(named)
        .ok_or_else(|| format!("there is no Service {namespace}/{name}"))?;
    if !service["spec"]["loadBalancerIP"].is_null() || !service["metadata"]["annotations"].is_null()
    {
        return Err(format!("{namespace}/{name} asks for something"));
    }
    let judged = condition(service, "cilium.io/IPAMRequestSatisfied");
    if judged.is_none_or(|condition| condition["status"] != "True") {
        let why = judged.map(|condition| {
            format!(
                "{}: {}",
                text(&condition["reason"]),
                text(&condition["message"])
            )
        });
        return Err(format!(
            "{namespace}/{name} is not satisfied ({})",
            why.as_deref().unwrap_or("no condition yet")
        ));
    }
    let addresses: Vec<IpAddr> = service["status"]["loadBalancer"]["ingress"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| entry["ip"].as_str()?.parse().ok())
        .collect();
    match addresses.as_slice() {
        [address] => Ok(*address),
        other => Err(format!("{namespace}/{name} has the addresses {other:?}")),
    }
}

/// The pool that holds an address, checked to be its lowest and the only one taken.
pub(super) fn lowest_of_pool(pools: &Value, address: IpAddr) -> Result<Assigned, String> {
    let items = pools["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for pool in items {
        for block in pool["spec"]["blocks"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            let Ok(cidr) = text(&block["cidr"]).parse::<IpNet>() else {
                continue;
            };
            if !cidr.contains(&address) {
                continue;
            }
            let number = |kind| {
                condition(pool, kind)
                    .map(|condition| text(&condition["message"]))
                    .unwrap_or_default()
            };
            if number("cilium.io/IPsUsed") != "1" || cidr.trunc().addr() != address {
                return Err(format!(
                    "{address} is not the first address given out of {cidr}"
                ));
            }
            return Ok(Assigned {
                address,
                pool: (text(&pool["metadata"]["name"]).to_owned(), cidr),
                left: number("cilium.io/IPsAvailable").to_owned(),
            });
        }
    }
    Err(format!("no pool has {address}"))
}

/// The peers of all nodes that answer.
pub(super) async fn peers(network: &Network) -> Result<PeersByNode, String> {
    let running = network.nodes.iter().filter(|node| node.id().is_some());
    let answers = try_join_all(running.map(|node| node.ask("/v1/peers"))).await?;
    let parsed = answers
        .into_iter()
        .map(serde_json::from_value::<PeersByNode>);
    let parsed: Result<Vec<_>, _> = parsed.collect();
    Ok(parsed
        .map_err(|error| error.to_string())?
        .into_iter()
        .flatten()
        .collect())
}

/// The peers, if each of so many nodes has exactly one and it is established.
pub(super) fn all_established(peers: &PeersByNode, nodes: usize) -> Result<(), String> {
    let states: Vec<String> = peers
        .iter()
        .flat_map(|(node, peers)| {
            peers
                .iter()
                .map(move |peer| format!("{node} is {} {}", peer.session_state, peer.last_error))
        })
        .collect();
    let all = peers
        .values()
        .all(|peers| matches!(peers.as_slice(), [peer] if peer.session_state == "established"));
    if all && peers.len() == nodes {
        Ok(())
    } else {
        Err(states.join(", "))
    }
}

/// `fairway peers`, narrowed to a hundred columns.
pub(super) fn peers_table(peers: &PeersByNode) -> String {
    let mut table = Table::new(&[
        "Node",
        "Local AS",
        "Peer AS",
        "Peer Address",
        "Session State",
        "Uptime",
        "Advertised",
    ]);
    for (node, peers) in peers {
        for peer in peers {
            let Peer {
                local_asn,
                peer_asn,
                peer_address,
                session_state,
                uptime_nanoseconds,
                families,
                ..
            } = peer;
            let advertised: u64 = families.iter().map(|family| family.advertised).sum();
            table.row([
                node.as_str(),
                &local_asn.to_string(),
                &peer_asn.to_string(),
                peer_address,
                session_state,
                &go_duration(*uptime_nanoseconds),
                &advertised.to_string(),
            ]);
        }
    }
    table.to_string()
}

/// `fairway services`.
pub(super) fn services_table(services: &Value) -> Result<String, String> {
    let drawn = Services.draw(services, Timestamp::UNIX_EPOCH);
    drawn
        .map(|drawn| drawn.text)
        .map_err(|failure| failure.to_string())
}

/// The router's table, with the nodes that its next hops belong to.
pub(super) fn router_table(ways: &Ways, network: &Network) -> String {
    let mut table = Table::new(&["Prefix", "Next hop", "AS path", "Node"]);
    for (prefix, ways) in ways {
        for (position, way) in ways.iter().enumerate() {
            let node = network
                .nodes
                .iter()
                .find(|node| IpAddr::V4(node.address) == way.next_hop)
                .map_or("?", |node| node.name);
            let prefix = if position == 0 {
                prefix.to_string()
            } else {
                String::new()
            };
            table.row([
                prefix.as_str(),
                &way.next_hop.to_string(),
                &way.as_path,
                node,
            ]);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn services(status: &str, ip: &str) -> Value {
        json!({"items": [{"metadata": {"namespace": "a", "name": "b"}, "status": {
            "loadBalancer": {"ingress": [{"ip": ip}]},
            "conditions": [{"type": "cilium.io/IPAMRequestSatisfied", "status": status, "reason": "r", "message": "m"}]}}]})
    }

    fn pools(used: &str) -> Value {
        json!({"items": [{"metadata": {"name": "home"}, "spec": {"blocks": [{"cidr": "192.168.10.224/28"}]}, "status": {
            "conditions": [{"type": "cilium.io/IPsUsed", "message": used}, {"type": "cilium.io/IPsAvailable", "message": "15"}]}}]})
    }

    #[test]
    fn an_address_counts_only_once_the_request_is_satisfied() {
        assert_eq!(
            address(&services("True", "192.168.10.224"), "a", "b"),
            Ok("192.168.10.224".parse().unwrap())
        );
        assert_eq!(
            address(&services("False", "192.168.10.224"), "a", "b"),
            Err("a/b is not satisfied (r: m)".to_owned())
        );
        assert!(address(&services("True", "none"), "a", "b").is_err());
        assert!(address(&json!({}), "a", "b").is_err());
    }

    #[test]
    fn the_reason_for_an_address_is_checked() {
        let first: IpAddr = "192.168.10.224".parse().unwrap();
        let assigned = lowest_of_pool(&pools("1"), first).unwrap();
        assert_eq!(
            (assigned.pool.0.as_str(), assigned.left.as_str()),
            ("home", "15")
        );
        assert!(lowest_of_pool(&pools("2"), first).is_err());
        assert!(lowest_of_pool(&pools("1"), "192.168.10.225".parse().unwrap()).is_err());
        assert!(lowest_of_pool(&pools("1"), "10.0.0.1".parse().unwrap()).is_err());
    }
}
