//! Every interleaving of two processes that may lead, an API server, delayed writes, crashes, pauses and time, as far as
//! the bounds of each model go: the real `Candidate`, and a small faithful model of what a leader writes.
//!
//! One tick stands for 0.6 s. Within a tick everything may happen in any order.

#[path = "model/world.rs"]
mod world;

use stateright::{Checker, Model as _, Property};

use world::{Bounds, Rules, World};

const ONE_LEADER: &str = "never two valid leaders at one moment";
const ONE_SERVICE: &str = "no two Services hold one address";
const IN_TIME: &str = "somebody leads within 3 s of a crash";
const BOTH_SERVED: &str = "after a takeover both Services get an address";

/// Ticks in 3 s. How soon a challenge follows upon a crash is a matter of milliseconds and not of ticks.
const THREE_SECONDS: u8 = 5;

#[derive(Clone)]
struct Model {
    rules: Rules,
    bounds: Bounds,
}

impl stateright::Model for Model {
    type State = World;
    type Action = world::Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::start(&self.rules, &self.bounds)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Self::Action>) {
        world.actions(&self.rules, &self.bounds, actions);
    }

    fn next_state(&self, world: &World, action: Self::Action) -> Option<World> {
        let mut next = world.clone();
        next.apply(&self.rules, &action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_LEADER, |model: &Self, world: &World| {
                world.valid_leaders(&model.rules) <= 1
            }),
            Property::always(ONE_SERVICE, |_, world: &World| !world.shares_an_address()),
        ];
        if self.rules.prompt {
            properties.push(Property::always(IN_TIME, |_, world: &World| {
                world.without_leader() <= THREE_SECONDS
            }));
        }
        if self.bounds.services {
            properties.push(Property::sometimes(BOTH_SERVED, |_, world: &World| {
                world.both_served_after_takeover()
            }));
        }
        properties
    }
}

/// Searches everything, and says how much that was.
fn check(name: &str, rules: Rules, bounds: Bounds) -> impl Checker<Model> {
    let checker = Model { rules, bounds }.checker().spawn_dfs().join();
    println!(
        "{name}: {} states, depth {}",
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker
}

#[test]
fn nothing_is_given_twice_whatever_is_delayed_or_paused() {
    let bounds = Bounds {
        ticks: 5,
        pauses: 1,
        ..Bounds::default()
    };
    check("takeover", calm(), bounds).assert_properties();
}

#[test]
fn nothing_is_given_twice_after_a_crash_either() {
    let bounds = Bounds {
        ticks: 4,
        crashes: 1,
        ..Bounds::default()
    };
    check("crash", calm(), bounds).assert_properties();
}

#[test]
fn a_released_lease_changes_hands_safely() {
    let bounds = Bounds {
        ticks: 3,
        releases: 1,
        ..Bounds::default()
    };
    check("release", calm(), bounds).assert_properties();
}

#[test]
fn without_the_touching_of_services_a_delayed_write_gives_an_address_twice() {
    let bounds = Bounds {
        ticks: 5,
        pauses: 1,
        ..Bounds::default()
    };
    let rules = Rules {
        touching: false,
        ..calm()
    };
    check("no touching", rules, bounds).assert_any_discovery(ONE_SERVICE);
}

#[test]
fn a_leader_that_trusts_an_old_view_gives_an_address_twice() {
    let bounds = Bounds {
        ticks: 3,
        releases: 1,
        ..Bounds::default()
    };
    let rules = Rules {
        barrier: false,
        ..calm()
    };
    check("no barrier", rules, bounds).assert_any_discovery(ONE_SERVICE);
}

#[test]
fn without_the_end_of_validity_two_lead_at_once() {
    let bounds = Bounds {
        ticks: 5,
        pauses: 1,
        services: false,
        ..Bounds::default()
    };
    let rules = Rules {
        validity: false,
        ..calm()
    };
    check("no validity", rules, bounds).assert_any_discovery(ONE_LEADER);
}

#[test]
fn a_wrong_suspicion_costs_no_more_than_a_challenge() {
    let bounds = Bounds {
        ticks: 4,
        suspicions: 1,
        services: false,
        ..Bounds::default()
    };
    check("suspicion", Rules::default(), bounds).assert_properties();
}

#[test]
fn a_stranger_who_deletes_the_lease_makes_no_second_leader() {
    let bounds = Bounds {
        ticks: 5,
        deletions: 1,
        services: false,
        ..Bounds::default()
    };
    check("deleted", calm(), bounds).assert_properties();
}

#[test]
fn a_stranger_who_empties_the_lease_makes_no_second_leader() {
    let bounds = Bounds {
        ticks: 5,
        emptyings: 1,
        services: false,
        ..Bounds::default()
    };
    check("emptied", calm(), bounds).assert_properties();
}

#[test]
fn two_that_start_at_once_make_one_leader() {
    let bounds = Bounds {
        ticks: 3,
        fresh: true,
        services: false,
        ..Bounds::default()
    };
    check("start", Rules::default(), bounds).assert_properties();
}

#[test]
fn a_crash_is_noticed_in_time_in_every_path() {
    let bounds = Bounds {
        ticks: 14,
        crashes: 2,
        services: false,
        ..Bounds::default()
    };
    let rules = Rules {
        prompt: true,
        ..calm()
    };
    check("in time", rules, bounds).assert_properties();
}

/// Without the delays that the models without Services search.
fn calm() -> Rules {
    Rules {
        calm: true,
        pause_one: true,
        ..Rules::default()
    }
}
