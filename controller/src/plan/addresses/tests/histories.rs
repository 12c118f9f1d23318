//! Random histories: edits by users and strangers, other controllers that insist, leaders that change, lost time, lists
//! that are not complete, and a writer that is behind and whose writes land late. After every plan: no address of a Service
//! has changed that nobody asked to change, no address has two holders that may not share it, and planning again gives the
//! same plan.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::ask::Ask;
use super::super::{AddressPlan, is_ours};
use super::world::{PoolBuilder, ServiceBuilder, World, pool, service};
use crate::cluster::{Kind, ObjectName, Pool, Service};

const NAMES: [&str; 6] = ["t/a", "t/b", "t/c", "u/a", "u/d", "u/e"];
const BLOCKS: [&str; 8] = [
    "10.0.0.0/30",
    "10.0.0.2-10.0.0.5",
    "10.0.0.4/30",
    "10.0.0.0/29",
    "10.0.1.0/31",
    "10.0.1.0/29",
    "fd00::/126",
    "10.0.0.6",
];
const ADDRESSES: [&str; 9] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.5",
    "10.0.1.0",
    "10.0.1.1",
    "fd00::1",
    "192.0.2.1",
];

/// Shown in one line, so that a failing history can be read.
#[derive(Clone)]
struct Step(Change);

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[derive(Clone, Debug)]
enum Change {
    /// A Service is made or edited.
    Put(Shape),
    Remove(u8),
    /// A Service is deleted and made again before anybody looks.
    Recreate(u8),
    PutPool {
        name: u8,
        blocks: Vec<u8>,
        selecting: bool,
        reserving: bool,
        disabled: bool,
        broken: u8,
        age: u8,
    },
    RemovePool(u8),
    /// A stranger writes a status.
    Stranger {
        name: u8,
        addresses: Vec<u8>,
        /// Whether it does so three times, whatever we do about it.
        insists: bool,
    },
    StrangerForgets(u8),
    Restart,
    /// Another process leads, that looked on from the last time `Restart` or this happened.
    OtherLeads,
    Pass(u16),
    PassMinutes(u8),
    /// Lists are not complete, or a kind cannot be read, until this happens again.
    Blind(u8),
    /// Some of what was planned is written, in this order.
    Write(Vec<u8>),
    /// Some of what was planned is sent, and lands later.
    Send(Vec<u8>),
    /// What was sent for a Service lands, if the Service is as it was then.
    Land(u8),
    Settle,
}

#[derive(Clone, Debug)]
struct Shape {
    name: u8,
    blue: bool,
    naming: Vec<u8>,
    key: u8,
    port: u16,
    dual: bool,
    class: bool,
    age: u8,
}

fn step(named: bool) -> impl Strategy<Value = Step> {
    let pick = || 0..72u8;
    let naming = prop::collection::vec(pick(), if named { 0..3 } else { 0..1 });
    let shape = (
        pick(),
        any::<bool>(),
        naming,
        0..5u8,
        80..83u16,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.05),
        0..4u8,
    )
        .prop_map(|(name, blue, naming, key, port, dual, class, age)| Shape {
            name,
            blue,
            naming,
            key,
            port,
            dual,
            class,
            age,
        });
    let blocks = prop::collection::vec(pick(), 0..3);
    let rarely = || prop::bool::weighted(0.2);
    let put_pool = (0..3u8, blocks, rarely(), rarely(), rarely(), 0..8u8, 0..3u8).prop_map(
        |(name, blocks, selecting, reserving, disabled, broken, age)| Change::PutPool {
            name,
            blocks,
            selecting,
            reserving,
            disabled,
            broken,
            age,
        },
    );
    prop_oneof![
        8 => shape.prop_map(Change::Put),
        2 => pick().prop_map(Change::Remove),
        1 => pick().prop_map(Change::Recreate),
        5 => put_pool,
        1 => (0..3u8).prop_map(Change::RemovePool),
        1 => (pick(), prop::collection::vec(pick(), 0..3), rarely()).prop_map(|(name, addresses, insists)| Change::Stranger { name, addresses, insists }),
        1 => pick().prop_map(Change::StrangerForgets),
        1 => Just(Change::Restart),
        1 => Just(Change::OtherLeads),
        2 => (0..800u16).prop_map(Change::Pass),
        1 => (1..80u8).prop_map(Change::PassMinutes),
        1 => (0..4u8).prop_map(Change::Blind),
        3 => prop::collection::vec(pick(), 0..4).prop_map(Change::Write),
        2 => prop::collection::vec(pick(), 0..4).prop_map(Change::Send),
        3 => pick().prop_map(Change::Land),
        4 => Just(Change::Settle),
    ]
    .prop_map(Step)
}

