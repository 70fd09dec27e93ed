//! Scans of data that arrives in chunks.
//!
//! Enters: chunks in order. Leaves: match ends as offsets from the start of
//! the stream. Never buffers the data: the library keeps what it needs.

use std::ffi::c_char;
use std::ptr::{self, NonNull};

use crate::database::Database;
use crate::error::ScanError;
use crate::pattern::Mode;
use crate::raw::{self, hs};
use crate::relay::{self, Flow, Outcome};
use crate::scratch::Scratch;

/// One open stream over a database of [`Mode::Stream`].
///
/// Holds the database. Its own state is 0.9 KB for 400 patterns, 12.7 KB for
/// 10,000 ([`Database::stream_size`]). Dropping it frees that state and reports
/// nothing; matches that only the end of the data completes need [`StreamScanner::close`].
#[derive(Debug)]
pub struct StreamScanner {
    raw: NonNull<hs::hs_stream_t>,
    database: Database,
}

// SAFETY: the state belongs to this value alone, is used through `&mut` only,
// and the database it points into is `Sync` and held by `database`.
unsafe impl Send for StreamScanner {}

impl StreamScanner {
    /// Opens a stream.
    ///
    /// # Errors
    /// [`ScanError::WrongMode`] for a block database, [`ScanError::NoMemory`].
    pub fn open(database: &Database) -> Result<Self, ScanError> {
        if database.mode() != Mode::Stream {
            return Err(ScanError::WrongMode);
        }
        let mut pointer = ptr::null_mut();
        // SAFETY: a live database and a place for the result.
        raw::check(unsafe { hs::hs_open_stream(database.as_ptr(), 0, &raw mut pointer) })?;
        let raw = NonNull::new(pointer).ok_or(ScanError::NoMemory)?;
        Ok(Self {
            raw,
            database: database.clone(),
        })
    }

    /// Scans the next chunk. Offsets count from the start of the stream.
    ///
    /// Once `on_match` has stopped the stream (or panicked), later chunks are
    /// not looked at and give [`Outcome::Stopped`] until [`StreamScanner::reset`].
    ///
    /// # Errors
    /// [`ScanError::TooLong`] for a chunk beyond `u32::MAX` bytes,
    /// [`ScanError::ForeignScratch`] for a scratch that does not fit.
    pub fn write(
        &mut self,
        scratch: &mut Scratch,
        chunk: &[u8],
        mut on_match: impl FnMut(u32, u64) -> Flow,
    ) -> Result<Outcome, ScanError> {
        let length = u32::try_from(chunk.len()).map_err(|_| ScanError::TooLong {
            length: chunk.len(),
        })?;
        let scratch = scratch.pointer_for(&self.database)?;
        relay::run(
            |report| on_match(report.id, report.end),
            // SAFETY: the stream is open and ours; `chunk` is valid for `length`
            // bytes and never null; the scratch fits the stream's database and is
            // borrowed mutably by our caller; handler and context come from `relay::run`.
            |handler, context| unsafe {
                hs::hs_scan_stream(
                    self.raw.as_ptr(),
                    chunk.as_ptr().cast::<c_char>(),
                    length,
                    0,
                    scratch,
                    handler,
                    context,
                )
            },
        )
    }

    /// Ends the data, reports the matches that only the end completes (such as
    /// a final `\b`), and makes the stream ready for new data from offset 0.
    ///
    /// # Errors
    /// [`ScanError::ForeignScratch`] for a scratch that does not fit.
    pub fn reset(
        &mut self,
        scratch: &mut Scratch,
        mut on_match: impl FnMut(u32, u64) -> Flow,
    ) -> Result<Outcome, ScanError> {
        let scratch = scratch.pointer_for(&self.database)?;
        relay::run(
            |report| on_match(report.id, report.end),
            // SAFETY: the stream is open and ours; the scratch fits its database
            // and is borrowed mutably by our caller; handler and context come
            // from `relay::run`.
            |handler, context| unsafe {
                hs::hs_reset_stream(self.raw.as_ptr(), 0, scratch, handler, context)
            },
        )
    }

    /// Ends the data as [`StreamScanner::reset`] does, and frees the stream.
    ///
    /// # Errors
    /// As for [`StreamScanner::reset`]; the stream is freed all the same.
    pub fn close(
        mut self,
        scratch: &mut Scratch,
        on_match: impl FnMut(u32, u64) -> Flow,
    ) -> Result<Outcome, ScanError> {
        // The library's own close frees the stream on some errors and not on
        // others; a reset followed by the drop frees it exactly once.
        self.reset(scratch, on_match)
    }
}

impl Drop for StreamScanner {
    fn drop(&mut self) {
        // SAFETY: the stream is open, ours, and freed once; without a callback
        // the library asks for no scratch. `database` is dropped after this.
        unsafe { hs::hs_close_stream(self.raw.as_ptr(), ptr::null_mut(), None, ptr::null_mut()) };
    }
}
