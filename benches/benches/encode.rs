//! One UPDATE of 500 prefixes from routes to octets. Divide by 500 for the cost of a prefix.

use std::hint::black_box;

use bench_inputs::{context, list, update, v4_hosts, v4_table, v6_hosts};
use bgp_core::message::Message;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let context = context();
    for (name, entries) in [
        ("v4_hosts", v4_hosts()),
        ("v4_table", v4_table()),
        ("v6_hosts", v6_hosts()),
    ] {
        group.throughput(Throughput::Elements(entries.len() as u64));
        let family = entries[0].prefix.family();
        group.bench_function(format!("nlri_build/{name}"), |bencher| {
            bencher.iter(|| list(family, black_box(&entries)));
        });
        let message = Message::Update(update(&entries));
        group.bench_function(format!("update/{name}"), |bencher| {
            bencher.iter(|| black_box(&message).encode(&context));
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
