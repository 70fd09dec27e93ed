//! What a scan reports: which rule matched, where, and what the rule asks for.

use std::fmt;

/// The kind of harm a rule looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Text that tries to instruct the model: overrides, forged roles, hidden instructions.
    Injection,
    /// Credentials: keys, tokens, private keys, passwords.
    Secret,
    /// Personal data: e-mail, phone, card, bank and national identifiers.
    Pii,
    /// Data on its way out: data-carrying URLs, beacons, paste services.
    Exfil,
    /// Network destinations that must not be reached: private, loopback, metadata addresses.
    Egress,
    /// Shell, SQL, path and template injection in arguments.
    Command,
    /// Poisoned tool metadata: descriptions, schemas, annotations, server instructions.
    Tool,
    /// Rules an operator wrote about content.
    Content,
}

impl Family {
    /// Every family, in declaration order; `family as usize` is its place here.
    pub const ALL: [Self; 8] = [
        Self::Injection,
        Self::Secret,
        Self::Pii,
        Self::Exfil,
        Self::Egress,
        Self::Command,
        Self::Tool,
        Self::Content,
    ];

    /// The name used in rule files, configuration and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Injection => "injection",
            Self::Secret => "secret",
            Self::Pii => "pii",
            Self::Exfil => "exfil",
            Self::Egress => "egress",
            Self::Command => "command",
            Self::Tool => "tool",
            Self::Content => "content",
        }
    }

    /// The family called `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.as_str() == name)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How bad it is when a rule is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a line in the audit.
    Low,
    /// Worth a look.
    Medium,
    /// Likely harm.
    High,
    /// Certain harm if it goes through.
    Critical,
}

impl Severity {
    /// The name used in rule files and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity called `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|severity| severity.as_str() == name)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is to be done with a message because of a finding, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Nothing: the finding is dropped.
    Pass,
    /// Let it through and record the finding.
    Alert,
    /// Replace the matched text and let the rest through.
    Redact,
    /// Refuse the message.
    Block,
}

impl Action {
    /// The name used in rule files, configuration and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Alert => "alert",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }

    /// The action called `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pass, Self::Alert, Self::Redact, Self::Block]
            .into_iter()
            .find(|action| action.as_str() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who will read a string, which decides the rules that apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Surface {
    /// Arguments of a call, parameters of a request or notification.
    Arguments,
    /// A prompt: `prompts/get` results, sampling messages, elicitation texts, text a user typed.
    Prompt,
    /// What a tool or resource returned, and error messages.
    ToolResult,
    /// Tool, prompt and resource metadata: names, descriptions, schemas, server instructions.
    ToolDescription,
}

impl Surface {
    /// Every surface, in declaration order; `surface as usize` is its place here.
    pub const ALL: [Self; 4] = [
        Self::Arguments,
        Self::Prompt,
        Self::ToolResult,
        Self::ToolDescription,
    ];

    /// The name used in rule files and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::Prompt => "prompt",
            Self::ToolResult => "tool_result",
            Self::ToolDescription => "tool_description",
        }
    }

    /// The surface called `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// Which reading of the text a finding was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// The string as a JSON reader sees it.
    Plain,
    /// Compatibility-composed, invisible characters removed, look-alikes and case folded.
    Normalised,
    /// Decoded from base64, hex, percent or HTML entities.
    Decoded,
}

impl View {
    /// The name used in rule files and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Normalised => "normalised",
            Self::Decoded => "decoded",
        }
    }
}

/// Half-open byte range `start..end` in the original frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte; never before `start`.
    pub end: u32,
}

impl Span {
    /// The span as a range for slicing.
    #[must_use]
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Index of a rule in the loaded rule set. Meaningless across generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIx(pub u32);

/// One confirmed match of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that matched.
    pub rule: RuleIx,
    /// The rule's family.
    pub family: Family,
    /// The rule's severity.
    pub severity: Severity,
    /// What the rule, as configured, asks for.
    pub action: Action,
    /// Who would have read the text.
    pub surface: Surface,
    /// Which reading of the text matched.
    pub view: View,
    /// Bytes of the original frame that hold the match, inside one JSON string.
    pub span: Span,
}
