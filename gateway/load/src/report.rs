//! What is told of a measurement.
//!
//! Enter: rows. Leave: a table for people, JSON for programs, and single figures for a gate. Never: a figure
//! that was not measured: what is not known is a dash or `null`.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::campaign::{Campaign, Kind, Row};
use crate::distribution::Percentile;
use crate::load::{GRACE, Pace};
use crate::tally::Tally;

/// A finished measurement.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was asked for.
    pub campaign: Campaign,
    /// What came out, as [`Campaign::run`] gives it.
    pub rows: Vec<Row>,
}

/// Something that is counted in each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Right answers per second.
    Throughput,
    /// Latency in microseconds.
    Latency(Percentile),
    /// CPU time of the target in microseconds per right answer.
    Cpu,
    /// Resident memory of the target in MiB.
    Resident,
    /// Failed requests.
    Errors,
    /// Requests that found no free connection until the end.
    Unsent,
}

impl Quantity {
    /// Every quantity and its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("throughput", Self::Throughput),
        ("p50", Self::Latency(Percentile::P50)),
        ("p99", Self::Latency(Percentile::P99)),
        ("p999", Self::Latency(Percentile::P999)),
        ("cpu", Self::Cpu),
        ("rss", Self::Resident),
        ("errors", Self::Errors),
        ("unsent", Self::Unsent),
    ];

    /// Its value in a row; none when it is not known.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people and bounds")]
    pub fn of(self, tally: &Tally) -> Option<f64> {
        match self {
            Self::Throughput => Some(tally.throughput()),
            Self::Latency(percentile) => tally.latency(percentile).map(micros),
            Self::Cpu => tally.micros_each(tally.costs.gateway),
            Self::Resident => tally.costs.resident.map(|bytes| bytes as f64 / MIB),
            Self::Errors => Some(tally.failed() as f64),
            Self::Unsent => Some(tally.unsent as f64),
        }
    }
}

impl FromStr for Quantity {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let known = Self::ALL.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, quantity)| quantity).ok_or(())
    }
}

