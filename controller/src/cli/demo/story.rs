//! The story itself. Each sentence is said after it was seen to be true.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Failure;
use super::narrator::Narrator;
use super::network::{CLUSTER_ASN, Network, ROUTER_ASN, SECOND_SERVICE};
use super::place::Place;
use super::view::{self, Way, Ways};

/// The Service that everything turns around.
const GATEWAY: (&str, &str) = ("networking", "main-gateway");
/// The one that is added while a node is away.
const PHOTOS: (&str, &str) = ("apps", "photos");
/// What the homelab expects for it.
const GATEWAY_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 10, 224));
/// The node whose pod fails, and the one that dies, in the list of nodes.
const LOSES_POD: usize = 1;
const DIES: usize = 0;
/// Everything here takes milliseconds; a loaded machine gets this long.
const LIMIT: Duration = Duration::from_secs(20);
/// The nodes start from nothing.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Why the story is not told to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// Something did not come true.
    Failed(Failure),
    /// The reader closed the pipe.
    NobodyListens,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What was measured, for the end.
#[derive(Debug, Default)]
struct Measured {
    allocated: Duration,
    established: Duration,
    learned: Duration,
    pod_lost: Duration,
    pod_back: Duration,
    node_lost: Duration,
    node_back: Duration,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo tells how long things took"
)]
fn now() -> Instant {
    Instant::now()
}

/// Starts the nodes and tells what happens.
pub(super) async fn tell(network: &mut Network, narrator: &mut Narrator) -> Result<(), Ended> {
    let mut measured = Measured::default();
    narrator.title(
        "Fairway: LoadBalancer addresses for bare metal, and the routes that lead to them",
    )?;
    let started = now();
    for index in 0..network.nodes.len() {
        network.start(index)?;
    }
    introduce(network, narrator)?;
    allocation(network, narrator, started, &mut measured).await?;
    let sessions_since = sessions(network, narrator, started, &mut measured).await?;
    routes(network, narrator, started, &mut measured).await?;
    endpoint_loss(network, narrator, &mut measured).await?;
    node_loss(network, narrator, &mut measured).await?;
    return_of_the_node(network, narrator, &mut measured).await?;
    summary(network, narrator, sessions_since, &measured).await
}

fn introduce(network: &Network, narrator: &Narrator) -> Result<(), Ended> {
    let mut lines = vec![
        match network.place {
            Place::Loopback => "The reference homelab on this machine's loopback:",
            Place::Namespaces => "The reference homelab in network namespaces of this machine:",
        }
        .to_owned(),
        format!(
            "   router       {:<18} AS {ROUTER_ASN}   {}",
            network.router.address().to_string(),
            network.router.describe()
        ),
    ];
    for node in &network.nodes {
        let id = node
            .id()
            .map_or_else(|| "ended".to_owned(), |id| format!("process {id}"));
        lines.push(format!(
            "   {:<12} {:<18} AS {CLUSTER_ASN}   fairway run, {id}",
            node.name, node.address
        ));
    }
    lines.push("   k3s-master1  has no label bgp=enabled, so it does not speak".to_owned());
    narrator.list(&lines)
}

