//! Services that are deleted and made again.

use std::time::Duration;

use super::super::{AddressBook, Memory};
use super::world::{World, name, pool, service};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_service_made_again_has_its_address_back_and_others_avoid_it_meanwhile() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    for name in ["t/a", "t/b", "t/c"] {
        world.add(service(name));
    }
    world.settle();
    world.remove("t/a");
    world.settle();
    world.add(service("t/d"));
    world.settle();
    assert_eq!(world.ingress("t/d"), ["10.0.0.3"], "another one is free");
    world.pass(HOUR / 2);
    world.add(service("t/a"));
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    assert!(world.book.memory().is_empty());
}

#[test]
fn what_is_remembered_for_too_long_is_an_address_like_any_other() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/a"));
    world.add(service("t/b"));
    world.settle();
    world.remove("t/b");
    world.settle();
    assert_eq!(world.book.memory().len(), 1);
    world.pass(HOUR);
    assert!(world.book.memory().is_empty());
    world.remove("t/a");
    world.settle();
    world.settings.address_memory = Duration::ZERO;
    world.add(service("t/c"));
    world.settle();
    assert_eq!(world.ingress("t/c"), ["10.0.0.0"], "nothing is remembered");
}

#[test]
fn who_waits_when_an_address_becomes_free_gets_it() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]));
    world.add(service("t/a"));
    world.settle();
    world.add(service("t/b"));
    world.settle();
    world.remove("t/a");
    world.settle();
    assert_eq!(world.ingress("t/b"), ["10.0.0.0"]);
    world.add(service("t/a"));
    world.settle();
    assert_eq!(world.reason("t/a"), "out_of_ips");
}

#[test]
fn who_was_gone_only_between_two_looks_is_before_those_who_wait() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]));
    world.add(service("t/b"));
    world.settle();
    world.add(service("t/a"));
    world.settle();
    world.remove("t/b");
    world.add(service("t/b"));
    world.settle();
    assert_eq!(world.ingress("t/b"), ["10.0.0.0"]);
    assert_eq!(world.reason("t/a"), "out_of_ips");
}

#[test]
fn the_last_address_there_is_goes_to_whoever_needs_it() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/31"]));
    world.add(service("t/a"));
    world.add(service("t/b"));
    world.settle();
    world.remove("t/a");
    world.settle();
    world.add(service("t/c"));
    world.settle();
    assert_eq!(world.ingress("t/c"), ["10.0.0.0"]);
    world.add(service("t/a"));
    world.remove("t/b");
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.1"]);
}

#[test]
fn what_is_remembered_gives_no_right_that_a_service_would_not_have() {
    let mut world = World::new();
    world.add_pool(pool("blue", &["10.0.0.0/29"]).blue());
    world.add_pool(pool("p", &["10.0.1.0/29", "fd00::/126"]));
    world.add(service("t/a").label("color", "blue"));
    world.add(service("t/b").label("color", "blue"));
    world.add(service("t/c").dual_stack());
    world.settle();
    for name in ["t/a", "t/b", "t/c"] {
        world.remove(name);
    }
    world.settle();
    world.add(service("t/a"));
    world.add(service("t/b").label("color", "blue").naming("10.0.0.5"));
    world.add(service("t/c"));
    world.settle();
    assert_eq!(
        world.ingress("t/a"),
        ["10.0.1.1"],
        "blue does not select it"
    );
    assert_eq!(world.ingress("t/b"), ["10.0.0.5"], "it names another one");
    assert_eq!(
        world.ingress("t/c"),
        ["10.0.1.0"],
        "only one family is wanted"
    );
}

#[test]
fn a_new_leader_knows_what_it_saw_as_a_follower_and_what_was_written_down() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/28"]));
    for name in ["t/a", "t/b", "t/c", "t/d"] {
        world.add(service(name));
    }
    world.settle();
    world.remove("t/a");
    world.settle();
    let text = world.book.memory().to_text(world.now, 1000);
    let mut follower = Memory::from_text(&text, world.now, 1000);
    follower.observe(&world.snapshot, &world.settings, world.now);
    world.remove("t/b");
    world.snapshot.complete = false;
    follower.observe(&world.snapshot, &world.settings, world.now);
    assert!(
        follower.addresses(&name("t/b")).is_empty(),
        "it may be a partial list"
    );
    world.snapshot.complete = true;
    follower.observe(&world.snapshot, &world.settings, world.now);
    // What happens between its last look and its first plan.
    world.remove("t/c");
    world.add(service("t/c").created(9));
    world.book = AddressBook::with_memory(follower);
    world.add(service("t/0").created(0));
    world.settle();
    world.add(service("t/a"));
    world.add(service("t/b"));
    world.settle();
    let addresses = ["t/a", "t/b", "t/c", "t/d", "t/0"].map(|name| world.ingress(name).join(","));
    let expected = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    assert_eq!(addresses, expected);
}

#[test]
fn only_services_that_were_ours_are_remembered() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    let foreign = service("t/foreign").class("example.com/other");
    world.add(foreign.carrying(&["10.0.0.3"]));
    world.add(service("t/a"));
    world.settle();
    let mut follower = Memory::default();
    follower.observe(&world.snapshot, &world.settings, world.now);
    world.remove("t/foreign");
    world.settle();
    follower.observe(&world.snapshot, &world.settings, world.now);
    assert!(world.book.memory().is_empty() && follower.is_empty());
}

#[test]
fn who_wants_to_share_joins_rather_than_going_back_to_an_address_of_its_own() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/other"));
    world.add(service("t/b").sharing("web", 81));
    world.settle();
    assert_eq!(world.ingress("t/b"), ["10.0.0.0"]);
    world.remove("t/b");
    world.settle();
    world.add(service("t/a").sharing("web", 80));
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.2"], "that of b is set aside");
    world.add(service("t/b").sharing("web", 81));
    world.settle();
    assert_eq!(world.ingress("t/b"), ["10.0.0.2"], "it joins");
}

#[test]
fn who_is_alone_in_its_group_has_its_address_back_all_the_same() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/b").sharing("web", 81));
    world.settle();
    world.remove("t/b");
    world.settle();
    world.add(service("t/c"));
    world.settle();
    world.add(service("t/b").sharing("web", 81));
    world.settle();
    assert_eq!(world.ingress("t/b"), ["10.0.0.0"]);
}

#[test]
fn who_stops_writes_down_what_is_there_so_that_what_is_made_again_meanwhile_has_it_back() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]));
    world.add(service("t/b"));
    world.settle();
    world.add(service("t/a"));
    world.settle();
    assert_eq!(world.reason("t/a"), "out_of_ips");
    let mut memory = std::mem::take(&mut world.book).into_memory();
    memory.note_present(&world.snapshot, &world.settings, world.now);
    let text = memory.to_text(world.now, 1_790_000_000);
    world.remove("t/b");
    world.add(service("t/b"));
    let memory = Memory::from_text(&text, world.now, 1_790_000_000);
    world.book = AddressBook::with_memory(memory);
    world.settle();
    assert_eq!(world.ingress("t/b"), ["10.0.0.0"], "although a waits");
    assert_eq!(world.reason("t/a"), "out_of_ips");
}
