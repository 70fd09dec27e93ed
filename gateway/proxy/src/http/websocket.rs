//! WebSocket on both sides: one text frame is one message.
//!
//! Enter: an upgrade that the gate has let through. Leave: two sockets with the corridor between
//! them. Never: a binary frame, another subprotocol than `mcp`, or a frame larger than a message.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use mcpf_model::Direction;
use mcpf_pipeline::Awaited;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::answer::{self, Refusal};
use super::body::Out;
use super::exchange::Exchange;
use super::guard::Watch;
use super::inspect::{Decided, Fate};
use super::pool;

/// The subprotocol of MCP's WebSocket transport.
const PROTOCOL: HeaderValue = HeaderValue::from_static("mcp");

const VERSION: HeaderName = header::SEC_WEBSOCKET_VERSION;

/// What becomes of a connection once its upgrade has been answered.
#[derive(Clone)]
pub(crate) struct Upgrade {
    /// Told to let the bytes of the socket pass.
    pub(crate) watch: Watch,
    /// What the socket is joined with.
    pub(crate) joined: Rc<RefCell<Option<Joined>>>,
}

/// A client's request for a socket, and the server's socket.
pub(crate) struct Joined {
    exchange: Exchange,
    server: Server,
}

/// The server's socket.
enum Server {
    Plain(WebSocketStream<tokio::net::TcpStream>),
    Tls(Box<WebSocketStream<Box<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>>>),
    Socket(WebSocketStream<tokio::net::UnixStream>),
}

/// Whether the request asks for a WebSocket.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Answers an upgrade: the server's socket is opened first.
pub(crate) async fn upgrade(
    exchange: Exchange,
    headers: &HeaderMap,
    upgrade: Option<&Upgrade>,
) -> Response<Out> {
    let bad = |text: &str| Refusal::new(StatusCode::BAD_REQUEST, text).response();
    let Some(upgrade) = upgrade else {
        return bad("a WebSocket begins with HTTP/1.1");
    };
    if !exchange.worker.gateway.settings.upstream.is_websocket {
        return bad("the server behind this gateway speaks HTTP, not WebSocket");
    }
    if headers.get(VERSION).is_none_or(|version| version != "13") {
        return bad("only version 13 of WebSocket is spoken here");
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return bad("`Sec-WebSocket-Key` is missing");
    };
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL);
    let offers_mcp = offered.is_some_and(|offered| {
        let text = offered.to_str().unwrap_or_default();
        text.split(',').any(|name| name.trim() == "mcp")
    });
    if !offers_mcp {
        return bad("the subprotocol `mcp` must be offered");
    }
    let accept = derive_accept_key(key.as_bytes());
    let server = match open(&exchange).await {
        Ok(server) => server,
        Err(why) => {
            tracing::warn!(why, "upstream");
            let frame = answer::error_frame(crate::respond::FAILED, &why);
            return answer::message(StatusCode::BAD_GATEWAY, HeaderMap::new(), frame);
        }
    };
    upgrade.watch.switch_protocols();
    upgrade.joined.replace(Some(Joined { exchange, server }));
    let mut response = answer::bare(StatusCode::SWITCHING_PROTOCOLS, HeaderMap::new());
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

async fn open(exchange: &Exchange) -> Result<Server, String> {
    let worker = &exchange.worker;
    let upstream = &worker.gateway.settings.upstream;
    let authority = upstream.authority.to_str().unwrap_or_default();
    let mut request = format!("ws://{authority}{}", upstream.target)
        .into_client_request()
        .map_err(|error| error.to_string())?;
    for (name, value) in &exchange.head.forwarded {
        let is_ours = name.as_str().starts_with("sec-websocket-");
        if !is_ours && !request.headers().contains_key(name) {
            request.headers_mut().append(name.clone(), value.clone());
        }
    }
    request
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    let config = Some(config(worker.max_frame()));
    let stream = worker.pool.connect().await.map_err(|e| e.to_string())?;
    let shaking = async {
        Ok::<_, Error>(match stream {
            pool::Stream::Plain(stream) => Server::Plain(shake(request, stream, config).await?),
            pool::Stream::Tls(stream) => {
                Server::Tls(Box::new(shake(request, stream, config).await?))
            }
            pool::Stream::Socket(stream) => Server::Socket(shake(request, stream, config).await?),
        })
    };
    let time = worker.gateway.settings.timeouts.request;
    match tokio::time::timeout(time, shaking).await {
        Ok(Ok(server)) => Ok(server),
        Ok(Err(error)) => Err(format!("the server did not open a WebSocket: {error}")),
        Err(_) => Err("the server did not open a WebSocket in time".to_owned()),
    }
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    request: hyper::Request<()>,
    stream: S,
    config: Option<WebSocketConfig>,
) -> Result<WebSocketStream<S>, Error> {
    let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, config).await?;
    Ok(socket)
}

