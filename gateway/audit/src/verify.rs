//! Checks a log: every byte, every link, every signature.
//!
//! A file or a directory and the trusted keys enter; a [`Report`] leaves, or the first fault. It
//! streams: memory is one line, whatever the length of the log. It shares no cryptography with
//! the writer (`ed25519-dalek` with `verify_strict` and `sha2` here, `aws-lc-rs` there), so that a
//! mistake in one is not repeated in the other.
//!
//! A good file may end without a `stop` record, in unsigned records, or in a cut write: a crash
//! leaves that, and it is a warning. Everything else that is not as it was written is a fault.

use crate::files::{self, system};
use crate::key::PublicKey;
use crate::open::log_files;
use crate::report::{FileReport, Report, VerifyError};
use crate::walk::Walk;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Verifies the log file `path`, or every log file in the directory `path` and how they follow one
/// another. `trusted` are the public keys that may have signed it; take them from a place the
/// log's writer cannot change.
///
/// # Errors
/// The first bad record, by file, line and number; files of a directory that were cut, changed or
/// taken away after another went on from them; a file that cannot be read or holds no record.
pub fn verify(path: &Path, trusted: &[PublicKey]) -> Result<Report, VerifyError> {
    let metadata = std::fs::metadata(path).map_err(system("examine", path))?;
    if metadata.is_dir() {
        return directory(path, trusted);
    }
    let file = verify_file(path, trusted)?;
    if file.records == 0 {
        return Err(VerifyError::Empty(path.to_owned()));
    }
    Ok(Report {
        files: vec![file],
        warnings: Vec::new(),
    })
}

fn directory(dir: &Path, trusted: &[PublicKey]) -> Result<Report, VerifyError> {
    let mut files = Vec::new();
    for path in log_files(dir)? {
        files.push(verify_file(&path, trusted)?);
    }
    if files.iter().all(|file| file.records == 0) {
        return Err(VerifyError::Empty(dir.to_owned()));
    }
    let warnings = sequence(&files)?;
    Ok(Report { files, warnings })
}

/// Checks that each file still ends where the file that goes on from it says.
fn sequence(files: &[FileReport]) -> Result<Vec<String>, VerifyError> {
    let mut warnings = Vec::new();
    let by_name: BTreeMap<_, _> = files
        .iter()
        .filter_map(|file| Some((file.path.file_name()?.to_str()?, file)))
        .collect();
    let oldest = by_name.keys().next().copied().unwrap_or_default();
    for file in files {
        let Some(continues) = &file.continues else {
            continue;
        };
        let Some(earlier) = by_name.get(continues.file.as_str()) else {
            let what = format!("goes on from `{}`, which is missing", continues.file);
            if continues.file.as_str() < oldest {
                warnings.push(format!(
                    "`{}` {what} (older than every file here)",
                    file.path.display()
                ));
                continue;
            }
            return Err(VerifyError::Broken {
                path: file.path.clone(),
                what,
            });
        };
        let same = earlier
            .last
            .as_ref()
            .is_some_and(|last| last.seq == continues.seq && last.hash == continues.hash);
        if !same {
            let what = format!(
                "does not end at record {} as `{}` says: it was cut, changed or added to since",
                continues.seq,
                file.path.display()
            );
            return Err(VerifyError::Broken {
                path: earlier.path.clone(),
                what,
            });
        }
    }
    Ok(warnings)
}

/// Verifies one file.
fn verify_file(path: &Path, trusted: &[PublicKey]) -> Result<FileReport, VerifyError> {
    let file = files::open_read(path)?;
    verify_reader(BufReader::with_capacity(256 * 1024, file), path, trusted)
}

/// Verifies the log that `reader` gives; `path` is its name in reports.
///
/// # Errors
/// As for [`verify`].
pub fn verify_reader(
    reader: impl BufRead,
    path: &Path,
    trusted: &[PublicKey],
) -> Result<FileReport, VerifyError> {
    Walk::new(path, trusted).along(reader)
}