const MIB: f64 = 1_048_576.0;

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Report {
    /// The row of the same load on another target.
    #[must_use]
    pub fn beside(&self, row: &Row, kind: Kind) -> Option<&Row> {
        self.rows
            .iter()
            .find(|other| other.kind == kind && other.size == row.size && other.pace == row.pace)
    }

    /// A quantity of a row divided by that of the same load on another target.
    #[must_use]
    pub fn ratio(&self, row: &Row, quantity: Quantity, kind: Kind) -> Option<f64> {
        let other = quantity.of(&self.beside(row, kind)?.tally)?;
        Some(quantity.of(&row.tally)? / other).filter(|ratio| ratio.is_finite())
    }

    /// What a row has more than the same load without anything in between.
    #[must_use]
    pub fn added(&self, row: &Row, quantity: Quantity) -> Option<f64> {
        if row.kind == Kind::Direct {
            return None;
        }
        let direct = quantity.of(&self.beside(row, Kind::Direct)?.tally)?;
        Some(quantity.of(&row.tally)? - direct)
    }

    /// The table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut before = None;
        for row in &self.rows {
            if before != Some((row.size, row.pace)) {
                if before.is_some() {
                    text.push('\n');
                }
                text.push_str(&self.heading(row));
                before = Some((row.size, row.pace));
            }
            text.push_str(&self.line(row));
        }
        for row in &self.rows {
            text.push_str(&notes(row));
        }
        if let Some(cores) = self.other_cores().filter(|cores| *cores >= BUSY_CORES) {
            // Writing to a string does not fail.
            let _written = writeln!(
                text,
                "\nEverything else on this machine used {cores:.1} cores in the meantime (the gateway and the \
                 upstream too, where they were not started for this); a quiet machine gives better figures"
            );
        }
        text
    }

    /// Cores that were busy with something else, on average over all rows.
    fn other_cores(&self) -> Option<f64> {
        let mut whole = Tally::default();
        for row in &self.rows {
            whole.elapsed += row.tally.elapsed;
            whole.costs.merge(&row.tally.costs);
        }
        other_cores(&whole)
    }

    fn heading(&self, row: &Row) -> String {
        let pace = match row.pace {
            Pace::Closed => "closed loop".to_owned(),
            Pace::Open(rate) => format!("open loop, {rate}/s"),
        };
        format!(
            "{} results, {} arguments, {} connections, {pace}\n\
             {:<16}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>9}{:>8}\n",
            bytes(row.size),
            bytes(self.campaign.arguments),
            self.campaign.connections,
            "",
            "answers/s",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "+p50 µs",
            "+p99 µs",
            "CPU µs/req",
            "RSS MiB",
            "errors",
        )
    }

    fn line(&self, row: &Row) -> String {
        let of = |quantity: Quantity, digits| figure(quantity.of(&row.tally), digits);
        let added = |percentile| figure(self.added(row, Quantity::Latency(percentile)), 0);
        format!(
            "{:<16}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>9}{:>8}\n",
            row.name,
            of(Quantity::Throughput, 0),
            of(Quantity::Latency(Percentile::P50), 0),
            of(Quantity::Latency(Percentile::P99), 0),
            of(Quantity::Latency(Percentile::P999), 0),
            added(Percentile::P50),
            added(Percentile::P99),
            of(Quantity::Cpu, 1),
            of(Quantity::Resident, 1),
            of(Quantity::Errors, 0),
        )
    }

    /// The same as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row_json(row)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": std::thread::available_parallelism().ok().map(usize::from),
            "connections": self.campaign.connections,
            "threads": self.campaign.threads,
            "arguments_bytes": self.campaign.arguments,
            "seconds": self.campaign.time.as_secs_f64(),
            "rounds": self.campaign.rounds,
            "rows": rows,
        })
    }

    fn row_json(&self, row: &Row) -> Value {
        let tally = &row.tally;
        let latency = |percentile| Quantity::Latency(percentile).of(tally);
        let failures: Map<String, Value> = tally
            .failures()
            .map(|(failure, count)| (failure.as_str().to_owned(), count.into()))
            .collect();
        let ratios = |kind| -> Map<String, Value> {
            Quantity::ALL
                .into_iter()
                .filter_map(|(name, quantity)| {
                    Some((name.to_owned(), self.ratio(row, quantity, kind)?.into()))
                })
                .collect()
        };
        let mut object = json!({
            "target": row.kind.as_str(),
            "name": row.name,
            "result_bytes": row.size,
            "loop": match row.pace { Pace::Closed => "closed", Pace::Open(_) => "open" },
            "rate": match row.pace { Pace::Closed => None, Pace::Open(rate) => Some(rate) },
            "elapsed_s": tally.elapsed.as_secs_f64(),
            "sent": tally.sent,
            "answered": tally.answered,
            "errors": tally.failed(),
            "failures": failures,
            "examples": tally.examples,
            "unsent": tally.unsent,
            "throughput": tally.throughput(),
            "p50_us": latency(Percentile::P50),
            "p99_us": latency(Percentile::P99),
            "p999_us": latency(Percentile::P999),
            "lag_p99_us": tally.lag(Percentile::P99).map(micros),
            "added_p50_us": self.added(row, Quantity::Latency(Percentile::P50)),
            "added_p99_us": self.added(row, Quantity::Latency(Percentile::P99)),
            "cpu_us_per_request": Quantity::Cpu.of(tally),
            "own_cpu_us_per_request": tally.micros_each(tally.costs.own),
            "rss_bytes": tally.costs.resident,
            "other_cores": other_cores(tally),
        });
        if let Some(fields) = object.as_object_mut().filter(|_| row.kind != Kind::Direct) {
            fields.insert("vs_direct".into(), ratios(Kind::Direct).into());
            if row.kind != Kind::Nginx {
                fields.insert("vs_nginx".into(), ratios(Kind::Nginx).into());
            }
        }
        object
    }
}

/// Cores that are told to have been busy with something else; less is within what the system counts exactly.
const BUSY_CORES: f64 = 0.2;

fn other_cores(tally: &Tally) -> Option<f64> {
    let time = tally.costs.other.filter(|_| !tally.elapsed.is_zero())?;
    Some(time.as_secs_f64() / tally.elapsed.as_secs_f64())
}