/// What happened since the last plan.
#[derive(Default)]
struct Touched {
    /// Services that somebody edited.
    services: Vec<ObjectName>,
    /// What each Service had by the last plan; unknown after a restart, when all that is recorded counts.
    before: Option<BTreeMap<ObjectName, Vec<IpAddr>>>,
}

fn apply(world: &mut World, change: &Change, touched: &mut Touched) {
    let existing = |world: &World, index: &u8| {
        let names: Vec<ObjectName> = world.snapshot.services.keys().cloned().collect();
        (!names.is_empty()).then(|| names[usize::from(*index) % names.len()].clone())
    };
    match change {
        Change::Put(shape) => {
            let built = build(shape);
            touched.services.push(built.0.meta.name.clone());
            world.add(built);
        }
        Change::Remove(index) => {
            if let Some(name) = existing(world, index) {
                world.snapshot.services.remove(&name);
            }
        }
        Change::Recreate(index) => {
            if let Some(name) = existing(world, index) {
                let service = world.snapshot.services.remove(&name).unwrap();
                let mut service = Arc::unwrap_or_clone(service);
                service.ingress.clear();
                service.recorded_condition = None;
                touched.services.push(name);
                world.add(ServiceBuilder(service));
            }
        }
        Change::PutPool {
            name,
            blocks,
            selecting,
            reserving,
            disabled,
            broken,
            age,
        } => {
            let blocks: Vec<&str> = blocks
                .iter()
                .map(|block| BLOCKS[usize::from(*block) % BLOCKS.len()])
                .collect();
            let mut built = pool(&format!("pool-{name}"), &blocks).created(i64::from(*age));
            for (wanted, edit) in [
                (
                    *selecting,
                    PoolBuilder::blue as fn(PoolBuilder) -> PoolBuilder,
                ),
                (*reserving, PoolBuilder::reserving),
                (*disabled, PoolBuilder::disabled),
                (*broken == 0, |built: PoolBuilder| {
                    built.broken(&["spec.blocks[9]: typo"])
                }),
                (*broken == 1, PoolBuilder::with_broken_selector),
            ] {
                if wanted {
                    built = edit(built);
                }
            }
            world.add_pool(built);
        }
        Change::RemovePool(name) => world.remove_pool(&format!("pool-{name}")),
        Change::Stranger {
            name,
            addresses,
            insists,
        } => {
            if let Some(name) = existing(world, name) {
                let texts: Vec<&str> = addresses
                    .iter()
                    .map(|address| ADDRESSES[usize::from(*address) % ADDRESSES.len()])
                    .collect();
                for _ in 0..if *insists { 2 } else { 0 } {
                    world.write_ingress(&name.to_string(), &texts);
                    world.write_planned(&name);
                }
                world.write_ingress(&name.to_string(), &texts);
                touched.services.push(name);
            }
        }
        Change::StrangerForgets(index) => {
            if let Some(name) = existing(world, index) {
                world.forge_condition(&name.to_string(), None);
            }
        }
        Change::Restart | Change::OtherLeads => {
            if matches!(change, Change::OtherLeads) {
                world.change_leader();
            } else {
                world.restart();
            }
            touched.before = None;
        }
        Change::PassMinutes(minutes) => world.now += Duration::from_secs(60 * u64::from(*minutes)),
        Change::Blind(how) => {
            let unreadable = &mut world.snapshot.unreadable;
            let sees = world.snapshot.complete && unreadable.is_empty();
            unreadable.clear();
            world.snapshot.complete = true;
            if sees {
                match how {
                    0 => drop(unreadable.insert(Kind::Service, "no".into())),
                    1 => drop(unreadable.insert(Kind::CiliumLoadBalancerIPPool, "no".into())),
                    _ => world.snapshot.complete = false,
                }
            }
        }
        Change::Land(index) => {
            if let Some(name) = existing(world, index) {
                world.land(&name);
            }
        }
        Change::Pass(milliseconds) => world.now += Duration::from_millis(u64::from(*milliseconds)),
        Change::Write(_) | Change::Send(_) | Change::Settle => {}
    }
}

