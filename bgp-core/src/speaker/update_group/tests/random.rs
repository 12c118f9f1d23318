//! Random changes, peers that read at their own pace, come and go: in the end each knows exactly what it should.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::attribute::{Attributes, Community, NextHop};
use crate::peer::Session;
use crate::rib::testing::{learned, local, prefix};
use crate::rib::{Action, Match, PrefixMatch, Statement, Verdict};

use super::model::{Receiver, US, V4, V6, export, session};
use super::*;

const PEERS: u8 = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A prefix, whose route it is (0: ours), what it carries.
    Announce(u8, u8, u8),
    Withdraw(u8),
    Read(u8, usize),
    Join(u8),
    Leave(u8),
    Policy(u8, u8),
    Refresh(u8, bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    let peer = || 1..=PEERS;
    let budget = prop_oneof![Just(0_usize), 1..600_usize, Just(1_000_000)];
    prop_oneof![
        12 => (0_u8..40, 0..=PEERS, 0_u8..4).prop_map(|(net, from, set)| Step::Announce(net, from, set)),
        6 => (0_u8..40).prop_map(Step::Withdraw),
        12 => (peer(), budget).prop_map(|(peer, budget)| Step::Read(peer, budget)),
        2 => peer().prop_map(Step::Join),
        1 => peer().prop_map(Step::Leave),
        2 => (peer(), 0_u8..4).prop_map(|(peer, policy)| Step::Policy(peer, policy)),
        2 => (peer(), any::<bool>()).prop_map(|(peer, v6)| Step::Refresh(peer, v6)),
    ]
}

/// Peers 1 and 2 are alike but for what they taught us; 3 knows two octets and no enhanced refresh; 4 is internal and
/// reached over IPv6.
fn session_of(peer: u8, alike: bool) -> Session {
    let mut session = session(if peer == 4 && !alike {
        "2001:db8::1"
    } else {
        "192.0.2.1"
    });
    session.send.max_message = 200;
    if alike {
        return session;
    }
    match peer {
        3 => {
            session.enhanced_route_refresh = false;
            session.send.four_octet_as = false;
        }
        4 => {
            session.external = false;
            session.send.external = false;
            session.send.extended_next_hop.push(V4);
        }
        _ => {}
    }
    session
}

fn policy(n: u8) -> Arc<Policy> {
    let statement = |matches, actions, verdict| Statement {
        name: String::new(),
        matches,
        actions,
        verdict,
    };
    let half = Match::Prefix(vec![
        PrefixMatch {
            prefix: prefix("10.0.0.0/8"),
            ge: 0,
            le: 25,
        },
        PrefixMatch::exact(prefix("2001:db8:1::/64")),
    ]);
    let tag = Action::AddCommunities(vec![Community(77)]);
    Arc::new(match n {
        0 => Policy::accept_all(),
        1 => Policy {
            statements: vec![statement(vec![half], vec![], Verdict::Reject)],
            default: Verdict::Accept,
        },
        2 => Policy {
            statements: vec![statement(vec![half], vec![tag], Verdict::Accept)],
            default: Verdict::Reject,
        },
        _ => Policy::reject_all(),
    })
}

fn route(net: u8, from: u8, set: u8) -> Route {
    let text = match net {
        0..12 => format!("10.0.{net}.0/24"),
        12..28 => format!("10.1.0.{net}/32"),
        _ => format!("2001:db8:{net}::/64"),
    };
    let mut route = if from == 0 {
        local(&text)
    } else {
        learned(&text, from)
    };
    // Some sets are equal whoever taught them, so that only the source of a route changes.
    let attributes = match set {
        0 => Attributes::default(),
        1 => Attributes {
            med: Some(5),
            ..Attributes::default()
        },
        2 => Attributes {
            communities: (0..20).map(Community).collect(),
            ..(*route.attributes).clone()
        },
        // Too long for a message of 200 octets.
        _ => Attributes {
            communities: (0..40).map(Community).collect(),
            ..(*route.attributes).clone()
        },
    };
    route.attributes = Arc::new(attributes);
    if prefix(&text).family() == V6 && net.is_multiple_of(2) {
        route.next_hop = Some(NextHop::V6("2001:db8::99".parse().expect("an address")));
    }
    route
}

struct World {
    groups: UpdateGroups,
    /// Equal sets are one allocation, as the speaker keeps them.
    attributes: crate::rib::Interner<Attributes>,
    loc_rib: BTreeMap<Prefix, Route>,
    receivers: BTreeMap<u8, Receiver>,
    policies: BTreeMap<u8, u8>,
    alike: bool,
}

