//! One HTTP request, from head to response.
//!
//! Enter: a request of the firewall's. Leave: what the child says to it: one message if the answer is
//! what comes first, otherwise a stream that ends with the answer.

mod head;
mod reply;

use std::rc::Rc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use mcpf_model::{MessageKind, RequestId};
use mcpf_wire::Parser;

use super::bridge::{Bridge, no_start};
use super::channel::{Item, channel};
use super::desk::{NoPlace, Owner, Ticket};
use super::link::{Kind, Link};
use super::out::{Events, Out};
use super::session::{Busy, Session};
use crate::answer::{self, INVALID_REQUEST};
use crate::body::{self, Unread};
use crate::envelope::{Envelope, Mark, Reading};
use crate::fields::{self, SESSION, VERSION};
use head::{mismatch, status, unsound};
use reply::{IsError, bare, events, failed, refuse, whole};

/// A request on the desk of a child. Dropped, it is given up.
#[derive(Debug)]
pub(crate) struct Waiting {
    link: Rc<Link>,
    ticket: Ticket,
    was_sent: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.link.gave_up(&self.ticket, self.was_sent);
    }
}

/// What a response holds on to.
#[derive(Debug)]
pub(crate) struct Held {
    _waiting: Option<Waiting>,
    _busy: Option<Busy>,
}

/// Answers one request.
pub(crate) async fn answer(bridge: &Rc<Bridge>, request: Request<Incoming>) -> Response<Out> {
    let (parts, incoming) = request.into_parts();
    let is_modern = fields::is_modern(&parts.headers);
    match parts.method {
        Method::POST => match message(bridge, &parts.headers, incoming).await {
            Ok(message) if is_modern => modern(bridge, &parts.headers, message).await,
            Ok(message) => legacy(bridge, &parts.headers, message).await,
            Err(response) => response,
        },
        Method::GET if !is_modern => listen(bridge, &parts.headers),
        Method::DELETE if !is_modern => leave(bridge, &parts.headers),
        _ => {
            let why = "only POST is served here, and with a session GET and DELETE";
            let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, None, why);
            let allowed = HeaderValue::from_static("POST, GET, DELETE");
            response.headers_mut().insert(header::ALLOW, allowed);
            response
        }
    }
}

/// The message in the body of a POST.
async fn message(
    bridge: &Bridge,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<Envelope, Response<Out>> {
    if !fields::is_media(headers, "application/json") || fields::is_encoded(headers) {
        let why = "the body must be `application/json`, not encoded";
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, why));
    }
    let limits = &bridge.options.limits;
    let read = body::read(incoming, limits.max_frame.bytes());
    let body = match tokio::time::timeout(bridge.options.timeouts.body, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(error @ Unread::TooLarge(_))) => {
            let why = format!("the message is {error}");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, None, &why));
        }
        Ok(Err(error @ Unread::Broken(_))) => {
            let why = format!("the message is {error}");
            return Err(refuse(StatusCode::BAD_REQUEST, None, &why));
        }
        Err(_) => {
            let why = "the message did not come in time";
            return Err(refuse(StatusCode::REQUEST_TIMEOUT, None, why));
        }
    };
    if Parser::is_batch(&body) {
        let why = "a batch must be sent message by message";
        return Err(refuse(StatusCode::BAD_REQUEST, None, why));
    }
    match bridge.read(body) {
        Reading::Message(message) => Ok(message),
        Reading::Odd(odd) => {
            let code = i64::from(odd.code.code());
            let why = format!("Refused by mcp-firewall: {}.", odd.code.sentence());
            let frame = answer::error(odd.id.as_ref(), code, &why);
            Err(whole(StatusCode::BAD_REQUEST, frame))
        }
    }
}

/// A message under a revision without sessions.
async fn modern(bridge: &Rc<Bridge>, headers: &HeaderMap, message: Envelope) -> Response<Out> {
    match (message.kind, &message.id) {
        (MessageKind::Request, Some(id)) => {
            if let Some(frame) = unsound(&message, &id.id, headers) {
                return whole(StatusCode::BAD_REQUEST, frame);
            }
            let link = match bridge.modern().await {
                Ok(link) => link,
                Err(why) => return failed(Some(&id.id), &why),
            };
            if let Some(field) = link.contradiction(&message, headers) {
                return whole(StatusCode::BAD_REQUEST, mismatch(&id.id, &field));
            }
            ask(bridge, &link, &message, id, None).await
        }
        (MessageKind::Notification, _) => {
            if let Some(link) = bridge.running_modern() {
                let line = match message.cancels {
                    Some(_) => link.cancellation(&message, Owner::Nobody),
                    None => Some(message.line).filter(|_| message.is_modern),
                };
                if let Some(line) = line {
                    let _gone = link.put(line).await;
                }
            }
            bare(StatusCode::ACCEPTED)
        }
        _ => {
            let why = "the server has asked nothing: this revision does not let it";
            refuse(StatusCode::BAD_REQUEST, None, why)
        }
    }
}

