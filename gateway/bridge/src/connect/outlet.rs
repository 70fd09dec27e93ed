//! Lines to the client.
//!
//! Enter: messages, from any task. Leave: whole lines, one after the other. A client that does not read
//! holds up those who have something to say.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::Client;

/// Messages that may wait for a client that reads slowly. Each holds at most `limits.max_frame` bytes.
const WAITING: usize = 16;

/// How long the last messages may take to reach a client that does not read. 5 s.
pub(crate) const FLUSH: Duration = Duration::from_secs(5);

enum Word {
    Line(Bytes),
    End,
}

/// Where messages for the client go.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(mpsc::Sender<Word>);

/// The task that writes them. Ends by itself only when the client is gone.
pub(crate) struct Writing(JoinHandle<io::Result<()>>);

impl Outlet {
    pub(crate) fn open<O: AsyncWrite + Unpin + 'static>(output: O) -> (Self, Writing) {
        let (outlet, words) = mpsc::channel(WAITING);
        (
            Self(outlet),
            Writing(tokio::task::spawn_local(write(output, words))),
        )
    }

    /// Says `line`, which has no line end, when there is room. Nothing happens once the client is gone.
    pub(crate) async fn say(&self, line: Bytes) {
        let _gone = self.0.send(Word::Line(line)).await;
    }
}

impl Writing {
    /// Writes what was said until now, and no more.
    pub(crate) async fn end(self, client: &Client) -> io::Result<()> {
        let ended = tokio::time::timeout(FLUSH, async {
            let _gone = client.outlet().0.send(Word::End).await;
            self.await
        });
        ended.await.unwrap_or_else(|_| {
            let why = "the client does not read";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl Future for Writing {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(ended.unwrap_or_else(|error| Err(io::Error::other(error))))
    }
}

async fn write<O: AsyncWrite + Unpin>(
    mut output: O,
    mut words: mpsc::Receiver<Word>,
) -> io::Result<()> {
    while let Some(Word::Line(line)) = words.recv().await {
        output.write_all(&line).await?;
        output.write_all(b"\n").await?;
        if words.is_empty() {
            output.flush().await?;
        }
    }
    output.flush().await
}
