//! The C edge: result codes, and memory the C library hands over.
//!
//! Enters: raw return codes and `malloc`ed pointers. Leaves: Rust errors and
//! owned guards. Never calls a scan function.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;

pub(crate) use kingfisher_vectorscan_sys as hs;

use crate::error::ScanError;

/// `HS_SUCCESS`, which the bindings declare with another type than the codes it is compared with.
pub(crate) const SUCCESS: c_int = 0;

unsafe extern "C" {
    /// The C library's `free`: Vectorscan's default allocator for results is `malloc`,
    /// and this crate never installs another one.
    fn free(pointer: *mut c_void);
}

/// Turns a result code of a run-time function into an error.
pub(crate) fn check(code: c_int) -> Result<(), ScanError> {
    match code {
        SUCCESS => Ok(()),
        hs::HS_NOMEM => Err(ScanError::NoMemory),
        hs::HS_DB_VERSION_ERROR | hs::HS_DB_PLATFORM_ERROR => Err(ScanError::Platform),
        hs::HS_ARCH_ERROR => Err(ScanError::UnsupportedCpu),
        hs::HS_DB_MODE_ERROR => Err(ScanError::WrongMode),
        code => Err(ScanError::Failed { code }),
    }
}

/// A block of memory that the C library allocated and the caller must free.
pub(crate) struct Malloced<T>(NonNull<T>);

impl<T> Malloced<T> {
    /// Takes ownership of `pointer`; `None` if it is null.
    ///
    /// # Safety
    /// A pointer that is not null must come from the library's default
    /// allocator and must not be freed by anyone else.
    pub(crate) unsafe fn own(pointer: *mut T) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    pub(crate) fn as_ptr(&self) -> *const T {
        self.0.as_ptr()
    }
}

impl Malloced<c_char> {
    /// Copies the text out.
    ///
    /// # Safety
    /// The block must hold a NUL-terminated string.
    pub(crate) unsafe fn text(&self) -> String {
        // SAFETY: the caller promises a NUL-terminated string, alive as long as `self`.
        let text = unsafe { CStr::from_ptr(self.as_ptr()) };
        text.to_string_lossy().into_owned()
    }
}

impl<T> Drop for Malloced<T> {
    fn drop(&mut self) {
        // SAFETY: `own`'s caller gave us the only pointer to a malloc'ed block.
        unsafe { free(self.0.as_ptr().cast()) };
    }
}
