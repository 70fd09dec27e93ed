//! `serve`: a server on stdio, offered over HTTP on a Unix socket.
//!
//! ```text
//! firewall -> exchange -> desk -> inbox -> child
//!                |                           |
//! firewall <- channel <- desk <- link <------+
//! ```
//!
//! Enter: requests of the firewall's HTTP proxy, the only one that can reach the socket. Leave: lines to
//! a child process, and its answers. Under the revisions with sessions each session has a child of its
//! own, or all share one; under 2026-07-28 all requests share one.

mod bridge;
mod channel;
mod desk;
mod exchange;
mod inbox;
mod link;
mod options;
mod out;
mod process;
mod session;
mod socket;
mod starts;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;

pub use options::{Children, Restart, Serve, ServeTimeouts};
pub use socket::listen;

use bridge::Bridge;

/// Most connections at once. Further ones wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// Largest head of a request, in bytes. 64 KiB.
const MAX_HEAD: usize = 64 * 1_024;

/// Why a server is not offered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory of the socket does not keep others out.
    #[error("the directory `{0}` must belong to this user and be closed to all others (mode 0700)")]
    Exposed(PathBuf),
    /// The socket cannot be made.
    #[error("cannot listen on `{path}`: {error}")]
    Listen {
        /// The path.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Offers [`Serve::command`] on `listener`, until `stop` is done; then all children are ended, and the
/// socket is removed.
///
/// Any path is served. Whoever connects is trusted to have inspected what it sends; only processes of
/// this user are let in. A child that fails is no error: whoever waits for it is told.
///
/// To be run on a current-thread runtime with I/O and time; it keeps its tasks to itself. Dropped
/// before its end, it kills all children at once.
///
/// # Errors
///
/// When the listener cannot be used.
pub async fn serve(
    listener: StdListener,
    options: Serve,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let path = listener.local_addr().ok();
    let path = path.and_then(|address| address.as_pathname().map(PathBuf::from));
    let unusable = |error| ServeError::Listen {
        path: path.clone().unwrap_or_default(),
        error,
    };
    listener.set_nonblocking(true).map_err(unusable)?;
    let listener = UnixListener::from_std(listener).map_err(unusable)?;
    let bridge = Rc::new(Bridge::new(options));
    let local = LocalSet::new();
    local
        .run_until(async {
            tokio::select! {
                () = accept(&bridge, &listener) => {}
                () = stop => {}
            }
            drop(listener);
            if let Some(path) = &path
                && let Err(error) = std::fs::remove_file(path)
            {
                tracing::debug!(%error, "the socket was gone already");
            }
            bridge.end().await;
        })
        .await;
    Ok(())
}

async fn accept(bridge: &Rc<Bridge>, listener: &UnixListener) {
    let room = Rc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    tokio::task::spawn_local(bridge::sweep(Rc::downgrade(bridge)));
    loop {
        let Ok(_free) = room.acquire().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of descriptors, most likely: some will be free in a moment.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        if !socket::is_of_this_user(&stream) {
            tracing::warn!("a process of another user tried to connect");
            continue;
        }
        let (bridge, room) = (Rc::clone(bridge), Rc::clone(&room));
        tokio::task::spawn_local(async move {
            let _held = room.acquire().await;
            connection(bridge, stream).await;
        });
    }
}

async fn connection(bridge: Rc<Bridge>, stream: UnixStream) {
    let service = service_fn(|request| {
        let bridge = Rc::clone(&bridge);
        async move { Ok::<_, Infallible>(exchange::answer(&bridge, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bridge.options.timeouts.idle)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
