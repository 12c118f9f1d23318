//! The rules one by one; random histories are in `tests/histories.rs`.

mod contest;
mod departures;
mod histories;
mod memory;
mod quiet;
mod world;

use std::time::Duration;

use world::{World, pool, service};

#[test]
fn nothing_is_planned_before_everything_was_listed_or_while_there_is_no_pool() {
    let mut world = World::new();
    world.add(service("t/a").carrying(&["192.0.2.1"]));
    assert!(world.plan().services.is_empty(), "no pool");
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.snapshot.complete = false;
    assert!(world.plan().services.is_empty() && world.plan().pools.is_empty());
    world.snapshot.complete = true;
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
}

#[test]
fn the_first_in_time_then_in_name_is_served_first() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/31"]));
    world.add(service("t/a").created(9));
    world.add(service("t/z").created(3));
    world.add(service("t/y").created(3));
    world.settle();
    assert_eq!(world.ingress("t/y"), ["10.0.0.0"]);
    assert_eq!(world.ingress("t/z"), ["10.0.0.1"]);
    assert_eq!(world.reason("t/a"), "out_of_ips");
}

#[test]
fn the_oldest_pool_serves_first_then_by_name() {
    let mut world = World::new();
    world.add_pool(pool("a", &["10.0.1.0/32"]).created(5));
    world.add_pool(pool("c", &["10.0.0.0/32"]).created(1));
    world.add_pool(pool("b", &["10.0.2.0/32"]).created(1));
    for name in ["t/1", "t/2", "t/3"] {
        world.add(service(name));
        world.settle();
    }
    let order: Vec<_> = ["t/1", "t/2", "t/3"]
        .map(|name| world.ingress(name).join(""))
        .into();
    assert_eq!(order, ["10.0.2.0", "10.0.0.0", "10.0.1.0"]);
}

#[test]
fn a_restart_moves_nobody_out_of_disabled_conflicting_reserved_or_broken_pools() {
    let mut world = World::new();
    world.add_pool(pool("a", &["10.0.0.0/29"]));
    world.add_pool(pool("b", &["10.0.1.0/29"]));
    world.add_pool(pool("c", &["10.0.2.0/29"]));
    for (name, address) in [
        ("t/a", "10.0.0.0"),
        ("t/b", "10.0.1.1"),
        ("t/c", "10.0.2.2"),
    ] {
        world.add(service(name).naming(address));
    }
    world.settle();
    world.add_pool(pool("a", &["10.0.0.0/29"]).reserving());
    world.add_pool(pool("b", &["10.0.1.0/29"]).disabled());
    world.add_pool(pool("c", &["10.0.2.0/29"]).broken(&["spec.blocks[1]: no"]));
    world.add_pool(pool("d", &["10.0.3.0/24"]));
    assert_eq!(world.settle(), 0, "no Service is written");
    world.restart();
    assert_eq!(world.settle(), 0, "no Service is written");
    assert_eq!(
        world.counter("a", "cilium.io/IPsUsed"),
        "2",
        "the first is held, the last is reserved"
    );
    world.add(service("t/x").naming("10.0.0.0"));
    world.add(service("t/y").naming("10.0.0.7"));
    world.settle();
    assert!(
        world
            .message("t/x")
            .contains("already allocated to another service")
    );
    let reserved = "The IP '10.0.0.7' is reserved as the first or last address of pool 'a'";
    assert_eq!(world.message("t/y"), reserved);
}

#[test]
fn an_address_of_a_block_nobody_can_read_waits_for_the_verdict() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]).broken(&["spec.blocks[1]: typo"]));
    world.add(service("t/a").carrying(&["10.0.9.9"]).with_true_condition());
    assert_eq!(world.settle(), 0);
    world.add_pool(pool("q", &["10.0.5.0/29"]));
    assert_eq!(world.settle(), 0, "another pool changes nothing");
    world.add_pool(pool("p", &["10.0.0.0/29", "10.0.9.0/24"]));
    assert_eq!(world.settle(), 0);
    assert_eq!(world.counter("p", "cilium.io/IPsUsed"), "1");
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.pass(Duration::from_millis(600));
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
}

#[test]
fn a_pool_made_again_within_half_a_second_moves_nobody() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/a"));
    world.settle();
    world.remove_pool("p");
    assert_eq!(world.settle(), 0);
    world.pass(Duration::from_millis(400));
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    world.add_pool(pool("q", &["10.0.0.0/28"]));
    world.add(service("t/b"));
    world.pass(Duration::from_millis(400));
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("t/b"), ["10.0.0.1"]);
    world.remove_pool("q");
    world.pass(Duration::from_millis(600));
    assert_eq!(
        (world.ingress("t/a").len(), world.reason("t/a")),
        (0, "no_pool".to_owned())
    );
}

