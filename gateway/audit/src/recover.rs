//! Finds where an existing log really ends, reading backwards a line at a time.
//!
//! A file enters; the last whole record, the number of records no signature covers, and what a cut
//! write left behind leave. Memory is one line ([`MAX_LINE`]) and one block, however long the file
//! is. Nothing is changed here.

use crate::chain::{self, GENESIS, Hash};
use crate::files::{FileError, system};
use crate::line::{Line, fields, is_torn, split};
use crate::record::MAX_LINE;
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = 64 * 1024;
/// Longest piece after the last line end that is taken for a cut write: a group's worst case.
const MAX_TORN: u64 = 16 * 1024 * 1024;

/// Bytes after the last line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) bytes: u64,
    pub(crate) sha256: Hash,
}

/// How a file ends.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Offset after the last line end.
    pub(crate) end: u64,
    /// What stands behind it.
    pub(crate) torn: Option<Torn>,
    /// The last whole record; `None` when there is none.
    pub(crate) last: Option<Last>,
}

/// The last whole record of a file.
#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) seq: u64,
    pub(crate) group: u64,
    pub(crate) hash: Hash,
    /// Whether it is a `stop` record.
    pub(crate) stop: bool,
    /// Records at the end that no signature covers.
    pub(crate) unsigned: u64,
}

/// Why a file cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A whole line near the end is not a valid record. The file is evidence: it is left as it is.
    #[error("`{}` is damaged at byte {offset}: {what}; move it away to start a new log", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the bad line begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads the end of `file`. `keys` are the keys whose signature is good there; with none of them
/// signatures are taken as they stand.
pub(crate) fn ending(
    file: &File,
    path: &Path,
    keys: &[crate::PublicKey],
) -> Result<Ending, RecoverError> {
    let length = file.metadata().map_err(system("examine", path))?.len();
    let reader = Backwards { file, path };
    let (end, torn) = reader.torn(length)?;
    let mut ending = Ending {
        end,
        torn,
        last: None,
    };
    let mut line_end = end;
    let mut expected: Option<(u64, Hash)> = None;
    while line_end > 0 {
        let (start, line) = reader.line_before(line_end)?;
        let damaged = |what| RecoverError::Damaged {
            path: path.to_owned(),
            offset: start,
            what,
        };
        let split = split(&line).ok_or_else(|| damaged("not a record"))?;
        let read = fields(&line).ok_or_else(|| damaged("not a record"))?;
        if chain::hash(&split.prev, split.body) != split.hash {
            return Err(damaged("its hash does not match"));
        }
        if expected.is_some_and(|expected| expected != (read.seq, split.hash)) {
            return Err(damaged("the record after it does not follow from it"));
        }
        let last = ending.last.get_or_insert(Last {
            seq: read.seq,
            group: read.group,
            hash: split.hash,
            stop: read.kind == "stop",
            unsigned: 0,
        });
        if signed(&split, keys).map_err(damaged)? {
            return Ok(ending);
        }
        if read.kind == "stop" {
            return Err(damaged("a stop record without a signature"));
        }
        last.unsigned += 1;
        if read.seq == 0 {
            if start != 0 {
                return Err(damaged("a first record that is not first"));
            }
            return Ok(ending);
        }
        expected = Some((read.seq - 1, split.prev));
        line_end = start;
    }
    match expected {
        Some(_) => Err(RecoverError::Damaged {
            path: path.to_owned(),
            offset: 0,
            what: "the first record is missing",
        }),
        None => Ok(ending),
    }
}

impl Ending {
    /// The hash the next record follows.
    pub(crate) fn head(&self) -> Hash {
        self.last.as_ref().map_or(GENESIS, |last| last.hash)
    }
}

