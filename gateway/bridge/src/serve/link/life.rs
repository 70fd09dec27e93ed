//! A child from its start to its end.
//!
//! Enter: a process and its pipes. Leave: lines for the link, and at last the news that there are no
//! more. Whatever becomes of the child, its process group ends with it.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use mcpf_wire::LineFramer;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::{End, Link};
use crate::envelope::Odd;
use crate::serve::process::{Pipes, Process};

/// How long the output of a child that has ended may still be read, and how long one that closed its
/// output may take to end. 500 ms.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs a child to its end.
pub(super) async fn live(link: Rc<Link>, mut process: Process, pipes: Pipes) {
    let writing = {
        let link = Rc::clone(&link);
        tokio::task::spawn_local(async move {
            if let Err(error) = link.inbox.write(pipes.stdin).await {
                tracing::debug!(%error, "the server closed its input");
                link.inbox.close();
            }
        })
    };
    let mut ending = link.ending.subscribe();
    let mut reading = pin!(read(&link, pipes.stdout));
    let mut is_read = false;
    let end = tokio::select! {
        () = &mut reading => {
            is_read = true;
            let ended = tokio::time::timeout(LAST_WORDS, process.ended()).await;
            End::Failed(ended.unwrap_or_else(|_| "the server closed its output".to_owned()))
        }
        how = process.ended() => {
            // What it wrote last is still in the pipe; a grandchild may hold the pipe open.
            is_read = tokio::time::timeout(LAST_WORDS, &mut reading).await.is_ok();
            End::Failed(how)
        }
        _ = ending.wait_for(|ending| *ending) => End::Asked,
    };
    link.ended(&end);
    let (grace, term_grace) = (
        link.options.timeouts.grace,
        link.options.timeouts.term_grace,
    );
    let mut dying = pin!(async move {
        // Its input is closed once all was written, or after a while, if it does not read.
        let abort = writing.abort_handle();
        if tokio::time::timeout(grace, writing).await.is_err() {
            abort.abort();
        }
        process.end(grace, term_grace).await;
    });
    if !is_read {
        // It may want to write before it ends.
        tokio::select! {
            () = &mut dying => return,
            () = reading => {}
        }
    }
    dying.await;
}

/// Reads lines of the child until it closes its output.
async fn read(link: &Link, mut stdout: pipe::Receiver) {
    let limits = link.options.limits;
    let mut framer = LineFramer::new(limits.max_frame);
    loop {
        while let Some(frame) = framer.next_frame() {
            match frame {
                Ok(range) => {
                    let line = Bytes::copy_from_slice(framer.frame(range));
                    link.route(line).await;
                }
                Err(error) => {
                    let refusal = error.refusal(&limits);
                    link.odd(Odd {
                        line: None,
                        id: refusal.id.known().cloned(),
                        shape: refusal.shape,
                        code: refusal.code,
                    })
                    .await;
                }
            }
        }
        match stdout.read(framer.space()).await {
            Ok(0) => return,
            Ok(read) => framer.advance(read),
            Err(error) => {
                tracing::debug!(%error, "the server's output failed");
                return;
            }
        }
    }
}
