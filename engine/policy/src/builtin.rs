//! The policies that come with the program.
//!
//! Each is a YAML file that a user may copy and change; the texts are compiled in.

/// A policy that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Builtin {
    /// Everything is allowed but what reads credentials. What `wrap` does when told nothing.
    Starter,
    /// Starter, and a person is asked before anything is deleted or executed.
    Developer,
    /// Only reading is allowed, writing needs approval, and there are rates.
    Enterprise,
}

impl Builtin {
    /// Every built-in policy, most permissive first.
    pub const ALL: [Self; 3] = [Self::Starter, Self::Developer, Self::Enterprise];

    /// The name used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::Developer => "developer",
            Self::Enterprise => "enterprise",
        }
    }

    /// The built-in policy called `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|builtin| builtin.as_str() == name)
    }

    /// Its text.
    #[must_use]
    pub const fn yaml(self) -> &'static str {
        match self {
            Self::Starter => include_str!("../builtin/starter.yaml"),
            Self::Developer => include_str!("../builtin/developer.yaml"),
            Self::Enterprise => include_str!("../builtin/enterprise.yaml"),
        }
    }

    /// Its name in diagnostics.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Starter => "builtin/starter.yaml",
            Self::Developer => "builtin/developer.yaml",
            Self::Enterprise => "builtin/enterprise.yaml",
        }
    }
}

/// The chains that every policy has unless it says `chains: {builtin: false}`.
pub(crate) const CHAINS: &str = include_str!("../builtin/chains.yaml");
/// The JSON Schema (draft 2020-12) of a policy file.
pub const SCHEMA: &str = include_str!("../schema/policy.schema.json");
