//! What is wrong with a file, and where: one value per mistake, all mistakes of a file at once.
//!
//! Positions and messages enter, sorted diagnostics leave. Nothing here reads a file or prints.

use std::fmt;
use std::sync::Arc;

/// A place in a file. Both numbers count from one; columns count characters, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct At {
    /// Line, from 1; 0 when the mistake is the file's as a whole.
    pub line: u32,
    /// Column in characters, from 1; 0 when the mistake is the file's as a whole.
    pub column: u32,
}

/// The kind of a mistake. Its number follows the file's letter: `P002`, `C002`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Code {
    /// Not YAML, or more of it than the budget allows.
    Syntax = 1,
    /// A key the format does not have.
    UnknownKey = 2,
    /// A word outside a closed set, such as an unknown action.
    UnknownWord = 3,
    /// A key that must be there is not.
    MissingKey = 4,
    /// A list where a mapping belongs, a number where a string belongs, and so on.
    WrongType = 5,
    /// A glob that does not compile.
    BadGlob = 6,
    /// A regular expression that does not compile or is too large.
    BadRegex = 7,
    /// A rate or a quota that cannot be read.
    BadRate = 8,
    /// A name that was used before.
    Duplicate = 9,
    /// A value of the right type that is out of range or makes no sense.
    BadValue = 10,
    /// A variable that is not set.
    UnsetVariable = 11,
    /// A file that cannot be read or must not be trusted.
    File = 12,
}

/// One mistake in one file.
///
/// Displayed as
/// ```text
/// policy.yaml:12:7: error[P003]: unknown action `alow`
///   help: one of allow, deny, prompt, audit, redact
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// The file's name as the operator gave it.
    pub file: Arc<str>,
    /// Where in the file.
    pub at: At,
    /// The letter of the file's format (`P` policy, `C` configuration).
    pub family: char,
    /// The kind of mistake.
    pub code: Code,
    /// One clause, lowercase, no full stop; input in backticks.
    pub message: String,
    /// What to write instead, when that is known.
    pub help: Option<String>,
}

impl Diagnostic {
    /// The stable code people search for, such as `P003`.
    #[must_use]
    pub fn code_name(&self) -> String {
        format!("{}{:03}", self.family, self.code as u8)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.at.line > 0 {
            write!(f, ":{}:{}", self.at.line, self.at.column)?;
        }
        write!(f, ": error[{}]: {}", self.code_name(), self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// Collects the mistakes of one file while it is read.
#[derive(Debug)]
pub struct Sink {
    file: Arc<str>,
    family: char,
    found: Vec<Diagnostic>,
}

impl Sink {
    /// A sink for `file`, whose format has the letter `family`.
    #[must_use]
    pub fn new(file: &str, family: char) -> Self {
        Self {
            file: Arc::from(file),
            family,
            found: Vec::new(),
        }
    }

    /// Records a mistake.
    pub fn error(&mut self, at: At, code: Code, message: impl Into<String>) {
        self.push(at, code, message.into(), None);
    }

    /// Records a mistake and what to write instead.
    pub fn error_with_help(
        &mut self,
        at: At,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(at, code, message.into(), Some(help.into()));
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// `value` when nothing is wrong, else every mistake in the order of the file.
    ///
    /// # Errors
    /// The mistakes, if there are any, or if there is no value.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<Diagnostic>> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => {
                if self.found.is_empty() {
                    self.error(At::default(), Code::BadValue, "the file could not be used");
                }
                self.found.sort_by_key(|diagnostic| diagnostic.at);
                Err(self.found)
            }
        }
    }

    fn push(&mut self, at: At, code: Code, message: String, help: Option<String>) {
        // The first hundred mistakes say enough; a hostile file must not buy memory with them.
        if self.found.len() < MAX_DIAGNOSTICS {
            self.found.push(Diagnostic {
                file: Arc::clone(&self.file),
                at,
                family: self.family,
                code,
                message,
                help,
            });
        }
    }
}

/// Most mistakes reported for one file.
const MAX_DIAGNOSTICS: usize = 100;