fn build(shape: &Shape) -> ServiceBuilder {
    let mut built =
        service(NAMES[usize::from(shape.name) % NAMES.len()]).created(i64::from(shape.age));
    if shape.blue {
        built = built.label("color", "blue");
    }
    if shape.key < 2 {
        built = built.sharing(["k", "l"][usize::from(shape.key)], shape.port);
    }
    if shape.dual {
        built = built.dual_stack();
    }
    if shape.class {
        built = built.class("example.com/other");
    }
    let naming: Vec<&str> = shape
        .naming
        .iter()
        .map(|address| ADDRESSES[usize::from(*address) % ADDRESSES.len()])
        .collect();
    if naming.is_empty() {
        built
    } else {
        built.naming(&naming.join(","))
    }
}

/// What a Service has once the plan is carried out.
fn outcome(world: &World, plan: &AddressPlan, name: &ObjectName) -> Vec<IpAddr> {
    let recorded = &world.snapshot.services[name].ingress;
    let ingress = plan
        .services
        .get(name)
        .map_or(recorded, |status| &status.ingress);
    ingress.iter().filter_map(|entry| entry.ip).collect()
}

fn contains(pool: &Pool, address: IpAddr) -> bool {
    let in_force = pool.spec.as_ref().ok().or(pool.last_valid.as_ref());
    let blocks = match (in_force, &pool.spec) {
        (Some(spec), _) => &spec.blocks,
        (None, Err(faults)) => &faults.readable,
        (None, Ok(_)) => unreachable!("a valid spec is in force"),
    };
    blocks
        .iter()
        .any(|block| block.first <= address && address <= block.last)
}

fn selects(pool: &Pool, service: &Service) -> bool {
    let in_force = pool.spec.as_ref().ok().or(pool.last_valid.as_ref());
    match (in_force, &pool.spec) {
        (Some(spec), _) => service.is_selected_by(&spec.selector),
        (None, Err(faults)) => faults
            .readable_selector
            .as_ref()
            .is_none_or(|selector| service.is_selected_by(selector)),
        (None, Ok(_)) => unreachable!("a valid spec is in force"),
    }
}

/// Every address that a Service rightfully carried before the plan and nobody asked to take is there after it.
fn check_nothing_moved(world: &World, plan: &AddressPlan, touched: &Touched) {
    for (name, service) in &world.snapshot.services {
        let left = plan.services.get(name);
        let left = left.is_some_and(|status| status.foreign.is_some());
        if left || !is_ours(service, &world.settings) || touched.services.contains(name) {
            continue;
        }
        let ask = Ask::of(service, &world.settings);
        let after = outcome(world, plan, name);
        let complete = ask.is_specific()
            && ask.items.iter().all(|item| {
                after
                    .iter()
                    .any(|address| *item == super::super::ask::Item::Address(*address))
            });
        for address in service.ingress.iter().filter_map(|entry| entry.ip) {
            let pools = world.snapshot.pools.values();
            let at_home = pools
                .clone()
                .any(|pool| contains(pool, address) && selects(pool, service));
            let rival = world.snapshot.services.iter().any(|(other_name, other)| {
                other_name != name
                    && is_ours(other, &world.settings)
                    && other.ingress.iter().any(|entry| entry.ip == Some(address))
                    && !world.may_share(service, other)
            });
            let rightful = touched.before.as_ref().is_none_or(|before| {
                before
                    .get(name)
                    .is_some_and(|addresses| addresses.contains(&address))
            });
            let asked_for = ask.tolerates(address) && (!complete || ask.names(address));
            if rightful && at_home && asked_for && !rival {
                assert!(
                    after.contains(&address),
                    "{name} lost {address} although nobody asked for that: {after:?}"
                );
            }
        }
    }
}

