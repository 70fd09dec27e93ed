//! What the server says of its own accord, and streams that are taken up again.
//!
//! Enter: a session, or a cursor into a stream that broke. Leave: events.

use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use mcpf_model::RequestId;

use super::client::Client;
use super::deliver::Source;
use super::events::{Cursor, Events};
use super::request::meaning;
use super::session::Life;
use crate::fields;

/// Some servers send the head of a stream with its first event only. A day.
const NO_HURRY: Duration = Duration::from_secs(86_400);

/// What came of the question for a stream.
enum Opened {
    Stream(Box<Events>),
    /// There is none, and asking again will not help.
    Never(String),
    /// There may be one later.
    NotYet(String),
}

impl Client {
    /// Hears what the server has to say in this session, until that ends.
    pub(crate) fn hear(self: &Rc<Self>) {
        let (number, mut life) = {
            let mut session = self.session_mut();
            // The stream of 2024-11-05 is open already.
            let is_heard = session.is_heard || session.endpoint.is_some();
            if !session.has_begun || session.over.is_some() || is_heard {
                return;
            }
            session.is_heard = true;
            (session.number, session.life())
        };
        let client = Rc::clone(self);
        tokio::task::spawn_local(async move {
            client.listen(number, &mut life).await;
        });
    }

    async fn listen(&self, session: u64, life: &mut Life) {
        let mut cursor = Cursor::default();
        let mut opened = tokio::select! {
            opened = self.open(None, session, NO_HURRY) => opened,
            () = life.ended() => return,
        };
        loop {
            match opened {
                Opened::Stream(mut events) => {
                    if !self.pass_on(&mut events, &mut cursor, life).await {
                        return;
                    }
                    events.ended(&mut cursor);
                }
                Opened::Never(why) => {
                    tracing::debug!(why, "the server is not listened to");
                    return;
                }
                Opened::NotYet(why) => {
                    tracing::debug!(why, "the server cannot be listened to for now");
                    cursor.failed();
                }
            }
            let Some(wait) = cursor.wait(&self.options.retry) else {
                tracing::warn!(
                    "the server's own messages are no longer heard: its stream keeps breaking"
                );
                return;
            };
            opened = tokio::select! {
                opened = async {
                    tokio::time::sleep(wait).await;
                    self.open(Some(&cursor), session, NO_HURRY).await
                } => opened,
                () = life.ended() => return,
            };
        }
    }

    /// Passes on what comes in a stream of the session. False if the session ended before the stream.
    pub(crate) async fn pass_on(
        &self,
        events: &mut Events,
        cursor: &mut Cursor,
        life: &mut Life,
    ) -> bool {
        loop {
            // Only waiting is cut short: what has come is passed on whole.
            let event = tokio::select! {
                event = events.next(cursor) => event,
                () = life.ended() => return false,
            };
            match event {
                None => return true,
                Some(Ok(event)) => self.deliver(event.data, Source::Session).await,
                Some(Err(error)) => self.refused(error, Source::Session).await,
            }
        }
    }

    async fn open(&self, cursor: Option<&Cursor>, session: u64, time: Duration) -> Opened {
        let (response, line) = match self.get(cursor, time).await {
            Ok(reply) => reply,
            Err(why) => return Opened::NotYet(why),
        };
        let status = response.status();
        if status == StatusCode::OK
            && fields::is_media(response.headers(), "text/event-stream")
            && !fields::is_encoded(response.headers())
        {
            let limits = &self.options.limits;
            return Opened::Stream(Box::new(Events::new(response.into_body(), line, limits)));
        }
        let why = meaning(status, response.headers());
        if status == StatusCode::NOT_FOUND && self.session().id.is_some() {
            self.over(session, "the server has ended the session");
            return Opened::Never(why);
        }
        // A conflict is with a stream that the server has not seen breaking yet.
        let may_pass = status.is_server_error()
            || matches!(
                status,
                StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            );
        if may_pass {
            Opened::NotYet(why)
        } else {
            Opened::Never(why)
        }
    }

    /// Takes up a stream where it broke. `id` is the request that awaits its answer there.
    pub(crate) async fn come_back(
        &self,
        cursor: &mut Cursor,
        session: u64,
        id: &RequestId,
    ) -> Result<Events, String> {
        let mut last = "it keeps breaking".to_owned();
        while let Some(wait) = cursor.wait(&self.options.retry) {
            tokio::time::sleep(wait).await;
            if !self.awaits(id) {
                break;
            }
            match self
                .open(Some(cursor), session, self.options.timeouts.answer)
                .await
            {
                Opened::Stream(events) => return Ok(*events),
                Opened::Never(why) => {
                    last = why;
                    break;
                }
                Opened::NotYet(why) => last = why,
            }
            cursor.failed();
        }
        Err(format!(
            "the stream with the answer broke and could not be taken up again ({last}); try again"
        ))
    }
}
