//! The story itself. Each sentence is said after it was seen to be true.

mod down;
mod up;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Failure;
use super::narrator::Narrator;
use super::network::{CLUSTER_ASN, Network, ROUTER_ASN};
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
const LIMIT: Duration = Duration::from_secs(40);
/// For what the rest depends on, so that a failure is told by its cause.
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

/// The story as far as it is told.
#[derive(Debug)]
struct Story<'a> {
    network: &'a mut Network,
    narrator: &'a mut Narrator,
    started: Instant,
    sessions_since: Option<Instant>,
    measured: Measured,
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
    narrator.title(
        "Fairway: LoadBalancer addresses for bare metal, and the routes that lead to them",
    )?;
    let started = now();
    for index in 0..network.nodes.len() {
        network.start(index)?;
    }
    let mut story = Story {
        network,
        narrator,
        started,
        sessions_since: None,
        measured: Measured::default(),
    };
    story.introduction()?;
    story.beginning().await?;
    story.endpoint_loss().await?;
    story.node_loss().await?;
    story.return_of_the_node().await?;
    story.summary().await
}

impl Story<'_> {
    fn introduction(&mut self) -> Result<(), Ended> {
        let Self {
            network, narrator, ..
        } = self;
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

    async fn summary(&mut self) -> Result<(), Ended> {
        let Self {
            network,
            narrator,
            sessions_since,
            measured,
            ..
        } = self;
        narrator.chapter("In short").await?;
        // Seen before it is said: the other nodes' sessions are as old as they were when they were first seen.
        let peers = view::peers(network).await.map_err(Failure::Wrong)?;
        let age = sessions_since.map_or(0, |since| since.elapsed().as_nanos());
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
}

fn everyone(network: &Network) -> Vec<usize> {
    (0..network.nodes.len()).collect()
}

fn everyone_but(network: &Network, absent: usize) -> Vec<usize> {
    (0..network.nodes.len())
        .filter(|&index| index != absent)
        .collect()
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
    let milliseconds = duration.as_secs_f64() * 1000.0;
    // Below ten a rounded number says too little.
    let digits = usize::from(milliseconds < 10.0);
    format!("{milliseconds:.digits$} ms")
}
