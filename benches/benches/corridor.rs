//! Every bench of the definitions, through criterion.
#![expect(clippy::panic, reason = "a wrong count fails the run")]

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use mcpf_benches::{Fixture, benches, prepare};

fn main() {
    let fixture = Fixture::new().unwrap_or_else(|error| panic!("{error}"));
    let all = benches().unwrap_or_else(|error| panic!("{error}"));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .sample_size(20)
        .configure_from_args();
    let mut wrong = Vec::new();
    for bench in &all {
        let mut prepared = match prepare(bench, &fixture) {
            Ok(prepared) => prepared,
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        let (group, rest) = bench.name.split_once('/').unwrap_or(("", &bench.name));
        let mut group = criterion.benchmark_group(group);
        let bytes = u64::try_from(prepared.bytes).unwrap_or(u64::MAX);
        group.throughput(Throughput::Bytes(bytes));
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function(rest, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    prepared.work.before();
                    let start = Instant::now();
                    std::hint::black_box(prepared.work.run());
                    spent += start.elapsed();
                }
                spent
            });
        });
        group.finish();
    }
    criterion.final_summary();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
