//! Why an address goes, when nothing may be planned, and whose Services are whose.

use std::time::Duration;

use super::super::AddressPlan;
use super::world::{World, name, pool, service};
use crate::cluster::Kind;

fn reasons(plan: &AddressPlan, service: &str) -> Vec<(String, &'static str)> {
    let departures = plan.departures.get(&name(service));
    let told = departures.into_iter().flatten();
    told.map(|departure| (departure.address.to_string(), departure.reason))
        .collect()
}

fn world() -> World {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29", "fd00::/126"]));
    world
}

fn one(address: &str, reason: &'static str) -> Vec<(String, &'static str)> {
    vec![(address.into(), reason)]
}

#[test]
fn a_pool_that_was_deleted_and_one_that_was_edited_are_told_apart() {
    let mut world = world();
    world.add_pool(pool("q", &["10.1.0.0/30"]).created(9));
    world.add(service("t/a").naming("10.0.0.3"));
    world.add(service("t/b").naming("10.1.0.1"));
    world.settle();
    world.remove_pool("q");
    world.add_pool(pool("p", &["10.0.0.0/31"]));
    assert!(
        world.plan().departures.is_empty(),
        "not before the pause is over"
    );
    world.now += Duration::from_millis(500);
    let plan = world.plan();
    let edited = one("10.0.0.3", "its pool does not contain it any more");
    assert_eq!(reasons(&plan, "t/a"), edited);
    assert_eq!(
        reasons(&plan, "t/b"),
        one("10.1.0.1", "its pool was deleted")
    );
    world.settle();
    assert!(world.plan().departures.is_empty(), "told until it is done");
}

#[test]
fn a_selector_a_family_and_a_request_that_changed() {
    let mut world = world();
    world.add(service("t/a"));
    world.add(service("t/b").dual_stack());
    world.add(service("t/c").naming("10.0.0.5"));
    world.settle();
    world.add(service("t/b"));
    world.add(service("t/c").naming("10.0.0.6"));
    let plan = world.plan();
    let family = "this service does not want an address of its family";
    assert_eq!(reasons(&plan, "t/b"), one("fd00::", family));
    let unnamed = "the request of this service does not name it";
    assert_eq!(reasons(&plan, "t/c"), one("10.0.0.5", unnamed));
    world.settle();
    world.add_pool(pool("p", &["10.0.0.0/29", "fd00::/126"]).blue());
    let not_selected = "no pool that contains it selects this service";
    assert_eq!(reasons(&world.plan(), "t/a"), one("10.0.0.0", not_selected));
}

#[test]
fn a_service_that_was_edited_so_that_it_may_not_share_or_is_not_ours() {
    let mut world = world();
    world.add(service("t/a").sharing("k", 80));
    world.add(service("t/b").sharing("k", 81));
    world.add(service("t/c"));
    world.add(service("t/d"));
    world.settle();
    world.add(service("t/b").sharing("k", 80));
    world.add(service("t/c").class("example.com/other"));
    world.edit("t/d", |service| service.is_load_balancer = false);
    let plan = world.plan();
    let shares =
        "this service was changed and may not share it any more with the others that have it";
    assert_eq!(reasons(&plan, "t/b"), one("10.0.0.0", shares));
    let class = "the class of this service is not served any more";
    assert_eq!(reasons(&plan, "t/c"), one("10.0.0.1", class));
    let kind = "this service is not of type LoadBalancer any more";
    assert_eq!(reasons(&plan, "t/d"), one("10.0.0.2", kind));
}

#[test]
fn what_strangers_bring_and_take() {
    let mut world = world();
    for name in ["t/a", "t/b", "t/c"] {
        world.add(service(name));
    }
    world.settle();
    world.write_ingress("t/a", &["10.0.0.1"]);
    world.write_ingress("t/b", &["10.0.0.1", "192.0.2.1"]);
    world.write_ingress("t/c", &["10.0.0.5"]);
    let plan = world.plan();
    let anothers = "it belongs to another service";
    assert_eq!(reasons(&plan, "t/a"), one("10.0.0.1", anothers));
    assert_eq!(
        reasons(&plan, "t/b"),
        one("192.0.2.1", "no pool contains it")
    );
    let replaced = "another controller replaced it";
    assert_eq!(reasons(&plan, "t/c"), one("10.0.0.2", replaced));
    world.settle();
    world.edit("t/c", |service| service.recorded_condition = None);
    assert!(
        world.plan().departures.is_empty(),
        "told until the Service changes"
    );
}

