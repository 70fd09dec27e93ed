//! The upstream: the fastest MCP server there is.
//!
//! Enter: requests as any gateway may write them. Leave: answers made beforehand, but for the id. Never: a
//! session, an event stream, or work that would hide what a gateway costs.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::message::{ANSWER_HEAD, REVISION, TOOL, answer_tail};

/// A running upstream; it ends when this is dropped.
///
/// `POST /mcp` answers `initialize` (without a session), `notifications/*` with 202, `tools/list` with one
/// tool, `text`, and `tools/call` of it with as many bytes of prose as its argument `size` says.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    workers: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Upstream {
    /// Listens at `address` with a thread for each worker; port 0 takes a free one. The system spreads the
    /// connections over the workers.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened at.
    pub fn start(address: SocketAddr, workers: NonZeroUsize) -> io::Result<Self> {
        let mut upstream = Self {
            address,
            workers: Vec::new(),
        };
        for number in 0..workers.get() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let listener = {
                let _entered = runtime.enter();
                listen(upstream.address)?
            };
            upstream.address = listener.local_addr()?;
            let (end, ended) = oneshot::channel();
            let thread = std::thread::Builder::new()
                .name(format!("upstream-{number}"))
                .spawn(move || {
                    LocalSet::new().block_on(&runtime, async {
                        tokio::task::spawn_local(accept(listener));
                        // A sender that has gone says the same.
                        let _ended = ended.await;
                    });
                })?;
            upstream.workers.push((end, thread));
        }
        Ok(upstream)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The path that messages are posted to.
    pub const PATH: &'static str = "/mcp";
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for (end, thread) in self.workers.drain(..) {
            // A worker that has ended already needs no word, and nothing more can be done about a panic.
            let _ended = end.send(());
            let _panicked = thread.join();
        }
    }
}

/// Largest request accepted, in bytes.
const MAX_REQUEST: usize = 16 * 1_024 * 1_024;
/// Largest text that a call may ask for, in bytes.
pub const MAX_TEXT: usize = 16 * 1_024 * 1_024;
/// How many sizes of text each worker keeps answers for; others are made for each call.
const MAX_TEXTS: usize = 16;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener) {
    let texts = Rc::new(Texts::default());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: those in use have to end first.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        // Without it answers may wait for an acknowledgement; they are right all the same.
        let _delayed = stream.set_nodelay(true);
        let texts = Rc::clone(&texts);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| {
                let texts = Rc::clone(&texts);
                async move { Ok::<_, Infallible>(respond(request, &texts).await) }
            });
            let connection = http1::Builder::new().serve_connection(Plug::new(stream), service);
            // A client that breaks off says all there is to say by that.
            let _broken = connection.await;
        });
    }
}

/// The answers to calls, by the size of their text.
#[derive(Default)]
struct Texts(RefCell<HashMap<usize, Bytes>>);

impl Texts {
    fn tail(&self, size: usize) -> Bytes {
        let mut texts = self.0.borrow_mut();
        if let Some(tail) = texts.get(&size) {
            return tail.clone();
        }
        let tail = answer_tail(size);
        if texts.len() < MAX_TEXTS {
            texts.insert(size, tail.clone());
        }
        tail
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    id: Option<Value>,
    #[serde(borrow, default)]
    params: Params<'a>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    size: usize,
}

async fn respond(request: Request<Incoming>, texts: &Texts) -> Response<Answer> {
    if request.uri().path() != Upstream::PATH {
        return empty(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let Ok(body) = Limited::new(request.into_body(), MAX_REQUEST)
        .collect()
        .await
    else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let Some(id) = &message.id else {
        return empty(StatusCode::ACCEPTED);
    };
    let result = match &*message.method {
        "initialize" => json!({
            "protocolVersion": REVISION,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "mcp-firewall-bench", "version": env!("CARGO_PKG_VERSION")},
        }),
        "ping" => json!({}),
        "tools/list" => json!({"tools": [{
            "name": TOOL,
            "description": "Returns text of the given size in bytes",
            "inputSchema": {
                "type": "object",
                "properties": {"size": {"type": "integer"}, "text": {"type": "string"}},
                "required": ["size"],
            },
        }]}),
        "tools/call" if message.params.name == TOOL => {
            let size = message.params.arguments.size.min(MAX_TEXT);
            return answer(id, texts.tail(size));
        }
        "tools/call" => return error(id, -32602, "no such tool"),
        _ => return error(id, -32601, "no such method"),
    };
    answer(id, Bytes::from(format!(",\"result\":{result}}}")))
}

fn error(id: &Value, code: i32, message: &str) -> Response<Answer> {
    let error = json!({"code": code, "message": message});
    answer(id, Bytes::from(format!(",\"error\":{error}}}")))
}

fn answer(id: &Value, tail: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer([Bytes::from(format!("{ANSWER_HEAD}{id}")), tail]));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn empty(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::default());
    *response.status_mut() = status;
    response
}

/// A body in two parts, so that the long one is never copied.
#[derive(Default)]
struct Answer([Bytes; 2]);

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.0.iter_mut().find(|part| !part.is_empty());
        Poll::Ready(part.map(|part| Ok(Frame::data(std::mem::take(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let length: usize = self.0.iter().map(Bytes::len).sum();
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}

/// A tokio socket in hyper's shape. Reading goes through a buffer of its own: filling hyper's directly would
/// need unsafe code, and requests are short.
struct Plug {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

/// Bytes read at a time from a connection.
const READ: usize = 16 * 1_024;

impl Plug {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: vec![0; READ].into_boxed_slice(),
        }
    }
}

impl Read for Plug {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, buffer } = &mut *self;
        let room = cursor.remaining().min(buffer.len());
        let mut read = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
        let outcome = Pin::new(stream).poll_read(cx, &mut read);
        cursor.put_slice(read.filled());
        outcome
    }
}

impl Write for Plug {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}
