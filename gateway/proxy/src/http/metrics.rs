//! What the gateway counts.
//!
//! Enter: decisions, on the worker that made them; each worker counts for itself. Leave: sums, when
//! somebody asks. Never: a name that a peer chose, so that nobody can make up a million series.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use mcpf_model::{Direction, Family, Finding, Verdict};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::server::Gateway;

const DIRECTIONS: [Direction; 2] = [Direction::Inbound, Direction::Outbound];
const VERDICTS: [Verdict; 4] = [
    Verdict::Allow,
    Verdict::Redact,
    Verdict::Deny,
    Verdict::Monitor,
];
/// Upper bounds of a histogram: 2 µs to 16 s, doubling.
const BOUNDS: usize = 24;

/// An upper bound, in nanoseconds.
const fn bound(at: usize) -> u64 {
    2_000 << at
}

/// A metric's name, what it says, and where it is counted.
type Named = (&'static str, &'static str, fn(&Meter) -> &Histogram);

/// One worker's counts.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    decisions: [[AtomicU64; VERDICTS.len()]; DIRECTIONS.len()],
    findings: [AtomicU64; Family::ALL.len()],
    /// HTTP responses by the first digit of their status, from 1.
    responses: [AtomicU64; 5],
    inspections: Histogram,
    exchanges: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    /// One more than bounds: the last holds all longer times.
    counts: [AtomicU64; BOUNDS + 1],
    nanos: AtomicU64,
}

impl Histogram {
    fn observe(&self, nanos: u64) {
        let at = (0..BOUNDS).find(|at| nanos <= bound(*at));
        if let Some(count) = self.counts.get(at.unwrap_or(BOUNDS)) {
            add(count, 1);
        }
        add(&self.nanos, nanos);
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Meter {
    /// A message was decided on, in `nanos`.
    pub(crate) fn decided(
        &self,
        direction: Direction,
        verdict: Verdict,
        findings: &[Finding],
        nanos: u64,
    ) {
        let of = usize::from(direction == Direction::Outbound);
        let at = VERDICTS.iter().position(|other| *other == verdict);
        if let Some(count) = self.decisions.get(of).and_then(|of| of.get(at?)) {
            add(count, 1);
        }
        for finding in findings {
            if let Some(count) = self.findings.get(finding.family as usize) {
                add(count, 1);
            }
        }
        self.inspections.observe(nanos);
    }

    /// A request was answered with `status`, after `nanos`.
    pub(crate) fn responded(&self, status: hyper::StatusCode, nanos: u64) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.responses.get(class) {
            add(count, 1);
        }
        self.exchanges.observe(nanos);
    }
}

/// Everything a gateway counts, as Prometheus reads it.
pub struct Metrics(Registry);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// The metrics of `gateway`.
    #[must_use]
    pub fn of(gateway: &Arc<Gateway>) -> Self {
        let mut registry = Registry::with_prefix("mcp_firewall");
        registry.register_collector(Box::new(Sums(Arc::downgrade(gateway))));
        Self(registry)
    }

    /// The text of the OpenMetrics exposition format 1.0.
    ///
    /// # Errors
    ///
    /// Never in practice: writing to a string does not fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Sums(Weak<Gateway>);

impl Collector for Sums {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(gateway) = self.0.upgrade() else {
            return Ok(());
        };
        let meters = gateway.meters();
        let sum = |of: &dyn Fn(&Meter) -> Option<&AtomicU64>| -> u64 {
            let each = meters.iter().filter_map(of);
            each.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        let mut family = encoder.encode_descriptor(
            "decisions",
            "Messages decided on",
            None,
            MetricType::Counter,
        )?;
        for (d, direction) in DIRECTIONS.iter().enumerate() {
            for (v, verdict) in VERDICTS.iter().enumerate() {
                let count = sum(&|meter| meter.decisions.get(d)?.get(v));
                let labels = [
                    ("direction", direction.as_str()),
                    ("decision", verdict.as_str()),
                ];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "findings",
            "Findings, acted upon or not",
            None,
            MetricType::Counter,
        )?;
        for (at, of) in Family::ALL.iter().enumerate() {
            let count = sum(&|meter| meter.findings.get(at));
            let labels = [("family", of.as_str())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "http_responses",
            "HTTP responses to clients",
            None,
            MetricType::Counter,
        )?;
        for (at, class) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
            let count = sum(&|meter| meter.responses.get(at));
            ConstCounter::new(count).encode(family.encode_family(&[("status", class)])?)?;
        }
        let histograms: [Named; 2] = [
            (
                "inspection_duration",
                "Time a message takes through the corridor",
                |meter| &meter.inspections,
            ),
            (
                "http_request_duration",
                "Time from a request's head to its response's head",
                |meter| &meter.exchanges,
            ),
        ];
        for (name, help, of) in histograms {
            let mut buckets = Vec::with_capacity(BOUNDS + 1);
            let mut total = 0;
            for at in 0..=BOUNDS {
                let count = sum(&|meter| of(meter).counts.get(at));
                let limit = if at < BOUNDS {
                    seconds(bound(at))
                } else {
                    f64::INFINITY
                };
                buckets.push((limit, count));
                total += count;
            }
            let nanos = sum(&|meter| Some(&of(meter).nanos));
            encoder
                .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?
                .encode_histogram::<NoLabelSet>(seconds(nanos), total, &buckets, None)?;
        }
        let gauges = [
            (
                "connections",
                "Client connections open",
                gateway.connections() as u64,
            ),
            ("sessions", "Sessions open", gateway.sessions() as u64),
            (
                "audit_queue",
                "Records that await the writer",
                gateway.log.queued(),
            ),
            (
                "ready",
                "Whether traffic is taken: 1 or 0",
                u64::from(gateway.is_ready()),
            ),
        ];
        for (name, help, value) in gauges {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let age = ConstGauge::new(gateway.generation_age().as_secs_f64());
        age.encode(encoder.encode_descriptor(
            "generation_age",
            "Time since policy and rules were read",
            Some(&Unit::Seconds),
            age.metric_type(),
        )?)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "durations are shown to 15 digits at most"
)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
