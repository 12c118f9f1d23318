//! What looks wrong only when several objects are seen together. Advice changes nothing.

use std::net::{IpAddr, Ipv4Addr};

use super::objects::{Kind, ObjectKey};
use super::{Fault, ObjectName, Snapshot};

/// All there is to say, by object.
pub(super) fn on(snapshot: &Snapshot) -> Vec<(ObjectKey, Fault)> {
    let mut advice = vec![];
    for (name, pool) in &snapshot.pools {
        let Ok(spec) = &pool.spec else { continue };
        for (index, block) in spec.blocks.iter().enumerate() {
            let IpAddr::V4(last) = block.last else {
                continue;
            };
            let reserved = spec.reserve_first_last && block.is_cidr && block.first != block.last;
            if last.octets()[3] == 255 && !reserved && is_on_a_nodes_network(snapshot, last) {
                let name = ObjectName {
                    namespace: "".into(),
                    name: name.into(),
                };
                let message = format!(
                    "the block ends at {last}, most likely the broadcast address of the nodes' own network, where no Service can \
                     be reached: end it before, or set allowFirstLastIPs: \"No\""
                );
                advice.push((
                    ObjectKey {
                        kind: Kind::CiliumLoadBalancerIPPool,
                        name,
                    },
                    Fault::new(format!("spec.blocks[{index}]"), message),
                ));
            }
        }
    }
    advice
}

/// Nodes do not tell their mask; /24 is what small networks have.
fn is_on_a_nodes_network(snapshot: &Snapshot, address: Ipv4Addr) -> bool {
    snapshot
        .nodes
        .values()
        .flat_map(|node| node.internal_addresses())
        .any(|node| match node {
            IpAddr::V4(node) => node.octets()[..3] == address.octets()[..3],
            IpAddr::V6(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use super::super::{Block, Node, NodeAddress, Pool, PoolSpec};
    use super::*;

    fn snapshot(first: &str, last: &str, reserve_first_last: bool) -> Snapshot {
        let block = Block {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            is_cidr: true,
        };
        let spec = PoolSpec {
            blocks: vec![block],
            reserve_first_last,
            ..PoolSpec::default()
        };
        let pool = Pool {
            meta: Default::default(),
            spec: Ok(spec),
            last_valid: None,
            recorded_conditions: vec![],
        };
        let address = NodeAddress {
            kind: "InternalIP".into(),
            address: "192.168.10.21".parse().unwrap(),
        };
        let node = Node {
            addresses: vec![address],
            ..Node::default()
        };
        Snapshot {
            pools: [("p".to_owned(), pool)].into(),
            nodes: [("k3s1".to_owned(), node)].into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_pool_that_ends_in_the_lans_broadcast_address_is_told() {
        let advice = on(&snapshot("192.168.10.240", "192.168.10.255", false));
        assert_eq!(advice[0].1.field, "spec.blocks[0]");
        assert!(advice[0].1.message.contains("192.168.10.255"));
        assert!(on(&snapshot("192.168.10.240", "192.168.10.255", true)).is_empty());
        assert!(on(&snapshot("192.168.10.224", "192.168.10.239", false)).is_empty());
        assert!(on(&snapshot("192.168.77.240", "192.168.77.255", false)).is_empty());
    }
}