/// A message under a revision with sessions.
async fn legacy(bridge: &Rc<Bridge>, headers: &HeaderMap, message: Envelope) -> Response<Out> {
    if let Some(id) = message.id.as_ref().filter(|_| message.is_modern) {
        return whole(StatusCode::BAD_REQUEST, mismatch(&id.id, &VERSION));
    }
    let session = match (session(bridge, headers), &message.id) {
        (Ok(session), _) => session,
        (Err(Stray::Unnamed), Some(id)) if message.is_initialize() => {
            return begin(bridge, &message, id).await;
        }
        (Err(stray), id) => return stray.response(id.as_ref().map(|id| &id.id)),
    };
    let busy = session.occupy();
    let link = &session.link;
    let is_shared = link.kind == Kind::Shared;
    match (message.kind, &message.id) {
        (MessageKind::Request, Some(id)) if is_shared && message.is_initialize() => {
            welcome(link, &id.id)
        }
        (MessageKind::Request, Some(id)) => {
            ask(bridge, link, &message, id, Some((&session, busy))).await
        }
        (MessageKind::Notification, _) => {
            let line = match &*message.method {
                // A shared child has been told once, by us.
                "notifications/initialized" if is_shared => None,
                "notifications/cancelled" if is_shared => {
                    link.cancellation(&message, session.owner())
                }
                _ => Some(message.line),
            };
            tell(link, line).await
        }
        // A shared child was told by us that nobody answers.
        _ if is_shared => bare(StatusCode::ACCEPTED),
        _ => tell(link, Some(message.line)).await,
    }
}

async fn tell(link: &Link, line: Option<Bytes>) -> Response<Out> {
    if let Some(line) = line
        && link.put(line).await.is_err()
    {
        return Stray::Unknown.response(None);
    }
    bare(StatusCode::ACCEPTED)
}

/// `initialize`: a new session.
async fn begin(bridge: &Rc<Bridge>, message: &Envelope, id: &Mark) -> Response<Out> {
    if !bridge.has_room() {
        let why = "too many sessions are open; end one, or try again later";
        let frame = answer::failure(Some(&id.id), why);
        return whole(StatusCode::SERVICE_UNAVAILABLE, frame);
    }
    let entered = bridge.child(message.version.as_deref()).await;
    let session = match entered.and_then(|link| bridge.enter(link)) {
        Ok(session) => session,
        Err(why) => return failed(Some(&id.id), &why),
    };
    let mut fresh = Fresh {
        bridge,
        session: Some(&session),
    };
    let mut response = if session.link.kind == Kind::Shared {
        welcome(&session.link, &id.id)
    } else {
        let time = bridge.options.timeouts.start;
        let asked = ask(
            bridge,
            &session.link,
            message,
            id,
            Some((&session, session.occupy())),
        );
        match tokio::time::timeout(time, asked).await {
            Ok(response) => response,
            Err(_) => failed(Some(&id.id), &no_start(time)),
        }
    };
    let has_failed = response.extensions().get::<IsError>().is_some();
    if !has_failed && let Ok(name) = HeaderValue::from_str(&session.id) {
        fresh.session = None;
        response.headers_mut().insert(SESSION, name);
    }
    response
}

/// A session that its client has not heard of yet. Dropped, it ends.
struct Fresh<'b> {
    bridge: &'b Bridge,
    session: Option<&'b Rc<Session>>,
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            self.bridge.leave(session);
        }
    }
}

/// What a shared child answered to `initialize`, once for all.
fn welcome(link: &Link, id: &RequestId) -> Response<Out> {
    let Some(result) = link.welcome() else {
        return failed(Some(id), "the server has not begun");
    };
    let mut frame = Vec::with_capacity(result.len().saturating_add(64));
    frame.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    frame.extend_from_slice(answer::spelled(id).as_bytes());
    frame.extend_from_slice(b",\"result\":");
    frame.extend_from_slice(&result);
    frame.push(b'}');
    whole(StatusCode::OK, frame.into())
}

