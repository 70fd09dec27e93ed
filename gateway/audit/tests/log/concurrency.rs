//! Many threads, one order; what was let in is what is in the file.

use crate::common::{Scratch, entry, open_with, settings, verify_file};
use mcpf_audit::{AppendError, Durability, Ending, Location};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn eight_producers_keep_the_numbers_dense() {
    for durability in [
        Durability::Flush,
        Durability::Async {
            interval: Duration::from_millis(2),
        },
    ] {
        let scratch = Scratch::new();
        let mut settings = settings(Location::File(scratch.file()));
        settings.durability = durability;
        settings.queue_records = 64;
        let (log, _) = open_with(&settings, 0);
        let (taken, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut seqs: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut seqs = Vec::new();
                        for n in 0..500 {
                            match log.append(entry(n)) {
                                Ok(ticket) => seqs.push(ticket.seq),
                                Err(AppendError::Full) => {
                                    refused.fetch_add(1, Ordering::Relaxed);
                                    std::thread::yield_now();
                                }
                                Err(error) => panic!("{error}"),
                            }
                        }
                        assert!(seqs.is_sorted());
                        taken.fetch_add(seqs.len() as u64, Ordering::Relaxed);
                        seqs
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let closed = log.close().unwrap();
        seqs.sort_unstable();
        let taken = taken.into_inner();
        assert_eq!(taken + refused.into_inner(), 4_000);
        // With `flush` a record that only carries a signature may stand between two others.
        let seals = closed.seq - taken - 1;
        assert!(seals == 0 || durability == Durability::Flush);
        assert!(seqs.windows(2).all(|two| two[0] < two[1]));
        assert_eq!((seqs.len() as u64, closed.decisions), (taken, taken));
        assert!(seqs.last().is_some_and(|last| *last < closed.seq));
        let report = verify_file(&scratch.file()).unwrap();
        assert_eq!(report.decisions(), taken, "the file holds what was let in");
        assert_eq!(report.files[0].ending, Ending::Closed);
        assert_eq!(log.append(entry(0)), Err(AppendError::Closed));
    }
}

/// Whoever appends quietly and nudges need not wait for another thread, and none waits for ever.
#[test]
fn quiet_appends_are_written_by_whoever_nudges() {
    for durability in [Durability::Flush, Durability::Fsync] {
        let scratch = Scratch::new();
        let mut settings = settings(Location::File(scratch.file()));
        settings.durability = durability;
        let (log, _) = open_with(&settings, 0);
        let rounds = if durability == Durability::Flush {
            2_000
        } else {
            50
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..rounds {
                        let first = log.append_quietly(entry(n)).unwrap();
                        let second = log.append_quietly(entry(n)).unwrap();
                        log.nudge();
                        while !log.is_recorded(first) || !log.is_recorded(second) {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        let closed = log.close().unwrap();
        assert_eq!(closed.decisions, 8 * rounds);
        let report = verify_file(&scratch.file()).unwrap();
        assert_eq!(report.decisions(), 8 * rounds);
        assert_eq!(report.files[0].ending, Ending::Closed);
    }
}

#[test]
fn closing_while_others_append_loses_nothing() {
    for _ in 0..20 {
        let scratch = Scratch::new();
        let (log, _) = open_with(&settings(Location::File(scratch.file())), 0);
        let log = Arc::new(log);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    let mut taken = 0_u64;
                    loop {
                        match log.append(entry(taken)) {
                            Ok(_) => taken += 1,
                            Err(AppendError::Full) => std::thread::yield_now(),
                            Err(_) => return taken,
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(3));
        let closed = log.close().unwrap();
        let taken: u64 = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert_eq!(closed.decisions, taken);
        assert_eq!(verify_file(&scratch.file()).unwrap().decisions(), taken);
    }
}

#[test]
fn progress_is_told_after_it_is_made() {
    let scratch = Scratch::new();
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let hook = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut settings = settings(Location::File(scratch.file()));
    settings.durability = Durability::Fsync;
    let start = mcpf_audit::Start::new(crate::common::now(0), "test");
    let (log, _) = mcpf_audit::Log::open(&settings, crate::common::key(), &start, hook).unwrap();
    assert_eq!(
        log.durable(),
        0,
        "the start record is durable when the log is open"
    );
    for n in 1..=20 {
        let before = told.load(Ordering::SeqCst);
        let ticket = log.append(entry(n)).unwrap();
        while told.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        assert!(log.is_recorded(ticket));
        let lines = std::fs::read(scratch.file())
            .unwrap()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        assert_eq!(lines as u64, n + 1, "the file holds it by then");
    }
    log.close().unwrap();
}
