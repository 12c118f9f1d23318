//! What a plan mentions, and what may still be under way.

use std::time::Duration;

use super::world::{World, name, pool, service};

#[test]
fn a_plan_mentions_only_what_changes_or_lacks_something() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/30"]));
    for index in 0..6 {
        world.add(service(&format!("t/{index}")));
    }
    assert_eq!(world.plan().services.len(), 6);
    world.settle();
    let plan = world.plan();
    let mentioned: Vec<String> = plan.services.keys().map(ToString::to_string).collect();
    assert_eq!(mentioned, ["t/4", "t/5"]);
    assert_eq!((plan.matching, plan.unsatisfied), (6, 2));
    world.add(service("t/0").naming("10.0.0.0"));
    assert_eq!(
        world.plan().services.len(),
        2,
        "nothing follows from the edit"
    );
    world.restart();
    assert_eq!(world.plan().services.len(), 2, "nor from a new start");
    world.edit("t/1", |service| service.taken_over = true);
    let marked = world.plan();
    assert!(
        marked.services[&name("t/1")].foreign.is_none(),
        "a condition of ours has to go"
    );
}

#[test]
fn what_is_quiet_wakes_up_when_pools_or_settings_change() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.add(service("t/a"));
    world.add(service("t/b").label("color", "blue"));
    world.settle();
    world.plan();
    world.add_pool(pool("p", &["10.0.0.0/29"]).blue());
    world.settle();
    assert_eq!(
        (world.ingress("t/a").len(), world.ingress("t/b").len()),
        (0, 1)
    );
    world.add_pool(pool("p", &["10.0.0.0/29"]));
    world.settle();
    world.settings.ipv4 = false;
    world.edit("t/a", |service| service.ip_families.clear());
    world.settle();
    assert_eq!(
        (world.ingress("t/a").len(), world.ingress("t/b").len()),
        (0, 1)
    );
}

#[test]
fn a_write_that_may_be_under_way_keeps_its_address_from_others() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]).selecting("color", "blue"));
    world.add_pool(pool("q", &["10.0.1.0/32"]).created(9));
    world.add(service("t/a").label("color", "blue"));
    let sent = world.plan().services[&name("t/a")].clone();
    world.send(&name("t/a"), &sent);
    // Nothing about t/a itself changed, so that the write may land still.
    world.add_pool(pool("p", &["10.0.0.0/32"]).selecting("color", "red"));
    world.add(service("t/b").label("color", "red"));
    let plan = world.plan();
    assert_eq!(
        plan.services[&name("t/a")].ingress[0].ip,
        Some("10.0.1.0".parse().unwrap())
    );
    assert!(!plan.services.contains_key(&name("t/b")), "it waits");
    world.land(&name("t/a"));
    assert_eq!(world.ingress("t/a"), ["10.0.0.0"]);
    world.settle();
    assert_eq!(
        (world.ingress("t/a"), world.ingress("t/b")),
        (vec!["10.0.1.0".into()], vec!["10.0.0.0".into()])
    );
}

#[test]
fn a_service_that_is_listed_again_has_not_changed() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]).selecting("color", "blue"));
    world.add(service("t/a").label("color", "blue"));
    let sent = world.plan().services[&name("t/a")].clone();
    let again = world.service("t/a").clone();
    world.snapshot.services.insert(name("t/a"), again.into());
    world.send(&name("t/a"), &sent);
    world.add_pool(pool("p", &["10.0.0.0/32"]).selecting("color", "red"));
    world.add(service("t/b").label("color", "red"));
    assert!(
        !world.plan().services.contains_key(&name("t/b")),
        "the write may land still"
    );
}

#[test]
fn a_write_is_not_under_way_for_ever() {
    let mut world = World::new();
    world.add_pool(pool("p", &["10.0.0.0/32"]).selecting("color", "blue"));
    world.add(service("t/a").label("color", "blue"));
    world.plan();
    world.add_pool(pool("p", &["10.0.0.0/32"]).selecting("color", "red"));
    world.add(service("t/b").label("color", "red"));
    world.plan();
    world.now += Duration::from_secs(59);
    assert!(!world.plan().services.contains_key(&name("t/b")));
    world.now += Duration::from_secs(1);
    assert_eq!(world.plan().services[&name("t/b")].ingress.len(), 1);
}
