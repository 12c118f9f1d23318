//! The allocator alone, and a plan of 10,000 Services of which one changed.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use controller::cluster::{
    Block, ObjectName, Pool as ClusterPool, PoolSpec, Service, ServicePort, Snapshot,
};
use controller::plan::Settings;
use controller::plan::addresses::{AddressBook, AddressPlan};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ipam::{Allocator, Family, Pool, PoolKey, PoolRange, Range, Request, Wanted};

const IN_USE: u32 = 100_000;
const SERVICES: u32 = 10_000;
const POOL: [PoolKey; 1] = [PoolKey(1)];

/// An allocator with a pool of that many addresses, nothing in use.
fn empty(size: u32) -> Allocator<u32> {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    let range = Range::new(ip(first), ip(first + size - 1)).expect("in order");
    let mut allocator = Allocator::default();
    allocator.set_pools([(
        POOL[0],
        Pool::new(vec![PoolRange {
            range,
            reserve_ends: true,
        }]),
    )]);
    allocator
}

fn fill(allocator: &mut Allocator<u32>) {
    for owner in 0..IN_USE {
        assign(allocator, owner);
    }
}

fn assign(allocator: &mut Allocator<u32>, owner: u32) -> IpAddr {
    let request = Request {
        owner,
        wanted: Wanted::Any(Family::V4),
        pools: &POOL,
        join: &[],
    };
    allocator.assign(&request).expect("the pool has room")
}

fn ip(position: u32) -> IpAddr {
    Ipv4Addr::from(position).into()
}

fn allocator(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allocator");
    group.throughput(Throughput::Elements(u64::from(IN_USE)));
    group.sample_size(20);
    group.bench_function("assign_100000_from_empty", |bencher| {
        bencher.iter_batched_ref(|| empty(1 << 20), fill, BatchSize::PerIteration);
    });

    group.throughput(Throughput::Elements(1));
    group.sample_size(100);
    for (name, size) in [
        ("10_percent_full", IN_USE * 10),
        ("99_percent_full", IN_USE / 99 * 100 + 102),
    ] {
        let mut allocator = empty(size);
        fill(&mut allocator);
        // Holes all over, so that the next free address has to be found.
        let mut owner = 0;
        group.bench_function(format!("release_and_assign/{name}"), |bencher| {
            bencher.iter(|| {
                owner = (owner + 7919) % IN_USE;
                let address = allocator.held_by(owner)[0];
                allocator.release(owner, address);
                black_box(assign(&mut allocator, owner))
            });
        });
    }
    group.finish();
}

fn snapshot() -> Snapshot {
    let mut services = BTreeMap::new();
    for index in 0..SERVICES {
        let name = ObjectName {
            namespace: format!("team-{}", index % 50).into(),
            name: format!("service-{index}").into(),
        };
        let mut service = Service {
            is_load_balancer: true,
            ip_families: vec!["IPv4".into()],
            ports: vec![ServicePort {
                name: "http".into(),
                port: 80,
                protocol: "TCP".into(),
            }],
            ..Service::default()
        };
        service.meta.name = name.clone();
        service.meta.uid = format!("uid-{index}");
        service.meta.created = Some(i64::from(index));
        service.meta.labels = [
            ("app.kubernetes.io/name".into(), format!("service-{index}")),
            ("team".into(), format!("team-{}", index % 50)),
        ]
        .into();
        service.meta.annotations = [("example.com/owner".into(), "team".into())].into();
        services.insert(name, Arc::new(service));
    }
    let block = Block {
        first: ip(0x0A00_0000),
        last: ip(0x0A00_FFFF),
        is_cidr: true,
    };
    let spec = PoolSpec {
        blocks: vec![block],
        ..PoolSpec::default()
    };
    let pool = ClusterPool {
        meta: Default::default(),
        spec: Ok(spec),
        last_valid: None,
        recorded_conditions: vec![],
    };
    Snapshot {
        complete: true,
        services: services.into(),
        pools: BTreeMap::from([("pool".into(), pool)]).into(),
        ..Snapshot::default()
    }
}

fn record(snapshot: &mut Snapshot, plan: &AddressPlan) {
    for (name, status) in &plan.services {
        let service = snapshot.services.get_mut(name).expect("planned");
        let service = Arc::make_mut(service);
        service.ingress.clone_from(&status.ingress);
        service.recorded_condition = status.condition.as_ref().map(|condition| {
            let status = if condition.satisfied { "True" } else { "False" };
            (
                status.into(),
                condition.reason.into(),
                condition.message.clone(),
                "then".into(),
            )
        });
    }
}

fn plan(criterion: &mut Criterion) {
    #[expect(clippy::disallowed_methods, reason = "a benchmark owns its clock")]
    let now = Instant::now();
    let settings = Settings {
        address_memory: std::time::Duration::from_secs(3600),
        node: "n1".into(),
        no_service_endpoints_routable: true,
        default_ipam: true,
        ipv4: true,
        ipv6: true,
        bgp_enabled: true,
        l2_enabled: true,
    };
    let mut group = criterion.benchmark_group("plan_10000_services");
    group.sample_size(30);
    let mut snapshot = snapshot();
    group.bench_function("all_new", |bencher| {
        bencher.iter(|| AddressBook::default().plan(black_box(&snapshot), &settings, now));
    });

    let mut book = AddressBook::default();
    let first = book.plan(&snapshot, &settings, now);
    record(&mut snapshot, &first);
    group.bench_function("restart", |bencher| {
        bencher.iter(|| AddressBook::default().plan(black_box(&snapshot), &settings, now));
    });

    let changed = snapshot
        .services
        .keys()
        .nth(5000)
        .expect("there are 10,000")
        .clone();
    let mut generation = 0;
    group.bench_function("one_changed", |bencher| {
        bencher.iter(|| {
            generation += 1;
            let service = snapshot.services.get_mut(&changed).expect("is there");
            let asks = format!("10.0.255.{}", generation % 250);
            Arc::make_mut(service)
                .meta
                .annotations
                .insert("lbipam.cilium.io/ips".into(), asks);
            black_box(book.plan(black_box(&snapshot), &settings, now))
        });
    });
    group.finish();
}

criterion_group!(benches, allocator, plan);
criterion_main!(benches);
