//! Rates as an operator writes them, and the numbers a token bucket works with.
//!
//! `100/min` enters; an emission interval in nanoseconds and a burst leave. The bucket itself
//! lives with the sessions, in the pipeline.

use std::num::{NonZeroU32, NonZeroU64};

use crate::diagnostic::{Code, Sink};
use crate::pattern::Names;
use crate::yaml::{Fields, Node, Value, clip};

/// How often something may happen, in the terms of the generic cell rate algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Nanoseconds between two calls at the sustained rate; rounded up, so that the rate is
    /// never exceeded.
    pub interval_ns: NonZeroU64,
    /// Most calls at once after a pause. `100/min` alone means a burst of 100.
    pub burst: NonZeroU32,
}

/// Every quota of a policy except those of single agents.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    /// All calls together.
    pub global: Option<Quota>,
    /// The calls of one agent, unless its entry under `agents` has a rate of its own.
    pub per_agent: Option<Quota>,
    /// The calls of one tool.
    pub per_tool: Option<Quota>,
    /// The calls of one tool by one agent.
    pub per_agent_tool: Option<Quota>,
    tools: Vec<(Names, Quota)>,
}

impl Quotas {
    /// The quota of `tool` under `tools`, with its place there; the first glob that matches wins.
    ///
    /// All tools one glob matches share one bucket; the place names it.
    #[must_use]
    pub fn tool(&self, tool: &str) -> Option<(usize, Quota)> {
        self.tools
            .iter()
            .enumerate()
            .find_map(|(i, (names, quota))| names.matches(tool).then_some((i, *quota)))
    }

    /// How many globs stand under `tools`.
    #[must_use]
    pub fn tool_globs(&self) -> usize {
        self.tools.len()
    }

    pub(crate) fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "`rate_limits`", sink)?;
        let mut quotas = Self::default();
        for (key, place) in [
            ("global", &mut quotas.global),
            ("per_agent", &mut quotas.per_agent),
            ("per_tool", &mut quotas.per_tool),
            ("per_agent_tool", &mut quotas.per_agent_tool),
        ] {
            *place = fields.take(key).and_then(|node| Quota::read(node, sink));
        }
        if let Some(node) = fields.take("tools") {
            for (key, value) in node.map("`tools`", sink).unwrap_or_default() {
                let names = Names::from_key(&key.text, value, sink);
                if let (Some(names), Some(quota)) = (names, Quota::read(value, sink)) {
                    quotas.tools.push((names, quota));
                }
            }
        }
        fields.finish(sink);
        Some(quotas)
    }
}

impl Quota {
    /// Reads `100/min`, `{rate: 100/min, burst: 20}` or `{capacity: 10, refill_per_sec: 0.5}`.
    pub(crate) fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Self::read_map(node, sink),
            _ => Self::parse(node.text("rate", sink)?).or_else(|| bad_rate(node, sink)),
        }
    }

    /// The quota that `text` stands for: a whole number, `/`, and a unit of time
    /// (`sec`, `min`, `hour`, `day`). The burst is the number itself.
    ///
    /// `None` for anything else, for zero and for more than one call a nanosecond.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let count: NonZeroU32 = count.trim().parse().ok()?;
        let seconds: u64 = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3_600,
            "d" | "day" => 86_400,
            _ => return None,
        };
        let interval = (seconds * NANOS).div_ceil(u64::from(count.get()));
        Some(Self {
            interval_ns: NonZeroU64::new(interval)?,
            burst: count,
        })
    }

    fn read_map(node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "rate", sink)?;
        let rate = fields.take("rate");
        let burst = fields.take("burst");
        let capacity = fields.take("capacity");
        let refill = fields.take("refill_per_sec");
        fields.finish(sink);
        let mut count = |node: &Node, what| {
            let count = node.whole(what, 1, MAX_BURST, sink)?;
            NonZeroU32::new(count)
        };
        match (rate, burst, capacity, refill) {
            (Some(rate), burst, None, None) => {
                let burst = match burst {
                    Some(node) => Some(count(node, "burst")?),
                    None => None,
                };
                let mut quota =
                    Self::parse(rate.text("rate", sink)?).or_else(|| bad_rate(rate, sink))?;
                quota.burst = burst.unwrap_or(quota.burst);
                Some(quota)
            }
            (None, None, Some(capacity), Some(refill)) => {
                let burst = count(capacity, "capacity")?;
                let interval_ns = refill_interval(refill, sink)?;
                Some(Self { interval_ns, burst })
            }
            _ => {
                sink.error_with_help(
                    node.at,
                    Code::BadRate,
                    "a rate needs `rate` or else `capacity` and `refill_per_sec`",
                    "for example {rate: 100/min, burst: 20}",
                );
                None
            }
        }
    }
}

fn refill_interval(node: &Node, sink: &mut Sink) -> Option<NonZeroU64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate has no use for the last bits of 2^63"
    )]
    let per_second = match node.value {
        Value::Int(whole) => whole as f64,
        Value::Float(number) => number,
        _ => f64::NAN,
    };
    // One call in ten days up to a thousand million a second.
    if (1e-6..=1e9).contains(&per_second) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1e9 / per_second lies between 1 and 1e15"
        )]
        return NonZeroU64::new((1e9 / per_second).ceil() as u64);
    }
    sink.error(
        node.at,
        Code::BadRate,
        "`refill_per_sec` must be a number between 0.000001 and 1000000000",
    );
    None
}

fn bad_rate<T>(node: &Node, sink: &mut Sink) -> Option<T> {
    let shown = match &node.value {
        Value::Text(text) => clip(text),
        _ => node.kind().to_owned(),
    };
    sink.error_with_help(
        node.at,
        Code::BadRate,
        format!("bad rate `{shown}`"),
        "a number, a slash and sec, min, hour or day: 100/min",
    );
    None
}

const NANOS: u64 = 1_000_000_000;

/// Largest burst. A thousand million.
const MAX_BURST: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_become_intervals() {
        let quota = Quota::parse("100/min").unwrap();
        assert_eq!(quota.interval_ns.get(), 600_000_000);
        assert_eq!(quota.burst.get(), 100);
        assert_eq!(
            Quota::parse("7/sec").unwrap().interval_ns.get(),
            142_857_143
        );
        assert_eq!(
            Quota::parse(" 1 / day ").unwrap().interval_ns.get(),
            86_400 * NANOS
        );
        for bad in [
            "",
            "0/min",
            "-1/min",
            "1",
            "1/week",
            "1.5/min",
            "99999999999/sec",
            "/min",
        ] {
            assert_eq!(Quota::parse(bad), None, "{bad}");
        }
    }
}
