//! Rule files from text and from disk: bytes enter, linted rules leave. A file is refused whole
//! when anything in it is wrong, and nothing but the named files is read.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcpf_model::ByteSize;

use crate::check;
use crate::diagnostic::{Code, Diagnostic, Place};
use crate::lint::lint;
use crate::raw;
use crate::rule::{Rule, Source};

/// Largest rule file. Default and limit 1 MiB; a longer one is refused before it is parsed.
pub const MAX_FILE: ByteSize = ByteSize::mib(1);

/// Most rule files read from one directory tree.
const MAX_FILES: usize = 1_024;

/// Deepest directory below the one named.
const MAX_DEPTH: usize = 8;

/// Reads the rules of one file from its text. `file` names it in diagnostics; its directory
/// names the rule set.
///
/// Patterns are not looked into: pass the rules of all files together to [`lint`].
///
/// # Errors
/// A syntax error alone, or everything else that is wrong.
pub fn parse(yaml: &str, file: &str) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let source = Source {
        file: Arc::from(file),
        set: Arc::from(set_name(file)),
    };
    if yaml.len() > MAX_FILE.bytes() {
        return Err(vec![too_large(&source.file)]);
    }
    let raw = raw::read(yaml).map_err(|at| {
        vec![Diagnostic::new(
            &source.file,
            at.place,
            Code::Yaml,
            at.value,
        )]
    })?;
    check::check(raw, &source)
}

/// Reads and lints one rule file from disk.
///
/// # Errors
/// What [`parse`] and [`lint`] report, or that the file cannot be read.
pub fn load_file(path: &Path) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    load_files(&[path.to_owned()])
}

/// Reads and lints every `.yaml` and `.yml` file below `dir`, in the order of their paths.
/// At most 1,024 files and 8 levels; symbolic links are not followed into directories.
///
/// # Errors
/// What [`parse`] and [`lint`] report over all files, or that something cannot be read.
pub fn load_dir(dir: &Path) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let mut paths = Vec::new();
    collect(dir, MAX_DEPTH, &mut paths).map_err(|(path, message)| {
        vec![Diagnostic::new(
            &name(&path),
            Place::default(),
            Code::File,
            message,
        )]
    })?;
    paths.sort();
    load_files(&paths)
}

fn load_files(paths: &[PathBuf]) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let mut rules = Vec::new();
    let mut found = Vec::new();
    for path in paths {
        match read(path).and_then(|text| parse(&text, &name(path))) {
            Ok(more) => rules.extend(more),
            Err(more) => found.extend(more),
        }
    }
    found.extend(lint(&rules));
    if found.is_empty() {
        Ok(rules)
    } else {
        Err(found)
    }
}

fn collect(dir: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), (PathBuf, String)> {
    let failed = |error: std::io::Error| {
        (
            dir.to_owned(),
            format!("cannot list the directory: {error}"),
        )
    };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let is_dir = entry.file_type().map_err(failed)?.is_dir();
        let is_rules = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        match (is_dir, depth.checked_sub(1)) {
            (true, Some(depth)) => collect(&path, depth, paths)?,
            (true, None) => return Err((path, format!("more than {MAX_DEPTH} directories deep"))),
            (false, _) if is_rules => paths.push(path),
            (false, _) => {}
        }
        if paths.len() > MAX_FILES {
            return Err((dir.to_owned(), format!("more than {MAX_FILES} rule files")));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Vec<Diagnostic>> {
    let file = name(path);
    let failed = |error: std::io::Error| {
        vec![Diagnostic::new(
            &file,
            Place::default(),
            Code::File,
            format!("cannot read the file: {error}"),
        )]
    };
    let mut text = String::new();
    let limit = u64::from(MAX_FILE.0) + 1;
    File::open(path)
        .map_err(failed)?
        .take(limit)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() > MAX_FILE.bytes() {
        return Err(vec![too_large(&file)]);
    }
    Ok(text)
}

fn too_large(file: &Arc<str>) -> Diagnostic {
    Diagnostic::new(
        file,
        Place::default(),
        Code::File,
        format!("larger than {MAX_FILE}"),
    )
    .help("split it into several files")
}

fn name(path: &Path) -> Arc<str> {
    Arc::from(path.to_string_lossy())
}

/// The name of the file's directory; empty for a file without one.
fn set_name(file: &str) -> String {
    let parent = Path::new(file).parent().and_then(Path::file_name);
    parent
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
