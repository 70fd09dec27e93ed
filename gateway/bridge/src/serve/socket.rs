//! The socket that only the firewall reaches.
//!
//! Enter: a path in a directory of the caller's making. Leave: a listener that processes of this user
//! can connect to, and no others.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::process::geteuid;
use tokio::net::UnixStream;

use super::ServeError;

/// Listens on `path`, with mode 0600. The directory must be this user's and closed to all others: it is
/// what keeps them out before the mode is set. An earlier socket at `path` is an error.
///
/// # Errors
///
/// When the directory is open to others, or the socket cannot be made.
pub fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |error| ServeError::Listen {
        path: path.to_owned(),
        error,
    };
    let no_parent = || failed(io::ErrorKind::NotFound.into());
    let parent = path.parent().ok_or_else(no_parent)?;
    let directory = std::fs::symlink_metadata(parent).map_err(failed)?;
    let is_closed = directory.is_dir()
        && directory.mode() & 0o077 == 0
        && directory.uid() == geteuid().as_raw();
    if !is_closed {
        return Err(ServeError::Exposed(parent.to_owned()));
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

pub(crate) fn is_of_this_user(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == geteuid().as_raw())
}
