//! Reading a file that decides what is allowed.
//!
//! A path enters, text leaves. Refused are files that somebody else owns or may write, that are
//! no regular files, that are larger than 1 MiB or are not UTF-8. The checks are made on the
//! opened file, so that it cannot be exchanged between check and reading.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mcpf_policy::yaml::MAX_FILE;
use mcpf_policy::{At, Code, Diagnostic, Sink};

/// The text of the file at `path`, if it can be trusted.
///
/// # Errors
/// What is wrong with the file, and the command that puts it right.
pub fn read_trusted(path: &Path) -> Result<String, Diagnostic> {
    let shown = path.display().to_string();
    read(path).map_err(|(message, help)| {
        let mut sink = Sink::new(&shown, 'C');
        match help {
            Some(help) => sink.error_with_help(At::default(), Code::File, message, help),
            None => sink.error(At::default(), Code::File, message),
        }
        let mistakes = sink.finish::<()>(None).err().unwrap_or_default();
        mistakes.into_iter().next().unwrap_or_else(|| Diagnostic {
            file: shown.as_str().into(),
            at: At::default(),
            family: 'C',
            code: Code::File,
            message: "cannot be read".to_owned(),
            help: None,
        })
    })
}

type Refusal = (String, Option<String>);

fn read(path: &Path) -> Result<String, Refusal> {
    let failed = |error: io::Error| (format!("cannot be read: {error}"), None);
    // Before opening, because opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(("is not a regular file".to_owned(), None));
    }
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    check(
        path,
        about.mode(),
        about.uid(),
        rustix::process::geteuid().as_raw(),
    )?;
    let bound = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(bound.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_FILE {
        return Err((format!("is larger than {MAX_FILE} bytes"), None));
    }
    String::from_utf8(bytes).map_err(|_| ("is not UTF-8".to_owned(), None))
}

/// A file is trusted if only its owner may write it, and that is this user or root.
fn check(path: &Path, mode: u32, owner: u32, me: u32) -> Result<(), Refusal> {
    let path = path.display();
    if owner != me && owner != 0 {
        return Err((
            format!("is owned by user {owner}, who could change it at will"),
            Some(format!("chown {me} '{path}'")),
        ));
    }
    if mode & 0o022 != 0 {
        let who = if mode & 0o002 != 0 {
            "anybody"
        } else {
            "its group"
        };
        return Err((
            format!("can be written by {who} (mode {:03o})", mode & 0o777),
            Some(format!("chmod go-w '{path}'")),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_write() {
        let check = |mode: u32, owner, me| check(Path::new("f"), 0o100_000 | mode, owner, me);
        assert_eq!(check(0o600, 7, 7), Ok(()));
        assert_eq!(check(0o644, 0, 7), Ok(()), "root's files are trusted");
        let (message, help) = check(0o664, 7, 7).unwrap_err();
        assert_eq!(message, "can be written by its group (mode 664)");
        assert_eq!(help.unwrap(), "chmod go-w 'f'");
        assert!(check(0o646, 7, 7).unwrap_err().0.contains("anybody"));
        assert_eq!(check(0o600, 8, 7).unwrap_err().1.unwrap(), "chown 7 'f'");
        assert!(
            check(0o600, 8, 0).is_err(),
            "root trusts nobody else's file"
        );
    }
}
