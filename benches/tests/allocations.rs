//! How often the allow path allocates once it is warm.
//!
//! The counts have a ceiling: an allocation more in the corridor is a decision, made here.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::alloc::System;

use mcpf_benches::{Bench, Count, EngineName, Fixture, Haystack, Size, prepare};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations, reallocations among them, of one walk of a clean 1 KiB frame, warm.
fn walk(fixture: &Fixture, engine: EngineName, haystack: Haystack) -> usize {
    let bench = Bench {
        name: "allocations".to_owned(),
        engine,
        haystack,
        size: Size(1024),
        expect: Count::Exactly(0),
        verdict: Some("allow".to_owned()),
    };
    let mut prepared = prepare(&bench, fixture).unwrap();
    // The harness allocates in other threads now and then: the least of many is ours.
    let walks = (0..50).map(|_| {
        prepared.work.before();
        let region = Region::new(ALLOCATOR);
        let seen = prepared.work.run();
        let change = region.change();
        assert_eq!(seen.verdict, Some("allow"));
        change.allocations + change.reallocations
    });
    walks.min().unwrap()
}

#[test]
fn a_clean_message_allocates_a_fixed_number_of_times() {
    let fixture = Fixture::new().unwrap();
    let counts = [
        walk(&fixture, EngineName::Call, Haystack::Prose),
        walk(&fixture, EngineName::Call, Haystack::Json),
        walk(&fixture, EngineName::Result, Haystack::Prose),
    ];
    assert!(
        counts.iter().all(|count| *count <= CEILING),
        "{counts:?} of at most {CEILING}"
    );
}

/// Most allocations of a call of one long string, of a call of many short ones, or of a result.
const CEILING: usize = 10;
