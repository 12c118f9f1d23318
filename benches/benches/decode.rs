//! One UPDATE of 500 prefixes from octets to routes. Divide by 500 for the cost of a prefix.

use std::hint::black_box;

use bench_inputs::{context, list, octets, update, v4_hosts, v4_table, v6_hosts};
use bgp_core::attribute::NlriList;
use bgp_core::message::Message;
use bgp_core::types::Family;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let context = context();
    for (name, entries) in [
        ("v4_hosts", v4_hosts()),
        ("v4_table", v4_table()),
        ("v6_hosts", v6_hosts()),
    ] {
        group.throughput(Throughput::Elements(entries.len() as u64));
        let family = entries[0].prefix.family();
        let nlri = list(family, &entries);

        group.bench_function(format!("nlri_check/{name}"), |bencher| {
            bencher.iter(|| NlriList::from_wire(family, false, black_box(nlri.octets()).clone()));
        });
        group.bench_function(format!("nlri_walk/{name}"), |bencher| {
            bencher.iter(|| {
                black_box(&nlri).iter().for_each(|entry| {
                    black_box(entry);
                })
            });
        });
        let message = octets(update(&entries));
        group.bench_function(format!("update/{name}"), |bencher| {
            bencher.iter(|| {
                let Ok(Message::Update(update)) =
                    Message::decode(black_box(&message).clone(), &context)
                else {
                    unreachable!("octets of an UPDATE")
                };
                let list = match &update.mp_reach {
                    Some(reach) if family == Family::IPV6_UNICAST => &reach.nlri,
                    _ => &update.announced,
                };
                list.iter().for_each(|entry| {
                    black_box(entry);
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
