//! The ratios of `definitions/goals.toml`, measured in one run, and what the corridor costs.
//!
//! `--gate` fails the run when a ratio is below its goal, `--long` measures for ten seconds each:
//! for a profiler. Words that are not options choose goals
//! and figures by what their benches' names hold.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a wrong count fails the run, and a measurement is printed"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mcpf_benches::{Bench, Fixture, benches, goals, prepare};

/// Slices of each bench. Ratios are of the fastest ones: a shared machine only ever adds time.
const SLICES: usize = 12;

/// Time of one slice.
const SLICE: Duration = Duration::from_millis(25);

/// Time of one slice for a profiler.
const LONG: Duration = Duration::from_millis(800);

/// What a bench took.
#[derive(Clone, Copy)]
struct Figure {
    bytes: usize,
    /// The mean run of the fastest slice, in seconds: runs are over texts that differ.
    best: f64,
    /// The median run, in seconds.
    median: f64,
}

impl Figure {
    fn throughput(self) -> f64 {
        u32::try_from(self.bytes).map_or(0.0, f64::from) / self.best
    }
}

fn main() -> ExitCode {
    let has = |option: &str| std::env::args().any(|word| word == option);
    let (gate, slice) = (has("--gate"), if has("--long") { LONG } else { SLICE });
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let fixture = Fixture::new().unwrap_or_else(|error| panic!("{error}"));
    let all = benches().unwrap_or_else(|error| panic!("{error}"));
    let goals = goals().unwrap_or_else(|error| panic!("{error}"));
    let mut figures = BTreeMap::new();
    let mut wrong = 0;
    for bench in &all {
        let wanted = chosen(&bench.name) && bench.name.starts_with("pipeline/")
            || goals.iter().any(|goal| {
                chosen(&goal.bench) && [&goal.bench, &goal.against].contains(&&bench.name)
            });
        if wanted {
            match measure(bench, &fixture, slice) {
                Ok(figure) => _ = figures.insert(bench.name.as_str(), figure),
                Err(error) => {
                    println!("{error}");
                    wrong += 1;
                }
            }
        }
    }
    println!("{:<36}{:>12}{:>12}{:>9}", "", "best", "median", "GB/s");
    for (name, figure) in &figures {
        println!(
            "{name:<36}{:>9.2} µs{:>9.2} µs{:>9.3}",
            figure.best * 1e6,
            figure.median * 1e6,
            figure.throughput() / 1e9
        );
    }
    println!("\n{:<36}{:>12}{:>12}", "ratios", "goal", "is");
    let mut missed = 0;
    for goal in &goals {
        let pair = (
            figures.get(goal.bench.as_str()),
            figures.get(goal.against.as_str()),
        );
        let (Some(bench), Some(against)) = pair else {
            continue;
        };
        let ratio = bench.throughput() / against.throughput();
        let below = ratio < goal.at_least;
        missed += usize::from(below);
        println!(
            "{:<36}{:>10.1} %{:>10.1} %{}",
            goal.name,
            goal.at_least * 100.0,
            ratio * 100.0,
            if below { "  below" } else { "" }
        );
    }
    if wrong > 0 || (gate && missed > 0) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn measure(bench: &Bench, fixture: &Fixture, slice: Duration) -> Result<Figure, String> {
    let mut prepared = prepare(bench, fixture)?;
    let mut times = Vec::new();
    let mut best = f64::MAX;
    for _ in 0..SLICES {
        let before = times.len();
        let begin = Instant::now();
        while begin.elapsed() < slice {
            prepared.work.before();
            let start = Instant::now();
            std::hint::black_box(prepared.work.run());
            times.push(start.elapsed());
        }
        let slice = times.get(before..).unwrap_or_default();
        let runs = u32::try_from(slice.len()).map_or(f64::MAX, f64::from);
        best = best.min(slice.iter().sum::<Duration>().as_secs_f64() / runs);
    }
    times.sort_unstable();
    Ok(Figure {
        bytes: prepared.bytes,
        best,
        median: times
            .get(times.len() / 2)
            .map_or(0.0, Duration::as_secs_f64),
    })
}
