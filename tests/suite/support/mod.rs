//! What the suites share: the built program, sessions with it, directories that go away.

mod dir;
mod http;
mod http2;
mod program;
mod proxy;
mod session;
mod upstream;

pub(crate) use dir::Dir;
pub(crate) use http::{Ask, Client, PATIENCE, Reply, message_of};
pub(crate) use http2::{Http2, Outcome};
pub(crate) use program::{CACHE, fake_peer, program};
pub(crate) use proxy::{Gateway, Proxy};
pub(crate) use session::{
    Session, Wrap, call, clean, initialize, log_files, records, request, verify,
};
pub(crate) use upstream::{Peer, Seen, Silent, Upstream};

use std::time::{Duration, Instant};

/// Waits until `is` holds, at most `limit`; tells whether it came to hold.
pub(crate) fn eventually(limit: Duration, mut is: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if is() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
