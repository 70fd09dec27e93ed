//! Which library is linked, and for which CPU databases are compiled.
//!
//! Left alone, the library compiles for the best unit of the CPU it runs on.
//! On CPUs with AVX-512 VBMI that was measured to miss matches, so the target
//! is always named: SSE4.2, or AVX2 where both the CPU and the linked library
//! have it. On other architectures there is one target only.

use std::ffi::CStr;
use std::sync::OnceLock;

use crate::raw::{self, hs};

/// A tested CPU target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// x86-64 with SSE4.2, the default build of the library.
    #[cfg(target_arch = "x86_64")]
    Sse42,
    /// x86-64 with AVX2, a build of the library that carries it.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The architecture's only target.
    #[cfg(not(target_arch = "x86_64"))]
    Native,
}

impl Target {
    /// The target every database of this process is compiled for.
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Target> = OnceLock::new();
        *CURRENT.get_or_init(Self::detect)
    }

    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        if std::arch::is_x86_feature_detected!("avx2") && crate::compile::accepts(Self::Avx2) {
            Self::Avx2
        } else {
            Self::Sse42
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Self {
        Self::Native
    }

    /// What the compiler is told; `None` leaves it the architecture's default.
    pub(crate) fn platform(self) -> Option<hs::hs_platform_info> {
        let cpu_features = match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sse42 => 0,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => u64::from(hs::HS_CPU_FEATURES_AVX2),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Native => return None,
        };
        Some(hs::hs_platform_info {
            tune: hs::HS_TUNE_FAMILY_GENERIC,
            cpu_features,
            reserved1: 0,
            reserved2: 0,
        })
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sse42 => "sse4.2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(not(target_arch = "x86_64"))]
            Self::Native => "native",
        }
    }
}

/// Version of the linked library and the day it was built, as it calls itself: `5.4.13 2026-08-21`.
#[must_use]
pub fn version() -> &'static str {
    // SAFETY: the function takes nothing and returns a static NUL-terminated string.
    let version = unsafe { CStr::from_ptr(hs::hs_version()) };
    version.to_str().unwrap_or("unknown")
}

/// Architecture and CPU target databases are compiled for: `x86_64-sse4.2`.
#[must_use]
pub fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, Target::current().name())
}

/// Whether this CPU can run the library at all.
pub(crate) fn supported() -> Result<(), crate::ScanError> {
    // SAFETY: the function takes nothing and only reads CPU flags.
    raw::check(unsafe { hs::hs_valid_platform() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linked_library_is_the_one_that_was_tested() {
        assert!(version().starts_with("5.4.13"), "{}", version());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_target_is_pinned() {
        let platform = Target::current().platform().unwrap();
        assert_eq!(
            platform.cpu_features & u64::from(hs::HS_CPU_FEATURES_AVX512VBMI),
            0
        );
        assert_eq!(
            platform.cpu_features & u64::from(hs::HS_CPU_FEATURES_AVX512),
            0
        );
        assert!(target().starts_with("x86_64-"));
    }
}
