//! Errors of this crate, by culprit: the pattern, or the run.

use std::fmt;

/// Why a pattern, or a set of patterns, does not compile. The rule's author is the culprit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    /// Place in the slice given to the compile function; `None` if the set as
    /// a whole is the trouble (empty, too large, or this CPU is not supported).
    pub index: Option<usize>,
    /// Id of that pattern; `None` when `index` is.
    pub id: Option<u32>,
    /// What is wrong, as the library says it.
    pub message: String,
}

impl CompileError {
    pub(crate) fn of_set(message: impl Into<String>) -> Self {
        Self {
            index: None,
            id: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.index, self.id) {
            (Some(index), Some(id)) => {
                write!(out, "pattern {index} (id {id}): {}", self.message)
            }
            _ => write!(out, "pattern set: {}", self.message),
        }
    }
}

/// Why a scan, a scratch allocation or a stream operation failed.
///
/// A caller that gets one knows nothing about the data: it must treat the data
/// as not scanned, never as clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// One call takes at most `u32::MAX` bytes.
    #[error("{length} bytes are more than one scan call takes")]
    TooLong {
        /// Bytes given.
        length: usize,
    },
    /// A block scan on a stream database, or the reverse.
    #[error("the database was compiled for the other scan mode")]
    WrongMode,
    /// The scratch was never fitted to this database (see [`crate::Scratch::fit`]).
    #[error("the scratch was not allocated for this database")]
    ForeignScratch,
    /// Memory ran out.
    #[error("out of memory in the pattern matcher")]
    NoMemory,
    /// A database of another library version or of a higher CPU target.
    #[error("the database was compiled for another version or target")]
    Platform,
    /// This CPU lacks what the library needs (SSE4.2 on x86-64, NEON on AArch64).
    #[error("this CPU is not supported by the pattern matcher")]
    UnsupportedCpu,
    /// Any other failure, with the library's own code. A bug, here or there.
    #[error("the pattern matcher failed with code {code}")]
    Failed {
        /// Result code, as in `hs_common.h`.
        code: i32,
    },
}