#[test]
fn who_lost_an_address_with_its_pool_gets_it_back_before_others() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/z").naming("10.0.0.3"));
    world.add(service("t/g"));
    world.settle();
    world.remove_pool("p");
    world.pass(Duration::from_secs(1));
    assert!(world.ingress("t/g").is_empty());
    world.add(service("t/a").naming("10.0.0.0").created(0));
    world.add(service("t/b").naming("10.0.0.3").created(0));
    world.settle();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.settle();
    assert_eq!(world.ingress("t/g"), ["10.0.0.0"]);
    assert_eq!(world.ingress("t/z"), ["10.0.0.3"]);
    assert_eq!(world.reason("t/a"), "already_allocated");
}

#[test]
fn a_request_that_cannot_be_met_takes_nothing_away() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/a").naming("10.0.0.1"));
    world.add(service("t/b").naming("10.0.0.2"));
    world.settle();
    world.add(service("t/a").naming("10.0.0.2,10.0.0.3"));
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.1", "10.0.0.3"]);
    assert_eq!(world.reason("t/a"), "already_allocated");
    world.restart();
    assert_eq!(world.settle(), 0);
    world.add(service("t/c").naming("10.0.0.1"));
    world.settle();
    assert_eq!(
        world.reason("t/c"),
        "already_allocated",
        "what is disowned is nobody else's while it is kept"
    );
    world.remove("t/b");
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.3", "10.0.0.2"]);
    assert_eq!(world.ingress("t/c"), ["10.0.0.1"]);
}

#[test]
fn rings_and_chains_of_requests_are_served_in_one_plan() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/28"]));
    for (name, address) in [
        ("t/a", "10.0.0.1"),
        ("t/b", "10.0.0.2"),
        ("t/c", "10.0.0.3"),
        ("t/d", "10.0.0.4"),
    ] {
        world.add(service(name).naming(address));
    }
    world.settle();
    // a -> b -> c -> a, d follows to what a gives up only if that were free; it is c's.
    world.add(service("t/a").naming("10.0.0.2"));
    world.add(service("t/b").naming("10.0.0.3"));
    world.add(service("t/c").naming("10.0.0.1"));
    world.add(service("t/d").naming("10.0.0.1"));
    let plan = world.plan();
    let planned = |name: &str| {
        plan.services[&world::name(name)].ingress[0]
            .ip
            .unwrap()
            .to_string()
    };
    assert_eq!(
        ["t/a", "t/b", "t/c", "t/d"].map(planned),
        ["10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.4"]
    );
    world.settle();
    assert_eq!(world.reason("t/d"), "already_allocated");
    // A chain: a goes to a free address, d takes what a leaves, all at once.
    world.add(service("t/a").naming("10.0.0.9"));
    world.add(service("t/d").naming("10.0.0.2"));
    let plan = world.plan();
    let planned = |name: &str| {
        plan.services[&world::name(name)].ingress[0]
            .ip
            .unwrap()
            .to_string()
    };
    assert_eq!(["t/a", "t/d"].map(planned), ["10.0.0.9", "10.0.0.2"]);
}

#[test]
fn the_reason_of_a_refusal_is_the_true_one() {
    let mut world = World::new();
    world.add_pool(pool("open", &["10.0.0.0/29"]).selecting("color", "blue"));
    world.add_pool(pool("off", &["10.0.1.0/29"]).disabled());
    world.add_pool(
        pool("young", &["10.0.0.0/24", "10.0.2.0/24"])
            .created(9)
            .selecting("color", "blue"),
    );
    world.add_pool(pool("bad", &["10.0.3.0/29"]).broken(&["spec.blocks[1]: no"]));
    world.add_pool(pool("any", &["10.0.4.0/29", "fd00::/125"]));
    let refusals = [
        (
            "nonsense",
            "invalid_request",
            "The requested address 'nonsense' is not an IP address",
        ),
        (
            "10.0.0.1",
            "pool_selector_mismatch",
            "The pool with the CIDR containing '10.0.0.1', doesn't select this service",
        ),
        (
            "10.0.1.1",
            "no_pool",
            "The pool with the CIDR containing '10.0.1.1' is disabled",
        ),
        (
            "10.0.2.1",
            "no_pool",
            "The pool with the CIDR containing '10.0.2.1' is conflicting",
        ),
        (
            "10.0.3.1",
            "no_pool",
            "The pool with the CIDR containing '10.0.3.1' is invalid",
        ),
        (
            "10.9.9.9",
            "no_pool",
            "No pool exists with a CIDR containing '10.9.9.9'",
        ),
        (
            "fd00::1",
            "invalid_request",
            "The requested address 'fd00::1' is of a family that this service does not have",
        ),
    ];
    for (index, (item, ..)) in refusals.iter().enumerate() {
        world.add(service(&format!("t/{index}")).naming(item));
    }
    world.settle();
    for (index, (_, reason, message)) in refusals.iter().enumerate() {
        let name = format!("t/{index}");
        assert_eq!(
            (world.reason(&name).as_str(), world.message(&name).as_str()),
            (*reason, *message)
        );
    }
}

