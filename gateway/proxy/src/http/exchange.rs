//! One HTTP request of a client, from head to response.
//!
//! Enter: a request that hyper has parsed. Leave: the response. Every message on the way, in either
//! direction, has walked the corridor; nothing leaves before its record.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode};
use mcpf_model::{Direction, MessageKind, ReasonCode, RequestId};
use mcpf_pipeline::{Awaited, Memory, Session};
use serde_json::json;

use super::answer::{self, Refusal};
use super::body::{self, BodyError, Out};
use super::conversation::{Caller, Conversation, Endpoint};
use super::events::{Pump, Stream, event_of};
use super::gate::{self, Asked, Head};
use super::inspect::{Decided, Fate, Own, Passing, Worker};
use super::pool::Line;
use super::websocket::{self, Upgrade};
use crate::respond::OVERLOADED;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Longest error text of a server that is passed on, in bytes. 64 KiB.
const MAX_ERROR_TEXT: usize = 64 * 1_024;

/// Serves one request.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    request: Request<Incoming>,
    peer: IpAddr,
    upgrade: Option<&Upgrade>,
) -> Response<Out> {
    let gateway = Arc::clone(&worker.gateway);
    let (number, before) = (worker.number, gateway.now());
    let response = serve_one(worker, request, peer, upgrade).await;
    if let Some(meter) = gateway.meter(number) {
        let spent = gateway.now().0.saturating_sub(before.0);
        meter.responded(response.status(), spent);
    }
    response
}

async fn serve_one(
    worker: Rc<Worker>,
    request: Request<Incoming>,
    peer: IpAddr,
    upgrade: Option<&Upgrade>,
) -> Response<Out> {
    let (parts, incoming) = request.into_parts();
    let head = match gate::check(&parts, &worker.gateway.settings) {
        Ok(head) => head,
        Err(refusal) => {
            tracing::info!(%peer, status = refusal.status.as_u16(), "refused: {}", refusal.message);
            return refusal.response();
        }
    };
    let origin = head.origin.clone();
    let mut response = match head.asked {
        Asked::Preflight => answer::preflight(),
        Asked::Other => other(&worker, parts, head, incoming).await,
        Asked::Get if websocket::is_asked(&parts.headers) => {
            match Exchange::begin(worker, head, peer) {
                Ok(exchange) => websocket::upgrade(exchange, &parts.headers, upgrade).await,
                Err(refusal) => refusal.response(),
            }
        }
        _ if worker.gateway.settings.upstream.is_websocket => {
            let text = "the server behind this gateway speaks WebSocket, not HTTP";
            Refusal::new(StatusCode::BAD_REQUEST, text).response()
        }
        Asked::Post => match read(&worker, incoming).await {
            Ok(frame) => match Exchange::begin(worker, head, peer) {
                Ok(exchange) => {
                    let conversation = Arc::clone(&exchange.conversation);
                    let response = exchange.post(frame).await;
                    match conversation.endpoint() {
                        Some(endpoint) => into_stream(response, endpoint).await,
                        None => response,
                    }
                }
                Err(refusal) => refusal.response(),
            },
            Err(response) => response,
        },
        Asked::Get | Asked::Delete => match Exchange::begin(worker, head, peer) {
            Ok(exchange) => exchange.bodiless().await,
            Err(refusal) => refusal.response(),
        },
    };
    if let Some(origin) = origin {
        answer::share(&mut response, &origin);
    }
    response
}

/// Longest body of a request that is not a message, and of its answer, in bytes. 1 MiB.
const MAX_OTHER: usize = 1024 * 1_024;