fn signed(line: &Line<'_>, keys: &[crate::PublicKey]) -> Result<bool, &'static str> {
    let Some(signature) = &line.signature else {
        return Ok(false);
    };
    let good = |key: &crate::PublicKey| {
        UnparsedPublicKey::new(&ED25519, key.bytes())
            .verify(&line.hash, signature)
            .is_ok()
    };
    if keys.is_empty() || keys.iter().any(good) {
        Ok(true)
    } else {
        Err("it is not signed by this installation's key")
    }
}

struct Backwards<'a> {
    file: &'a File,
    path: &'a Path,
}

impl Backwards<'_> {
    /// Where the last line end is, and what stands behind it.
    fn torn(&self, length: u64) -> Result<(u64, Option<Torn>), RecoverError> {
        let end = self
            .line_start(length, MAX_TORN)?
            .ok_or_else(|| RecoverError::Damaged {
                path: self.path.to_owned(),
                offset: length.saturating_sub(MAX_TORN),
                what: "no line end in the last 16 MiB",
            })?;
        if end == length {
            return Ok((end, None));
        }
        let mut context = Context::new(&SHA256);
        let mut head = Vec::new();
        let mut at = end;
        while at < length {
            let block = self.read(at, BLOCK.min(usize::try_from(length - at).unwrap_or(BLOCK)))?;
            context.update(&block);
            at += u64::try_from(block.len()).unwrap_or(u64::MAX);
            if head.len() <= MAX_LINE {
                head.extend_from_slice(&block);
            }
        }
        let whole = head.len() <= MAX_LINE && is_torn(&head);
        let zeros_behind = head.len() > MAX_LINE
            && head
                .get(MAX_LINE..)
                .is_some_and(|rest| rest.iter().all(|b| *b == 0));
        if !whole && !zeros_behind {
            return Err(RecoverError::Damaged {
                path: self.path.to_owned(),
                offset: end,
                what: "the bytes after the last line end are not the beginning of a record",
            });
        }
        let mut sha256 = [0; 32];
        for (to, from) in sha256.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Ok((
            end,
            Some(Torn {
                bytes: length - end,
                sha256,
            }),
        ))
    }

    /// The line that ends (with its line end) at `end`: where it begins, and its bytes without the line end.
    fn line_before(&self, end: u64) -> Result<(u64, Vec<u8>), RecoverError> {
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let start = self
            .line_start(end - 1, limit)?
            .ok_or_else(|| RecoverError::Damaged {
                path: self.path.to_owned(),
                offset: end.saturating_sub(limit),
                what: "a line is too long",
            })?;
        let length = usize::try_from(end - 1 - start).unwrap_or(usize::MAX);
        Ok((start, self.read(start, length)?))
    }

    /// Offset after the last line end before `end`, 0 if there is none; `None` when it is further
    /// away than `limit`.
    fn line_start(&self, end: u64, limit: u64) -> Result<Option<u64>, FileError> {
        let mut at = end;
        while at > 0 {
            let size = BLOCK.min(usize::try_from(at).unwrap_or(BLOCK));
            let from = at - u64::try_from(size).unwrap_or(at);
            let block = self.read(from, size)?;
            if let Some(place) = block.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(from + u64::try_from(place).unwrap_or(0) + 1));
            }
            at = from;
            if end - at > limit {
                return Ok(None);
            }
        }
        Ok(Some(0))
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, FileError> {
        let mut block = vec![0; length];
        self.file
            .read_exact_at(&mut block, at)
            .map_err(system("read", self.path))?;
        Ok(block)
    }
}

/// The offset at which the last `count` lines of `file` begin.
pub(crate) fn last_lines(file: &File, path: &Path, count: usize) -> Result<u64, FileError> {
    let length = file.metadata().map_err(system("examine", path))?.len();
    let reader = Backwards { file, path };
    let mut start = reader.line_start(length, u64::MAX)?.unwrap_or(0);
    for _ in 0..count {
        if start == 0 {
            break;
        }
        start = reader.line_start(start - 1, u64::MAX)?.unwrap_or(0);
    }
    Ok(start)
}
