//! Import and export rules as data.

mod compiled;

use std::sync::Arc;

use crate::attribute::{Attributes, Community, LargeCommunity};
use crate::types::{Asn, Prefix};

use super::Route;

pub use compiled::CompiledPolicy;

/// An ordered list of statements; the first that matches decides alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// In order.
    pub statements: Vec<Statement>,
    /// What happens to a route that no statement matches.
    pub default: Verdict,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Statement {
    /// For people: why a route was accepted or refused.
    pub name: String,
    /// All must hold.
    pub matches: Vec<Match>,
    /// What is done with a matching route, in order.
    pub actions: Vec<Action>,
    /// Whether it passes.
    pub verdict: Verdict,
}

/// A condition on a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// One of these prefixes matches.
    Prefix(Vec<PrefixMatch>),
    /// The route carries this community.
    Community(Community),
    /// The AS path contains this AS.
    AsPathContains(Asn),
}

/// A prefix, and how long the routes below it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixMatch {
    /// The covering prefix.
    pub prefix: Prefix,
    /// Least length; the prefix's own for an exact match.
    pub ge: u8,
    /// Greatest length; the prefix's own for an exact match.
    pub le: u8,
}

/// A change to what a route carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Set LOCAL_PREF.
    SetLocalPref(u32),
    /// Set MULTI_EXIT_DISC.
    SetMed(u32),
    /// Add communities that are not there yet.
    AddCommunities(Vec<Community>),
    /// Add large communities that are not there yet.
    AddLargeCommunities(Vec<LargeCommunity>),
    /// Prepend our own AS that many times more.
    Prepend(u8),
}

/// Pass or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It does not.
    Reject,
}

/// What a policy makes of one route, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes.
    pub verdict: Verdict,
    /// Which statement decided, as an index; `None` where none matched and the default did.
    pub statement: Option<usize>,
    /// The route after the statement's actions; unchanged where it does not pass.
    pub route: Route,
}

impl Policy {
    /// Everything passes unchanged.
    pub fn accept_all() -> Self {
        Self {
            statements: vec![],
            default: Verdict::Accept,
        }
    }
    /// Nothing passes (RFC 8212's default for external peers).
    pub fn reject_all() -> Self {
        Self {
            statements: vec![],
            default: Verdict::Reject,
        }
    }

    /// Judges one route: the first statement that matches decides alone. Looks at the statements one after another;
    /// [`CompiledPolicy`] gives the same answers and is for many routes.
    pub fn evaluate(&self, route: &Route, local_asn: Asn) -> Decision {
        let matches = |statement: &Statement| {
            statement
                .matches
                .iter()
                .all(|condition| condition.holds(route.prefix, &route.attributes))
        };
        self.decided(route, self.statements.iter().position(matches), local_asn)
    }

    /// What is decided where this statement does.
    fn decided(&self, route: &Route, statement: Option<usize>, local_asn: Asn) -> Decision {
        let verdict = self.verdict(statement);
        let mut route = route.clone();
        if verdict == Verdict::Accept {
            route.attributes = self.apply(statement, &route.attributes, local_asn);
        }
        Decision {
            verdict,
            statement,
            route,
        }
    }

    /// The verdict of a statement, or the default.
    pub(crate) fn verdict(&self, statement: Option<usize>) -> Verdict {
        statement
            .and_then(|index| self.statements.get(index))
            .map_or(self.default, |statement| statement.verdict)
    }

    /// The attributes after a statement's actions: the same ones where nothing changes.
    pub(crate) fn apply(
        &self,
        statement: Option<usize>,
        attributes: &Arc<Attributes>,
        local_asn: Asn,
    ) -> Arc<Attributes> {
        let actions = statement
            .and_then(|index| self.statements.get(index))
            .map_or(&[][..], |found| &found.actions);
        let mut changed = Arc::clone(attributes);
        for action in actions {
            action.apply(&mut changed, local_asn);
        }
        changed
    }
}

impl Match {
    fn holds(&self, prefix: Prefix, attributes: &Attributes) -> bool {
        match self {
            Self::Prefix(prefixes) => prefixes.iter().any(|one| one.holds(prefix)),
            Self::Community(community) => attributes.communities.contains(community),
            Self::AsPathContains(asn) => attributes.as_path.contains(*asn),
        }
    }
}

