//! Speakers on in-memory links. One seed is one run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bgp_core::fsm::{Jitter, StateName};
use bgp_core::peer::{ConnectionId, DownReason};
use bgp_core::speaker::{Event, PeerId, PeerSettings};
use bgp_core::{Family, Input, Output, Speaker, SpeakerConfig};
use bytes::Bytes;

use super::probe::PEER;
use super::{LEFT_AS, RIGHT_AS, address, open_settings, speaker_config};

pub(crate) struct Network {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    links: Vec<Link>,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    random: Jitter,
    most_latency: Duration,
}

pub(crate) struct Node {
    pub(crate) speaker: Speaker,
    pub(crate) events: Vec<(PeerId, Event)>,
    /// Calls made, in all.
    pub(crate) calls: usize,
    last: u8,
    config: SpeakerConfig,
    listening: bool,
    peers: BTreeMap<PeerId, PeerSettings>,
    /// Calls that are out.
    calling: Vec<ConnectionId>,
}

/// One TCP connection; the caller is the first end.
struct Link {
    ends: [End; 2],
    /// Octets vanish, as when a cable is pulled.
    cut: bool,
}

#[derive(Clone, Copy)]
struct End {
    node: usize,
    connection: ConnectionId,
    open: bool,
    /// Nothing that this end sends arrives before that.
    not_before: Instant,
}

enum Happening {
    Call {
        from: usize,
        connection: ConnectionId,
        to: SocketAddr,
    },
    Answer {
        from: usize,
        connection: ConnectionId,
        link: Option<usize>,
    },
    Deliver {
        link: usize,
        end: usize,
        octets: Bytes,
    },
    Written {
        node: usize,
        connection: ConnectionId,
        octets: usize,
    },
    Hangup {
        link: usize,
        end: usize,
    },
}