#[test]
fn a_stranger_is_followed_only_as_far_as_nobody_is_harmed() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/a"));
    world.add(service("t/b"));
    world.settle();
    world.write_ingress("t/b", &["10.0.0.5"]);
    world.settle();
    assert_eq!(
        world.ingress("t/b"),
        ["10.0.0.5"],
        "a free address is adopted"
    );
    assert_eq!(
        world.counter("p", "cilium.io/IPsUsed"),
        "2",
        "and the former one is free"
    );
    world.write_ingress("t/b", &["10.0.0.0"]);
    world.settle();
    assert_eq!(
        (world.ingress("t/a"), world.ingress("t/b")),
        (vec!["10.0.0.0".to_owned()], vec!["10.0.0.5".to_owned()])
    );
    world.forge_condition("t/a", None);
    assert_eq!(world.settle(), 0, "a condition waits for the next write");
    world.restart();
    assert_eq!(world.settle(), 1, "or for the next start");
    assert_eq!(world.reason("t/a"), "satisfied");
}

#[test]
fn a_service_that_is_not_ours_any_more_is_cleaned_and_one_that_never_was_is_not_touched() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]));
    world.add(service("t/a"));
    world.add(
        service("t/foreign")
            .class("example.com/other")
            .carrying(&["192.0.2.7"]),
    );
    world.settle();
    world.add(service("t/a").class("example.com/other"));
    world.add(service("t/b"));
    world.settle();
    assert_eq!(world.ingress("t/a"), [""; 0]);
    assert_eq!(world.service("t/a").recorded_condition, None);
    assert_eq!(world.ingress("t/b"), ["10.0.0.0"]);
    assert_eq!(world.ingress("t/foreign"), ["192.0.2.7"]);
    world.write_ingress("t/a", &["192.0.2.9"]);
    assert_eq!(world.settle(), 0);
}

#[test]
fn what_another_controller_gives_a_service_that_left_us_counts_as_taken_at_once() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/30"]));
    world.add(service("t/a").naming("10.0.0.3"));
    world.settle();
    world.add(service("t/a").class("example.com/other"));
    world.write_ingress("t/a", &["10.0.0.3", "10.0.0.0"]);
    world.add(service("t/b"));
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    assert_eq!(world.ingress("t/b"), ["10.0.0.1"]);
}

#[test]
fn nobody_gets_an_address_before_its_last_holders_status_is_without_it() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]).selecting("color", "blue"));
    world.add(service("t/b").label("color", "blue"));
    world.settle();
    world.add(service("t/a").label("color", "blue"));
    world.settle();
    world.add(service("t/b").label("color", "red"));
    let plan = world.plan();
    assert!(plan.services[&world::name("t/b")].ingress.is_empty());
    assert!(
        !plan.services.contains_key(&world::name("t/a")),
        "nothing is said before it is settled"
    );
    assert!(plan.again_at.is_some());
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
}

#[test]
fn after_the_last_pool_its_services_are_cleaned_and_then_all_is_quiet() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/a"));
    world.settle();
    world.remove_pool("p");
    world.pass(Duration::from_secs(1));
    assert_eq!(
        (world.ingress("t/a").len(), world.reason("t/a")),
        (0, "no_pool".to_owned())
    );
    world.add(service("t/b"));
    assert_eq!(world.settle(), 0, "dormant");
    world.write_ingress("t/a", &["192.0.2.1"]);
    assert_eq!(world.settle(), 0, "somebody else's");
    world.write_ingress("t/a", &[]);
    world.add_pool(pool("q", &["10.0.0.0/28"]));
    world.add(service("t/0").naming("10.0.0.0"));
    world.settle();
    assert_eq!(
        world.ingress("t/a"),
        ["10.0.0.0"],
        "the first claim outlives the pause"
    );
}

