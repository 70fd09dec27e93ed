//! What verifying a log finds out: the account of a good one, the first fault of a bad one.

use crate::chain::Hash;
use crate::files::FileError;
use crate::key::PublicKey;
use crate::settings::Continues;
use std::fmt;
use std::path::PathBuf;

/// The account of one or more files, all of whose records are whole, in order, unchanged, and
/// signed as the account says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The files, oldest name first.
    pub files: Vec<FileReport>,
    /// What is not wrong but should be known about the directory.
    pub warnings: Vec<String>,
}

impl Report {
    /// Records of every kind in all files.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.files.iter().map(|file| file.records).sum()
    }

    /// Decisions in all files.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        self.files.iter().map(|file| file.verdicts.total()).sum()
    }

    /// Every warning, each with the name of its file.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut all = self.warnings.clone();
        for file in &self.files {
            all.extend(
                file.warnings()
                    .into_iter()
                    .map(|warning| format!("`{}` {warning}", file.path.display())),
            );
        }
        all
    }
}

/// The account of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Records of every kind.
    pub records: u64,
    /// Decisions by verdict.
    pub verdicts: Verdicts,
    /// Groups: signatures checked.
    pub groups: u64,
    /// Runs of the gateway: `start` records.
    pub runs: u64,
    /// Times a run was taken up after a crash.
    pub recoveries: u64,
    /// Bytes of cut writes that recoveries took off.
    pub recovered_bytes: u64,
    /// The first record, unless there is none.
    pub first: Option<Stamp>,
    /// The last whole record, unless there is none.
    pub last: Option<Stamp>,
    /// The last run's durability, as the log states it.
    pub durability: String,
    /// The last run's loss window, in milliseconds.
    pub loss_window_ms: u64,
    /// How the file ends.
    pub ending: Ending,
    /// Records in the middle that a crash left without a signature of their own, and that a later
    /// recovery counted and chained. Nobody but the file system vouches for them.
    pub unattested: u64,
    /// Times the wall clock went back by more than five seconds between two records.
    pub clock_steps: u64,
    /// The earlier file this one goes on from.
    pub continues: Option<Continues>,
    /// The key of the last run.
    pub key: Option<PublicKey>,
}

/// A record's number, time and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number in the file.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// Its hash.
    pub hash: Hash,
}

/// Decisions by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Forwarded as they came.
    pub allow: u64,
    /// Forwarded with spans replaced.
    pub redact: u64,
    /// Refused.
    pub deny: u64,
    /// Would have been refused.
    pub monitor: u64,
}

impl Verdicts {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.allow + self.redact + self.deny + self.monitor
    }
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a signed `stop` record: nothing can have been cut off after it.
    Closed,
    /// Without: it is still being written, or the gateway crashed, or the end was cut off.
    Open {
        /// Whole records at the end that no signature covers: chained, but anyone could have
        /// written them. A crash in the middle of a write leaves such records.
        unsigned: u64,
        /// Bytes of a record whose write was cut short.
        torn_bytes: u64,
    },
}

impl FileReport {
    /// What is not wrong but should be known.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        match self.ending {
            Ending::Closed => {}
            Ending::Open { .. } if self.records == 0 => warnings.push("holds no whole record".to_owned()),
            Ending::Open { unsigned: 0, torn_bytes: 0 } => {
                warnings.push("does not end with a stop record: still open, crashed, or cut at a signed record".to_owned());
            }
            Ending::Open { unsigned: 0, torn_bytes } => {
                warnings.push(format!("ends in a cut write of {torn_bytes} bytes: crashed, or being written"));
            }
            Ending::Open { unsigned, torn_bytes } => warnings.push(format!(
                "ends without a signature: crashed, {unsigned} records unsigned but chained, then {torn_bytes} bytes of a cut write"
            )),
        }
        if self.unattested > 0 {
            warnings.push(format!(
                "holds {} records that a crash left unsigned and a recovery chained",
                self.unattested
            ));
        }
        if self.clock_steps > 0 {
            warnings.push(format!("the clock went back {} times", self.clock_steps));
        }
        warnings
    }
}

/// Why a log is not good, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file could not be opened or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record is bad: the first one that is.
    #[error(transparent)]
    Bad(Box<BadRecord>),
    /// The files of a directory do not belong together.
    #[error("`{}` {what}", path.display())]
    Broken {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong, to follow the name.
        what: String,
    },
    /// There is nothing to verify.
    #[error("`{}` holds no record", .0.display())]
    Empty(PathBuf),
}

/// The first bad record of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadRecord {
    /// The file.
    pub path: PathBuf,
    /// Its line, counted from 1.
    pub line: u64,
    /// The number a record in this place must have.
    pub seq: u64,
    /// Byte at which the line begins.
    pub offset: u64,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            seq,
            offset,
            fault,
        } = self;
        write!(
            f,
            "`{}` line {line}, record {seq}, byte {offset}: {fault}",
            path.display()
        )
    }
}

/// What can be wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not spelt as a record is.
    #[error("not a record")]
    NotARecord,
    /// Longer than any record.
    #[error("longer than any record")]
    TooLong,
    /// Bytes at the end that no cut write leaves.
    #[error("the end of the file is neither a record nor the beginning of one")]
    Trailing,
    /// A format this program does not know.
    #[error("format version {0} is not known")]
    Version(u64),
    /// Its content or hash was changed.
    #[error("its hash does not match its content")]
    Hash,
    /// Records are missing, doubled or in another order.
    #[error("it has the number {0}: records are missing, doubled or in another order")]
    Sequence(u64),
    /// It follows another record than the one before it.
    #[error("it does not follow from the record before it")]
    Chain,
    /// It belongs to another group: a signature before it was taken out, or one was put in.
    #[error(
        "it is in group {found} where group {expected} goes on: a signature is missing or misplaced"
    )]
    Group {
        /// The group it must be in.
        expected: u64,
        /// The group it says.
        found: u64,
    },
    /// The signature is not the key's.
    #[error("its signature is not valid")]
    Signature,
    /// The log is signed with a key that is not trusted.
    #[error("it names a signing key that is not trusted: {0}")]
    Key(String),
    /// A kind of record that has no place here.
    #[error("a `{0}` record has no place here")]
    Kind(String),
    /// A recovery that counts other than what stands before it.
    #[error("it recovers {found} unsigned records where {expected} are")]
    Recovery {
        /// Unsigned records before it.
        expected: u64,
        /// What it says.
        found: u64,
    },
    /// A stop that counts other decisions than there are.
    #[error("it closes a run of {found} decisions where {expected} are")]
    Count {
        /// Decisions of the run.
        expected: u64,
        /// What it says.
        found: u64,
    },
}