/// Authorization is between the client and the server: what they say of it passes as it is.
async fn other(worker: &Worker, parts: Parts, head: Head, incoming: Incoming) -> Response<Out> {
    let settings = &worker.gateway.settings;
    let body = match body::read(incoming, MAX_OTHER, settings.timeouts.body).await {
        Ok(body) => body,
        Err(error) => {
            return Refusal::new(StatusCode::BAD_REQUEST, error.to_string()).response();
        }
    };
    if is_message(&body) {
        // Some servers take messages at every path.
        let text = "messages are taken elsewhere";
        return Refusal::new(StatusCode::NOT_FOUND, text).response();
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = parts.method;
    let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    match target.parse() {
        Ok(target) => *request.uri_mut() = target,
        Err(_) => return unreachable("the path cannot be passed on"),
    }
    *request.headers_mut() = head.forwarded;
    let headers = request.headers_mut();
    // The server names itself in its metadata as it is called.
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let host = match (parts.headers.get(header::HOST), authority) {
        (Some(host), _) => host.clone(),
        (None, Some(authority)) => {
            HeaderValue::from_str(authority).unwrap_or_else(|_| settings.upstream.authority.clone())
        }
        (None, None) => settings.upstream.authority.clone(),
    };
    headers.insert(header::HOST, host);
    headers.insert(header::ACCEPT_ENCODING, IDENTITY);
    if let Some(media) = parts.headers.get(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, media.clone());
    }
    let time = settings.timeouts.request;
    let sent = tokio::time::timeout(time, worker.pool.send(request)).await;
    let (response, line) = match sent {
        Ok(Ok(sent)) => sent,
        Ok(Err(error)) => return unreachable(&error.to_string()),
        Err(_) => return unreachable("the server did not answer in time"),
    };
    let (parts, incoming) = response.into_parts();
    let body = match body::read(incoming, MAX_OTHER, time).await {
        Ok(body) => body,
        Err(error) => return unreachable(&error.to_string()),
    };
    worker.pool.give_back(line);
    let mut response = answer::bare(parts.status, gate::answered(&parts.headers, false));
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    *response.body_mut() = Out::of(body);
    response
}

async fn read(worker: &Worker, incoming: Incoming) -> Result<Bytes, Response<Out>> {
    let max = worker.max_frame();
    let time = worker.gateway.settings.timeouts.body;
    body::read(incoming, max, time).await.map_err(|error| {
        let (status, code, text) = match error {
            BodyError::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                OVERLOADED,
                format!("the message is larger than {max} bytes (`limits.max_frame`)"),
            ),
            BodyError::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                OVERLOADED,
                "the message did not come in time".to_owned(),
            ),
            BodyError::Broken(_) => (
                StatusCode::BAD_REQUEST,
                crate::respond::INVALID_REQUEST,
                "the message broke off".to_owned(),
            ),
        };
        tracing::info!(status = status.as_u16(), "refused: {text}");
        let frame = answer::error_frame(code, &text);
        answer::message(status, HeaderMap::new(), frame)
    })
}

/// A request under way.
pub(crate) struct Exchange {
    pub(crate) worker: Rc<Worker>,
    pub(crate) head: Head,
    pub(crate) conversation: Arc<Conversation>,
    /// Whether the server has made a session in its answer.
    has_begun: Cell<bool>,
}

/// A request of the client that still awaits its answer. Dropped unanswered, it is given up: the
/// client is gone.
pub(crate) struct Owed {
    conversation: Arc<Conversation>,
    pub(crate) id: RequestId,
    is_owed: bool,
}

impl Owed {
    pub(crate) const fn is_owed(&self) -> bool {
        self.is_owed
    }

    pub(crate) fn settle(&mut self) {
        self.is_owed = false;
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if self.is_owed {
            let mut session = self.conversation.open();
            session.gave_up(Direction::Inbound, &self.id);
        }
    }
}

impl Exchange {
    fn begin(worker: Rc<Worker>, head: Head, peer: IpAddr) -> Result<Self, Refusal> {
        let gateway = &worker.gateway;
        let now = gateway.now();
        let conversation = match head.endpoint.as_ref().or(head.session.as_ref()) {
            Some(id) => gateway
                .conversations
                .find(id, head.credential, now)
                .ok_or_else(|| {
                    tracing::info!(%peer, "refused: a session that does not exist, or not for this caller");
                    let text = "there is no such session; begin a new one with `initialize`";
                    Refusal::new(StatusCode::NOT_FOUND, text)
                })?,
            None => {
                let caller = Caller {
                    address: peer,
                    credential: head.credential,
                };
                let session = Session::new(
                    gateway.next_session(),
                    Arc::clone(&gateway.server),
                    gateway.principal.clone(),
                    &worker.generation().limits,
                )
                .with_memory(gateway.conversations.memory(caller, now));
                Arc::new(Conversation::new(session, head.credential, now))
            }
        };
        Ok(Self {
            worker,
            head,
            conversation,
            has_begun: Cell::new(false),
        })
    }

    async fn post(self, frame: Bytes) -> Response<Out> {
        let decided = self.worker.inspect(
            &self.conversation,
            Direction::Inbound,
            &frame,
            Some(&self.head),
            Awaited::Named,
        );
        if let Fate::Batch(elements) = decided.fate {
            let elements = elements.into_iter().map(|range| frame.slice(range));
            return self.batch(elements.collect()).await;
        }
        match self.step(decided).await {
            Ok(passing) => self.forward(passing).await,
            Err(response) => response,
        }
    }

