//! Other controllers that write the same statuses.

use std::time::Duration;

use super::world::{World, entries, name, pool, service};
use crate::cluster::{Snapshot, Writer};

const MINUTE: Duration = Duration::from_secs(60);

fn stranger_writes(world: &mut World, service: &str, manager: Option<&str>, addresses: &[&str]) {
    let time = Some(1);
    world.edit(service, |service| {
        service.ingress = entries(addresses);
        service.ingress_writer = manager.map(|manager| Writer {
            manager: manager.into(),
            time,
        });
    });
}

fn left_to(world: &mut World, service: &str) -> Option<String> {
    let plan = world.plan();
    plan.services.get(&name(service))?.foreign.clone()
}

/// t/a at 10.0.0.0 and t/b at 10.0.0.1, and k3s insists on another address for t/a.
fn contested() -> World {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/a"));
    world.add(service("t/b"));
    world.settle();
    for _ in 0..2 {
        stranger_writes(&mut world, "t/a", Some("k3s"), &["192.0.2.1"]);
        assert_eq!(world.settle(), 1, "put right");
        assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    }
    stranger_writes(&mut world, "t/a", Some("k3s"), &["192.0.2.1"]);
    world
}

#[test]
fn what_a_stranger_replaces_again_and_again_is_left_to_it_by_name() {
    let mut world = contested();
    let plan = world.plan();
    let status = &plan.services[&name("t/a")];
    assert_eq!(status.foreign.as_deref(), Some("k3s"));
    assert_eq!(status.ingress, entries(&["192.0.2.1"]));
    assert_eq!(status.condition, None);
    assert_eq!(
        plan.departures[&name("t/a")][0].reason,
        "another controller keeps replacing it, so this service is left to that one for a while"
    );
    assert_eq!(world.settle(), 1, "its condition goes, once");
    assert_eq!(world.settle(), 0);
    world.add(service("t/c"));
    world.settle();
    assert_eq!(world.ingress("t/a"), ["192.0.2.1"]);
    assert_eq!(world.ingress("t/b"), ["10.0.0.1"]);
    assert_eq!(world.counter("p", "cilium.io/IPsUsed"), "2");
}

#[test]
fn it_is_tried_again_after_ten_minutes_and_then_after_twenty() {
    let mut world = contested();
    world.settle();
    let start = world.now;
    assert_eq!(world.plan().again_at, Some(start + 10 * MINUTE));
    world.pass(10 * MINUTE);
    assert_eq!(
        world.ingress("t/a"),
        ["10.0.0.0"],
        "its own is free, so it has it back"
    );
    assert_eq!(world.reason("t/a"), "satisfied");
    stranger_writes(&mut world, "t/a", Some("k3s"), &["192.0.2.1"]);
    assert_eq!(left_to(&mut world, "t/a").as_deref(), Some("k3s"));
    world.pass(19 * MINUTE);
    assert_eq!(world.ingress("t/a"), ["192.0.2.1"]);
    world.pass(MINUTE);
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    // Left in peace for five minutes, all is as if nothing had happened.
    world.pass(5 * MINUTE);
    world.edit("t/a", |service| service.recorded_condition = None);
    world.settle();
    for _ in 0..2 {
        stranger_writes(&mut world, "t/a", Some("k3s"), &["192.0.2.1"]);
        world.settle();
    }
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
}

#[test]
fn an_edit_of_the_service_is_reason_to_try_at_once() {
    let mut world = contested();
    world.settle();
    world.edit("t/a", |service| {
        service.meta.annotations.insert("a".into(), "b".into());
    });
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    assert_eq!(left_to(&mut world, "t/a"), None);
}

#[test]
fn what_a_stranger_insists_on_is_in_use() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/30"]));
    world.add(service("t/a"));
    world.add(service("t/b"));
    world.settle();
    for _ in 0..3 {
        stranger_writes(&mut world, "t/a", None, &["10.0.0.1", "10.0.0.2"]);
        world.plan();
        // t/b keeps its own, whatever the stranger says.
        if left_to(&mut world, "t/a").is_none() {
            world.settle();
            stranger_writes(&mut world, "t/a", None, &["10.0.0.1"]);
            world.settle();
        }
    }
    assert_eq!(left_to(&mut world, "t/a").as_deref(), Some("unknown"));
    assert_eq!(world.ingress("t/b"), ["10.0.0.1"]);
}

#[test]
fn nobody_gets_what_a_service_left_to_a_stranger_shows() {
    let mut world = contested();
    world.settle();
    stranger_writes(&mut world, "t/a", Some("k3s"), &["10.0.0.2"]);
    world.add(service("t/c"));
    world.add(service("t/d").naming("10.0.0.2"));
    world.settle();
    assert_eq!(
        world.ingress("t/c"),
        ["10.0.0.3"],
        "its former one is handed out last"
    );
    assert_eq!(world.reason("t/d"), "already_allocated");
}

