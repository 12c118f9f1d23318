//! A router out of Fairway's own parts: the same BGP core, driven by the same code, in the other role.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_core::attribute::NextHop;
use bgp_core::rib::Policy;
use bgp_core::{Asn, Family, HoldTime, RouterId};
use tokio::task::JoinHandle;

use crate::cli::Failure;
use crate::cli::demo::network::{CLUSTER_ASN, ROUTER_ASN};
use crate::cli::demo::view::{Way, Ways};
use crate::net::changes::Changes;
use crate::net::driver::{self, Context, Ending, InstanceHandle};
use crate::plan::PeerPlan;
use crate::plan::action::{Change, Identity};

use super::Setting;

/// The UDM's address in the reference network; any would do.
const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);

/// The running router; its task ends with it.
#[derive(Debug)]
pub(super) struct Builtin {
    handle: InstanceHandle,
    task: JoinHandle<()>,
}

impl Builtin {
    pub(super) async fn start(setting: Setting<'_>) -> Result<Self, Failure> {
        let router_id =
            RouterId::new(ROUTER_ID).ok_or_else(|| Failure::Wrong("no router id".to_owned()))?;
        let identity = Identity {
            local_asn: Asn(ROUTER_ASN),
            router_id,
            listen_port: Some(setting.address.port()),
            bind_address: Some(setting.address.ip()),
        };
        let context = Context {
            name: "router".to_owned(),
            node: "router".to_owned(),
            seed: 1,
            restarted: false,
            changes: Changes::default(),
        };
        let (handle, driver) = driver::router(identity, context);
        let task = tokio::spawn(driver);
        let peers = setting
            .nodes
            .iter()
            .map(|&(name, address)| Change::SetPeer {
                name: name.to_owned(),
                plan: peer(address),
            });
        let known = handle.change(peers.collect()).await;
        known
            .map_err(|gone| Failure::Wrong(format!("the built-in router did not start: {gone}")))?;
        Ok(Self { handle, task })
    }

    pub(super) async fn ways(&self) -> Result<Ways, String> {
        let mut ways = Ways::new();
        for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
            for route in self
                .handle
                .table(family)
                .await
                .map_err(|gone| gone.to_string())?
            {
                let next_hop = match route.next_hop {
                    Some(NextHop::V4(address)) => IpAddr::V4(address),
                    Some(
                        NextHop::V6(address)
                        | NextHop::V6LinkLocal {
                            global: address, ..
                        },
                    ) => IpAddr::V6(address),
                    other => return Err(format!("{} has the next hop {other:?}", route.prefix)),
                };
                let way = Way {
                    next_hop,
                    as_path: route.attributes.as_path.to_string(),
                };
                ways.entry(route.prefix.net()).or_default().push(way);
            }
        }
        ways.values_mut().for_each(|ways| ways.sort());
        Ok(ways)
    }

    pub(super) async fn shut_down(self) {
        self.handle.stop(Ending::ProcessStops).await;
        self.task.abort();
    }
}

fn peer(address: IpAddr) -> PeerPlan {
    PeerPlan {
        address,
        // It is never dialled.
        port: 179,
        asn: Some(Asn(CLUSTER_ASN)),
        local_address: None,
        ttl: 1,
        password: None,
        blocked: None,
        hold_time: HoldTime::DEFAULT,
        keepalive: Duration::from_secs(30),
        connect_retry: Duration::from_secs(120),
        graceful_restart: None,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        export: Arc::new(Policy::reject_all()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bgp_core::Prefix;
    use bgp_core::rib::Origination;

    use super::*;
    use crate::cli::demo::eventually;
    use crate::cli::demo::network::free_port;
    use crate::plan::RoutePlan;

    /// What `fairway run` makes of the manifests for one node.
    async fn node(address: Ipv4Addr, router: SocketAddr) -> InstanceHandle {
        let identity = Identity {
            local_asn: Asn(CLUSTER_ASN),
            router_id: RouterId::new(address).unwrap(),
            listen_port: None,
            bind_address: Some(address.into()),
        };
        let context = Context {
            name: "64512".to_owned(),
            node: "node".to_owned(),
            seed: 2,
            restarted: false,
            changes: Changes::default(),
        };
        let (handle, driver) = driver::instance(identity, context);
        tokio::spawn(driver);
        let peer = PeerPlan {
            port: router.port(),
            asn: Some(Asn(ROUTER_ASN)),
            export: Arc::new(Policy::accept_all()),
            connect_retry: Duration::from_secs(1),
            ..peer(router.ip())
        };
        let route = Origination {
            prefix: Prefix::host(Ipv4Addr::new(192, 168, 10, 224).into()),
            attributes: Arc::default(),
            next_hop: None,
        };
        let changes = vec![
            Change::SetPeer {
                name: "router".to_owned(),
                plan: peer,
            },
            Change::Originate(RoutePlan {
                origination: route,
                because: vec![],
            }),
        ];
        handle.change(changes).await.unwrap();
        handle
    }

    async fn wait_for(router: &Builtin, hops: &[&str]) {
        let seen = eventually(Duration::from_secs(20), "the ways", || async {
            let ways = router.ways().await?;
            let seen: Vec<String> = ways
                .values()
                .flatten()
                .map(|way| format!("{} {}", way.next_hop, way.as_path))
                .collect();
            if seen == hops {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        });
        seen.await.unwrap();
    }

    #[tokio::test]
    async fn it_holds_equal_ways_side_by_side_and_forgets_those_of_a_node_that_goes() {
        let address =
            SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST).unwrap()));
        let nodes = [Ipv4Addr::new(127, 0, 0, 21), Ipv4Addr::new(127, 0, 0, 23)];
        let callers = [("a", nodes[0].into()), ("b", nodes[1].into())];
        let directory = tempfile::tempdir().unwrap();
        let setting = Setting {
            address,
            nodes: &callers,
            directory: directory.path(),
        };
        let router = Builtin::start(setting).await.unwrap();
        let first = node(nodes[0], address).await;
        wait_for(&router, &["127.0.0.21 64512"]).await;
        let _second = node(nodes[1], address).await;
        wait_for(&router, &["127.0.0.21 64512", "127.0.0.23 64512"]).await;
        first.stop(Ending::ProcessStops).await;
        wait_for(&router, &["127.0.0.23 64512"]).await;
        router.shut_down().await;
    }
}
