//! How much of anything is allowed. Every limit has a unit, a default and a refusal.

use std::fmt;

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u32);

impl ByteSize {
    /// `n` mebibytes.
    #[must_use]
    pub const fn mib(n: u32) -> Self {
        Self(n * 1024 * 1024)
    }

    /// `n` kibibytes.
    #[must_use]
    pub const fn kib(n: u32) -> Self {
        Self(n * 1024)
    }

    /// The size as an index type.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1024 * 1024 && n % (1024 * 1024) == 0 => {
                write!(f, "{} MiB", n / (1024 * 1024))
            }
            n if n >= 1024 && n % 1024 == 0 => write!(f, "{} KiB", n / 1024),
            n => write!(f, "{n} B"),
        }
    }
}

/// Limits on what a peer may send.
///
/// Worst-case memory of one `wrap` session is about ten times `max_frame` (a frame being read,
/// the parser's copy, the joined text with its views, and a frame being written, for the
/// direction at work) plus `max_in_flight` small entries a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame accepted from either peer, in bytes. Default 4 MiB, at most 8 MiB
    /// (the TypeScript SDK dies above 10 MiB).
    ///
    /// A longer frame is refused before any of it is parsed.
    pub max_frame: ByteSize,
    /// Deepest nesting of arrays and objects. Default 64; the weakest SDK parser stops at 128.
    pub max_depth: u16,
    /// Most JSON values (scalars, containers, keys) in one frame. Default 262,144.
    pub max_nodes: u32,
    /// Longest method, tool, prompt name or string id, in bytes. Default 1,024.
    pub max_name: u16,
    /// Longest resource URI, in bytes. Default 8,192.
    pub max_uri: u16,
    /// Most requests awaiting an answer, a direction. Default 1,024.
    pub max_in_flight: u32,
    /// Most findings kept for one message; more of them end the scan and block the message.
    /// Default 1,024.
    pub max_findings: u32,
    /// Most bytes of derived text (normalised and decoded views) built for one message,
    /// as a multiple of the message's own text. Default 4.
    pub max_view_factor: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: ByteSize::mib(4),
            max_depth: 64,
            max_nodes: 262_144,
            max_name: 1_024,
            max_uri: 8_192,
            max_in_flight: 1_024,
            max_findings: 1_024,
            max_view_factor: 4,
        }
    }
}