#[test]
fn nobody_joins_an_address_that_a_stranger_insists_on() {
    let mut world = contested();
    world.settle();
    world.add(service("t/e").naming("10.0.0.4").sharing("k", 80));
    world.settle();
    world.add(service("t/f").naming("10.0.0.4").sharing("k", 81));
    world.plan();
    stranger_writes(&mut world, "t/a", Some("k3s"), &["10.0.0.4"]);
    world.add(service("t/g").sharing("k", 82));
    world.settle();
    assert_eq!(world.ingress("t/e"), ["10.0.0.4"], "who has it keeps it");
    assert_eq!(world.ingress("t/f"), [""; 0]);
    assert_eq!(world.ingress("t/g"), ["10.0.0.2"]);
}

#[test]
fn a_write_of_our_own_is_no_strangers() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/30"]));
    world.add(service("t/a"));
    world.settle();
    for _ in 0..5 {
        // Such as a write of a former leader that was under way.
        stranger_writes(&mut world, "t/a", Some("fairway"), &["10.9.9.9"]);
        world.settle();
        assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    }
}

#[test]
fn taking_over_from_another_controller_is_no_contest() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/30"]));
    world.add(service("t/a").carrying(&["10.0.0.2"]).with_true_condition());
    stranger_writes(
        &mut world,
        "t/a",
        Some("cilium-operator-lb-ipam"),
        &["10.0.0.2"],
    );
    assert_eq!(world.settle(), 0);
    // Following it costs nobody anything, however often it changes its mind.
    for address in ["10.0.0.1", "10.0.0.3", "10.0.0.1", "10.0.0.2"] {
        stranger_writes(
            &mut world,
            "t/a",
            Some("cilium-operator-lb-ipam"),
            &[address],
        );
        world.settle();
        assert_eq!(world.ingress("t/a"), [address]);
    }
    assert_eq!(left_to(&mut world, "t/a"), None);
}

#[test]
fn a_stranger_faster_than_our_looks_is_noticed_all_the_same() {
    let mut world = contested();
    // Our writes never show: each time we look the stranger has been there again.
    world.book = Default::default();
    stranger_writes(&mut world, "t/a", Some("k3s"), &["10.0.0.0"]);
    world.settle();
    for time in 2..4 {
        assert_eq!(left_to(&mut world, "t/a"), None);
        world.edit("t/a", |service| {
            service.ingress = entries(&["192.0.2.1"]);
            service.ingress_writer = Some(Writer {
                manager: "k3s".into(),
                time: Some(time),
            });
        });
        world.plan();
    }
    world.edit("t/a", |service| {
        service.ingress_writer = Some(Writer {
            manager: "k3s".into(),
            time: Some(9),
        });
    });
    assert_eq!(left_to(&mut world, "t/a").as_deref(), Some("k3s"));
}

#[test]
fn a_hostname_that_comes_back_again_and_again_is_a_strangers_work_too() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/30"]));
    world.add(service("t/a"));
    world.settle();
    for _ in 0..3 {
        assert_eq!(left_to(&mut world, "t/a"), None);
        world.settle();
        world.edit("t/a", |service| {
            let mut entry = service.ingress[0].clone();
            entry.ip = None;
            entry.hostname = Some("lb.example.com".into());
            service.ingress.push(entry);
        });
    }
    assert_eq!(left_to(&mut world, "t/a").as_deref(), Some("unknown"));
}

#[test]
fn after_the_last_pool_nothing_of_it_is_left() {
    let mut world = contested();
    world.settle();
    world.edit("t/a", |service| service.taken_over = true);
    world.remove_pool("p");
    world.pass(Duration::from_secs(1));
    assert_eq!(left_to(&mut world, "t/a"), None);
    world.edit("t/a", |service| service.taken_over = false);
    let quiet = world.plan();
    assert!(quiet.services.is_empty() && world.snapshot != Snapshot::default());
}

#[test]
fn a_stranger_that_shows_what_two_want_to_swap_stops_nobody_from_asking() {
    let mut world = contested();
    world.settle();
    world.add(service("t/e").naming("10.0.0.4"));
    world.add(service("t/f").naming("10.0.0.5"));
    world.settle();
    stranger_writes(&mut world, "t/a", Some("k3s"), &["10.0.0.4"]);
    world.add(service("t/e").naming("10.0.0.5"));
    world.add(service("t/f").naming("10.0.0.4"));
    world.settle();
    assert_eq!(world.ingress("t/e"), ["10.0.0.4"]);
    assert_eq!(world.ingress("t/f"), ["10.0.0.5"]);
    assert_eq!(world.reason("t/f"), "already_allocated");
}
