//! Configuration in two lives: raw as typed, checked as used.
//!
//! Flags, environment and a YAML file enter [`load()`]; a [`Checked`] leaves, every field typed and
//! within its bounds, the policy compiled; or every mistake with its file, line and column. A flag
//! beats a variable, a variable beats the file, the file beats the default. This crate reads
//! configuration and policy files and nothing else; it opens no log, no socket and no key.
//!
//! Files that somebody else could have changed are refused: whoever can write the configuration
//! can switch the firewall off.

#![forbid(unsafe_code)]

mod checked;
mod interpolate;
mod load;
mod read;
mod setting;
mod trusted;

pub use checked::{
    Approvals, Audit, Checked, DenyAs, Durability, Http, Log, LogFormat, LogLevel, PolicySource,
    Rules,
};
pub use load::{Request, load};
pub use mcpf_policy::Diagnostic;
pub use setting::{Environment, Flags, Setting};
pub use trusted::read_trusted;

/// The configuration file that is read from the working directory when none is named.
pub const LOCAL_FILE: &str = "mcp-firewall.yaml";

/// The commented configuration that `init` writes.
pub const TEMPLATE_BASIC: &str = include_str!("../templates/basic.yaml");

/// The commented configuration that `init --enterprise` writes.
pub const TEMPLATE_ENTERPRISE: &str = include_str!("../templates/enterprise.yaml");

/// The JSON Schema (draft 2020-12) of a configuration file.
pub const SCHEMA: &str = include_str!("../schema/config.schema.json");
