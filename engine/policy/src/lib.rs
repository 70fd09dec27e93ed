//! YAML policy: parsed, checked, compiled to indices and globs, evaluated natively.
//!
//! The text of a policy enters [`Plan::parse`]; a [`Plan`] leaves, or every mistake with its line
//! and column. A [`Call`] enters [`Plan::decide`]; a [`Decision`] leaves. This crate reads no
//! files, knows no clock and keeps nothing between calls: buckets, sessions and approvals belong
//! to the pipeline, which asks the plan for quotas, chains and actions.
//!
//! ```
//! use mcpf_policy::{Call, Effect, NoArguments, Plan};
//!
//! let plan = Plan::parse(
//!     "version: 1\nagents:\n  \"claude-*\": {allow: [\"read_*\"], deny: [read_mail]}\n",
//!     "policy.yaml",
//! )
//! .unwrap();
//! let effect = |tool| plan.decide(&Call::tool("claude-code", tool, &NoArguments)).effect;
//! assert_eq!(effect("read_file"), Effect::Allow);
//! assert_eq!(effect("read_mail"), Effect::Deny);
//! assert_eq!(effect("write_file"), Effect::Deny);
//!
//! let mistakes = Plan::parse("version: 1\ndefault: alow\n", "policy.yaml").unwrap_err();
//! assert_eq!(
//!     mistakes[0].to_string(),
//!     "policy.yaml:2:10: error[P003]: unknown default `alow`\n  help: one of allow, deny, prompt"
//! );
//! ```

#![forbid(unsafe_code)]

mod builtin;
mod call;
mod chain;
mod content;
mod decide;
mod diagnostic;
mod egress;
mod lexical;
mod matching;
mod methods;
mod pattern;
mod plan;
mod quota;
mod rule;
mod screen;
pub mod yaml;

pub use builtin::{Builtin, SCHEMA};
pub use call::{Arguments, Call, Decision, Effect, NoArguments, Shadow};
pub use chain::{ChainRule, ChainStep};
pub use content::{ContentRule, FamilyActions};
pub use decide::Scope;
pub use diagnostic::{At, Code, Diagnostic, Sink};
pub use egress::Egress;
pub use methods::is_exempt;
pub use pattern::{MAX_PATTERN, Names, Values};
pub use plan::Plan;
pub use quota::{Quota, Quotas};
