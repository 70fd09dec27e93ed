//! The compiled form of a set of patterns, and the block scan.
//!
//! Enters: a pointer the compiler made. Leaves: match ends. Never changes
//! after it is made, so any number of threads may scan with it.

use std::ffi::c_char;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::ScanError;
use crate::pattern::Mode;
use crate::raw::{self, Malloced, hs};
use crate::relay::{self, Flow, Outcome};
use crate::scratch::Scratch;

/// An immutable set of compiled patterns. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    raw: NonNull<hs::hs_database_t>,
    mode: Mode,
    /// Unique in this process; a scratch remembers the databases it fits by it.
    serial: u64,
}

// SAFETY: a database is never written after it is made, and freeing it has no tie to a thread.
unsafe impl Send for Inner {}
// SAFETY: as above; the library documents databases as shareable between threads.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the last owner; streams hold a clone, so none is open.
        unsafe { hs::hs_free_database(self.raw.as_ptr()) };
    }
}

impl Database {
    /// Takes ownership of a database.
    ///
    /// # Safety
    /// `raw` must be a valid database of `mode` from this library's compile or
    /// deserialise functions, owned by nobody else.
    pub(crate) unsafe fn own(raw: NonNull<hs::hs_database_t>, mode: Mode) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self {
            inner: Arc::new(Inner { raw, mode, serial }),
        }
    }

    pub(crate) fn as_ptr(&self) -> *const hs::hs_database_t {
        self.inner.raw.as_ptr()
    }

    pub(crate) fn serial(&self) -> u64 {
        self.inner.serial
    }

    /// The mode it was compiled for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.inner.mode
    }

    /// Bytes of memory it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let mut size = 0;
        // SAFETY: a live database and a place for the result.
        let code = unsafe { hs::hs_database_size(self.as_ptr(), &raw mut size) };
        if code == raw::SUCCESS { size } else { 0 }
    }

    /// Bytes of state one open stream takes.
    ///
    /// # Errors
    /// [`ScanError::WrongMode`] for a block database.
    pub fn stream_size(&self) -> Result<usize, ScanError> {
        let mut size = 0;
        // SAFETY: a live database and a place for the result.
        raw::check(unsafe { hs::hs_stream_size(self.as_ptr(), &raw mut size) })?;
        Ok(size)
    }

    /// Scans `data` and calls `on_match` with the pattern's id and the offset,
    /// in bytes, just after the match — for **every** end a pattern has, not
    /// only the longest. Ends come in order, but for patterns of which
    /// [`crate::ExprInfo::unordered`] holds.
    ///
    /// A panic in `on_match` ends the scan and goes on from here.
    ///
    /// # Errors
    /// [`ScanError::TooLong`] beyond `u32::MAX` bytes; [`ScanError::ForeignScratch`]
    /// if `scratch` was not fitted to this database; [`ScanError::WrongMode`]
    /// for a stream database.
    pub fn scan(
        &self,
        data: &[u8],
        scratch: &mut Scratch,
        mut on_match: impl FnMut(u32, usize) -> Flow,
    ) -> Result<Outcome, ScanError> {
        self.scan_spans(data, scratch, |id, span| on_match(id, span.end))
    }

    /// As [`Database::scan`], with the whole span. Its start is the leftmost
    /// one for patterns with [`crate::Flags::SOM_LEFTMOST`] and 0 for all others.
    ///
    /// # Errors
    /// As for [`Database::scan`].
    pub fn scan_spans(
        &self,
        data: &[u8],
        scratch: &mut Scratch,
        mut on_match: impl FnMut(u32, Range<usize>) -> Flow,
    ) -> Result<Outcome, ScanError> {
        let length =
            u32::try_from(data.len()).map_err(|_| ScanError::TooLong { length: data.len() })?;
        let scratch = scratch.pointer_for(self)?;
        relay::run(
            // Offsets are at most `length`, which came from a `usize`.
            |report| on_match(report.id, offset(report.start)..offset(report.end)),
            // SAFETY: the database is alive; `data` is valid for `length` bytes
            // and never null; the scratch fits this database and is borrowed
            // mutably by our caller; handler and context come from `relay::run`.
            |handler, context| unsafe {
                hs::hs_scan(
                    self.as_ptr(),
                    data.as_ptr().cast::<c_char>(),
                    length,
                    0,
                    scratch,
                    handler,
                    context,
                )
            },
        )
    }

    /// The database as bytes, for [`Database::deserialize`].
    ///
    /// # Errors
    /// [`ScanError::NoMemory`].
    pub fn serialize(&self) -> Result<Vec<u8>, ScanError> {
        let mut bytes: *mut c_char = ptr::null_mut();
        let mut length = 0;
        // SAFETY: a live database and places for both results.
        let code =
            unsafe { hs::hs_serialize_database(self.as_ptr(), &raw mut bytes, &raw mut length) };
        // SAFETY: on success the library hands over a block from its allocator, else null.
        let bytes = unsafe { Malloced::own(bytes) };
        raw::check(code)?;
        let bytes = bytes.ok_or(ScanError::NoMemory)?;
        // SAFETY: the block is alive and holds `length` bytes that the library wrote.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<u8>(), length) };
        Ok(bytes.to_vec())
    }

    /// Reads a database back.
    ///
    /// The library checks length, version, target and a CRC-32, so damage by
    /// accident is refused; damage on purpose is not. [`crate::load_or_compile`]
    /// is the safe way in.
    ///
    /// # Safety
    /// `bytes` must be what [`Database::serialize`] returned, unchanged since,
    /// or fail the checks above: the library runs the program they contain
    /// without checking it.
    ///
    /// # Errors
    /// [`ScanError::Platform`] for another version or target, [`ScanError::Failed`]
    /// for bytes that are no database, [`ScanError::UnsupportedCpu`], [`ScanError::NoMemory`].
    pub unsafe fn deserialize(bytes: &[u8]) -> Result<Self, ScanError> {
        crate::target::supported()?;
        let mut raw_database = ptr::null_mut();
        // SAFETY: `bytes` is valid for its length; the library copies from it.
        let code = unsafe {
            hs::hs_deserialize_database(
                bytes.as_ptr().cast::<c_char>(),
                bytes.len(),
                &raw mut raw_database,
            )
        };
        raw::check(code)?;
        let raw_database = NonNull::new(raw_database).ok_or(ScanError::NoMemory)?;
        // SAFETY: a fresh database nobody else owns. The mode is corrected below;
        // until then no scan can run.
        let mut database = unsafe { Self::own(raw_database, Mode::Block) };
        let mode = database.compiled_mode()?;
        if let Some(inner) = Arc::get_mut(&mut database.inner) {
            inner.mode = mode;
        }
        Ok(database)
    }

    /// The mode the library itself recorded.
    fn compiled_mode(&self) -> Result<Mode, ScanError> {
        let mut text: *mut c_char = ptr::null_mut();
        // SAFETY: a live database and a place for the result.
        let code = unsafe { hs::hs_database_info(self.as_ptr(), &raw mut text) };
        // SAFETY: on success the library hands over a block from its allocator, else null.
        let text = unsafe { Malloced::own(text) };
        raw::check(code)?;
        let text = text.ok_or(ScanError::NoMemory)?;
        // SAFETY: the library wrote a NUL-terminated string.
        let text = unsafe { text.text() };
        match text.rsplit_once("Mode: ").map(|(_, mode)| mode.trim()) {
            Some("BLOCK") => Ok(Mode::Block),
            Some("STREAM") => Ok(Mode::Stream),
            _ => Err(ScanError::WrongMode),
        }
    }
}

fn offset(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
