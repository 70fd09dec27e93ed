//! Working memory of one scan at a time.
//!
//! Enters: the databases it must fit. Leaves: a pointer for the C calls of
//! this crate. Never shared: a scan needs `&mut Scratch`.

use std::ptr::{self, NonNull};

use crate::database::Database;
use crate::error::ScanError;
use crate::raw::{self, hs};

/// Working memory for scans, allocated once per thread or connection and reused.
///
/// One scratch may serve several databases; it has the size of the neediest
/// (95 KB for 500 patterns, 1.7 MB for 10,000). It is `Send` but not `Sync`.
/// Each database it was ever fitted to costs 8 bytes more, so after many
/// reloads of rules a fresh one is better than a grown one.
///
/// ```
/// use mcpf_vectorscan::{Flow, Mode, Pattern, Scratch, compile};
///
/// let words = compile(&[Pattern::new(7, "needle")], Mode::Block).unwrap();
/// let mut scratch = Scratch::new(&[&words]).unwrap();
/// let mut ends = Vec::new();
/// words
///     .scan(b"hay needle hay", &mut scratch, |id, end| {
///         ends.push((id, end));
///         Flow::Continue
///     })
///     .unwrap();
/// assert_eq!(ends, [(7, 10)]);
/// ```
#[derive(Debug)]
pub struct Scratch {
    /// `None` until the first database, or after an allocation failed.
    raw: Option<NonNull<hs::hs_scratch_t>>,
    /// Serial numbers of the databases it fits.
    fits: Vec<u64>,
}

// SAFETY: the memory belongs to this value alone and has no tie to a thread;
// it is used through `&mut` only.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Allocates memory that fits every database given.
    ///
    /// # Errors
    /// [`ScanError::NoMemory`], or [`ScanError::Platform`] for a database this library cannot run.
    pub fn new(databases: &[&Database]) -> Result<Self, ScanError> {
        let mut scratch = Self {
            raw: None,
            fits: Vec::with_capacity(databases.len()),
        };
        for database in databases {
            scratch.fit(database)?;
        }
        Ok(scratch)
    }

    /// Grows the memory so that it fits `database` as well. Cheap if it does already.
    ///
    /// # Errors
    /// As for [`Scratch::new`]. When memory runs out the scratch fits nothing
    /// any more, and scans with it are refused.
    pub fn fit(&mut self, database: &Database) -> Result<(), ScanError> {
        if self.fits.contains(&database.serial()) {
            return Ok(());
        }
        let mut pointer = self.raw.map_or(ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: the database is alive; `pointer` is null or our own scratch,
        // not in use because we hold `&mut self`. The call replaces it.
        let code = unsafe { hs::hs_alloc_scratch(database.as_ptr(), &raw mut pointer) };
        self.raw = NonNull::new(pointer);
        if self.raw.is_none() {
            self.fits.clear();
        }
        raw::check(code)?;
        self.fits.push(database.serial());
        Ok(())
    }

    /// Another scratch that fits the same databases.
    ///
    /// # Errors
    /// [`ScanError::NoMemory`].
    pub fn try_clone(&self) -> Result<Self, ScanError> {
        let Some(source) = self.raw else {
            return Ok(Self {
                raw: None,
                fits: Vec::new(),
            });
        };
        let mut pointer = ptr::null_mut();
        // SAFETY: `source` is a live scratch, idle because scans need `&mut`.
        raw::check(unsafe { hs::hs_clone_scratch(source.as_ptr(), &raw mut pointer) })?;
        Ok(Self {
            raw: NonNull::new(pointer),
            fits: self.fits.clone(),
        })
    }

    /// Bytes allocated.
    #[must_use]
    pub fn size(&self) -> usize {
        let Some(pointer) = self.raw else { return 0 };
        let mut size = 0;
        // SAFETY: a live scratch and a place for the result.
        let code = unsafe { hs::hs_scratch_size(pointer.as_ptr(), &raw mut size) };
        if code == raw::SUCCESS { size } else { 0 }
    }

    /// The pointer for a scan of `database`, which the scratch must fit.
    ///
    /// The library's own check is partial: a scratch that is too small for a
    /// database would be overrun, so this one decides.
    pub(crate) fn pointer_for(
        &mut self,
        database: &Database,
    ) -> Result<*mut hs::hs_scratch_t, ScanError> {
        match self.raw {
            Some(pointer) if self.fits.contains(&database.serial()) => Ok(pointer.as_ptr()),
            _ => Err(ScanError::ForeignScratch),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(pointer) = self.raw {
            // SAFETY: our own scratch, not in use, freed once.
            unsafe { hs::hs_free_scratch(pointer.as_ptr()) };
        }
    }
}
