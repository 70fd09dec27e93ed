//! What is wrong with a rule file, where, and what to do about it.
//!
//! A [`Diagnostic`] enters from the parser, the checks and the linter and leaves as one line a
//! terminal, an editor and a person can read. It never holds more of the file than the value it
//! is about.

use std::fmt;
use std::sync::Arc;

/// A place in a rule file. Lines and columns count from 1, columns in characters;
/// 0 means that the place is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// A value and where it stands in its file.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where the value begins.
    pub place: Place,
}

/// What went wrong. The code is stable: it is what people search for and what tests compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// `R001`: not the YAML of a rule file: syntax, unknown or repeated field, wrong type, budget.
    Yaml,
    /// `R002`: the file cannot be read or is larger than 1 MiB.
    File,
    /// `R003`: a `version` this build does not know.
    Version,
    /// `R004`: a name that is not one of a closed set.
    Name,
    /// `R005`: an id outside the grammar.
    Id,
    /// `R006`: an id used twice.
    DuplicateId,
    /// `R007`: a pattern that is not a regular expression.
    Pattern,
    /// `R008`: a pattern whose matches may be too long, or empty.
    Width,
    /// `R009`: `^`, `$` or another assertion a scan over joined texts cannot honour.
    Look,
    /// `R010`: non-ASCII inside a class.
    Class,
    /// `R011`: a branch without a required literal worth searching for.
    Literal,
    /// `R012`: no example, or no negative example.
    Examples,
    /// `R013`: a reference that is not an `https` URL.
    Reference,
    /// `R014`: an empty or oversized keyword, or a window that makes no sense.
    Keyword,
    /// `R015`: severity and action contradict each other.
    Action,
    /// `R016`: no surface, or both `surfaces` and `direction`.
    Surface,
    /// `R017`: a number outside its range.
    Range,
    /// `R018`: a group that does not exist in every pattern.
    Capture,
    /// `R019`: a lint exception without a reason, or one that is not needed.
    Exception,
    /// `R020`: a text that must not be empty.
    Empty,
}

impl Code {
    /// The code as it is printed, for example `R007`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yaml => "R001",
            Self::File => "R002",
            Self::Version => "R003",
            Self::Name => "R004",
            Self::Id => "R005",
            Self::DuplicateId => "R006",
            Self::Pattern => "R007",
            Self::Width => "R008",
            Self::Look => "R009",
            Self::Class => "R010",
            Self::Literal => "R011",
            Self::Examples => "R012",
            Self::Reference => "R013",
            Self::Keyword => "R014",
            Self::Action => "R015",
            Self::Surface => "R016",
            Self::Range => "R017",
            Self::Capture => "R018",
            Self::Exception => "R019",
            Self::Empty => "R020",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing wrong with a rule file. Every diagnostic is an error: a file that has one is not
/// loaded.
///
/// Displayed as `file:line:column: error[R007]: message`, followed by a `help:` line when there
/// is advice to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the caller named it.
    pub file: Arc<str>,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 when the whole file is meant.
    pub column: u32,
    /// What went wrong.
    pub code: Code,
    /// One sentence, lowercase, without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(
        file: &Arc<str>,
        place: Place,
        code: Code,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: Arc::clone(file),
            line: place.line,
            column: place.column,
            code,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": error[{}]: {}", self.code, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}
