//! What was decided, by which stage, and why.

use std::fmt;
use std::sync::Arc;

/// A station of the corridor. The order here is the order of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Framing and the strict JSON-RPC view.
    Wire,
    /// The kill switch.
    KillSwitch,
    /// Who is calling.
    Identity,
    /// Token buckets.
    RateLimit,
    /// Prompt-injection rules.
    Injection,
    /// Network destinations and command rules.
    Egress,
    /// Policy.
    Policy,
    /// Dangerous sequences of calls.
    Chain,
    /// A human's word.
    Approval,
    /// Secrets on the way out.
    Secrets,
    /// Personal data.
    Pii,
    /// Exfiltration.
    Exfiltration,
    /// The operator's own content rules.
    Content,
    /// Poisoned tool metadata.
    ToolIntegrity,
    /// The audit log itself.
    Audit,
}

impl Stage {
    /// The name used in audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::KillSwitch => "kill_switch",
            Self::Identity => "identity",
            Self::RateLimit => "rate_limit",
            Self::Injection => "injection",
            Self::Egress => "egress",
            Self::Policy => "policy",
            Self::Chain => "chain",
            Self::Approval => "approval",
            Self::Secrets => "secrets",
            Self::Pii => "pii",
            Self::Exfiltration => "exfiltration",
            Self::Content => "content",
            Self::ToolIntegrity => "tool_integrity",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReasonCode {
    /// Not one well-formed JSON value in one frame: answered with -32700.
    Malformed,
    /// JSON, but not a message with one meaning: answered with -32600.
    PeerMisbehaved,
    /// A transport header says otherwise than the message: answered with -32020 (MCP 2026-07-28).
    HeaderMismatch,
    /// Policy, a rule, a limit or a person said no.
    Denied,
    /// A limit of ours was reached.
    Overloaded,
    /// We could not decide or record: fail closed.
    Failed,
    /// Nobody's: a remark on a message that was let through.
    Noted,
}

impl ReasonCode {
    /// The name used in audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::PeerMisbehaved => "peer_misbehaved",
            Self::HeaderMismatch => "header_mismatch",
            Self::Denied => "denied",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
            Self::Noted => "noted",
        }
    }
}

/// Why a message was refused, held, or let through with a remark.
///
/// `text` is one sentence for a person: lowercase, no full stop, and never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The station that spoke.
    pub stage: Stage,
    /// Whose fault it is.
    pub code: ReasonCode,
    /// The rule, policy rule or limit by name, when there is one.
    pub rule: Option<Arc<str>>,
    /// One sentence.
    pub text: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.rule {
            Some(rule) => write!(f, " ({rule})"),
            None => Ok(()),
        }
    }
}

/// What is done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Refuse.
    #[default]
    Enforce,
    /// Record what would have been refused, and let it through.
    Monitor,
}

impl Mode {
    /// The name used in configuration and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
        }
    }
}

/// The decision on one message, as audit records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Forwarded as it came.
    Allow,
    /// Forwarded with spans replaced.
    Redact,
    /// Refused.
    Deny,
    /// Would have been refused; forwarded because of monitor mode.
    Monitor,
}

impl Verdict {
    /// The name used in audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Redact => "redact",
            Self::Deny => "deny",
            Self::Monitor => "monitor",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
