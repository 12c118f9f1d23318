//! What is lost and comes back: a pod, a node.

use std::net::IpAddr;
use std::time::Duration;

use super::{
    DIES, Ended, GATEWAY, GATEWAY_ADDRESS, LIMIT, LOSES_POD, PHOTOS, Story, everyone, everyone_but,
    ms, name, now, routed,
};
use crate::cli::demo::Failure;
use crate::cli::demo::network::{Network, Node, SECOND_SERVICE};
use crate::cli::demo::view;

impl Story<'_> {
    pub(super) async fn endpoint_loss(&mut self) -> Result<(), Ended> {
        let Self {
            network,
            narrator,
            measured,
            ..
        } = self;
        let loser = name(network, LOSES_POD);
        narrator
            .chapter(&format!("The gateway's pod on {loser} stops being ready"))
            .await?;
        let everyone = everyone(network);
        let others = everyone_but(network, LOSES_POD);
        let edited = now();
        network.set_ready(loser, false)?;
        let (ways, took) = routed(
            network,
            "the way around the lost pod",
            &[(GATEWAY_ADDRESS, &others)],
            edited,
        )
        .await?;
        measured.pod_lost = took;
        narrator.say(&format!(
            "The Service's externalTrafficPolicy is Local: only a node with a ready pod may attract its traffic. {loser} \
             withdrew its route; the router knew {} after the edit.",
            ms(took)
        ))?;
        narrator.show(&view::router_table(&ways, network))?;
        let edited = now();
        network.set_ready(loser, true)?;
        let (_, took) = routed(
            network,
            "three ways again",
            &[(GATEWAY_ADDRESS, &everyone)],
            edited,
        )
        .await?;
        measured.pod_back = took;
        narrator.go_on(&format!(
            "The pod is ready again: three ways again, {} after the edit.",
            ms(took)
        ))
    }

    pub(super) async fn node_loss(&mut self) -> Result<(), Ended> {
        let Self {
            network,
            narrator,
            measured,
            ..
        } = self;
        let dead = name(network, DIES);
        let id = network
            .nodes
            .get(DIES)
            .and_then(Node::id)
            .unwrap_or_default();
        narrator
            .chapter(&format!("{dead} dies: kill -9 {id}"))
            .await?;
        let hold_time = view::peers(network).await.map_err(Failure::Wrong)?;
        let hold_time = hold_time
            .get(dead)
            .and_then(|peers| peers.first())
            .map_or(0, |peer| peer.applied_hold_time_seconds);
        let others = everyone_but(network, DIES);
        let killed = now();
        network.kill(DIES).await?;
        let (ways, took) = routed(
            network,
            "the way around the dead node",
            &[(GATEWAY_ADDRESS, &others)],
            killed,
        )
        .await?;
        measured.node_lost = took;
        narrator.say(&if took < Duration::from_secs(hold_time.into()) {
            format!(
                "Its connection broke, and the router dropped its routes {} later. (A machine that loses power breaks no \
                 connection; then the hold time decides, {hold_time} s in these manifests.)",
                ms(took)
            )
        } else {
            format!(
                "It fell silent, and the router dropped its routes {} later: the hold time of {hold_time} s was over.",
                ms(took)
            )
        })?;
        narrator.show(&view::router_table(&ways, network))
    }

    pub(super) async fn return_of_the_node(&mut self) -> Result<(), Ended> {
        let Self {
            network,
            narrator,
            measured,
            ..
        } = self;
        let dead = name(network, DIES);
        narrator
            .chapter(&format!(
                "A second Service comes while {dead} is away; then {dead} comes back"
            ))
            .await?;
        network.put(SECOND_SERVICE.0, SECOND_SERVICE.1)?;
        let alive = everyone_but(network, DIES);
        let second = second_address(network, &alive).await?;
        routed(
            network,
            "the second Service's routes",
            &[(GATEWAY_ADDRESS, &alive), (second, &alive)],
            now(),
        )
        .await?;
        narrator.say(&format!(
            "{}/{} got {second}. Its name sorts before the gateway's, so an allocator that started over would hand it \
             {GATEWAY_ADDRESS}. {dead} starts again, and adopts what was recorded:",
            PHOTOS.0, PHOTOS.1
        ))?;
        let started = now();
        network.start(DIES)?;
        let everyone = everyone(network);
        let wanted = [
            (GATEWAY_ADDRESS, everyone.as_slice()),
            (second, everyone.as_slice()),
        ];
        let (ways, took) = routed(network, "three ways to both Services", &wanted, started).await?;
        measured.node_back = took;
        narrator.show(&as_seen_by(network, DIES, second).await?)?;
        narrator.go_on(&format!(
            "Both Services kept their addresses, and {} after its start {dead} is in the router's table again.",
            ms(took)
        ))?;
        narrator.show(&view::router_table(&ways, network))
    }
}

/// The address of the Service that was added, once all these nodes agree on it.
async fn second_address(network: &Network, nodes: &[usize]) -> Result<IpAddr, Failure> {
    let seen = network.eventually(LIMIT, "an address for the second Service", || async {
        let mut address = None;
        for node in nodes.iter().filter_map(|&index| network.nodes.get(index)) {
            let own = view::address(&node.ask("/v1/services").await?, PHOTOS.0, PHOTOS.1)?;
            if address.is_some_and(|address| address != own) {
                return Err(format!("{} gave it {own}", node.name));
            }
            address = Some(own);
        }
        address.ok_or_else(|| "there is no node".to_owned())
    });
    seen.await
}

/// What a node says of both Services, once that is what the others say.
async fn as_seen_by(network: &Network, index: usize, second: IpAddr) -> Result<String, Failure> {
    let seen = network.eventually(LIMIT, "the returned node's own view", || async {
        let node = network.nodes.get(index).ok_or("there is no node")?;
        let services = node.ask("/v1/services").await?;
        for ((namespace, name), expected) in [(GATEWAY, GATEWAY_ADDRESS), (PHOTOS, second)] {
            let address = view::address(&services, namespace, name)?;
            if address != expected {
                return Err(format!("{namespace}/{name} has {address} there"));
            }
        }
        view::services_table(&services)
    });
    seen.await
}
