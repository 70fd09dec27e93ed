//! `connect`: a client on stdio, a server over HTTP.
//!
//! ```text
//! stdin -> feed -> client -> exchange -> wire -> server
//!                     |                            |
//! stdout <- outlet <- deliver <- events <----------+
//! ```
//!
//! Enter: lines. Leave: lines, and for each request among those that entered exactly one answer. All
//! revisions are spoken: without sessions (2026-07-28), with (2025-03-26 to 2025-11-25), and the two
//! endpoints of 2024-11-05 where a server offers nothing newer.

mod client;
mod deliver;
mod ending;
mod events;
mod exchange;
mod feed;
mod old;
mod options;
mod outlet;
mod request;
mod session;
mod stdio;
mod stream;
mod target;
mod wire;

use std::future::Future;
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::LocalSet;

pub use options::{Connect, ConnectTimeouts, Field, FieldError, Retry};
pub use stdio::connect_stdio;
pub use target::{Target, TargetError};

use client::Client;
use feed::Feed;
use outlet::Outlet;

/// Why a connection between stdio and HTTP ended other than by the client's will.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The client's messages cannot be read.
    #[error("cannot read the client's messages: {0}")]
    Input(io::Error),
    /// The client does not take its messages.
    #[error("cannot write to the client: {0}")]
    Output(io::Error),
}

/// Carries the lines of `input` to the server at [`Connect::target`], and what the server says to
/// `output`, until `input` or `output` ends or `stop` is done.
///
/// At the end, requests under way are waited for as long as [`ConnectTimeouts::drain`] (not at all
/// after `stop`), the rest are answered with errors, and the session is ended with DELETE. A server
/// that fails is no error: each request says so to the client.
///
/// To be run on a current-thread runtime with I/O and time; it keeps its tasks to itself.
///
/// # Errors
///
/// When `input` cannot be read or `output` cannot be written.
pub async fn connect<I, O>(
    options: Connect,
    input: I,
    output: O,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectError>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin + 'static,
{
    let local = LocalSet::new();
    local.run_until(run(options, input, output, stop)).await
}

async fn run<I, O>(
    options: Connect,
    input: I,
    output: O,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectError>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin + 'static,
{
    let (outlet, mut writing) = Outlet::open(output);
    let feed = Feed::new(input, &options.limits);
    let client = Rc::new(Client::new(options, outlet));
    let (outcome, is_patient) = tokio::select! {
        outcome = client.talk(feed) => (outcome, true),
        () = stop => (Ok(()), false),
        written = &mut writing => {
            client.leave(false).await;
            return written.map_err(ConnectError::Output);
        }
    };
    client.leave(is_patient).await;
    let written = writing.end(&client).await;
    outcome.and(written.map_err(ConnectError::Output))
}
