//! The settings that can be given on the command line and in the environment.
//!
//! Each has one name from which its flag, its variable and its key in the file follow.

use std::collections::BTreeMap;
use std::env;

/// A setting that a flag or a variable can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// The configuration file itself.
    Config,
    /// `name`.
    Name,
    /// `agent`.
    Agent,
    /// `policy`: the name of a built-in one, or a path.
    Policy,
    /// `mode`.
    Mode,
    /// `rules.paranoia`.
    Paranoia,
    /// `limits.max_frame`.
    MaxFrame,
    /// `audit.path`.
    AuditPath,
    /// `audit.durability`.
    AuditDurability,
    /// `audit.key`.
    AuditKey,
    /// `kill_switch.file`.
    KillSwitch,
    /// `approvals.terminal`.
    ApprovalTerminal,
    /// `approvals.timeout`.
    ApprovalTimeout,
    /// `deny_as`.
    DenyAs,
    /// `http.listen`.
    Listen,
    /// `http.upstream`.
    Upstream,
    /// `http.management`.
    Management,
    /// `log.level`.
    LogLevel,
    /// `log.format`.
    LogFormat,
}

impl Setting {
    /// Every setting.
    pub const ALL: [Self; 19] = [
        Self::Config,
        Self::Name,
        Self::Agent,
        Self::Policy,
        Self::Mode,
        Self::Paranoia,
        Self::MaxFrame,
        Self::AuditPath,
        Self::AuditDurability,
        Self::AuditKey,
        Self::KillSwitch,
        Self::ApprovalTerminal,
        Self::ApprovalTimeout,
        Self::DenyAs,
        Self::Listen,
        Self::Upstream,
        Self::Management,
        Self::LogLevel,
        Self::LogFormat,
    ];

    /// The flag, such as `--audit-path`.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Config => "--config",
            Self::Name => "--name",
            Self::Agent => "--agent",
            Self::Policy => "--policy",
            Self::Mode => "--mode",
            Self::Paranoia => "--paranoia",
            Self::MaxFrame => "--max-frame",
            Self::AuditPath => "--audit-path",
            Self::AuditDurability => "--audit-durability",
            Self::AuditKey => "--audit-key",
            Self::KillSwitch => "--kill-switch",
            Self::ApprovalTerminal => "--approval-terminal",
            Self::ApprovalTimeout => "--approval-timeout",
            Self::DenyAs => "--deny-as",
            Self::Listen => "--listen",
            Self::Upstream => "--upstream",
            Self::Management => "--management",
            Self::LogLevel => "--log-level",
            Self::LogFormat => "--log-format",
        }
    }

    /// The variable, such as `MCP_FIREWALL_AUDIT_PATH`.
    #[must_use]
    pub fn variable(self) -> String {
        let name = self.flag().trim_start_matches('-').replace('-', "_");
        format!("{PREFIX}{}", name.to_ascii_uppercase())
    }
}

/// Settings given on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<Setting, String>);

impl Flags {
    /// No flags.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same flags with `setting` given, if `value` is.
    #[must_use]
    pub fn with(mut self, setting: Setting, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.0.insert(setting, value.into());
        }
        self
    }

    pub(crate) fn value(&self, setting: Setting) -> Option<&str> {
        self.0.get(&setting).map(String::as_str)
    }
}

/// A copy of the environment's variables.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let pairs = env::vars_os();
        Self(
            pairs
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// The value of `variable`; an empty one counts as not set.
    pub(crate) fn value(&self, variable: &str) -> Option<&str> {
        self.0
            .get(variable)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Variables with our prefix that are no setting.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let ours = self.0.keys().filter(|name| name.starts_with(PREFIX));
        let known: Vec<String> = Setting::ALL
            .iter()
            .map(|setting| setting.variable())
            .collect();
        ours.filter(|name| !known.contains(name)).cloned().collect()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

const PREFIX: &str = "MCP_FIREWALL_";