fn check_one_holder(world: &World, plan: &AddressPlan) {
    let left = |name: &ObjectName| {
        let status = plan.services.get(name);
        status.is_some_and(|status| status.foreign.is_some())
    };
    let ours: Vec<_> = world
        .snapshot
        .services
        .iter()
        .filter(|(_, service)| is_ours(service, &world.settings))
        .collect();
    for (index, (name, service)) in ours.iter().enumerate() {
        for (other_name, other) in &ours[index + 1..] {
            let theirs = outcome(world, plan, other_name);
            let common = outcome(world, plan, name)
                .into_iter()
                .find(|address| theirs.contains(address));
            let Some(address) = common else { continue };
            // What a stranger insists on, and somebody has already, is the stranger's fault; nobody is to get it anew.
            let shown = |service: &Service| {
                service
                    .ingress
                    .iter()
                    .any(|entry| entry.ip == Some(address))
            };
            let insisted = (left(name) && shown(other)) || (left(other_name) && shown(service));
            assert!(
                insisted || world.may_share(service, other),
                "{name} and {other_name} both get {address}"
            );
        }
    }
}

fn play(steps: &[Step], strict: bool) {
    let mut world = World::new();
    world.strict = strict;
    let mut touched = Touched::default();
    for Step(change) in steps {
        apply(&mut world, change, &mut touched);
        let plan = world.plan();
        assert_eq!(world.plan(), plan, "planned again with nothing new");
        if !world.sees() {
            assert_eq!(plan, AddressPlan::default());
            continue;
        }
        if !world.snapshot.pools.is_empty() {
            check_one_holder(&world, &plan);
            check_nothing_moved(&world, &plan, &touched);
        }
        touched.services.clear();
        let outcomes = world
            .snapshot
            .services
            .keys()
            .map(|name| (name.clone(), outcome(&world, &plan, name)));
        touched.before = Some(outcomes.collect());
        match change {
            Change::Settle => {
                world.settle();
            }
            Change::Write(order) | Change::Send(order) => {
                world.write_pools(&plan);
                let names: Vec<&ObjectName> = plan.services.keys().collect();
                for index in order.iter().filter(|_| !names.is_empty()) {
                    let name = names[usize::from(*index) % names.len()];
                    if matches!(change, Change::Send(_)) {
                        world.send(name, &plan.services[name]);
                    } else {
                        world.write(name, &plan.services[name]);
                    }
                }
            }
            _ => {}
        }
    }
    world.snapshot.complete = true;
    world.snapshot.unreadable.clear();
    world.now += Duration::from_secs(1);
    world.settle();
    let plan = world.plan();
    if !world.snapshot.pools.is_empty() {
        check_one_holder(&world, &plan);
        world.restart();
        let plan = world.plan();
        check_one_holder(&world, &plan);
        check_nothing_moved(&world, &plan, &Touched::default());
    }
}

/// The same thousand at every run, so that the gate gives the same answer tomorrow; another thousand with PROPTEST_RNG_SEED.
fn thousand_histories() -> ProptestConfig {
    let config = ProptestConfig::with_cases(1000);
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        given @ RngSeed::Fixed(_) => given,
    };
    ProptestConfig { rng_seed, ..config }
}

proptest! {
    #![proptest_config(thousand_histories())]

    #[test]
    fn no_history_moves_an_address_unasked_or_gives_it_to_two(steps in prop::collection::vec(step(true), 1..60)) {
        play(&steps, false);
    }

    /// Exchanges by request are the exception: nobody is to pass through an empty ingress for them, so statuses cross.
    #[test]
    fn without_exchanges_no_two_statuses_ever_show_one_address(steps in prop::collection::vec(step(false), 1..60)) {
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step.0, Change::Stranger { .. })).collect();
        play(&steps, true);
    }
}
