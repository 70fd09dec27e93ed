//! From patterns to a database.
//!
//! Enters: patterns or literals. Leaves: a [`Database`], or every reason why
//! not — the library names the first bad pattern only, so the rest are
//! searched for. Never scans.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};

use crate::database::Database;
use crate::error::CompileError;
use crate::pattern::{Ext, Flags, Literal, Mode, Pattern, refusal};
use crate::raw::{Malloced, hs};
use crate::target::{self, Target};

/// What the library knows about one expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExprInfo {
    /// Shortest match, in bytes.
    pub min_width: u32,
    /// Longest match, in bytes; `None` if there is no bound.
    pub max_width: Option<u32>,
    /// Whether ends may be reported out of order.
    pub unordered: bool,
    /// Whether some match needs the end of the data (a final `\b` does).
    pub matches_at_end: bool,
    /// Whether every match needs the end of the data.
    pub matches_only_at_end: bool,
}

/// Compiles `patterns` into one database.
///
/// Takes about 1 ms per pattern (0.4 s for 500, 2 s for 2,000); see
/// [`crate::load_or_compile`] for a cache.
///
/// # Errors
/// One [`CompileError`] for **each** bad pattern, in order; or one without an
/// index if the set as a whole is refused.
pub fn compile(patterns: &[Pattern<'_>], mode: Mode) -> Result<Database, Vec<CompileError>> {
    let mut faults = Vec::new();
    let mut sources = Vec::with_capacity(patterns.len());
    for (index, pattern) in patterns.iter().enumerate() {
        let fault = match (
            refusal(pattern.expression),
            CString::new(pattern.expression),
        ) {
            (None, Ok(expression)) => {
                sources.push(Source {
                    index,
                    id: pattern.id,
                    flags: pattern.flags,
                    ext: pattern.ext.to_raw(),
                    expression,
                });
                continue;
            }
            (Some(reason), _) => reason,
            (None, Err(_)) => "a NUL byte must be written as \\x00",
        };
        let id = Some(pattern.id);
        faults.push(CompileError {
            index: Some(index),
            id,
            message: fault.to_owned(),
        });
    }
    compile_sources(sources, faults, Source::key, |sources| {
        compile_expressions(sources, mode)
    })
}

/// Compiles plain byte strings with the library's literal compiler: 100,000
/// take 2.4 s and scan at the speed of a few.
///
/// # Errors
/// As for [`compile`].
pub fn compile_literals(
    literals: &[Literal<'_>],
    mode: Mode,
) -> Result<Database, Vec<CompileError>> {
    let mut faults = Vec::new();
    let mut sources = Vec::with_capacity(literals.len());
    for (index, literal) in literals.iter().enumerate() {
        if literal.bytes.is_empty() {
            let message = "an empty literal matches everywhere".to_owned();
            faults.push(CompileError {
                index: Some(index),
                id: Some(literal.id),
                message,
            });
        } else {
            sources.push((index, literal));
        }
    }
    let key = |source: &(usize, &Literal<'_>)| (source.0, source.1.id);
    compile_sources(sources, faults, key, |sources| {
        compile_byte_strings(sources, mode)
    })
}

/// Asks the library about one expression, without compiling it.
///
/// # Errors
/// A [`CompileError`] with index 0 and id 0 if the expression is refused.
pub fn info(expression: &str, flags: Flags) -> Result<ExprInfo, CompileError> {
    info_ext(expression, flags, Ext::default())
}

fn info_ext(expression: &str, flags: Flags, ext: Ext) -> Result<ExprInfo, CompileError> {
    let fault = |message: String| CompileError {
        index: Some(0),
        id: Some(0),
        message,
    };
    if let Some(reason) = refusal(expression) {
        return Err(fault(reason.to_owned()));
    }
    let expression = CString::new(expression).map_err(|error| fault(error.to_string()))?;
    let ext = ext.to_raw();
    let mut result = ptr::null_mut();
    let mut error = ptr::null_mut();
    // SAFETY: a NUL-terminated string, extra parameters that are null or
    // alive, and places for both results.
    let code = unsafe {
        hs::hs_expression_ext_info(
            expression.as_ptr(),
            flags.bits(),
            ext.as_ref().map_or(ptr::null(), ptr::from_ref),
            &raw mut result,
            &raw mut error,
        )
    };
    // SAFETY: on success the library hands over a block from its allocator, else null.
    let result = unsafe { Malloced::own(result) };
    let Some(result) = result else {
        return Err(fault(take_error(code, error).message));
    };
    // SAFETY: the library filled the structure, which `result` keeps alive.
    let raw = unsafe { *result.as_ptr() };
    Ok(ExprInfo {
        min_width: raw.min_width,
        max_width: (raw.max_width != u32::MAX).then_some(raw.max_width),
        unordered: raw.unordered_matches != 0,
        matches_at_end: raw.matches_at_eod != 0,
        matches_only_at_end: raw.matches_only_at_eod != 0,
    })
}

/// Whether the linked library runs databases compiled for `target`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn accepts(target: Target) -> bool {
    let mut raw = ptr::null_mut();
    let mut error = ptr::null_mut();
    let platform = target.platform();
    // SAFETY: static NUL-terminated text, a live platform, places for both results.
    let code = unsafe {
        hs::hs_compile(
            c"probe".as_ptr(),
            0,
            hs::HS_MODE_BLOCK,
            platform.as_ref().map_or(ptr::null(), ptr::from_ref),
            &raw mut raw,
            &raw mut error,
        )
    };
    own_result(code, raw, error, Mode::Block)
        .is_ok_and(|probe| crate::Scratch::new(&[&probe]).is_ok())
}

/// One checked expression on its way into the library.
struct Source {
    index: usize,
    id: u32,
    flags: Flags,
    ext: Option<hs::hs_expr_ext>,
    expression: CString,
}

impl Source {
    fn key(&self) -> (usize, u32) {
        (self.index, self.id)
    }
}

/// Why one attempt failed; `at` counts within that attempt's slice.
struct Fault {
    at: Option<usize>,
    message: String,
}

/// Compiles all sources, or finds every one that is at fault.
fn compile_sources<S>(
    sources: Vec<S>,
    mut faults: Vec<CompileError>,
    key: impl Fn(&S) -> (usize, u32),
    attempt: impl Fn(&[S]) -> Result<Database, Fault>,
) -> Result<Database, Vec<CompileError>> {
    if let Err(error) = target::supported() {
        return Err(vec![CompileError::of_set(error.to_string())]);
    }
    let first = match attempt(&sources) {
        Ok(database) if faults.is_empty() => return Ok(database),
        Ok(_) => None,
        Err(fault) => Some(fault),
    };
    if let Some(fault) = first {
        search(sources, fault, &key, &attempt, &mut faults);
    }
    faults.sort_by_key(|fault| fault.index);
    Err(faults)
}

/// Finds every source at fault, given the fault of the first attempt.
///
/// A fault with a place means everything before it was read without complaint,
/// so the search goes on behind it: all such faults cost about one compile
/// together. What is left is compiled once more; a fault without a place is
/// cornered by halving.
fn search<S>(
    mut sources: Vec<S>,
    first: Fault,
    key: &impl Fn(&S) -> (usize, u32),
    attempt: &impl Fn(&[S]) -> Result<Database, Fault>,
    faults: &mut Vec<CompileError>,
) {
    let mut done = 0;
    let mut fault = Some(first);
    let mut found = false;
    while let Some(Fault {
        at: Some(at),
        message,
    }) = &fault
    {
        let at = done + *at;
        if at >= sources.len() {
            break;
        }
        faults.push(named(key(&sources.remove(at)), message.clone()));
        found = true;
        done = at;
        fault = match sources.get(done..) {
            Some([]) | None => None,
            Some(rest) => attempt(rest).err(),
        };
    }
    if found && !sources.is_empty() {
        fault = attempt(&sources).err();
    }
    if let Some(fault) = fault {
        corner(&sources, fault, key, attempt, faults);
    }
}

/// Halves a set that fails as a whole until the culprits stand alone.
fn corner<S>(
    sources: &[S],
    fault: Fault,
    key: &impl Fn(&S) -> (usize, u32),
    attempt: &impl Fn(&[S]) -> Result<Database, Fault>,
    faults: &mut Vec<CompileError>,
) {
    if let [only] = sources {
        faults.push(named(key(only), fault.message));
        return;
    }
    let (left, right) = sources.split_at(sources.len() / 2);
    let before = faults.len();
    for half in [left, right] {
        if half.is_empty() {
            continue;
        }
        if let Err(fault) = attempt(half) {
            corner(half, fault, key, attempt, faults);
        }
    }
    if faults.len() == before {
        // Each half is fine: only the whole is too much.
        faults.push(CompileError::of_set(fault.message));
    }
}

fn named((index, id): (usize, u32), message: String) -> CompileError {
    CompileError {
        index: Some(index),
        id: Some(id),
        message,
    }
}

fn count_of(length: usize) -> Result<u32, Fault> {
    u32::try_from(length).map_err(|_| Fault {
        at: None,
        message: "too many patterns".to_owned(),
    })
}

fn compile_expressions(sources: &[Source], mode: Mode) -> Result<Database, Fault> {
    let expressions: Vec<*const c_char> = sources.iter().map(|s| s.expression.as_ptr()).collect();
    let flags: Vec<u32> = sources.iter().map(|s| s.flags.bits()).collect();
    let ids: Vec<u32> = sources.iter().map(|s| s.id).collect();
    let ext: Vec<*const hs::hs_expr_ext> = sources
        .iter()
        .map(|s| s.ext.as_ref().map_or(ptr::null(), ptr::from_ref))
        .collect();
    let elements = count_of(sources.len())?;
    let platform = Target::current().platform();
    let mut raw = ptr::null_mut();
    let mut error = ptr::null_mut();
    // SAFETY: four arrays of `elements` entries, alive for the call; every
    // expression is NUL-terminated; ext entries are null or alive; the
    // platform is null or alive; places for both results.
    let code = unsafe {
        hs::hs_compile_ext_multi(
            expressions.as_ptr(),
            flags.as_ptr(),
            ids.as_ptr(),
            ext.as_ptr(),
            elements,
            mode.bits(),
            platform.as_ref().map_or(ptr::null(), ptr::from_ref),
            &raw mut raw,
            &raw mut error,
        )
    };
    own_result(code, raw, error, mode)
}

fn compile_byte_strings(sources: &[(usize, &Literal<'_>)], mode: Mode) -> Result<Database, Fault> {
    let bytes: Vec<*const c_char> = sources
        .iter()
        .map(|(_, literal)| literal.bytes.as_ptr().cast())
        .collect();
    let lengths: Vec<usize> = sources
        .iter()
        .map(|(_, literal)| literal.bytes.len())
        .collect();
    let flags: Vec<u32> = sources
        .iter()
        .map(|(_, literal)| literal.flags.bits())
        .collect();
    let ids: Vec<u32> = sources.iter().map(|(_, literal)| literal.id).collect();
    let elements = count_of(sources.len())?;
    let platform = Target::current().platform();
    let mut raw = ptr::null_mut();
    let mut error = ptr::null_mut();
    // SAFETY: four arrays of `elements` entries, alive for the call; each
    // literal is valid for its length, which is what the literal compiler
    // reads; the platform is null or alive; places for both results.
    let code = unsafe {
        hs::hs_compile_lit_multi(
            bytes.as_ptr(),
            flags.as_ptr(),
            ids.as_ptr(),
            lengths.as_ptr(),
            elements,
            mode.bits(),
            platform.as_ref().map_or(ptr::null(), ptr::from_ref),
            &raw mut raw,
            &raw mut error,
        )
    };
    own_result(code, raw, error, mode)
}

/// Takes what a compile function left behind.
fn own_result(
    code: c_int,
    raw: *mut hs::hs_database_t,
    error: *mut hs::hs_compile_error_t,
    mode: Mode,
) -> Result<Database, Fault> {
    match NonNull::new(raw) {
        // SAFETY: the compiler made it for `mode`; nobody else has the pointer.
        Some(raw) => Ok(unsafe { Database::own(raw, mode) }),
        None => Err(take_error(code, error)),
    }
}

/// Copies a compile error out of the library and frees it.
fn take_error(code: c_int, error: *mut hs::hs_compile_error_t) -> Fault {
    let Some(error) = NonNull::new(error) else {
        return Fault {
            at: None,
            message: format!("the compiler failed with code {code}"),
        };
    };
    // SAFETY: not null, so the library filled it in.
    let raw = unsafe { *error.as_ptr() };
    let message = if raw.message.is_null() {
        format!("the compiler failed with code {code}")
    } else {
        // SAFETY: a NUL-terminated string that lives until the error is freed.
        let text = unsafe { CStr::from_ptr(raw.message) };
        text.to_string_lossy().trim_end_matches('.').to_owned()
    };
    // SAFETY: the error is ours to free, once; it is not used again.
    unsafe { hs::hs_free_compile_error(error.as_ptr()) };
    Fault {
        at: usize::try_from(raw.expression).ok(),
        message,
    }
}
