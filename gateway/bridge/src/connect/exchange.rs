//! One message of the client's and what the server makes of it.
//!
//! Enter: a message. Leave: its answer, from a JSON body or a stream of events, or the error that stands
//! for it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use mcpf_model::{MessageKind, RequestId};

use super::client::Client;
use super::deliver::Source;
use super::events::{Cursor, Events};
use super::request::{Reply, meaning};
use super::wire::{Line, Sent};
use crate::answer::METHOD_NOT_FOUND;
use crate::body;
use crate::envelope::{Envelope, Reading};
use crate::fields;

/// Longest body of an HTTP error that is read, in bytes. 64 KiB.
const MAX_ERROR: usize = 64 * 1_024;

/// How long a stream may stay open once it has brought the answer. 200 ms.
const LINGER: Duration = Duration::from_millis(200);

impl Client {
    /// Sends a request, and sees to it that it is answered.
    pub(crate) async fn carry(self: Rc<Self>, message: &Envelope, id: &RequestId, sent: Sent) {
        if let Err(why) = self.exchange(message, id, sent).await {
            self.fail(id, &why).await;
        }
    }

    async fn exchange(
        self: &Rc<Self>,
        message: &Envelope,
        id: &RequestId,
        sent: Sent,
    ) -> Result<(), String> {
        let session = self.session_of(message)?;
        let (response, line) = self.post(message, sent).await?;
        if fields::is_encoded(response.headers()) {
            return Err("the server's answer is encoded, which was not asked for".to_owned());
        }
        let status = response.status();
        if !status.is_success() {
            return self.unwelcome(message, id, (response, line), session).await;
        }
        if message.is_initialize() {
            self.session_mut().id = fields::token(response.headers(), &fields::SESSION);
        }
        if !message.is_modern && self.session().endpoint.is_some() {
            // The answer comes in the stream that named the endpoint.
            self.drain(response, line).await;
            return Ok(());
        }
        self.answered(message, id, (response, line), session).await
    }

    /// Which session a message is sent in, unless that is over.
    fn session_of(&self, message: &Envelope) -> Result<u64, String> {
        let session = self.session();
        match &session.over {
            Some(why) if !message.is_modern && !message.is_initialize() => {
                Err(format!("{why}; begin a new session: restart the client"))
            }
            _ => Ok(session.number),
        }
    }

    /// Reads the answer to a request from the body of the response.
    pub(crate) async fn answered(
        self: &Rc<Self>,
        message: &Envelope,
        id: &RequestId,
        (response, line): Reply,
        session: u64,
    ) -> Result<(), String> {
        let headers = response.headers();
        if fields::is_media(headers, "text/event-stream") {
            return self.follow(message, id, (response, line), session).await;
        }
        if !fields::is_media(headers, "application/json") {
            let status = response.status();
            return Err(format!(
                "the server answered HTTP {status} with neither JSON nor events; check the URL"
            ));
        }
        let body = self.body(response, self.options.limits.max_frame.bytes());
        let body = body.await?;
        self.wire.give_back(line);
        self.deliver(body, Source::Request(id)).await;
        if self.awaits(id) {
            return Err("the server's answer does not answer the request".to_owned());
        }
        Ok(())
    }

    async fn body(&self, response: Response<Incoming>, max: usize) -> Result<Bytes, String> {
        let time = self.options.timeouts.answer;
        match tokio::time::timeout(time, body::read(response.into_body(), max)).await {
            Ok(read) => read.map_err(|error| {
                format!("the server's answer is {error}; try again, or ask for less")
            }),
            Err(_) => Err(format!(
                "the server's answer did not come within {} s; try again, or ask for less at once",
                time.as_secs()
            )),
        }
    }

    /// Reads a body that says nothing of interest, so that the connection can be used again.
    pub(crate) async fn drain(&self, response: Response<Incoming>, line: Line) {
        if self.body(response, MAX_ERROR).await.is_ok() {
            self.wire.give_back(line);
        }
    }

