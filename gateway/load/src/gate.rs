//! Bounds that a measurement has to keep.
//!
//! Enter: a file of bounds, and a report. Leave: the bounds that are broken. Never: a bound that is passed
//! over: one that could not be checked is an error.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

use crate::campaign::{Kind, Row};
use crate::load::Pace;
use crate::report::{Quantity, Report};

/// Bounds on the rows of the gateway.
///
/// ```
/// # fn main() -> Result<(), mcpf_load::GateError> {
/// let gate = mcpf_load::Gate::from_toml(
///     r#"
///     bounds = [
///       "errors == 0",
///       "cpu_vs_nginx <= 2",
///       { require = "throughput_vs_nginx >= 0.6", load = "closed" },
///       { require = "added_p99 <= 500", load = "open 200", size = 1024 },
///     ]
///     "#,
/// )?;
/// # drop(gate);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Vec<Bound>);

/// Why a gate could not be used.
#[derive(Debug, Error)]
pub enum GateError {
    /// The file cannot be read.
    #[error("cannot read the gate `{file}`: {why}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file is not TOML, not JSON, or not of the right shape.
    #[error("the gate is not a list `bounds` of bounds: {0}")]
    Form(String),
    /// A bound cannot be understood.
    #[error(
        "the bound `{0}` is not FIGURE, one of >= <= == > <, and a number; figures are {names}, each also \
         with `_vs_direct` or `_vs_nginx` behind it, or `added_` before a latency",
        names = names()
    )]
    Bound(String),
    /// A load cannot be understood.
    #[error("the load `{0}` is not `closed`, `open`, or `open` and a rate such as `open 200`")]
    Load(String),
    /// Nothing was measured that the bound is about.
    #[error("the bound `{0}` is about a load that was not measured; look at its load and size")]
    Unmeasured(String),
    /// A figure of the bound is not known.
    #[error("the bound `{bound}` cannot be checked: {why}")]
    Unknown {
        /// The bound.
        bound: String,
        /// What is missing.
        why: &'static str,
    },
}

/// A bound that was not kept.
#[derive(Clone, Debug)]
pub struct Broken {
    bound: String,
    load: String,
    value: Option<f64>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken at {}: ", self.bound, self.load)?;
        match self.value {
            Some(value) => write!(f, "{value:.3}"),
            None => write!(f, "nothing was answered"),
        }
    }
}