    /// Waits for the record; then the message may go on, or the client has its response.
    async fn step(&self, decided: Decided) -> Result<Passing, Response<Out>> {
        let Decided { fate, seq } = decided;
        let recorded = self.recorded(seq).await;
        match fate {
            Fate::Forward(passing) if recorded => Ok(passing),
            Fate::Forward(passing) => {
                let why = "the audit log failed, and nothing goes unrecorded";
                Err(self.failure(passing.id.as_ref(), why))
            }
            Fate::Answer(own) => Err(self.own(own)),
            Fate::Drop(code) => Err(dropped(code)),
            // A batch in a batch was refused by the parser.
            Fate::Batch(_) => Err(dropped(ReasonCode::PeerMisbehaved)),
        }
    }

    /// Whether record `seq` is as durable as the log promises.
    pub(crate) async fn recorded(&self, seq: Option<u64>) -> bool {
        let Some(seq) = seq else { return true };
        let Worker { gateway, shore, .. } = &*self.worker;
        shore.reached(&gateway.log, seq).await.is_ok()
    }

    /// An answer of ours, to whom it is for.
    fn own(&self, own: Own) -> Response<Out> {
        match own.direction {
            Direction::Outbound => answer::message(own.status, HeaderMap::new(), own.frame),
            Direction::Inbound => {
                self.tell_server(own.frame);
                answer::bare(StatusCode::ACCEPTED, HeaderMap::new())
            }
        }
    }

    /// Sends the server an answer of ours in the client's stead.
    pub(crate) fn tell_server(&self, frame: Bytes) {
        let request = self.request(Method::POST, frame);
        let worker = Rc::clone(&self.worker);
        tokio::task::spawn_local(async move {
            let time = worker.gateway.settings.timeouts.request;
            let sent = tokio::time::timeout(time, worker.pool.send(request)).await;
            if !matches!(sent, Ok(Ok(_))) {
                tracing::warn!("the server could not be told of a refusal");
            }
        });
    }

