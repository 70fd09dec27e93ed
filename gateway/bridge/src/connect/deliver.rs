//! Messages of the server on their way to the client.
//!
//! Enter: frames, from any stream. Leave: lines; of answers only those to requests that await one, and
//! only one each. What no reader would take for a message is dropped, and its request answered.

use bytes::Bytes;
use hyper::header::HeaderValue;
use mcpf_model::RequestId;
use mcpf_wire::{FrameError, Shape};

use super::client::{Asked, Client};
use crate::answer;
use crate::envelope::{Envelope, Mark, Odd, Reading};

/// The stream that a message came in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// The answer to one request: no other may be answered there.
    Request(&'a RequestId),
    /// A stream of the session.
    Session,
}

impl Source<'_> {
    fn may_answer(self, id: &RequestId) -> bool {
        match self {
            Self::Request(own) => own == id,
            Self::Session => true,
        }
    }
}

impl Client {
    /// Passes on what stands in `frame`: a message, or a batch of them.
    pub(crate) async fn deliver(&self, frame: Bytes, source: Source<'_>) {
        let elements = self.reader().elements(frame);
        for element in elements {
            let reading = self.reader().read(element);
            match reading {
                Reading::Message(message) if message.is_answer() => {
                    self.answer(message, source).await;
                }
                Reading::Message(message) => self.outlet().say(message.line).await,
                Reading::Odd(odd) => self.odd(odd, source).await,
            }
        }
    }

    /// An event that is no frame.
    pub(crate) async fn refused(&self, error: FrameError, source: Source<'_>) {
        let refusal = error.refusal(&self.options.limits);
        let odd = Odd {
            line: None,
            id: refusal.id.known().cloned(),
            shape: refusal.shape,
            code: refusal.code,
        };
        self.odd(odd, source).await;
    }

    async fn answer(&self, message: Envelope, source: Source<'_>) {
        let (id, line) = match (&message.id, source) {
            (Some(Mark { id, .. }), _) => (id.clone(), message.line.clone()),
            // The server could not read the request; it is the one of this stream all the same.
            (None, Source::Request(id)) => (id.clone(), named(&message, id)),
            (None, Source::Session) => {
                tracing::warn!("the server sent an error that answers no request");
                return;
            }
        };
        if !source.may_answer(&id) {
            tracing::warn!("the server answered a request in the stream of another");
            return;
        }
        let Some(asked) = self.settle(&id) else {
            tracing::debug!("the server answered a request that awaits no answer");
            return;
        };
        if asked.is_initialize
            && let Some(Ok(version)) = message.version.as_deref().map(HeaderValue::from_str)
        {
            self.session_mut().version = Some(version);
        }
        if asked.lists_tools && asked.is_modern {
            self.mirror().learn(message.outcome());
        }
        self.outlet().say(line).await;
    }

    async fn odd(&self, odd: Odd, source: Source<'_>) {
        tracing::warn!(why = %odd.code, "a message of the server is no message as all read it");
        if odd.shape != Shape::Response {
            // The firewall judges it.
            if let Some(line) = odd.line {
                self.outlet().say(line).await;
            }
            return;
        }
        let Some(id) = odd.id.filter(|id| source.may_answer(id)) else {
            return;
        };
        let Some(_asked) = self.settle(&id) else {
            return;
        };
        let line = odd.line.unwrap_or_else(|| {
            let why = format!(
                "the server's answer cannot be read: {}",
                odd.code.sentence()
            );
            answer::failure(Some(&id), &why)
        });
        self.outlet().say(line).await;
    }

    /// Takes a request off the list: whoever does so owes the client its answer.
    pub(crate) fn settle(&self, id: &RequestId) -> Option<Asked> {
        self.waiting().remove(id)
    }

    pub(crate) fn awaits(&self, id: &RequestId) -> bool {
        self.waiting().contains_key(id)
    }

    pub(crate) fn is_cancelled(&self, id: &RequestId) -> bool {
        self.waiting()
            .get(id)
            .is_some_and(|asked| asked.is_cancelled)
    }

    /// Answers a request that the server does not.
    pub(crate) async fn fail(&self, id: &RequestId, why: &str) {
        let Some(asked) = self.settle(id) else {
            return;
        };
        if asked.is_cancelled {
            // Nobody waits, and the protocol wants no answer.
            return;
        }
        tracing::warn!(why, "a request has failed");
        self.outlet().say(answer::failure(Some(id), why)).await;
    }
}

/// An error that names no request, with the id of the one that it answers.
fn named(message: &Envelope, id: &RequestId) -> Bytes {
    let error = message.outcome();
    let mut line = Vec::with_capacity(error.len().saturating_add(64));
    line.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    line.extend_from_slice(answer::spelled(id).as_bytes());
    line.extend_from_slice(b",\"error\":");
    line.extend_from_slice(error);
    line.push(b'}');
    line.into()
}