    /// Reads events until the answer is among them; takes the stream up again if it breaks before.
    async fn follow(
        self: &Rc<Self>,
        message: &Envelope,
        id: &RequestId,
        (response, line): Reply,
        session: u64,
    ) -> Result<(), String> {
        let limits = &self.options.limits;
        let mut cursor = Cursor::default();
        let mut events = Events::new(response.into_body(), line, limits);
        loop {
            let source = Source::Request(id);
            while let Some(event) = events.next(&mut cursor).await {
                match event {
                    Ok(event) => self.deliver(event.data, source).await,
                    Err(error) => self.refused(error, source).await,
                }
                if !self.awaits(id) {
                    self.linger(events, source).await;
                    return Ok(());
                }
            }
            if !self.awaits(id) || self.is_cancelled(id) {
                self.settle(id);
                return Ok(());
            }
            if message.is_modern || cursor.last().is_none() {
                let why = "the server ended its answer before it was complete; try again";
                return Err(why.to_owned());
            }
            events.ended(&mut cursor);
            drop(events);
            events = self.come_back(&mut cursor, session, id).await?;
        }
    }

    /// Hears a stream to its end, if that is near: then the connection can be used again.
    async fn linger(&self, mut events: Events, source: Source<'_>) {
        let mut cursor = Cursor::default();
        let heard = async {
            while let Some(event) = events.next(&mut cursor).await {
                if let Ok(event) = event {
                    self.deliver(event.data, source).await;
                }
            }
        };
        if tokio::time::timeout(LINGER, heard).await.is_ok() {
            self.wire.give_back(events.into_line());
        }
    }

    /// A status that is no success. Its body may be the answer all the same.
    async fn unwelcome(
        self: &Rc<Self>,
        message: &Envelope,
        id: &RequestId,
        (response, line): Reply,
        session: u64,
    ) -> Result<(), String> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.body(response, MAX_ERROR).await.unwrap_or_default();
        self.wire.give_back(line);
        let is_old = matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        );
        if message.is_initialize() && is_old {
            match self.begin_old(message, session).await {
                Ok(()) => return Ok(()),
                Err(why) => tracing::debug!(why, "nor does the server speak 2024-11-05"),
            }
        }
        let answer = self.error_in(&headers, status, body, id);
        let is_alive = answer.as_ref().is_some_and(|answer| {
            answer.error_code == Some(METHOD_NOT_FOUND) && answer.id.is_some()
        });
        if status == StatusCode::NOT_FOUND && !is_alive && self.has_session(message) {
            self.over(session, "the server has ended the session");
            return Ok(());
        }
        if let Some(answer) = answer {
            self.deliver(answer.line, Source::Request(id)).await;
            return Ok(());
        }
        Err(meaning(status, &headers))
    }

    fn has_session(&self, message: &Envelope) -> bool {
        !message.is_modern && !message.is_initialize() && self.session().id.is_some()
    }

    /// The JSON-RPC error in the body of an HTTP error, if it is about this request.
    fn error_in(
        &self,
        headers: &HeaderMap,
        status: StatusCode,
        body: Bytes,
        id: &RequestId,
    ) -> Option<Envelope> {
        // What these two mean, and what helps, is better said by us.
        let is_refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if is_refused || !fields::is_media(headers, "application/json") || body.is_empty() {
            return None;
        }
        match self.reader().read(body) {
            Reading::Message(error) if error.kind == MessageKind::Error => {
                let is_own = error.id.as_ref().is_none_or(|mark| mark.id == *id);
                is_own.then_some(error)
            }
            _ => None,
        }
    }

    /// Sends a message that has no answer.
    pub(crate) async fn note(self: &Rc<Self>, message: &Envelope, sent: Sent) {
        let session = match self.session_of(message) {
            Ok(session) => session,
            Err(why) => {
                tracing::debug!(why, "a message of the client was not sent");
                return;
            }
        };
        let (response, line) = match self.post(message, sent).await {
            Ok(reply) => reply,
            Err(why) => {
                tracing::warn!(why, "a message of the client did not reach the server");
                return;
            }
        };
        let (status, had_session) = (response.status(), self.has_session(message));
        if !fields::is_media(response.headers(), "text/event-stream") {
            self.drain(response, line).await;
        }
        if status == StatusCode::NOT_FOUND && had_session {
            self.over(session, "the server has ended the session");
        } else if !status.is_success() {
            tracing::warn!(%status, "the server did not take a message of the client");
        }
    }
}