impl Network {
    /// Every latency is drawn below `most_latency`.
    pub(crate) fn new(seed: u64, most_latency: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            now: start,
            nodes: vec![],
            links: vec![],
            queue: BTreeMap::new(),
            sequence: 0,
            random: Jitter::new(seed),
            most_latency,
        }
    }

    /// A speaker at 192.168.10.`last`.
    pub(crate) fn add(&mut self, last: u8, config: SpeakerConfig) -> usize {
        self.nodes.push(Node {
            speaker: Speaker::new(config.clone()),
            events: vec![],
            calls: 0,
            last,
            config,
            listening: true,
            peers: BTreeMap::new(),
            calling: vec![],
        });
        self.nodes.len() - 1
    }

    pub(crate) fn set_peer(&mut self, node: usize, id: PeerId, settings: PeerSettings) {
        self.nodes[node].peers.insert(id, settings.clone());
        self.input(node, Input::SetPeer(id, settings));
    }

    pub(crate) fn input(&mut self, node: usize, input: Input) {
        self.nodes[node].speaker.handle(self.now, input);
        self.drain(node);
    }

    /// The process dies: its connections are reset, nobody listens.
    pub(crate) fn kill(&mut self, node: usize) {
        for link in 0..self.links.len() {
            for end in 0..2 {
                let at = self.links[link].ends[end];
                if at.node == node && at.open {
                    self.links[link].ends[end].open = false;
                    self.hang_up(link, 1 - end);
                }
            }
        }
        let node = &mut self.nodes[node];
        node.listening = false;
        node.calling.clear();
        node.speaker = Speaker::new(node.config.clone());
    }

    /// It comes back with what it was told before.
    pub(crate) fn revive(&mut self, node: usize) {
        self.nodes[node].listening = true;
        for (id, settings) in self.nodes[node].peers.clone() {
            self.input(node, Input::SetPeer(id, settings));
        }
    }

    pub(crate) fn cut_all(&mut self) {
        for link in &mut self.links {
            link.cut = true;
        }
    }

    pub(crate) fn state(&self, node: usize, id: PeerId) -> StateName {
        let peers = self.nodes[node].speaker.peers();
        peers
            .iter()
            .find(|peer| peer.id == id)
            .expect("a known peer")
            .state
    }

    pub(crate) fn is_established(&self, node: usize, id: PeerId) -> bool {
        self.state(node, id) == StateName::Established
    }

    /// Connections that both ends hold.
    pub(crate) fn open_links(&self) -> usize {
        let both = |link: &&Link| link.ends.iter().all(|end| end.open);
        self.links.iter().filter(both).count()
    }

    /// Why sessions (not attempts) of a peer ended.
    pub(crate) fn ended(&self, node: usize, id: PeerId) -> Vec<DownReason> {
        let events = self.nodes[node].events.iter();
        let reason = |(peer, event): &(PeerId, Event)| match event {
            Event::Down {
                reason,
                was_established: true,
            } if *peer == id => Some(reason.clone()),
            _ => None,
        };
        events.filter_map(reason).collect()
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until it holds; panics where it never does.
    pub(crate) fn run_until(&mut self, limit: Duration, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !holds(self) {
            assert!(
                self.step(end),
                "{what} within {limit:?}: {:?}",
                self.states()
            );
        }
    }

    fn states(&self) -> Vec<Vec<StateName>> {
        let states = |node: &Node| node.speaker.peers().iter().map(|peer| peer.state).collect();
        self.nodes.iter().map(states).collect()
    }

    /// The next thing that happens before `end`, if one does.
    fn step(&mut self, end: Instant) -> bool {
        let event = self.queue.keys().next().copied();
        let deadline = (0..self.nodes.len())
            .filter_map(|node| Some((self.nodes[node].speaker.next_deadline()?, node)))
            .min();
        match (event, deadline) {
            (Some((at, sequence)), _) if at <= end && deadline.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                let happening = self.queue.remove(&(at, sequence)).expect("it was there");
                self.happen(happening);
                true
            }
            (_, Some((due, node))) if due <= end => {
                self.now = self.now.max(due);
                self.input(node, Input::Tick);
                true
            }
            _ => false,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Call {
                from,
                connection,
                to,
            } => self.call(from, connection, to),
            Happening::Answer {
                from,
                connection,
                link,
            } => self.answer(from, connection, link),
            Happening::Deliver { link, end, octets } => {
                let to = self.links[link].ends[end];
                if to.open && !self.links[link].cut {
                    self.input(
                        to.node,
                        Input::Received {
                            connection: to.connection,
                            octets,
                        },
                    );
                }
            }
            Happening::Written {
                node,
                connection,
                octets,
            } => {
                self.input(node, Input::Written { connection, octets });
            }
            Happening::Hangup { link, end } => {
                let to = self.links[link].ends[end];
                if to.open && !self.links[link].cut {
                    self.links[link].ends[end].open = false;
                    let error = "closed by peer".to_owned();
                    self.input(
                        to.node,
                        Input::Closed {
                            connection: to.connection,
                            error,
                        },
                    );
                }
            }
        }
    }

    fn call(&mut self, from: usize, connection: ConnectionId, to: SocketAddr) {
        let callee = (0..self.nodes.len()).find(|node| address(self.nodes[*node].last) == to.ip());
        let callee = callee.filter(|node| self.nodes[*node].listening);
        let Some(callee) = callee else {
            self.nodes[from].calling.retain(|call| *call != connection);
            let error = "connection refused".to_owned();
            self.input(from, Input::ConnectFailed { connection, error });
            return;
        };
        let local = SocketAddr::new(to.ip(), 179);
        let remote = SocketAddr::new(address(self.nodes[from].last), 40_000);
        let accepted = self.nodes[callee]
            .speaker
            .accept(self.now, local, remote)
            .ok();
        let link = accepted.map(|accepted| {
            let end = |node, connection| End {
                node,
                connection,
                open: true,
                not_before: self.now,
            };
            self.links.push(Link {
                ends: [end(from, connection), end(callee, accepted)],
                cut: false,
            });
            self.links.len() - 1
        });
        self.later(Happening::Answer {
            from,
            connection,
            link,
        });
        self.drain(callee);
    }

    fn answer(&mut self, from: usize, connection: ConnectionId, link: Option<usize>) {
        let waited_for = self.nodes[from].calling.contains(&connection);
        self.nodes[from].calling.retain(|call| *call != connection);
        match link {
            Some(link) if waited_for => {
                let callee = self.links[link].ends[1].node;
                let local = SocketAddr::new(address(self.nodes[from].last), 40_000);
                let remote = SocketAddr::new(address(self.nodes[callee].last), 179);
                self.input(
                    from,
                    Input::Connected {
                        connection,
                        local,
                        remote,
                    },
                );
            }
            Some(link) => {
                self.links[link].ends[0].open = false;
                self.hang_up(link, 1);
            }
            None if waited_for => {
                let error = "closed by peer".to_owned();
                let here = SocketAddr::new(address(self.nodes[from].last), 40_000);
                self.input(
                    from,
                    Input::Connected {
                        connection,
                        local: here,
                        remote: here,
                    },
                );
                self.input(from, Input::Closed { connection, error });
            }
            None => {}
        }
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].speaker.poll_output(self.now) {
            match output {
                Output::Connect { peer, connection } => {
                    let to = self.nodes[node].peers[&peer].session.address;
                    self.nodes[node].calls += 1;
                    self.nodes[node].calling.push(connection);
                    let to = SocketAddr::new(to, 179);
                    self.later(Happening::Call {
                        from: node,
                        connection,
                        to,
                    });
                }
                Output::Send { connection, octets } => self.send(node, connection, octets),
                Output::Close { connection } => {
                    self.nodes[node].calling.retain(|call| *call != connection);
                    if let Some((link, end)) = self.find(node, connection) {
                        self.links[link].ends[end].open = false;
                        self.hang_up(link, 1 - end);
                    }
                }
                Output::Event(peer, event) => self.nodes[node].events.push((peer, event)),
            }
        }
    }

    fn send(&mut self, node: usize, connection: ConnectionId, octets: Bytes) {
        let written = octets.len();
        if let Some((link, end)) = self.find(node, connection) {
            self.in_order(
                link,
                end,
                Happening::Deliver {
                    link,
                    end: 1 - end,
                    octets,
                },
            );
        }
        self.later(Happening::Written {
            node,
            connection,
            octets: written,
        });
    }

    fn hang_up(&mut self, link: usize, end: usize) {
        self.in_order(link, 1 - end, Happening::Hangup { link, end });
    }

    fn find(&self, node: usize, connection: ConnectionId) -> Option<(usize, usize)> {
        self.links.iter().enumerate().find_map(|(link, found)| {
            let is_it = |end: &End| end.node == node && end.connection == connection && end.open;
            Some((link, found.ends.iter().position(is_it)?))
        })
    }

    /// As TCP delivers: nothing overtakes what was sent before on the same connection.
    fn in_order(&mut self, link: usize, from_end: usize, happening: Happening) {
        let at = self.now + self.latency();
        let end = &mut self.links[link].ends[from_end];
        end.not_before = end.not_before.max(at);
        let at = end.not_before;
        self.at(at, happening);
    }

    fn later(&mut self, happening: Happening) {
        let at = self.now + self.latency();
        self.at(at, happening);
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    fn latency(&mut self) -> Duration {
        let most = u64::try_from(self.most_latency.as_micros()).expect("short") + 1;
        Duration::from_micros(self.random.next_bits() % most)
    }
}

pub(crate) const LEFT: usize = 0;
pub(crate) const RIGHT: usize = 1;

/// Two speakers that both call, of different AS, with these last octets of their identifiers.
pub(crate) fn pair(seed: u64, most_latency: Duration, left_id: u8, right_id: u8) -> Network {
    let mut network = Network::new(seed, most_latency);
    network.add(21, speaker_config(LEFT_AS, left_id, seed));
    network.add(1, speaker_config(RIGHT_AS, right_id, seed ^ 0xFFFF));
    network
}

pub(crate) fn start_both(network: &mut Network) {
    network.set_peer(LEFT, PEER, open_settings(1, RIGHT_AS));
    network.set_peer(RIGHT, PEER, open_settings(21, LEFT_AS));
}

pub(crate) fn both_established(network: &Network) -> bool {
    network.is_established(LEFT, PEER) && network.is_established(RIGHT, PEER)
}

pub(crate) fn received(network: &Network, node: usize) -> Vec<String> {
    let routes = network.nodes[node]
        .speaker
        .received(PEER, Family::IPV4_UNICAST);
    routes
        .iter()
        .map(|route| route.prefix.to_string())
        .collect()
}