#[test]
fn of_pools_that_only_conflict_with_each_other_the_oldest_serves() {
    let mut world = World::new();
    world.add_pool(pool("a", &["10.0.0.0/24"]).created(1));
    world.add_pool(pool("b", &["10.0.0.0/24"]).created(2));
    world.add_pool(pool("c", &["10.0.0.0/24", "10.0.0.8/29"]).created(3));
    world.settle();
    assert_eq!(world.conflict("a"), None);
    let message = "Pool conflicts since range '10.0.0.0 - 10.0.0.255' overlaps range '10.0.0.0 - 10.0.0.255' from IP Pool 'a'";
    assert_eq!(world.conflict("b").as_deref(), Some(message));
    assert!(
        world
            .conflict("c")
            .unwrap()
            .ends_with("range '10.0.0.8 - 10.0.0.15' from IP Pool 'c'")
    );
    world.remove_pool("a");
    world.settle();
    assert_eq!(world.conflict("b"), None);
    world.add_pool(pool("a", &["10.0.0.7/32"]).created(0));
    world.settle();
    assert!(
        world.conflict("b").unwrap().contains("from IP Pool 'a'"),
        "the younger of two unmarked ones is marked"
    );
    world.restart();
    world.settle();
    assert!(world.conflict("b").is_some() && world.conflict("a").is_none());
}

#[test]
fn the_last_reason_counts_and_dual_stack_is_served_family_by_family() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]));
    world.add(service("t/a").dual_stack());
    world.settle();
    assert_eq!(
        (world.ingress("t/a"), world.reason("t/a")),
        (vec!["10.0.0.0".to_owned()], "no_pool".to_owned())
    );
    world.add_pool(pool("six", &["fd00::/125"]));
    world.settle();
    assert_eq!(
        (world.ingress("t/a"), world.reason("t/a")),
        (
            vec!["10.0.0.0".to_owned(), "fd00::".to_owned()],
            "satisfied".to_owned()
        )
    );
}

#[test]
fn a_generic_sharer_joins_only_in_pools_that_select_it() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]).selecting("color", "blue"));
    world.add_pool(pool("q", &["10.0.1.0/29"]));
    world.add(service("t/a").label("color", "blue").sharing("k", 80));
    world.settle();
    world.add(service("t/b").sharing("k", 81));
    world.settle();
    assert_eq!(world.ingress("t/b"), ["10.0.1.0"]);
}

#[test]
fn the_edited_sharer_loses_the_address_and_the_other_keeps_it() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/a").sharing("k", 80));
    world.add(service("t/b").sharing("k", 81));
    world.settle();
    assert_eq!(world.ingress("t/b"), world.ingress("t/a"));
    world.add(service("t/a").sharing("k", 81));
    world.settle();
    assert_eq!(
        (world.ingress("t/a"), world.ingress("t/b")),
        (vec!["10.0.0.1".to_owned()], vec!["10.0.0.0".to_owned()])
    );
    world.add(service("t/a").sharing("k", 82));
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.1"], "nobody moves back");
}

#[test]
fn a_request_takes_nothing_away_while_a_stranger_shows_one_of_the_addresses_it_names() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/holder").naming("10.0.0.3"));
    world.add(service("t/a"));
    world.add(service("t/z").naming("10.0.0.6"));
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    // One address of two can be had, and the write that says so has not gone out when a stranger puts it elsewhere.
    world.add(service("t/a").naming("10.0.0.3,10.0.0.5").sharing("k", 80));
    world.plan();
    world.write_ingress("t/z", &["10.0.0.5"]);
    world.remove("t/holder");
    let plan = world.plan();
    let planned: Vec<String> = plan.services[&world::name("t/a")]
        .ingress
        .iter()
        .map(|entry| entry.ip.unwrap().to_string())
        .collect();
    assert_eq!(planned, ["10.0.0.0", "10.0.0.3"]);
    assert_eq!(
        plan.services[&world::name("t/a")]
            .condition
            .as_ref()
            .map(|condition| condition.reason),
        Some("already_allocated")
    );
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.3", "10.0.0.5"]);
    assert_eq!(world.reason("t/a"), "satisfied");
    assert_eq!(world.ingress("t/z"), ["10.0.0.6"]);
}
