//! The audit's Ed25519 key: made on first use, kept in a file only its owner can read.
//!
//! A state directory enters; a key that signs leaves, and the public half is put beside it for
//! whoever verifies. The private key never leaves the process, is never logged, and is never
//! replaced: a damaged or readable-by-others key file is an error, not a reason to make a new key.

use crate::bytes::{hex, push_hex, unhex32};
use crate::files::{self, FileError};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Name of the private key file: the 32-byte seed in hex, mode 0600.
pub const KEY_FILE: &str = "audit.key";
/// Name of the public key file: 32 bytes in hex, mode 0644.
pub const PUBLIC_KEY_FILE: &str = "audit.pub";

/// The key that signs records. Cloning shares it.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl SigningKey {
    /// The key in `<state>/audit.key`; makes the directory (0700) and the key when there is none.
    ///
    /// Two processes that start at once end up with the same key.
    ///
    /// # Errors
    /// When the key file is a link, belongs to someone else, can be read by group or others, or
    /// does not hold a key; when `audit.pub` holds another key; when the files cannot be read or
    /// made durable.
    pub fn load_or_create(state: &Path) -> Result<Self, KeyError> {
        files::private_dir(state)?;
        let path = state.join(KEY_FILE);
        let key = match Self::load(&path) {
            Err(KeyError::File(error)) if error.is_missing() => {
                let mut seed = [0; 32];
                aws_lc_rs::rand::fill(&mut seed).map_err(|_| KeyError::Random)?;
                let mut text = Vec::with_capacity(65);
                push_hex(&mut text, &seed);
                text.push(b'\n');
                files::create_whole(&path, &text, 0o600)?;
                // Read back: if another process was first, its key is the one.
                Self::load(&path)?
            }
            other => other?,
        };
        key.publish(&state.join(PUBLIC_KEY_FILE))?;
        Ok(key)
    }

    /// The key in the file `path`.
    ///
    /// # Errors
    /// When the file is missing, a link, someone else's, readable by group or others, or not a key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = files::read_private(path, 65)?;
        let seed = text
            .strip_suffix(b"\n")
            .and_then(unhex32)
            .ok_or_else(|| KeyError::NotAKey(path.to_owned()))?;
        Self::from_seed(&seed)
    }

    /// The key with this seed.
    ///
    /// # Errors
    /// When the library refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Refused)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| KeyError::Refused)?;
        Ok(Self {
            pair: Arc::new(pair),
            public: PublicKey(public),
        })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn sign(&self, hash: &[u8; 32]) -> [u8; 64] {
        let signature = self.pair.sign(hash);
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(signature.as_ref()) {
            *to = *from;
        }
        bytes
    }

    fn publish(&self, path: &Path) -> Result<(), KeyError> {
        match PublicKey::load(path) {
            Ok(known) if known == self.public => Ok(()),
            Ok(_) => Err(KeyError::Mismatch(path.to_owned())),
            Err(KeyError::File(error)) if error.is_missing() => {
                files::create_whole(path, format!("{}\n", self.public).as_bytes(), 0o644)?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

/// The key that verifies. Shown and read as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub(crate) [u8; 32]);

impl PublicKey {
    /// The key that `text` spells.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        unhex32(text.as_bytes()).map(Self)
    }

    /// The key's 32 bytes (RFC 8032).
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key in the file `path`, as `audit.pub` holds it. A private key file is refused.
    ///
    /// # Errors
    /// When the file cannot be read or holds anything but 64 hex digits and a line end.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = files::read_small(path, 66)?;
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let is_private = path.file_name().is_some_and(|name| name == KEY_FILE);
        match unhex32(text) {
            Some(bytes) if !is_private => Ok(Self(bytes)),
            _ => Err(KeyError::NotAKey(path.to_owned())),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is missing, unsafe or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds something else.
    #[error("`{}` does not hold a key (64 lower-case hex digits and a line end)", .0.display())]
    NotAKey(std::path::PathBuf),
    /// The public key beside the private one is not its other half.
    #[error("`{}` does not belong to the private key beside it; restore it, or remove it if you know why it differs", .0.display())]
    Mismatch(std::path::PathBuf),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a new key")]
    Random,
    /// The library refused the key.
    #[error("the signature library refused the key")]
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn made_once_and_kept() {
        let scratch = Scratch::new();
        let state = scratch.path().join("state");
        let first = SigningKey::load_or_create(&state).unwrap();
        let again = SigningKey::load_or_create(&state).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(
            PublicKey::load(&state.join(PUBLIC_KEY_FILE)).unwrap(),
            first.public()
        );
        assert_eq!(
            (
                mode(&state),
                mode(&state.join(KEY_FILE)),
                mode(&state.join(PUBLIC_KEY_FILE))
            ),
            (0o700, 0o600, 0o644)
        );
        assert!(PublicKey::load(&state.join(KEY_FILE)).is_err());
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 2);
    }

    #[test]
    fn racing_processes_agree() {
        let scratch = Scratch::new();
        let state = scratch.path().join("state");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| SigningKey::load_or_create(&state).unwrap().public()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn unsafe_or_broken_files_are_refused() {
        let scratch = Scratch::new();
        let state = scratch.path().join("state");
        SigningKey::load_or_create(&state).unwrap();
        let path = state.join(KEY_FILE);
        for bits in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(bits)).unwrap();
            assert!(SigningKey::load_or_create(&state).is_err(), "{bits:o}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(state.join(PUBLIC_KEY_FILE), format!("{}\n", hex(&[7; 32]))).unwrap();
        assert!(matches!(
            SigningKey::load_or_create(&state),
            Err(KeyError::Mismatch(_))
        ));
        std::fs::remove_file(state.join(PUBLIC_KEY_FILE)).unwrap();
        for content in [
            "",
            "\n",
            "zz",
            &format!("{}\n\n", hex(&[7; 32])),
            &hex(&[0xAB; 32]).to_uppercase(),
        ] {
            std::fs::write(&path, content).unwrap();
            assert!(SigningKey::load_or_create(&state).is_err(), "{content:?}");
        }
        std::fs::rename(&path, state.join("real")).unwrap();
        std::os::unix::fs::symlink("real", &path).unwrap();
        assert!(SigningKey::load_or_create(&state).is_err());
    }
}
