//! The two endpoints of 2024-11-05 ("HTTP with SSE").
//!
//! Enter: an `initialize` that a server did not take. Leave: a stream in which the server answers
//! everything, and the place where messages go.

use std::rc::Rc;

use hyper::StatusCode;

use super::client::Client;
use super::events::{Cursor, Events};
use super::request::meaning;
use crate::envelope::Envelope;
use crate::fields;

impl Client {
    /// Begins a session with a server that speaks nothing newer.
    pub(crate) async fn begin_old(
        self: &Rc<Self>,
        initialize: &Envelope,
        session: u64,
    ) -> Result<(), String> {
        let time = self.options.timeouts.handshake;
        let mut cursor = Cursor::default();
        let found = tokio::time::timeout(time, self.endpoint(&mut cursor)).await;
        let (mut events, endpoint) =
            found.map_err(|_| "the server named no endpoint in time".to_owned())??;
        let mut life = {
            let mut current = self.session_mut();
            if current.number != session {
                return Err("another session has begun".to_owned());
            }
            current.endpoint = Some(endpoint.clone());
            current.life()
        };
        let client = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if client.pass_on(&mut events, &mut cursor, &mut life).await {
                let why = "the server has ended the stream that its answers come in";
                client.over(session, why);
            }
        });
        let (response, line) = self.post_to(Some(endpoint), initialize, None).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(meaning(status, response.headers()));
        }
        self.drain(response, line).await;
        Ok(())
    }

    /// The stream, and the endpoint that its first event names.
    async fn endpoint(&self, cursor: &mut Cursor) -> Result<(Events, hyper::Uri), String> {
        let (response, line) = self.get(None, self.options.timeouts.handshake).await?;
        let is_stream = response.status() == StatusCode::OK
            && fields::is_media(response.headers(), "text/event-stream");
        if !is_stream {
            return Err(meaning(response.status(), response.headers()));
        }
        let mut events = Events::new(response.into_body(), line, &self.options.limits);
        let first = events.next(cursor).await;
        let Some(Ok(event)) = first.filter(|event| matches!(event, Ok(e) if e.is_endpoint)) else {
            return Err("the stream does not begin with an endpoint".to_owned());
        };
        let reference = std::str::from_utf8(&event.data).unwrap_or_default();
        let endpoint = self.options.target.resolve(reference.trim());
        let endpoint =
            endpoint.ok_or("the server named an endpoint that is not its own".to_owned())?;
        Ok((events, endpoint))
    }
}
