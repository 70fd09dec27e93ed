//! Who sent what, in which direction, under which revision.

use std::fmt;
use std::sync::Arc;

/// Which way a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the MCP client (the agent) to the MCP server (the tools).
    Inbound,
    /// From the MCP server to the MCP client.
    Outbound,
}

impl Direction {
    /// The name used in rule files and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Inbound => Self::Outbound,
            Self::Outbound => Self::Inbound,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The four shapes of a JSON-RPC 2.0 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `id` and `result`.
    Response,
    /// `id` and `error`.
    Error,
}

impl MessageKind {
    /// The name used in audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Notification => "notification",
            Self::Response => "response",
            Self::Error => "error",
        }
    }
}

/// A JSON-RPC request id: an integer of at most 2^53-1 in magnitude, or a string.
///
/// `7` and `"7"` are different ids (MCP "Requests"; JSON-RPC 2.0 section 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestId {
    /// A JSON integer.
    Number(i64),
    /// A JSON string, decoded.
    String(Arc<str>),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::String(s) => write!(f, "{s:?}"),
        }
    }
}

/// A revision of the Model Context Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// 2024-10-07, before the first public revision; some SDKs still offer it.
    V2024_10_07,
    /// 2024-11-05.
    V2024_11_05,
    /// 2025-03-26: the only revision in which a peer must accept batches.
    V2025_03_26,
    /// 2025-06-18.
    V2025_06_18,
    /// 2025-11-25: the newest revision that is reached through `initialize`.
    V2025_11_25,
    /// 2026-07-28: no handshake; each request carries its revision in `_meta`.
    V2026_07_28,
}

impl ProtocolVersion {
    /// Every known revision, oldest first.
    pub const ALL: [Self; 6] = [
        Self::V2024_10_07,
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// The revision's date, as on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_10_07 => "2024-10-07",
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision whose date is `date`, if it is known.
    #[must_use]
    pub fn from_date(date: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == date)
    }

    /// Whether a peer that negotiated this revision may send JSON-RPC batches.
    #[must_use]
    pub const fn allows_batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }
}

/// Who is calling.
///
/// On stdio the agent is the one the operator named (`--agent`, configuration), else the
/// client's own `clientInfo.name`, which is a hint and never a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The agent's name; `anonymous` until one is known.
    pub agent: Arc<str>,
    /// Whether the name came from the operator, not from the client itself.
    pub asserted_by_operator: bool,
}

impl Principal {
    /// The caller nobody has named yet.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            agent: Arc::from("anonymous"),
            asserted_by_operator: false,
        }
    }
}
