//! Random interleavings of a client and a server, through the relay, in this process.
//!
//! `SUITE_SEED` replays one run; `SUITE_RUNS` sets how many there are.

mod peers;
mod world;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use world::{Lab, Run};

/// Runs of one log: opening a log costs a few milliseconds.
const PER_LOG: u64 = 100;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn ten_thousand_random_interleavings_hold_every_promise() {
    if let Some(seed) = setting("SUITE_SEED") {
        let mut lab = Lab::new(seed);
        lab.run(seed);
        lab.close();
        return;
    }
    let runs = setting("SUITE_RUNS").unwrap_or(10_000);
    let next = AtomicU64::new(0);
    let (longest, messages) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(PER_LOG, Ordering::Relaxed);
                    if first >= runs {
                        return;
                    }
                    let mut lab = Lab::new(first);
                    for seed in first..(first + PER_LOG).min(runs) {
                        let Run { queued, frames } = lab.run(seed);
                        longest.fetch_max(queued, Ordering::Relaxed);
                        messages.fetch_add(frames, Ordering::Relaxed);
                    }
                    lab.close();
                }
            });
        }
    });
    let (longest, messages) = (longest.into_inner(), messages.into_inner());
    eprintln!("{runs} runs, {messages} messages, longest queue {longest} bytes");
}