impl PrefixMatch {
    /// Only this prefix, at its own length.
    pub fn exact(prefix: Prefix) -> Self {
        let length = prefix.net().prefix_len();
        Self {
            prefix,
            ge: length,
            le: length,
        }
    }

    /// Whether the prefix lies below this one and has an allowed length.
    pub fn holds(&self, prefix: Prefix) -> bool {
        self.allows(prefix.net().prefix_len()) && self.prefix.net().contains(&prefix.net())
    }

    fn allows(&self, length: u8) -> bool {
        (self.ge..=self.le).contains(&length)
    }
}

impl Action {
    /// Changes a copy where the attributes are shared, and nothing where they already are as wanted.
    fn apply(&self, attributes: &mut Arc<Attributes>, local_asn: Asn) {
        match self {
            Self::SetLocalPref(value) => {
                if attributes.local_pref != Some(*value) {
                    Arc::make_mut(attributes).local_pref = Some(*value);
                }
            }
            Self::SetMed(value) => {
                if attributes.med != Some(*value) {
                    Arc::make_mut(attributes).med = Some(*value);
                }
            }
            Self::AddCommunities(wanted) => {
                for community in wanted {
                    if !attributes.communities.contains(community) {
                        Arc::make_mut(attributes).communities.push(*community);
                    }
                }
            }
            Self::AddLargeCommunities(wanted) => {
                for community in wanted {
                    if !attributes.large_communities.contains(community) {
                        Arc::make_mut(attributes).large_communities.push(*community);
                    }
                }
            }
            Self::Prepend(0) => {}
            Self::Prepend(times) => {
                Arc::make_mut(attributes)
                    .as_path
                    .prepend(local_asn, usize::from(*times));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::attribute::AsPath;

    use super::super::testing::{learned, local, prefix};
    use super::*;

    fn statement(
        name: &str,
        matches: Vec<Match>,
        actions: Vec<Action>,
        verdict: Verdict,
    ) -> Statement {
        Statement {
            name: name.to_owned(),
            matches,
            actions,
            verdict,
        }
    }

    fn exact(net: &str) -> Match {
        Match::Prefix(vec![PrefixMatch::exact(prefix(net))])
    }

    const US: Asn = Asn(64512);

    #[test]
    fn the_first_statement_that_matches_decides_alone() {
        let policy = Policy {
            statements: vec![
                statement("other", vec![exact("10.0.1.0/24")], vec![], Verdict::Reject),
                statement(
                    "first",
                    vec![exact("10.0.0.0/24")],
                    vec![Action::SetMed(1)],
                    Verdict::Accept,
                ),
                statement(
                    "second",
                    vec![exact("10.0.0.0/24")],
                    vec![Action::SetLocalPref(2)],
                    Verdict::Accept,
                ),
            ],
            default: Verdict::Reject,
        };
        let decision = policy.evaluate(&local("10.0.0.0/24"), US);
        assert_eq!(
            (decision.verdict, decision.statement),
            (Verdict::Accept, Some(1))
        );
        assert_eq!(
            (
                decision.route.attributes.med,
                decision.route.attributes.local_pref
            ),
            (Some(1), None)
        );
        let decision = policy.evaluate(&local("10.0.2.0/24"), US);
        assert_eq!(
            (decision.verdict, decision.statement),
            (Verdict::Reject, None)
        );
    }

    #[test]
    fn a_refused_route_is_not_changed() {
        let policy = Policy {
            statements: vec![statement(
                "no",
                vec![],
                vec![Action::SetMed(1)],
                Verdict::Reject,
            )],
            default: Verdict::Accept,
        };
        let route = local("10.0.0.0/24");
        assert_eq!(policy.evaluate(&route, US).route, route);
    }

    #[test]
    fn all_conditions_must_hold() {
        let community = Community(0xFDE8_0001);
        let both = vec![
            exact("10.0.0.0/24"),
            Match::Community(community),
            Match::AsPathContains(Asn(65001)),
        ];
        let policy = CompiledPolicy::new(Arc::new(Policy {
            statements: vec![statement("both", both, vec![], Verdict::Accept)],
            default: Verdict::Reject,
        }));
        let mut route = learned("10.0.0.0/24", 1);
        assert_eq!(policy.evaluate(&route, US).statement, None);
        Arc::make_mut(&mut route.attributes)
            .communities
            .push(community);
        assert_eq!(policy.evaluate(&route, US).statement, Some(0));
    }

    #[test]
    fn an_action_copies_only_what_it_changes() {
        let policy = |actions| Policy {
            statements: vec![statement("all", vec![], actions, Verdict::Accept)],
            default: Verdict::Reject,
        };
        let mut route = local("10.0.0.0/24");
        let communities = vec![Community(1), Community(2)];
        let changed = policy(vec![Action::AddCommunities(communities.clone())])
            .evaluate(&route, US)
            .route;
        assert_eq!(changed.attributes.communities, communities);
        assert!(route.attributes.communities.is_empty());
        Arc::make_mut(&mut route.attributes).communities = communities.clone();
        let same = policy(vec![
            Action::AddCommunities(communities),
            Action::Prepend(0),
        ])
        .evaluate(&route, US)
        .route;
        assert!(Arc::ptr_eq(&same.attributes, &route.attributes));
    }

    #[test]
    fn prepending_repeats_our_own_as() {
        let policy = Policy {
            statements: vec![statement(
                "longer",
                vec![],
                vec![Action::Prepend(2)],
                Verdict::Accept,
            )],
            default: Verdict::Reject,
        };
        let route = policy.evaluate(&learned("10.0.0.0/24", 1), US).route;
        assert_eq!(
            route.attributes.as_path,
            AsPath::sequence([US, US, Asn(65001)])
        );
    }

    #[test]
    fn a_prefix_condition_holds_below_the_prefix_within_its_lengths() {
        let below = PrefixMatch {
            prefix: prefix("10.0.0.0/8"),
            ge: 24,
            le: 32,
        };
        assert!(below.holds(prefix("10.1.2.0/24")) && below.holds(prefix("10.1.2.3/32")));
        assert!(!below.holds(prefix("10.1.0.0/16")) && !below.holds(prefix("11.0.0.0/24")));
        assert!(!below.holds(prefix("2001:db8::/32")));
        assert!(
            PrefixMatch {
                prefix: prefix("0.0.0.0/0"),
                ge: 0,
                le: 32
            }
            .holds(prefix("1.2.3.4/32"))
        );
    }

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        (
            0_u8..4,
            prop_oneof![Just(8_u8), Just(16), Just(24), Just(32)],
            any::<bool>(),
        )
            .prop_map(|(n, length, v6)| {
                let text = if v6 {
                    format!("2001:db8:{n}::/{}", length * 2)
                } else {
                    format!("10.{n}.{n}.{n}/{length}")
                };
                prefix(&text)
            })
    }

    fn any_match() -> impl Strategy<Value = Match> {
        let prefixes = (any_prefix(), 0_u8..48, 0_u8..64)
            .prop_map(|(prefix, ge, le)| PrefixMatch { prefix, ge, le });
        let exact = any_prefix().prop_map(PrefixMatch::exact);
        prop_oneof![
            4 => prop::collection::vec(prop_oneof![prefixes, exact], 0..4).prop_map(Match::Prefix),
            1 => (0_u32..2).prop_map(|value| Match::Community(Community(value))),
        ]
    }

    proptest! {
        #[test]
        fn the_index_gives_the_same_answers(
            rules in prop::collection::vec((prop::collection::vec(any_match(), 0..3), any::<bool>()), 0..12),
            prefixes in prop::collection::vec((any_prefix(), 0_u32..2), 1..20),
        ) {
            let statements = rules.into_iter().map(|(matches, accept)| {
                statement("", matches, vec![], if accept { Verdict::Accept } else { Verdict::Reject })
            });
            let policy = Arc::new(Policy { statements: statements.collect(), default: Verdict::Reject });
            let compiled = CompiledPolicy::new(Arc::clone(&policy));
            for (prefix, community) in prefixes {
                let mut route = local("10.0.0.0/8");
                route.prefix = prefix;
                Arc::make_mut(&mut route.attributes).communities.push(Community(community));
                prop_assert_eq!(policy.evaluate(&route, US), compiled.evaluate(&route, US));
            }
        }
    }
}
