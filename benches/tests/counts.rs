//! Every bench counts what its definition says, and every goal names benches that there are.
//!
//! Sizes above 16 KiB are left to the benches themselves, which check before they measure.

use mcpf_benches::{Fixture, Size, benches, goals, prepare};

#[test]
fn every_definition_counts_what_it_says() {
    let fixture = Fixture::new().unwrap();
    let wrong: Vec<String> = benches()
        .unwrap()
        .iter()
        .filter(|bench| bench.size <= Size(16 << 10))
        .filter_map(|bench| prepare(bench, &fixture).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_goal_names_two_benches() {
    let all = benches().unwrap();
    for goal in goals().unwrap() {
        for name in [&goal.bench, &goal.against] {
            assert!(all.iter().any(|bench| bench.name == *name), "{name}");
        }
    }
}