/// Sends a child a request, and answers with what comes of it.
async fn ask(
    bridge: &Bridge,
    link: &Rc<Link>,
    message: &Envelope,
    id: &Mark,
    session: Option<(&Rc<Session>, Busy)>,
) -> Response<Out> {
    let owner = session.as_ref().map_or(Owner::Nobody, |(s, _)| s.owner());
    let (speaker, mut listener) = channel(bridge.options.queue);
    let (ticket, line) = match link.take(message, id, owner, speaker.clone()) {
        Ok(taken) => taken,
        Err(NoPlace::Taken) => {
            let why = "Refused by mcp-firewall: another request under this id awaits its answer.";
            let frame = answer::error(Some(&id.id), INVALID_REQUEST, why);
            return whole(StatusCode::OK, frame);
        }
        Err(NoPlace::Full) => {
            return failed(
                Some(&id.id),
                "too many requests await an answer; try again later",
            );
        }
    };
    let mut waiting = Waiting {
        link: Rc::clone(link),
        ticket,
        was_sent: false,
    };
    let busy = session.map(|(session, busy)| {
        session.catch_up(&speaker);
        busy
    });
    drop(speaker);
    if link.put(line).await.is_err() {
        let why = link.over();
        let why = why.as_deref().unwrap_or("the server has closed its input");
        return failed(Some(&id.id), why);
    }
    waiting.was_sent = true;
    let held = Held {
        _waiting: Some(waiting),
        _busy: busy,
    };
    let period = bridge.options.timeouts.keep_alive;
    let first = tokio::select! {
        first = listener.next() => first,
        // It takes long: the client is told that the connection lives.
        () = tokio::time::sleep(period), if !message.is_initialize() => {
            return events(Events::new(None, listener, held, period));
        }
    };
    match first {
        Some(Item::Answer { line, code }) => {
            let status = status(code.filter(|_| link.kind == Kind::Modern));
            let mut response = whole(status, line);
            if code.is_some() {
                response.extensions_mut().insert(IsError);
            }
            response
        }
        Some(item) => events(Events::new(Some(item), listener, held, period)),
        None => failed(Some(&id.id), "the client read too slowly"),
    }
}

/// GET: the session's own stream.
fn listen(bridge: &Bridge, headers: &HeaderMap) -> Response<Out> {
    let session = match session(bridge, headers) {
        Ok(session) => session,
        Err(stray) => return stray.response(None),
    };
    let Some(listener) = session.open(bridge.options.queue) else {
        let why = "the session's stream is open already";
        return refuse(StatusCode::CONFLICT, None, why);
    };
    let held = Held {
        _waiting: None,
        _busy: Some(session.occupy()),
    };
    let period = bridge.options.timeouts.keep_alive;
    events(Events::new(None, listener, held, period))
}

/// DELETE: the session ends, and a child of its own with it.
fn leave(bridge: &Bridge, headers: &HeaderMap) -> Response<Out> {
    match session(bridge, headers) {
        Ok(session) => {
            bridge.leave(&session);
            bare(StatusCode::OK)
        }
        Err(stray) => stray.response(None),
    }
}

/// Why a request belongs to no session.
#[derive(Clone, Copy, Debug)]
enum Stray {
    Unnamed,
    Unknown,
}

impl Stray {
    fn response(self, id: Option<&RequestId>) -> Response<Out> {
        let (status, why) = match self {
            Self::Unnamed => (
                StatusCode::BAD_REQUEST,
                "`Mcp-Session-Id` is missing; begin a session with `initialize`",
            ),
            Self::Unknown => (
                StatusCode::NOT_FOUND,
                "there is no such session; begin a new one with `initialize`",
            ),
        };
        refuse(status, id, why)
    }
}

fn session(bridge: &Bridge, headers: &HeaderMap) -> Result<Rc<Session>, Stray> {
    if !headers.contains_key(&SESSION) {
        return Err(Stray::Unnamed);
    }
    fields::token(headers, &SESSION)
        .and_then(|name| bridge.find(name.to_str().ok()?))
        .ok_or(Stray::Unknown)
}
