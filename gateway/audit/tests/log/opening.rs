//! Where a log may be, who may have it, and how one file goes on from another.

use crate::common::{Scratch, entry, key, now, open, open_with, put, settings, verify_file};
use mcpf_audit::{Ending, FileError, Location, Log, OpenError, SigningKey, Start, VerifyError};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn try_open(location: Location) -> Result<Log, OpenError> {
    Log::open(
        &settings(location),
        key(),
        &Start::new(now(0), "test"),
        Box::new(|| {}),
    )
    .map(|(log, _)| log)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn only_for_the_owner() {
    let scratch = Scratch::new();
    let log = try_open(Location::Directory(scratch.dir())).unwrap();
    assert_eq!((mode(&scratch.dir()), mode(log.path())), (0o700, 0o600));
    drop(log);
    set_mode(&scratch.dir(), 0o770);
    assert!(matches!(
        try_open(Location::Directory(scratch.dir())),
        Err(OpenError::File(FileError::Unsafe { .. }))
    ));

    let path = scratch.file();
    drop(try_open(Location::File(path.clone())).unwrap());
    for bits in [0o620, 0o602] {
        set_mode(&path, bits);
        assert!(
            matches!(
                try_open(Location::File(path.clone())),
                Err(OpenError::File(FileError::Unsafe { .. }))
            ),
            "{bits:o}"
        );
    }
    set_mode(&path, 0o644);
    drop(try_open(Location::File(path.clone())).unwrap());
    let link = path.with_extension("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(
        try_open(Location::File(link)),
        Err(OpenError::File(FileError::System { .. }))
    ));
    let parent = path.parent().unwrap();
    set_mode(parent, 0o777);
    assert!(matches!(
        try_open(Location::File(path.clone())),
        Err(OpenError::File(FileError::Unsafe { .. }))
    ));
    set_mode(parent, 0o1777);
    drop(try_open(Location::File(path.clone())).unwrap());
    set_mode(parent, 0o700);
    assert!(try_open(Location::File(parent.to_owned())).is_err());
    assert!(matches!(
        try_open(Location::File("/dev/full".into())),
        Err(OpenError::File(FileError::Unsafe { .. }))
    ));
    assert!(try_open(Location::File(parent.join("no/such/file.jsonl"))).is_err());
}

#[test]
fn one_writer_a_file() {
    let scratch = Scratch::new();
    let (log, _) = open(&scratch.file());
    assert!(matches!(
        try_open(Location::File(scratch.file())),
        Err(OpenError::Locked(_))
    ));
    log.close().unwrap();
    drop(log);
    let (log, recovery) = open(&scratch.file());
    assert_eq!((recovery.resumed, recovery.crashed), (true, false));
    put(&log, entry(1));
    assert_eq!(log.close().unwrap().seq, 4);
    let file = verify_file(&scratch.file()).unwrap().files.remove(0);
    assert_eq!(
        (file.runs, file.recoveries, file.ending),
        (2, 0, Ending::Closed)
    );
}

#[test]
fn another_key_does_not_go_on_with_a_file() {
    let scratch = Scratch::new();
    open(&scratch.file()).0.close().unwrap();
    let other = SigningKey::from_seed(&[9; 32]).unwrap();
    let opened = Log::open(
        &settings(Location::File(scratch.file())),
        other,
        &Start::new(now(0), "test"),
        Box::new(|| {}),
    );
    assert!(matches!(opened, Err(OpenError::Recover(_))));
}

#[test]
fn a_disk_below_the_reserve_is_not_begun() {
    let scratch = Scratch::new();
    let mut settings = settings(Location::File(scratch.file()));
    settings.reserve = u64::MAX;
    let opened = Log::open(
        &settings,
        key(),
        &Start::new(now(0), "test"),
        Box::new(|| {}),
    );
    assert!(matches!(
        opened,
        Err(OpenError::Failed(mcpf_audit::Failure::Space { .. }))
    ));
}

#[test]
fn files_of_a_directory_form_one_chain() {
    let scratch = Scratch::new();
    let settings = settings(Location::Directory(scratch.dir()));
    let mut paths = Vec::new();
    for run in 0..3 {
        let (log, recovery) = open_with(&settings, run);
        assert_eq!(recovery.continues.is_some(), run > 0);
        // Another gateway at the same moment gets a file of its own, and goes on from a finished one.
        let (twin, twins) = open_with(&settings, run);
        assert_ne!(twin.path(), log.path());
        assert_eq!(twins.continues, recovery.continues);
        put(&log, entry(run));
        put(&twin, entry(run));
        twin.close().unwrap();
        log.close().unwrap();
        paths.push(log.path().to_owned());
        paths.push(twin.path().to_owned());
    }
    let report = verify_file(&scratch.dir()).unwrap();
    assert_eq!(
        (
            report.files.len(),
            report.decisions(),
            report.warnings().len()
        ),
        (6, 6, 0)
    );

    // The file that others go on from can be neither cut nor taken away.
    let report = report
        .files
        .iter()
        .find_map(|file| file.continues.clone())
        .unwrap();
    let named = scratch.dir().join(report.file);
    let whole = std::fs::read(&named).unwrap();
    let cut = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    std::fs::write(&named, &whole[..cut]).unwrap();
    match verify_file(&scratch.dir()) {
        Err(VerifyError::Broken { path, .. }) => assert_eq!(path, named),
        other => panic!("{other:?}"),
    }
    std::fs::write(&named, &whole).unwrap();
    verify_file(&scratch.dir()).unwrap();
    let last = paths.iter().max().unwrap();
    let inner = verify_file(last)
        .unwrap()
        .files
        .remove(0)
        .continues
        .unwrap()
        .file;
    std::fs::remove_file(scratch.dir().join(inner)).unwrap();
    assert!(matches!(
        verify_file(&scratch.dir()),
        Err(VerifyError::Broken { .. })
    ));
}

#[test]
fn the_oldest_files_may_be_removed() {
    let scratch = Scratch::new();
    let settings = settings(Location::Directory(scratch.dir()));
    let mut first = None;
    for run in 0..3 {
        let (log, _) = open_with(&settings, run);
        log.close().unwrap();
        first.get_or_insert(log.path().to_owned());
    }
    std::fs::remove_file(first.unwrap()).unwrap();
    let report = verify_file(&scratch.dir()).unwrap();
    assert_eq!((report.files.len(), report.warnings.len()), (2, 1));
}

#[test]
fn a_crashed_file_of_a_directory_is_gone_on_from_as_it_is() {
    let scratch = Scratch::new();
    let settings = settings(Location::Directory(scratch.dir()));
    let (log, _) = open_with(&settings, 0);
    put(&log, entry(1));
    let path = log.path().to_owned();
    let bytes = std::fs::read(&path).unwrap();
    drop(log);
    std::fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
    let (log, recovery) = open_with(&settings, 1);
    assert_eq!(
        recovery.continues.as_ref().map(|continues| continues.seq),
        Some(0)
    );
    log.close().unwrap();
    drop(log);
    let report = verify_file(&scratch.dir()).unwrap();
    assert_eq!(report.warnings().len(), 1);

    let mut damaged = bytes.clone();
    damaged[bytes.len() - 300] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    std::fs::remove_file(log_path(&scratch.dir(), &path)).unwrap();
    let (_log, recovery) = open_with(&settings, 2);
    assert_eq!(
        (recovery.continues, recovery.damaged.map(|(path, _)| path)),
        (None, Some(path))
    );
}

fn log_path(dir: &Path, not: &Path) -> std::path::PathBuf {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path != not)
        .unwrap()
}
