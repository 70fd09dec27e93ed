//! Connections to the server.
//!
//! Enter: requests. Leave: the heads of answers, and the connections that they came on, to be given back
//! once the rest was read. A request is sent once: only one of which no byte has left is tried again.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::target::Target;

/// A connection that idles longer is not used again: many servers close theirs after 5 s.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// Most idle connections kept.
const MAX_KEPT: usize = 16;
/// Largest head of an answer, in bytes. 256 KiB.
const MAX_HEAD: usize = 256 * 1_024;
/// Most fields in the head of an answer.
const MAX_FIELDS: usize = 100;

/// Why the server did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("the server cannot be reached: {0}; check that it runs, and the address")]
    Connect(io::Error),
    #[error("the server did not accept a connection within {} s; check the address", .0.as_secs())]
    Timeout(Duration),
    #[error("the server broke off the connection: {0}; try again")]
    Broken(hyper::Error),
}

/// Told once all bytes of a request were handed to the system.
pub(crate) type Sent = oneshot::Sender<()>;

/// A request's body: one message, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    data: Option<Bytes>,
    sent: Rc<Notice>,
}

#[derive(Debug, Default)]
struct Notice {
    is_taken: Cell<bool>,
    sent: RefCell<Option<Sent>>,
}

impl Parcel {
    pub(crate) fn new(data: Bytes, sent: Option<Sent>) -> Self {
        Self {
            data: Some(data).filter(|data| !data.is_empty()),
            sent: Rc::new(Notice {
                is_taken: Cell::new(false),
                sent: RefCell::new(sent),
            }),
        }
    }
}

impl Body for Parcel {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.sent.is_taken.set(true);
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// A stream that tells when what was written has left.
#[derive(Debug)]
struct Watched<S> {
    stream: S,
    under_way: Rc<RefCell<Option<Rc<Notice>>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once it has written all that it holds; a body that it has taken is then gone too.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        let mut under_way = self.under_way.borrow_mut();
        if under_way.as_ref().is_some_and(|n| n.is_taken.get())
            && let Some(sent) = under_way
                .take()
                .and_then(|notice| notice.sent.borrow_mut().take())
        {
            let _nobody_waits = sent.send(());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection that may carry another request.
pub(crate) struct Line {
    sender: http1::SendRequest<Parcel>,
    under_way: Rc<RefCell<Option<Rc<Notice>>>>,
}

/// All connections to one server.
pub(crate) struct Wire {
    target: Target,
    connect: Duration,
    idle: RefCell<Vec<(Line, Instant)>>,
}

impl Wire {
    pub(crate) const fn new(target: Target, connect: Duration) -> Self {
        Self {
            target,
            connect,
            idle: RefCell::new(Vec::new()),
        }
    }

    /// Sends `request`; the connection is to be given back once the answer has been read.
    pub(crate) async fn send(
        &self,
        mut request: Request<Parcel>,
    ) -> Result<(Response<Incoming>, Line), Unreached> {
        loop {
            let (mut line, is_fresh) = match self.take().await {
                Some(line) => (line, false),
                None => (self.open().await?, true),
            };
            *line.under_way.borrow_mut() = Some(Rc::clone(&request.body().sent));
            match line.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, line)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_fresh => request = unsent,
                    _ => return Err(Unreached::Broken(error.into_error())),
                },
            }
        }
    }

    /// Keeps a connection whose last answer has been read to its end.
    pub(crate) fn give_back(&self, line: Line) {
        let mut idle = self.idle.borrow_mut();
        if !line.sender.is_closed() && idle.len() < MAX_KEPT {
            idle.push((line, Instant::now()));
        }
    }

    async fn take(&self) -> Option<Line> {
        loop {
            // Last in, first out: the others grow old and are closed.
            let (mut line, since) = self.idle.borrow_mut().pop()?;
            if since.elapsed() > MAX_IDLE {
                self.idle.borrow_mut().clear();
                return None;
            }
            if line.sender.ready().await.is_ok() {
                return Some(line);
            }
        }
    }

    /// TLS would go between the two steps: [`shake`] takes any stream.
    async fn open(&self) -> Result<Line, Unreached> {
        let address = (&*self.target.host, self.target.port);
        let stream = tokio::time::timeout(self.connect, TcpStream::connect(address))
            .await
            .map_err(|_| Unreached::Timeout(self.connect))?
            .map_err(Unreached::Connect)?;
        stream.set_nodelay(true).map_err(Unreached::Connect)?;
        shake(stream).await
    }
}

async fn shake<S>(stream: S) -> Result<Line, Unreached>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let under_way = Rc::default();
    let watched = Watched {
        stream,
        under_way: Rc::clone(&under_way),
    };
    let (sender, connection) = http1::Builder::new()
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(watched))
        .await
        .map_err(Unreached::Broken)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the server ended");
        }
    });
    Ok(Line { sender, under_way })
}