impl World {
    fn new(alike: bool) -> Self {
        Self {
            groups: UpdateGroups::default(),
            attributes: crate::rib::Interner::new(),
            loc_rib: BTreeMap::new(),
            receivers: BTreeMap::new(),
            policies: BTreeMap::new(),
            alike,
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Announce(net, from, set) => {
                let mut route = route(net, from, set);
                route.attributes = self.attributes.intern_shared(&route.attributes);
                self.loc_rib.insert(route.prefix, route.clone());
                self.groups.route_changed(route.prefix, Some(&route));
            }
            Step::Withdraw(net) => {
                let prefix = route(net, 0, 0).prefix;
                self.loc_rib.remove(&prefix);
                self.groups.route_changed(prefix, None);
            }
            Step::Read(peer, budget) => {
                if let Some(receiver) = self.receivers.get_mut(&peer) {
                    receiver.read(&mut self.groups, budget);
                }
            }
            Step::Join(peer) => {
                let session = session_of(peer, self.alike);
                let export = export(policy(*self.policies.entry(peer).or_default()), false);
                self.groups.join(
                    PeerId(u32::from(peer)),
                    &session,
                    export,
                    self.loc_rib.values().cloned(),
                );
                self.receivers
                    .insert(peer, Receiver::new(PeerId(u32::from(peer)), &session));
            }
            Step::Leave(peer) => {
                self.groups.leave(PeerId(u32::from(peer)));
                self.receivers.remove(&peer);
            }
            Step::Policy(peer, number) => {
                self.policies.insert(peer, number);
                let id = PeerId(u32::from(peer));
                self.groups
                    .set_policy(id, policy(number), self.loc_rib.values().cloned());
            }
            Step::Refresh(peer, v6) => {
                let family = if v6 { V6 } else { V4 };
                if let Some(receiver) = self.receivers.get_mut(&peer) {
                    self.groups.refresh(PeerId(u32::from(peer)), family);
                    receiver.asked();
                }
            }
        }
    }

    /// What a peer should know, by the export rules of its session alone: no groups, no cohorts.
    fn expected(&self, peer: u8) -> BTreeMap<Prefix, (Attributes, NextHop)> {
        let session = session_of(peer, self.alike);
        let rules = ExportRules {
            local_asn: US,
            policy: CompiledPolicy::new(policy(self.policies[&peer])),
            originated_only: false,
            context: session.send.clone(),
            local_address: session.local.ip(),
        };
        let others = self
            .loc_rib
            .values()
            .filter(|route| route.source.peer() != Some(PeerId(u32::from(peer))));
        others
            .filter_map(|route| {
                let outgoing = rules.explain(route).ok()?;
                Some((
                    route.prefix,
                    ((*outgoing.attributes).clone(), outgoing.next_hop.clone()),
                ))
            })
            .collect()
    }

    fn check_in_the_end(&mut self) {
        for receiver in self.receivers.values_mut() {
            receiver.drain(&mut self.groups);
        }
        for (peer, receiver) in &self.receivers {
            assert_eq!(receiver.table, self.expected(*peer), "peer {peer}");
            let mut ends = receiver.ends_of_rib.clone();
            ends.sort_unstable();
            assert_eq!(ends, [V4, V6], "one End-of-RIB for each family");
            assert_eq!(receiver.begins.len(), receiver.ends.len());
        }
        // A second round of reading finds all idle peers of a group together.
        for peer in self.receivers.keys() {
            assert_eq!(self.groups.next_octets(PeerId(u32::from(*peer)), 1), None);
        }
        assert!(
            self.groups
                .groups
                .values()
                .all(|group| group.cohorts() == 1)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_peer_knows_in_the_end_what_it_should(
        alike in any::<bool>(),
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut world = World::new(alike);
        for peer in 1..=PEERS {
            world.apply(&Step::Join(peer));
        }
        for step in &steps {
            world.apply(step);
        }
        world.check_in_the_end();
    }

    #[test]
    fn the_messages_are_the_fewest(
        counts in prop::collection::vec((0_usize..300, 0_u32..30), 1..6),
        v6 in any::<bool>(),
    ) {
        let mut routes = vec![];
        for (set, (count, communities)) in counts.iter().enumerate() {
            let communities = (0..=*communities).map(|n| Community(n * 10 + set as u32)).collect();
            let attributes = Arc::new(Attributes { communities, ..Attributes::default() });
            for n in 0..*count {
                let text = if v6 { format!("2001:db8:{n:x}:{set}::/64") } else { format!("10.{set}.{}.{}/32", n / 256, n % 256) };
                routes.push(Route { attributes: Arc::clone(&attributes), ..local(&text) });
            }
        }
        let mut groups = UpdateGroups::default();
        let mut session = session(if v6 { "2001:db8::1" } else { "192.0.2.1" });
        session.send.max_message = 600;
        groups.join(A, &session, export(accept_all(), true), routes.iter().cloned());
        let mut receiver = Receiver::new(A, &session);
        receiver.drain(&mut groups);
        prop_assert_eq!(receiver.table.len(), routes.len());
        let fewest = counts.iter().map(|(count, communities)| {
            let communities = 4 * (*communities as usize + 1);
            let header = if communities > 255 { 4 } else { 3 };
            let (fixed, entry) = if v6 { (23 + 4 + 9 + 25, 9) } else { (23 + 4 + 9 + 7, 5) };
            count.div_ceil((600 - fixed - header - communities) / entry)
        });
        prop_assert_eq!(receiver.updates, fewest.sum::<usize>());
    }
}