#[test]
fn two_services_that_swap_say_so() {
    let mut world = world();
    world.add(service("t/a").naming("10.0.0.1"));
    world.add(service("t/b").naming("10.0.0.2"));
    world.settle();
    world.add(service("t/a").naming("10.0.0.2"));
    world.add(service("t/b").naming("10.0.0.1"));
    let plan = world.plan();
    let unnamed = "the request of this service does not name it";
    assert_eq!(reasons(&plan, "t/a"), one("10.0.0.1", unnamed));
    assert_eq!(reasons(&plan, "t/b"), one("10.0.0.2", unnamed));
}

#[test]
fn while_services_or_pools_cannot_be_read_nothing_is_given_or_taken() {
    for kind in [Kind::Service, Kind::CiliumLoadBalancerIPPool] {
        let mut world = world();
        world.add(service("t/a"));
        world.settle();
        world.snapshot.unreadable.insert(kind, "no".into());
        world.add(service("t/b"));
        world.add(service("t/a").naming("10.0.0.5"));
        world.remove_pool("p");
        assert_eq!(world.plan(), AddressPlan::default());
        world.now += Duration::from_secs(10);
        assert_eq!(world.plan(), AddressPlan::default());
        world.add_pool(pool("p", &["10.0.0.0/29"]));
        world.snapshot.unreadable.clear();
        world.settle();
        assert_eq!(world.ingress("t/a"), ["10.0.0.5"]);
        assert_eq!(world.ingress("t/b"), ["10.0.0.1"]);
    }
    let mut world = world();
    for kind in [
        Kind::Node,
        Kind::EndpointSlice,
        Kind::CiliumBGPPeeringPolicy,
    ] {
        world.snapshot.unreadable.insert(kind, "no".into());
    }
    world.add(service("t/a"));
    world.settle();
    assert_eq!(
        world.ingress("t/a"),
        ["10.0.0.0"],
        "these are not about addresses"
    );
}

/// `--ipam auto` beside a Cilium that serves its own classes only.
#[test]
fn services_of_classes_that_another_controller_serves_are_not_touched() {
    let mut world = world();
    world.settings.bgp_enabled = false;
    world.settings.l2_enabled = false;
    let classed = |service_name: &str, class: &str, address: &str| {
        let built = service(service_name).class(class);
        built.carrying(&[address]).with_true_condition()
    };
    world.add(classed("t/bgp", "io.cilium/bgp-control-plane", "10.0.0.0"));
    world.add(classed("t/l2", "io.cilium/l2-announcer", "10.0.0.1"));
    world.add(service("t/a"));
    world.settle();
    assert_eq!(world.ingress("t/a"), ["10.0.0.2"], "theirs are in use");
    assert_eq!(
        (world.ingress("t/bgp"), world.ingress("t/l2")),
        (vec!["10.0.0.0".into()], vec!["10.0.0.1".into()])
    );
    assert_eq!(
        (world.reason("t/bgp"), world.reason("t/l2")),
        ("satisfied".into(), "satisfied".into())
    );
    world.restart();
    assert_eq!(world.settle(), 0);
}

#[test]
fn services_that_we_serve_no_more_because_the_settings_changed_are_handed_over_as_they_are() {
    let mut world = world();
    world.add(service("t/bgp").class("io.cilium/bgp-control-plane"));
    world.add(service("t/a"));
    world.settle();
    world.settings.bgp_enabled = false;
    assert_eq!(world.settle(), 0);
    assert_eq!(world.ingress("t/bgp"), ["10.0.0.1"]);
    world.add(service("t/b").naming("10.0.0.1"));
    world.settle();
    assert_eq!(world.reason("t/b"), "already_allocated");
    world.settings.bgp_enabled = true;
    world.remove("t/b");
    assert_eq!(world.settle(), 0, "and taken back");
    assert_eq!(world.counter("p", "cilium.io/IPsUsed"), "2");
}
