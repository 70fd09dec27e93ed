//! How fast it goes. Ignored by default: a figure from a busy machine says nothing.

use crate::common::{Scratch, entry, open_with, settings, verify_file};
use mcpf_audit::{AppendError, Durability, Location};
use std::time::Instant;

#[test]
#[ignore = "a measurement; run in release mode with --nocapture"]
fn figures() {
    const COUNT: u64 = 200_000;
    for durability in [Durability::Flush, Durability::ASYNC, Durability::Fsync] {
        let scratch = Scratch::new();
        let mut settings = settings(Location::File(scratch.file()));
        settings.durability = durability;
        let (log, _) = open_with(&settings, 0);
        let mut entries: Vec<_> = (0..COUNT).map(entry).collect();
        let begun = Instant::now();
        let (mut in_append, mut full) = (0_u128, 0_u64);
        while let Some(entry) = entries.pop() {
            let mut entry = Some(entry);
            while let Some(next) = entry.take() {
                let kept = next.clone();
                let before = Instant::now();
                let result = log.append(next);
                in_append += before.elapsed().as_nanos();
                if result == Err(AppendError::Full) {
                    full += 1;
                    entry = Some(kept);
                    std::thread::yield_now();
                }
            }
        }
        log.close().unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{}: {:.0} records/s, append {} ns on average, {full} times full",
            durability.as_str(),
            COUNT as f64 / seconds,
            in_append / u128::from(COUNT + full),
        );
        let begun = Instant::now();
        verify_file(&scratch.file()).unwrap();
        println!(
            "  verified at {:.0} records/s",
            COUNT as f64 / begun.elapsed().as_secs_f64()
        );
    }
    let scratch = Scratch::new();
    for durability in [Durability::Flush, Durability::Fsync] {
        let mut settings = settings(Location::File(scratch.file()));
        settings.durability = durability;
        let (log, _) = open_with(&settings, 0);
        let mut appends = Vec::new();
        let mut times: Vec<_> = (0..5_000)
            .map(|n| {
                let entry = entry(n);
                let begun = Instant::now();
                let ticket = log.append(entry).unwrap();
                appends.push(begun.elapsed());
                while !log.is_recorded(ticket) {
                    std::hint::spin_loop();
                }
                begun.elapsed()
            })
            .collect();
        times.sort();
        appends.sort();
        println!(
            "{} one at a time: recorded p50 {:?} p99 {:?}, append p50 {:?} p99 {:?}",
            durability.as_str(),
            times[2_500],
            times[4_950],
            appends[2_500],
            appends[4_950]
        );
    }
}
