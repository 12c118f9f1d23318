//! How it comes up: an address, sessions, routes.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::{Ended, GATEWAY, GATEWAY_ADDRESS, START_LIMIT, Story, everyone, ms, now, routed};
use crate::cli::demo::Failure;
use crate::cli::demo::network::Network;
use crate::cli::demo::view::{self, Assigned, Ways};
use crate::observe::shapes::{Peer, PeersByNode};

impl Story<'_> {
    /// All three are watched from the start, so that a pause for the reader does not count.
    pub(super) async fn beginning(&mut self) -> Result<(), Ended> {
        let everyone = everyone(self.network);
        let wanted = [(GATEWAY_ADDRESS, everyone.as_slice())];
        let (allocated, established, learned) = tokio::try_join!(
            allocation(self.network, self.started),
            sessions(self.network, self.started),
            routed(
                self.network,
                "three ways to the gateway",
                &wanted,
                self.started
            ),
        )?;
        self.sessions_since = Some(now());
        self.tell_of_the_address(allocated).await?;
        self.tell_of_the_sessions(established).await?;
        self.tell_of_the_routes(learned).await
    }

    async fn tell_of_the_address(
        &mut self,
        (assigned, table, took): (Assigned, String, Duration),
    ) -> Result<(), Ended> {
        self.measured.allocated = took;
        self.narrator
            .chapter("A Service of type LoadBalancer gets an address")
            .await?;
        let Assigned {
            address,
            pool: (pool, block),
            left,
        } = assigned;
        self.narrator.say(&format!(
            "{}/{} asks for no particular address, so it gets {address}, the lowest free one of pool {pool} ({block}); \
             {left} are left. All three nodes come to the same answer, {} after their start.",
            GATEWAY.0,
            GATEWAY.1,
            ms(took)
        ))?;
        self.narrator.show(&table)
    }

    async fn tell_of_the_sessions(
        &mut self,
        (peers, took): (PeersByNode, Duration),
    ) -> Result<(), Ended> {
        self.measured.established = took;
        self.narrator
            .chapter("Three nodes, three BGP sessions with the router")
            .await?;
        self.narrator.say(&format!(
            "Each node called the router by itself; all are established {} after their start.",
            ms(took)
        ))?;
        self.narrator.show(&view::peers_table(&peers))
    }

    async fn tell_of_the_routes(&mut self, (ways, took): (Ways, Duration)) -> Result<(), Ended> {
        self.measured.learned = took;
        self.narrator.chapter("What the router knows now").await?;
        self.narrator.say(&format!(
            "Three equal ways to {GATEWAY_ADDRESS}, one through each node, known {} after the start. A router with \
             equal-cost multipath uses them side by side.",
            ms(took)
        ))?;
        self.narrator.show(&view::router_table(&ways, self.network))
    }
}

/// The gateway's address and why it is that one, the table of Services, and how long it took.
async fn allocation(
    network: &Network,
    started: Instant,
) -> Result<(Assigned, String, Duration), Failure> {
    let took = network.eventually(START_LIMIT, "an address for the gateway", || async {
        // Every node allocates for itself, and all of them must come to the same answer.
        let asked = network.nodes.iter().map(|node| async {
            let services = node.ask("/v1/services").await?;
            match view::address(&services, GATEWAY.0, GATEWAY.1)? {
                GATEWAY_ADDRESS => Ok(()),
                other => Err(format!("{} gave it {other}", node.name)),
            }
        });
        try_join_all(asked).await.map(|_| started.elapsed())
    });
    let took = took.await?;
    let seen = network.eventually(START_LIMIT, "the pool's count", || async {
        let node = network.nodes.first().ok_or("there is no node")?;
        let assigned = view::lowest_of_pool(&node.ask("/v1/pools").await?, GATEWAY_ADDRESS)?;
        let table = view::services_table(&node.ask("/v1/services").await?)?;
        Ok((assigned, table, took))
    });
    seen.await
}

/// The peers once all are established and have the gateway's route, and how long it took.
async fn sessions(network: &Network, started: Instant) -> Result<(PeersByNode, Duration), Failure> {
    let seen = network.eventually(START_LIMIT, "three sessions", || async {
        let peers = view::peers(network).await?;
        view::all_established(&peers, network.nodes.len())?;
        let counts: Vec<u64> = peers.values().map(|peers| advertised(peers)).collect();
        if counts.iter().any(|&count| count != 1) {
            return Err(format!("the nodes advertise {counts:?} routes"));
        }
        Ok((peers, started.elapsed()))
    });
    seen.await
}

fn advertised(peers: &[Peer]) -> u64 {
    peers
        .iter()
        .flat_map(|peer| &peer.families)
        .map(|family| family.advertised)
        .sum()
}
