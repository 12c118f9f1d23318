//! How it comes up: an address, sessions, routes.

use super::{Ended, GATEWAY, GATEWAY_ADDRESS, START_LIMIT, Story, everyone, ms, now, routed};
use crate::cli::demo::view;
use crate::observe::shapes::Peer;

impl Story<'_> {
    pub(super) async fn allocation(&mut self) -> Result<(), Ended> {
        let Self {
            network,
            narrator,
            started,
            measured,
            ..
        } = self;
        narrator
            .chapter("A Service of type LoadBalancer gets an address")
            .await?;
        let seen = network.eventually(START_LIMIT, "an address for the gateway", || async {
            let mut services = None;
            // Every node allocates for itself, and all of them must come to the same answer.
            for node in &network.nodes {
                let answer = node.ask("/v1/services").await?;
                let address = view::address(&answer, GATEWAY.0, GATEWAY.1)?;
                if address != GATEWAY_ADDRESS {
                    return Err(format!("{} gave it {address}", node.name));
                }
                services = Some((answer, node.ask("/v1/pools").await?));
            }
            let (services, pools) = services.ok_or("there is no node")?;
            let assigned = view::lowest_of_pool(&pools, GATEWAY_ADDRESS)?;
            Ok((
                assigned,
                view::services_table(&services)?,
                started.elapsed(),
            ))
        });
        let (assigned, table, took) = seen.await?;
        measured.allocated = took;
        narrator.say(&format!(
            "{}/{} asks for no particular address, so it gets {}, the lowest free one of pool {} ({}); {} are left. \
             All three nodes come to the same answer, {} after their start.",
            GATEWAY.0,
            GATEWAY.1,
            assigned.address,
            assigned.pool.0,
            assigned.pool.1,
            assigned.left,
            ms(took)
        ))?;
        narrator.show(&table)
    }

    pub(super) async fn sessions(&mut self) -> Result<(), Ended> {
        let Self {
            network,
            narrator,
            started,
            measured,
            sessions_since,
            ..
        } = self;
        narrator
            .chapter("Three nodes, three BGP sessions with the router")
            .await?;
        let count = network.nodes.len();
        let seen = network.eventually(START_LIMIT, "three sessions", || async {
            let peers = view::peers(network).await?;
            view::all_established(&peers, count)?;
            // The tables are exchanged right after; counts of a half-sent table would puzzle.
            let advertised = |peers: &Vec<Peer>| {
                peers
                    .iter()
                    .flat_map(|peer| &peer.families)
                    .map(|family| family.advertised)
                    .sum::<u64>()
            };
            let counts: Vec<u64> = peers.values().map(advertised).collect();
            if counts.iter().any(|&count| count != 1) {
                return Err(format!("the nodes advertise {counts:?} routes"));
            }
            Ok((peers, started.elapsed()))
        });
        let (peers, took) = seen.await?;
        *sessions_since = Some(now());
        measured.established = took;
        narrator.say(&format!(
            "Each node called the router by itself; all are established {} after their start.",
            ms(took)
        ))?;
        narrator.show(&view::peers_table(&peers))?;
        Ok(())
    }

    pub(super) async fn routes(&mut self) -> Result<(), Ended> {
        let Self {
            network,
            narrator,
            started,
            measured,
            ..
        } = self;
        narrator.chapter("What the router knows now").await?;
        let everyone = everyone(network);
        let (ways, took) = routed(
            network,
            "three ways to the gateway",
            &[(GATEWAY_ADDRESS, &everyone)],
            *started,
        )
        .await?;
        measured.learned = took;
        narrator.say(&format!(
            "Three equal ways to {GATEWAY_ADDRESS}, one through each node, known {} after the start. A router with \
             equal-cost multipath uses them side by side.",
            ms(took)
        ))?;
        narrator.show(&view::router_table(&ways, network))
    }
}