    /// A request to the server, with the fields of the client's that may go on.
    fn request(&self, method: Method, body: Bytes) -> Request<Full<Bytes>> {
        let upstream = &self.worker.gateway.settings.upstream;
        let is_post = method == Method::POST;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let target = match self.conversation.endpoint() {
            Some(endpoint) if is_post => &endpoint.target,
            _ => &upstream.target,
        };
        *request.uri_mut() = target.clone();
        *request.headers_mut() = self.head.forwarded.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, upstream.authority.clone());
        headers.insert(header::ACCEPT_ENCODING, IDENTITY);
        if is_post {
            headers.insert(header::CONTENT_TYPE, JSON);
            // Many servers take `*/*` for neither; and what a GET accepts is no answer to a POST.
            let is_plain = self.head.asked == Asked::Post
                && headers
                    .get(header::ACCEPT)
                    .is_some_and(|accept| !accept.as_bytes().windows(3).any(|w| w == b"*/*"));
            if !is_plain {
                headers.insert(header::ACCEPT, BOTH);
            }
            if self.head.asked != Asked::Post {
                headers.remove(gate::LAST_EVENT);
            }
        }
        request
    }

    async fn forward(self, passing: Passing) -> Response<Out> {
        let owed = match (passing.kind, passing.id) {
            (MessageKind::Request, Some(id)) => Some(Owed {
                conversation: Arc::clone(&self.conversation),
                id,
                is_owed: true,
            }),
            _ => None,
        };
        if passing.is_initialize && !self.worker.gateway.conversations.has_room() {
            let id = owed.as_ref().map(|owed| &owed.id);
            return self.failure(id, "too many sessions are open");
        }
        let request = self.request(Method::POST, passing.bytes);
        let (response, line) = match self.send(request).await {
            Ok(sent) => sent,
            Err(why) => return self.failure(owed.as_ref().map(|owed| &owed.id), &why),
        };
        if passing.is_initialize && response.status().is_success() && !self.head.is_modern() {
            self.enter(response.headers());
        }
        self.reply(response, line, owed).await
    }

    /// The server has made a session.
    fn enter(&self, headers: &HeaderMap) {
        if let Some(id) = answer::session_id(headers) {
            self.has_begun.set(true);
            self.conversation.open().remember_in(Memory::default());
            let conversation = Arc::clone(&self.conversation);
            self.worker.gateway.conversations.enter(id, conversation);
        }
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Line), String> {
        let time = self.worker.gateway.settings.timeouts.request;
        match tokio::time::timeout(time, self.worker.pool.send(request)).await {
            Ok(Ok(sent)) => Ok(sent),
            Ok(Err(error)) => {
                tracing::warn!(%error, "upstream");
                Err(error.to_string())
            }
            Err(_) => Err(format!(
                "the server did not answer within {} s",
                time.as_secs()
            )),
        }
    }

    /// What the server answered to a POST.
    async fn reply(
        self,
        response: Response<Incoming>,
        line: Line,
        owed: Option<Owed>,
    ) -> Response<Out> {
        let (parts, incoming) = response.into_parts();
        let headers = gate::answered(&parts.headers, self.head.is_modern());
        if let Some(why) = unusable(parts.status, &parts.headers) {
            return self.failure(owed.as_ref().map(|owed| &owed.id), why);
        }
        if is_media(&parts.headers, "text/event-stream") && parts.status == StatusCode::OK {
            return self.stream(headers, incoming, line, owed, Stream::OfRequest);
        }
        let time = self.worker.gateway.settings.timeouts.request;
        let bytes = match body::read(incoming, self.worker.max_frame(), time).await {
            Ok(bytes) => bytes,
            Err(error) => {
                return self.failure(owed.as_ref().map(|o| &o.id), &error.to_string());
            }
        };
        self.worker.pool.give_back(line);
        if self.head.endpoint.is_some() && parts.status.is_success() {
            // The answer comes in the stream that named this endpoint.
            if let Some(mut owed) = owed {
                owed.settle();
            }
            return answer::bare(parts.status, headers);
        }
        match owed {
            Some(owed) if is_answer(&parts.headers, parts.status, &bytes, &owed.id) => {
                self.answered(parts.status, headers, &bytes, owed).await
            }
            owed => {
                let id = owed.as_ref().map(|owed| owed.id.clone());
                let response = self
                    .remark(parts.status, headers, &parts.headers, bytes, id)
                    .await;
                if let Some(mut owed) = owed {
                    self.conversation
                        .open()
                        .answered(Direction::Inbound, &owed.id);
                    owed.settle();
                }
                response
            }
        }
    }

    /// The answer to a request, as one JSON body.
    async fn answered(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        frame: &Bytes,
        mut owed: Owed,
    ) -> Response<Out> {
        let conversation = &self.conversation;
        let awaited = Awaited::Only(owed.id.clone());
        let decided = self
            .worker
            .inspect(conversation, Direction::Outbound, frame, None, awaited);
        let recorded = self.recorded(decided.seq).await;
        match decided.fate {
            Fate::Forward(passing)
                if recorded && is_reply(passing.kind) && passing.id.as_ref() == Some(&owed.id) =>
            {
                owed.settle();
                answer::message(status, headers, passing.bytes)
            }
            Fate::Answer(own)
                if own.direction == Direction::Outbound && own.id.as_ref() == Some(&owed.id) =>
            {
                owed.settle();
                answer::message(StatusCode::OK, headers, own.frame)
            }
            _ => {
                let why = if recorded {
                    "the server answered something else"
                } else {
                    "the audit log failed, and nothing goes unrecorded"
                };
                self.failure(Some(&owed.id), why)
            }
        }
    }

    /// A body that answers nothing: the text of an HTTP error, most likely. It goes on as it is if
    /// the same text could go on as the message of a JSON-RPC error.
    async fn remark(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        original: &HeaderMap,
        bytes: Bytes,
        id: Option<RequestId>,
    ) -> Response<Out> {
        if bytes.is_empty() {
            if status.is_success()
                && let Some(id) = &id
            {
                return self.failure(Some(id), "the server did not answer");
            }
            return answer::bare(status, headers);
        }
        if status.is_success() {
            let Some(id) = &id else {
                // Nobody waits for it: what was sent was no request.
                return answer::bare(StatusCode::ACCEPTED, headers);
            };
            return self.failure(Some(id), "the server answered something else");
        }
        let text = String::from_utf8_lossy(&bytes);
        let is_clean = bytes.len() <= MAX_ERROR_TEXT && {
            let note = json!({
                "jsonrpc": "2.0",
                "method": "notifications/message",
                "params": { "level": "error", "data": text },
            });
            let frame = Bytes::from(note.to_string());
            let conversation = &self.conversation;
            let decided = self.worker.inspect(
                conversation,
                Direction::Outbound,
                &frame,
                None,
                Awaited::Nothing,
            );
            let recorded = self.recorded(decided.seq).await;
            recorded && matches!(decided.fate, Fate::Forward(passing) if passing.bytes == frame)
        };
        if !is_clean {
            let frame = answer::error_frame(
                crate::respond::DENIED,
                "the text of the server's error was withheld",
            );
            return answer::message(status, headers, frame);
        }
        let mut response = answer::bare(status, headers);
        if let Some(media) = original.get(header::CONTENT_TYPE) {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, media.clone());
        }
        *response.body_mut() = Out::of(bytes);
        response
    }

    fn stream(
        self,
        headers: HeaderMap,
        incoming: Incoming,
        line: Line,
        owed: Option<Owed>,
        stream: Stream,
    ) -> Response<Out> {
        let body = Pump::start(self, incoming, line, owed, stream);
        answer::events(StatusCode::OK, headers, body)
    }

    /// GET: what the server says of its own accord. DELETE: the end.
    async fn bodiless(self) -> Response<Out> {
        if self.worker.gateway.shared.kill.is_on() {
            let text = "the kill switch is on: nothing passes until the operator turns it off";
            tracing::info!("refused: {text}");
            return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text).response();
        }
        let method = match self.head.asked {
            Asked::Delete => Method::DELETE,
            _ => Method::GET,
        };
        let is_delete = method == Method::DELETE;
        let mut request = self.request(method, Bytes::new());
        if !is_delete {
            let events = HeaderValue::from_static("text/event-stream");
            request
                .headers_mut()
                .entry(header::ACCEPT)
                .or_insert(events);
        }
        let (response, line) = match self.send(request).await {
            Ok(sent) => sent,
            Err(why) => return unreachable(&why),
        };
        let (parts, incoming) = response.into_parts();
        let headers = gate::answered(&parts.headers, self.head.is_modern());
        if let Some(why) = unusable(parts.status, &parts.headers) {
            return unreachable(why);
        }
        let status = parts.status;
        if is_delete
            && (status.is_success() || status == StatusCode::NOT_FOUND)
            && let Some(id) = &self.head.session
        {
            self.worker.gateway.conversations.leave(id);
        }
        if !is_delete && status == StatusCode::OK && is_media(&parts.headers, "text/event-stream") {
            return self.stream(headers, incoming, line, None, Stream::OfServer);
        }
        let time = self.worker.gateway.settings.timeouts.request;
        match body::read(incoming, self.worker.max_frame(), time).await {
            Ok(bytes) => {
                self.worker.pool.give_back(line);
                if status.is_success() {
                    // A stream was asked for, or nothing.
                    return if is_delete || bytes.is_empty() {
                        answer::bare(status, headers)
                    } else {
                        unreachable("the server answered something else")
                    };
                }
                self.remark(status, headers, &parts.headers, bytes, None)
                    .await
            }
            Err(error) => unreachable(&error.to_string()),
        }
    }

    /// Each element is a message of its own; what comes of them is one stream.
    async fn batch(self, elements: Vec<Bytes>) -> Response<Out> {
        let mut passing = Vec::new();
        let mut own = Vec::new();
        for element in elements {
            let decided = self.worker.inspect(
                &self.conversation,
                Direction::Inbound,
                &element,
                Some(&self.head),
                Awaited::Named,
            );
            let decided = match decided.fate {
                Fate::Batch(_) => self.nested(&element),
                _ => decided,
            };
            let recorded = self.recorded(decided.seq).await;
            match decided.fate {
                Fate::Forward(message) if recorded => passing.push(message),
                Fate::Forward(Passing { id: Some(id), .. }) => {
                    let why = "the audit log failed, and nothing goes unrecorded";
                    own.extend(self.lost(&id, why));
                }
                Fate::Answer(answer) if answer.direction == Direction::Outbound => {
                    own.push(answer.frame);
                }
                Fate::Answer(answer) => self.tell_server(answer.frame),
                Fate::Forward(_) | Fate::Drop(_) | Fate::Batch(_) => {}
            }
        }
        Pump::batch(self, passing, own).await
    }

    /// A batch in a batch is no message.
    fn nested(&self, element: &Bytes) -> Decided {
        let limits = self.worker.generation().limits;
        match mcpf_wire::Parser::new(&limits).parse(element) {
            Err(refusal) => self.worker.refuse(
                &self.conversation,
                Direction::Inbound,
                &refusal,
                Awaited::Named,
            ),
            Ok(_) => Decided {
                fate: Fate::Drop(ReasonCode::PeerMisbehaved),
                seq: None,
            },
        }
    }

    /// The answer to a request that nobody else will answer.
    pub(crate) fn lost(&self, id: &RequestId, why: &str) -> Option<Bytes> {
        let decided = self
            .worker
            .abandon(&self.conversation, Direction::Inbound, id, why)?;
        match decided.fate {
            Fate::Answer(own) => Some(own.frame),
            _ => None,
        }
    }

    fn failure(&self, id: Option<&RequestId>, why: &str) -> Response<Out> {
        match id.and_then(|id| self.lost(id, why)) {
            Some(frame) => answer::message(StatusCode::OK, HeaderMap::new(), frame),
            None => unreachable(why),
        }
    }

    /// Whether the client can come back for what it missed: there is a session to come back to.
    pub(crate) fn is_in_session(&self) -> bool {
        !self.head.is_modern() && (self.head.session.is_some() || self.has_begun.get())
    }

    /// Sends one message of a batch.
    pub(crate) async fn send_one(
        &self,
        bytes: Bytes,
    ) -> Result<(Response<Incoming>, Line), String> {
        self.send(self.request(Method::POST, bytes)).await
    }

    pub(crate) fn owe(&self, id: RequestId) -> Owed {
        Owed {
            conversation: Arc::clone(&self.conversation),
            id,
            is_owed: true,
        }
    }
}