fn config(max_frame: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(max_frame))
        .max_frame_size(Some(max_frame))
}

impl Joined {
    /// Carries messages between the client on `stream` and the server until either ends.
    pub(crate) async fn run(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Self { exchange, server } = self;
        let config = config(exchange.worker.max_frame());
        let client = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        match server {
            Server::Plain(server) => carry(&exchange, client, server).await,
            Server::Tls(server) => carry(&exchange, client, *server).await,
            Server::Socket(server) => carry(&exchange, client, server).await,
        }
    }
}

/// How a carriage ended.
enum End {
    /// The client is gone.
    Client,
    /// The server is gone.
    Server,
    /// A peer did what it must not: the other is told with this code.
    Misbehaved(CloseCode, &'static str),
}

async fn carry(
    exchange: &Exchange,
    mut client: impl Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
    mut server: impl Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
) {
    let end = loop {
        let (direction, received) = tokio::select! {
            received = client.next() => (Direction::Inbound, received),
            received = server.next() => (Direction::Outbound, received),
        };
        let text = match received {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Binary(_))) => {
                break End::Misbehaved(CloseCode::Unsupported, "only text frames carry messages");
            }
            Some(Err(Error::Capacity(_))) => {
                break End::Misbehaved(CloseCode::Size, "the message is larger than allowed");
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => match direction {
                Direction::Inbound => break End::Client,
                Direction::Outbound => break End::Server,
            },
        };
        let frame = Bytes::from(text);
        let leaving = exchange.messages(direction, &frame).await;
        let mut end = None;
        for (direction, frame) in leaving {
            let Ok(text) = Utf8Bytes::try_from(frame) else {
                continue;
            };
            let (sent, gone) = match direction {
                Direction::Inbound => (server.send(Message::Text(text)).await, End::Server),
                Direction::Outbound => (client.send(Message::Text(text)).await, End::Client),
            };
            if sent.is_err() {
                end = Some(gone);
                break;
            }
        }
        if let Some(end) = end {
            break end;
        }
    };
    let (code, reason) = match end {
        End::Misbehaved(code, reason) => (code, reason),
        End::Client => (CloseCode::Normal, ""),
        End::Server => {
            let why = "the server ended before it answered";
            for frame in exchange.abandoned(why) {
                if let Ok(text) = Utf8Bytes::try_from(frame) {
                    let _gone = client.send(Message::Text(text)).await;
                }
            }
            (CloseCode::Away, "the server is gone")
        }
    };
    let close = CloseFrame {
        code,
        reason: reason.into(),
    };
    let _gone = client.send(Message::Close(Some(close.clone()))).await;
    let _gone = server.send(Message::Close(Some(close))).await;
}

impl Exchange {
    /// What leaves, and which way, because of one frame.
    async fn messages(&self, direction: Direction, frame: &Bytes) -> Vec<(Direction, Bytes)> {
        let decided = self
            .worker
            .inspect(&self.conversation, direction, frame, None, Awaited::Any);
        let Fate::Batch(elements) = decided.fate else {
            return Vec::from_iter(self.leaving(direction, decided).await);
        };
        let mut all = Vec::new();
        for range in elements {
            let element = frame.slice(range);
            let decided =
                self.worker
                    .inspect(&self.conversation, direction, &element, None, Awaited::Any);
            all.extend(self.leaving(direction, decided).await);
        }
        all
    }

    async fn leaving(&self, direction: Direction, decided: Decided) -> Option<(Direction, Bytes)> {
        let recorded = self.recorded(decided.seq).await;
        match decided.fate {
            Fate::Forward(passing) if recorded => Some((direction, passing.bytes)),
            Fate::Forward(passing) => {
                let id = passing.id?;
                let why = "the audit log failed, and nothing goes unrecorded";
                let frame = self.lost(&id, why)?;
                Some((Direction::Outbound, frame))
            }
            Fate::Answer(own) => Some((own.direction, own.frame)),
            Fate::Drop(_) | Fate::Batch(_) => None,
        }
    }

    /// Answers to every request that still waits for the server.
    fn abandoned(&self, why: &str) -> Vec<Bytes> {
        let waiting = self.conversation.open().waiting(Direction::Inbound);
        waiting.iter().filter_map(|id| self.lost(id, why)).collect()
    }
}