#[derive(Clone, Debug)]
struct Bound {
    text: String,
    figure: Figure,
    order: Order,
    number: f64,
    loops: Loops,
    size: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Figure {
    Of(Quantity),
    Added(Quantity),
    Ratio(Quantity, Kind),
}

#[derive(Clone, Copy, Debug)]
enum Order {
    AtLeast,
    AtMost,
    Equal,
    Above,
    Below,
}

/// Which loads a bound is about.
#[derive(Clone, Copy, Debug)]
enum Loops {
    All,
    Open,
    Only(Pace),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGate {
    bounds: Vec<RawBound>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawBound {
    Everywhere(String),
    Narrowed(Narrowed),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Narrowed {
    require: String,
    load: Option<String>,
    size: Option<usize>,
}

impl Gate {
    /// Reads a file: JSON when its name ends in `.json`, TOML otherwise.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or a bound in it not be understood.
    pub fn load(file: &Path) -> Result<Self, GateError> {
        let text = std::fs::read_to_string(file).map_err(|why| GateError::Read {
            file: file.display().to_string(),
            why,
        })?;
        if file.extension().is_some_and(|ending| ending == "json") {
            Self::from_json(&text)
        } else {
            Self::from_toml(&text)
        }
    }

    /// Reads TOML.
    ///
    /// # Errors
    ///
    /// When it is not valid, or a bound in it not be understood.
    pub fn from_toml(text: &str) -> Result<Self, GateError> {
        let raw = toml::from_str(text).map_err(|error| GateError::Form(error.to_string()))?;
        Self::checked(raw)
    }

    /// Reads JSON.
    ///
    /// # Errors
    ///
    /// When it is not valid, or a bound in it not be understood.
    pub fn from_json(text: &str) -> Result<Self, GateError> {
        let raw = serde_json::from_str(text).map_err(|error| GateError::Form(error.to_string()))?;
        Self::checked(raw)
    }

    fn checked(raw: RawGate) -> Result<Self, GateError> {
        raw.bounds
            .into_iter()
            .map(Bound::checked)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a bound compares with such a target, so that it has to be measured too.
    #[must_use]
    pub fn compares_with(&self, kind: Kind) -> bool {
        self.0.iter().any(|bound| match bound.figure {
            Figure::Of(_) => false,
            Figure::Added(_) => kind == Kind::Direct,
            Figure::Ratio(_, with) => with == kind,
        })
    }

    /// The bounds that the gateway's rows of `report` do not keep.
    ///
    /// # Errors
    ///
    /// When a bound is about something that was not measured.
    pub fn check(&self, report: &Report) -> Result<Vec<Broken>, GateError> {
        let mut broken = Vec::new();
        for bound in &self.0 {
            let mut rows = report
                .rows
                .iter()
                .filter(|row| row.kind == Kind::Gateway && bound.is_about(row))
                .peekable();
            if rows.peek().is_none() {
                return Err(GateError::Unmeasured(bound.text.clone()));
            }
            for row in rows {
                let value = bound.value(report, row)?;
                if !value.is_some_and(|value| bound.order.holds(value, bound.number)) {
                    broken.push(Broken {
                        bound: bound.text.clone(),
                        load: load_name(row),
                        value,
                    });
                }
            }
        }
        Ok(broken)
    }
}

impl Bound {
    fn checked(raw: RawBound) -> Result<Self, GateError> {
        let narrowed = match raw {
            RawBound::Everywhere(require) => Narrowed {
                require,
                load: None,
                size: None,
            },
            RawBound::Narrowed(narrowed) => narrowed,
        };
        let text = narrowed.require;
        let read = || -> Option<(Figure, Order, f64)> {
            let mut words = text.split_whitespace();
            let figure = Figure::read(words.next()?)?;
            let order = Order::read(words.next()?)?;
            let number: f64 = words.next()?.parse().ok()?;
            (words.next().is_none() && number.is_finite()).then_some((figure, order, number))
        };
        let Some((figure, order, number)) = read() else {
            return Err(GateError::Bound(text));
        };
        let loops = match &narrowed.load {
            None => Loops::All,
            Some(load) => Loops::read(load).ok_or_else(|| GateError::Load(load.clone()))?,
        };
        Ok(Self {
            figure,
            order,
            number,
            loops,
            size: narrowed.size,
            text,
        })
    }

    fn is_about(&self, row: &Row) -> bool {
        let pace = match self.loops {
            Loops::All => true,
            Loops::Open => row.pace != Pace::Closed,
            Loops::Only(pace) => row.pace == pace,
        };
        pace && self.size.is_none_or(|size| size == row.size)
    }

    /// The figure; none when nothing was answered, so that there is none.
    fn value(&self, report: &Report, row: &Row) -> Result<Option<f64>, GateError> {
        let unknown = |why| GateError::Unknown {
            bound: self.text.clone(),
            why,
        };
        let (quantity, other) = match self.figure {
            Figure::Of(quantity) => (quantity, None),
            Figure::Added(quantity) => (quantity, Some(Kind::Direct)),
            Figure::Ratio(quantity, kind) => (quantity, Some(kind)),
        };
        let beside = other.map(|kind| report.beside(row, kind).ok_or(kind));
        let rows = match beside {
            None => vec![row],
            Some(Ok(beside)) => vec![row, beside],
            Some(Err(Kind::Nginx)) => return Err(unknown("nginx was not measured: add --nginx")),
            Some(Err(_)) => return Err(unknown("the upstream was not measured directly")),
        };
        for row in rows {
            let missing = match quantity {
                Quantity::Cpu => row.tally.costs.gateway.is_none(),
                Quantity::Resident => row.tally.costs.resident.is_none(),
                _ => false,
            };
            if missing && row.kind == Kind::Direct {
                return Err(unknown("the upstream has no process of its own"));
            }
            if missing {
                return Err(unknown("its process is not known: add --pid"));
            }
        }
        Ok(match self.figure {
            Figure::Of(quantity) => quantity.of(&row.tally),
            Figure::Added(quantity) => report.added(row, quantity),
            Figure::Ratio(quantity, kind) => report.ratio(row, quantity, kind),
        })
    }
}

impl Figure {
    fn read(name: &str) -> Option<Self> {
        let comparable = |name: &str| {
            let quantity = Quantity::from_str(name).ok()?;
            // A ratio to no errors means nothing.
            let counted = matches!(quantity, Quantity::Errors | Quantity::Unsent);
            (!counted).then_some(quantity)
        };
        if let Some(base) = name.strip_suffix("_vs_direct") {
            return Some(Self::Ratio(comparable(base)?, Kind::Direct));
        }
        if let Some(base) = name.strip_suffix("_vs_nginx") {
            return Some(Self::Ratio(comparable(base)?, Kind::Nginx));
        }
        if let Some(base) = name.strip_prefix("added_") {
            let quantity = comparable(base)?;
            return matches!(quantity, Quantity::Latency(_)).then_some(Self::Added(quantity));
        }
        Quantity::from_str(name).ok().map(Self::Of)
    }
}

impl Order {
    fn read(sign: &str) -> Option<Self> {
        Some(match sign {
            ">=" => Self::AtLeast,
            "<=" => Self::AtMost,
            "==" => Self::Equal,
            ">" => Self::Above,
            "<" => Self::Below,
            _ => return None,
        })
    }

    fn holds(self, value: f64, number: f64) -> bool {
        match self {
            Self::AtLeast => value >= number,
            Self::AtMost => value <= number,
            Self::Equal => (value - number).abs() < f64::EPSILON,
            Self::Above => value > number,
            Self::Below => value < number,
        }
    }
}

impl Loops {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let loops = match (words.next()?, words.next()) {
            ("closed", None) => Self::Only(Pace::Closed),
            ("open", None) => Self::Open,
            ("open", Some(rate)) => Self::Only(Pace::Open(rate.parse().ok()?)),
            _ => return None,
        };
        words.next().is_none().then_some(loops)
    }
}

fn load_name(row: &Row) -> String {
    match row.pace {
        Pace::Closed => format!("{} B, closed loop", row.size),
        Pace::Open(rate) => format!("{} B, open loop, {rate}/s", row.size),
    }
}

fn names() -> String {
    let names: Vec<&str> = Quantity::ALL.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    fn broken(bounds: &str) -> Result<Vec<String>, GateError> {
        let gate = Gate::from_toml(&format!("bounds = [{bounds}]"))?;
        let broken = gate.check(&report())?;
        Ok(broken.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn bounds_that_are_kept_say_nothing() {
        let kept = r#""errors == 0", "throughput_vs_nginx >= 0.5", "cpu_vs_nginx < 2.6",
            { require = "added_p50 <= 60", load = "open" }, { require = "rss <= 20", size = 1024 },
            { require = "throughput > 99", load = "closed" },
            { require = "p99_vs_direct <= 2", load = "open 200" }"#;
        assert_eq!(broken(kept).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_broken_bound_says_where_and_by_how_much() {
        assert_eq!(
            broken(r#""throughput_vs_nginx >= 0.6""#).unwrap(),
            ["throughput_vs_nginx >= 0.6 is broken at 1024 B, closed loop: 0.500"]
        );
        assert_eq!(
            broken(r#""cpu <= 55""#).unwrap(),
            ["cpu <= 55 is broken at 1024 B, open loop, 200/s: 60.000"]
        );
    }

    #[test]
    fn without_answers_a_bound_on_latency_is_broken() {
        let mut report = report();
        report.rows[2].tally = crate::tally::Tally::default();
        let gate = Gate::from_json(r#"{"bounds": [{"require": "p50 <= 1", "load": "closed"}]}"#);
        let broken = gate.unwrap().check(&report).unwrap();
        assert_eq!(
            broken[0].to_string(),
            "p50 <= 1 is broken at 1024 B, closed loop: nothing was answered"
        );
    }

    #[test]
    fn what_it_compares_with_is_known_beforehand() {
        let gate = Gate::from_toml(r#"bounds = ["added_p50 <= 1", "errors == 0"]"#).unwrap();
        assert!(gate.compares_with(Kind::Direct) && !gate.compares_with(Kind::Nginx));
        let gate = Gate::from_toml(r#"bounds = ["cpu_vs_nginx <= 1"]"#).unwrap();
        assert!(gate.compares_with(Kind::Nginx) && !gate.compares_with(Kind::Direct));
    }

    #[test]
    fn what_cannot_be_checked_is_an_error() {
        let said = |bounds: &str| broken(bounds).unwrap_err().to_string();
        assert!(said(r#""speed >= 1""#).starts_with("the bound `speed >= 1` is not"));
        assert!(said(r#""p50 >= fast""#).starts_with("the bound"));
        assert!(said(r#""errors_vs_nginx <= 1""#).starts_with("the bound"));
        assert!(said(r#"{ require = "p50 <= 1", load = "half" }"#).starts_with("the load `half`"));
        assert!(said(r#"{ require = "p50 <= 1", size = 7 }"#).contains("not measured"));
        assert!(said(r#""cpu_vs_direct <= 7""#).contains("no process of its own"));
        assert!(said(r#"{ require = "p50 <= 1", sizes = 7 }"#).starts_with("the gate is not"));
        let mut alone = report();
        alone.rows.retain(|row| row.kind != Kind::Nginx);
        let gate = Gate::from_toml(r#"bounds = ["cpu_vs_nginx <= 2"]"#).unwrap();
        let error = gate.check(&alone).unwrap_err();
        assert!(error.to_string().ends_with("add --nginx"), "{error}");
    }
}