async fn allocation(
    network: &Network,
    narrator: &mut Narrator,
    started: Instant,
    measured: &mut Measured,
) -> Result<(), Ended> {
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

async fn sessions(
    network: &Network,
    narrator: &mut Narrator,
    started: Instant,
    measured: &mut Measured,
) -> Result<Instant, Ended> {
    narrator
        .chapter("Three nodes, three BGP sessions with the router")
        .await?;
    let count = network.nodes.len();
    let seen = network.eventually(START_LIMIT, "three sessions", || async {
        let peers = view::peers(network).await?;
        view::all_established(&peers, count)?;
        // The tables are exchanged right after; counts of a half-sent table would puzzle.
        let advertised = |peers: &Vec<crate::observe::shapes::Peer>| {
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
    let since = now();
    measured.established = took;
    narrator.say(&format!(
        "Each node called the router by itself; all are established {} after their start.",
        ms(took)
    ))?;
    narrator.show(&view::peers_table(&peers))?;
    Ok(since)
}

async fn routes(
    network: &Network,
    narrator: &mut Narrator,
    started: Instant,
    measured: &mut Measured,
) -> Result<(), Ended> {
    narrator.chapter("What the router knows now").await?;
    let everyone: Vec<usize> = (0..network.nodes.len()).collect();
    let (ways, took) = routed(
        network,
        "three ways to the gateway",
        &[(GATEWAY_ADDRESS, &everyone)],
        started,
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

async fn endpoint_loss(
    network: &Network,
    narrator: &mut Narrator,
    measured: &mut Measured,
) -> Result<(), Ended> {
    let loser = name(network, LOSES_POD);
    narrator
        .chapter(&format!("The gateway's pod on {loser} stops being ready"))
        .await?;
    let everyone: Vec<usize> = (0..network.nodes.len()).collect();
    let others: Vec<usize> = everyone
        .iter()
        .copied()
        .filter(|&index| index != LOSES_POD)
        .collect();
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

async fn node_loss(
    network: &mut Network,
    narrator: &mut Narrator,
    measured: &mut Measured,
) -> Result<(), Ended> {
    let dead = name(network, DIES);
    let id = network
        .nodes
        .get(DIES)
        .and_then(super::network::Node::id)
        .unwrap_or_default();
    narrator
        .chapter(&format!("{dead} dies: kill -9 {id}"))
        .await?;
    let hold_time = view::peers(network).await.map_err(Failure::Wrong)?;
    let hold_time = hold_time
        .get(dead)
        .and_then(|peers| peers.first())
        .map_or(0, |peer| peer.applied_hold_time_seconds);
    let others: Vec<usize> = (0..network.nodes.len())
        .filter(|&index| index != DIES)
        .collect();
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

async fn return_of_the_node(
    network: &mut Network,
    narrator: &mut Narrator,
    measured: &mut Measured,
) -> Result<(), Ended> {
    let dead = name(network, DIES);
    narrator
        .chapter(&format!(
            "A second Service comes while {dead} is away; then {dead} comes back"
        ))
        .await?;
    network.put(SECOND_SERVICE.0, SECOND_SERVICE.1)?;
    let alive: Vec<usize> = (0..network.nodes.len())
        .filter(|&index| index != DIES)
        .collect();
    let second = network.eventually(LIMIT, "an address for the second Service", || async {
        let mut address = None;
        for node in alive.iter().filter_map(|&index| network.nodes.get(index)) {
            let own = view::address(&node.ask("/v1/services").await?, PHOTOS.0, PHOTOS.1)?;
            if address.is_some_and(|address| address != own) {
                return Err(format!("{} gave it {own}", node.name));
            }
            address = Some(own);
        }
        address.ok_or_else(|| "there is no node".to_owned())
    });
    let second = second.await?;
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
    let everyone: Vec<usize> = (0..network.nodes.len()).collect();
    let wanted = [
        (GATEWAY_ADDRESS, everyone.as_slice()),
        (second, everyone.as_slice()),
    ];
    let (ways, took) = routed(network, "three ways to both Services", &wanted, started).await?;
    measured.node_back = took;
    let services = network.eventually(LIMIT, "the returned node's own view", || async {
        let services = network
            .nodes
            .get(DIES)
            .ok_or("there is no node")?
            .ask("/v1/services")
            .await?;
        for ((namespace, name), expected) in [(GATEWAY, GATEWAY_ADDRESS), (PHOTOS, second)] {
            let address = view::address(&services, namespace, name)?;
            if address != expected {
                return Err(format!("{namespace}/{name} has {address} there"));
            }
        }
        view::services_table(&services)
    });
    narrator.show(&services.await?)?;
    narrator.go_on(&format!(
        "Both Services kept their addresses, and {} after its start {dead} is in the router's table again.",
        ms(took)
    ))?;
    narrator.show(&view::router_table(&ways, network))
}

async fn summary(
    network: &Network,
    narrator: &mut Narrator,
    sessions_since: Instant,
    measured: &Measured,
) -> Result<(), Ended> {
    narrator.chapter("In short").await?;
    // Seen before it is said: the other nodes' sessions are as old as they were when they were first seen.
    let peers = view::peers(network).await.map_err(Failure::Wrong)?;
    let age = sessions_since.elapsed().as_nanos();
    let survivors: Vec<&str> = network
        .nodes
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != DIES)
        .map(|(_, node)| node.name)
        .collect();
    for &name in &survivors {
        let uptime = peers
            .get(name)
            .and_then(|peers| peers.first())
            .map_or(0, |peer| peer.uptime_nanoseconds);
        if u128::from(uptime) < age {
            return Err(
                Failure::Wrong(format!("the session of {name} went down in between")).into(),
            );
        }
    }
    narrator.list(&[
        format!(
            "address given out          {:>8} after the nodes' start",
            ms(measured.allocated)
        ),
        format!(
            "all sessions established   {:>8} after the nodes' start",
            ms(measured.established)
        ),
        format!(
            "all routes in the router   {:>8} after the nodes' start",
            ms(measured.learned)
        ),
        format!(
            "pod lost, route gone       {:>8}     pod back, route back    {:>8}",
            ms(measured.pod_lost),
            ms(measured.pod_back)
        ),
        format!(
            "node killed, routes gone   {:>8}     node back, routes back  {:>8}",
            ms(measured.node_lost),
            ms(measured.node_back)
        ),
    ])?;
    narrator.go_on(&format!(
        "The sessions of {} never went down, and {GATEWAY_ADDRESS} was the gateway's all the time.",
        survivors.join(" and ")
    ))
}

/// Waits until the router has exactly these ways, and says how long after `since` that was.
async fn routed(
    network: &Network,
    what: &str,
    wanted: &[(IpAddr, &[usize])],
    since: Instant,
) -> Result<(Ways, Duration), Failure> {
    let expected: Vec<(IpNet, BTreeSet<IpAddr>)> = wanted
        .iter()
        .map(|(address, nodes)| {
            let hops = nodes
                .iter()
                .filter_map(|&index| network.nodes.get(index))
                .map(|node| node.address.into())
                .collect();
            (IpNet::from(*address), hops)
        })
        .collect();
    network
        .eventually(LIMIT, what, || async {
            let ways = network.router.ways().await?;
            let seen: Vec<(IpNet, BTreeSet<IpAddr>)> = ways
                .iter()
                .map(|(prefix, ways)| (*prefix, ways.iter().map(|way| way.next_hop).collect()))
                .collect();
            let as_expected =
                seen.len() == expected.len() && expected.iter().all(|entry| seen.contains(entry));
            if !as_expected || !ways.values().all(|ways| equal(ways)) {
                return Err(format!("the router has {seen:?}"));
            }
            Ok((ways, since.elapsed()))
        })
        .await
}

/// Whether a router may use the ways side by side.
fn equal(ways: &[Way]) -> bool {
    ways.windows(2)
        .all(|pair| matches!(pair, [a, b] if a.as_path == b.as_path))
}

fn name(network: &Network, index: usize) -> &'static str {
    network.nodes.get(index).map_or("?", |node| node.name)
}

fn ms(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
