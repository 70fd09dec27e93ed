//! Connections to one upstream, of one worker.
//!
//! Enter: requests that may leave. Leave: the upstream's answers, and the connections they came
//! on, to be given back. A request is sent once: only one that no byte of has left is tried again.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::settings::{HttpSettings, Place, Upstream};

/// A connection that idles longer is not used again: many servers close theirs after 5 s.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// Most idle connections kept.
const MAX_KEPT: usize = 256;

/// A connection that may carry another request.
pub(crate) type Line = http1::SendRequest<Full<Bytes>>;

/// Why the upstream did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("the server cannot be reached: {0}")]
    Connect(std::io::Error),
    #[error("the server did not accept a connection in time")]
    ConnectTimeout,
    #[error("TLS to the server is not set up")]
    NoTls,
    #[error("the server broke off: {0}")]
    Broken(hyper::Error),
}

#[derive(Debug)]
pub(crate) struct Pool {
    upstream: Upstream,
    connect: Duration,
    tls: Option<Arc<rustls::ClientConfig>>,
    idle: RefCell<Vec<(Line, Instant)>>,
}

impl Pool {
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        Self {
            upstream: settings.upstream.clone(),
            connect: settings.timeouts.connect,
            tls: settings.client_tls.clone(),
            idle: RefCell::new(Vec::new()),
        }
    }

    /// Sends `request`; the connection is to be given back once the answer has been read.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Line), Unreached> {
        loop {
            let (mut line, is_fresh) = match self.take().await {
                Some(line) => (line, false),
                None => (self.open().await?, true),
            };
            match line.try_send_request(request).await {
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
        if !line.is_closed() && idle.len() < MAX_KEPT {
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
            if line.ready().await.is_ok() {
                return Some(line);
            }
        }
    }

    async fn open(&self) -> Result<Line, Unreached> {
        match self.connect().await? {
            Stream::Plain(stream) => handshake(stream).await,
            Stream::Tls(stream) => handshake(stream).await,
            Stream::Socket(stream) => handshake(stream).await,
        }
    }

    /// A new connection to the server.
    pub(crate) async fn connect(&self) -> Result<Stream, Unreached> {
        tokio::time::timeout(self.connect, self.dial())
            .await
            .map_err(|_| Unreached::ConnectTimeout)?
    }

    async fn dial(&self) -> Result<Stream, Unreached> {
        let (host, port, is_tls) = match &self.upstream.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                return Ok(Stream::Socket(stream.map_err(Unreached::Connect)?));
            }
            Place::Host { host, port, is_tls } => (host, *port, *is_tls),
        };
        let stream = TcpStream::connect((&**host, port)).await;
        let stream = stream.map_err(Unreached::Connect)?;
        stream.set_nodelay(true).map_err(Unreached::Connect)?;
        if !is_tls {
            return Ok(Stream::Plain(stream));
        }
        let tls = self.tls.as_ref().ok_or(Unreached::NoTls)?;
        let name = ServerName::try_from(&**host).map_err(|_| Unreached::NoTls)?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name.to_owned(), stream)
            .await
            .map_err(Unreached::Connect)?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// A connection to the server.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Socket(UnixStream),
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> Result<Line, Unreached> {
    let (line, connection) = http1::Builder::new()
        .max_headers(100)
        .max_buf_size(256 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Unreached::Broken)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the server ended");
        }
    });
    Ok(line)
}