/// Clients of 2024-11-05 read answers in their stream only.
async fn into_stream(response: Response<Out>, endpoint: &Endpoint) -> Response<Out> {
    match response.body() {
        Out::Whole(Some(frame)) if response.status() == StatusCode::OK => {
            if endpoint.stream.send(event_of(frame)).await.is_err() {
                return unreachable("the stream for answers is closed");
            }
            answer::bare(StatusCode::ACCEPTED, HeaderMap::new())
        }
        _ => response,
    }
}

fn dropped(code: ReasonCode) -> Response<Out> {
    let status = match code {
        ReasonCode::Malformed | ReasonCode::PeerMisbehaved => StatusCode::BAD_REQUEST,
        ReasonCode::Failed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::ACCEPTED,
    };
    answer::bare(status, HeaderMap::new())
}

fn unreachable(why: &str) -> Response<Out> {
    let frame = answer::error_frame(crate::respond::FAILED, why);
    answer::message(StatusCode::BAD_GATEWAY, HeaderMap::new(), frame)
}

pub(crate) const fn is_reply(kind: MessageKind) -> bool {
    matches!(kind, MessageKind::Response | MessageKind::Error)
}

/// Why a response cannot go on.
fn unusable(status: StatusCode, headers: &HeaderMap) -> Option<&'static str> {
    if status.is_informational() || status.is_redirection() {
        // A client that followed would speak with the server past the firewall.
        return Some("the server wants to be spoken with elsewhere or otherwise");
    }
    is_encoded(headers).then_some("the server's answer is encoded")
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether a body is, or could be read as, JSON-RPC.
fn is_message(body: &[u8]) -> bool {
    const NAME: &[u8] = b"jsonrpc";
    let is_named = body
        .windows(NAME.len())
        .any(|window| window.eq_ignore_ascii_case(NAME));
    // The name may be written with escapes.
    is_named || (body.contains(&b'\\') && serde_json::from_slice::<serde_json::Value>(body).is_ok())
}

fn is_media(headers: &HeaderMap, media: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case(media)
        })
}

/// Whether a body is to be read as the answer to request `id`. A success must be; an HTTP error's
/// body may be, or it may be a text of the server's, or an error that names no request.
fn is_answer(headers: &HeaderMap, status: StatusCode, bytes: &Bytes, id: &RequestId) -> bool {
    if !is_media(headers, "application/json") || bytes.is_empty() {
        return false;
    }
    if status.is_success() {
        return true;
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return false;
    };
    match (value.get("id"), id) {
        (Some(serde_json::Value::Number(n)), RequestId::Number(id)) => n.as_i64() == Some(*id),
        (Some(serde_json::Value::String(s)), RequestId::String(id)) => **s == **id,
        _ => false,
    }
}