/// What a table cannot show: failures by kind, and requests that were never sent.
fn notes(row: &Row) -> String {
    let mut text = String::new();
    let load = match row.pace {
        Pace::Closed => "closed loop".to_owned(),
        Pace::Open(rate) => format!("{rate}/s"),
    };
    let place = format!("{}, {}, {load}", row.name, bytes(row.size));
    // Writing to a string does not fail.
    for (failure, count) in row.tally.failures() {
        let _written = writeln!(text, "{place}: {count} x {}", failure.as_str());
    }
    for example in &row.tally.examples {
        let _written = writeln!(text, "  such as {example}");
    }
    if row.tally.unsent > 0 {
        let _written = writeln!(
            text,
            "{place}: {} requests found no free connection until {} s after the end of their round; \
             latencies contain what they had waited",
            row.tally.unsent,
            GRACE.as_secs(),
        );
    }
    text
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn bytes(count: usize) -> String {
    for (unit, name) in [(1_048_576, "MiB"), (1_024, "KiB")] {
        if count >= unit && count.is_multiple_of(unit) {
            return format!("{} {name}", count / unit);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroU32;

    use super::*;

    /// `answered` answers in a second, each after `micros`, of `cpu` microseconds.
    pub(crate) fn row(kind: Kind, pace: Pace, answered: u32, micros: u64, cpu: Option<u64>) -> Row {
        let mut tally = Tally::default();
        for _ in 0..answered {
            tally.send(Duration::ZERO);
            tally.answer(Duration::from_micros(micros));
        }
        tally.elapsed = Duration::from_secs(1);
        tally.costs.gateway = cpu.map(|cpu| Duration::from_micros(cpu) * answered);
        tally.costs.resident = cpu.map(|_| 20 << 20);
        Row {
            size: 1_024,
            pace,
            kind,
            name: kind.as_str().to_owned(),
            tally,
        }
    }

    pub(crate) fn report() -> Report {
        let open = Pace::Open(NonZeroU32::new(200).unwrap());
        Report {
            campaign: Campaign {
                sizes: vec![1_024],
                arguments: 200,
                paces: vec![Pace::Closed, open],
                connections: 32.try_into().unwrap(),
                threads: 1.try_into().unwrap(),
                time: Duration::from_secs(1),
                rounds: 1.try_into().unwrap(),
                headers: Vec::new(),
            },
            rows: vec![
                row(Kind::Direct, Pace::Closed, 400, 100, None),
                row(Kind::Nginx, Pace::Closed, 200, 200, Some(20)),
                row(Kind::Gateway, Pace::Closed, 100, 350, Some(50)),
                row(Kind::Direct, open, 200, 60, None),
                row(Kind::Nginx, open, 200, 80, Some(30)),
                row(Kind::Gateway, open, 200, 120, Some(60)),
            ],
        }
    }

    #[test]
    fn figures_are_compared_with_the_same_load() {
        let report = report();
        let gateway = &report.rows[2];
        let p50 = Quantity::Latency(Percentile::P50);
        assert_eq!(
            report.ratio(gateway, Quantity::Throughput, Kind::Nginx),
            Some(0.5)
        );
        assert_eq!(report.ratio(gateway, Quantity::Cpu, Kind::Nginx), Some(2.5));
        assert_eq!(report.ratio(gateway, Quantity::Cpu, Kind::Direct), None);
        assert_eq!(report.ratio(gateway, Quantity::Errors, Kind::Direct), None);
        assert_eq!(report.added(gateway, p50), Some(250.0));
        assert_eq!(report.added(&report.rows[5], p50), Some(60.0));
        assert_eq!(report.added(&report.rows[0], p50), None);
    }

    #[test]
    fn the_table_has_a_block_for_each_load() {
        let text = report().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11);
        assert_eq!(
            lines[0],
            "1 KiB results, 200 B arguments, 32 connections, closed loop"
        );
        let words: Vec<&str> = lines[4].split_whitespace().collect();
        assert_eq!(
            words,
            [
                "gateway", "100", "350", "350", "350", "250", "250", "50.0", "20.0", "0"
            ]
        );
        assert_eq!(
            lines[6],
            "1 KiB results, 200 B arguments, 32 connections, open loop, 200/s"
        );
    }

    #[test]
    fn failures_are_named_below_the_table() {
        let mut report = report();
        let tally = &mut report.rows[2].tally;
        tally.fail(&crate::tally::Flaw::of_status(503, b"busy"));
        tally.give_up(Duration::from_secs(2));
        let text = report.text();
        assert!(text.contains(
            "gateway, 1 KiB, closed loop: 1 x bad_status\n  such as bad_status: 503 busy\n"
        ));
        assert!(text.contains("gateway, 1 KiB, closed loop: 1 requests found no free connection"));
    }

    #[test]
    fn a_busy_machine_is_told() {
        let mut report = report();
        assert!(!report.text().contains("Everything else"));
        for row in &mut report.rows {
            row.tally.costs.other = Some(Duration::from_millis(1_500));
        }
        let text = report.text();
        assert!(
            text.contains("\nEverything else on this machine used 1.5 cores "),
            "{text}"
        );
        assert_eq!(report.json()["rows"][0]["other_cores"], 1.5);
    }

    #[test]
    fn json_holds_null_for_what_is_not_known() {
        let json = report().json();
        assert_eq!(json["rows"][0]["cpu_us_per_request"], Value::Null);
        assert_eq!(json["rows"][0].get("vs_direct"), None);
        assert_eq!(json["rows"][2]["vs_nginx"]["throughput"], 0.5);
        assert_eq!(json["rows"][2]["vs_nginx"].get("errors"), None);
        assert_eq!(json["rows"][5]["rate"], 200);
        assert_eq!(json["rows"][5]["added_p50_us"], 60.0);
    }
}
