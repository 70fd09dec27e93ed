//! Streams of events, released one by one.
//!
//! Enter: a server's event stream, as its bytes come. Leave: the same events, each as soon as it has
//! been inspected and recorded; of one that is withheld its `id` still goes on, so that the client's
//! cursor keeps its place. Never: more than one event in memory, beside what the client has not read.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use mcpf_model::{ByteSize, Direction, MessageKind, RequestId};
use mcpf_pipeline::Awaited;
use mcpf_wire::{FrameError, SseEvent, SseFramer, write_comment, write_event};
use tokio::sync::mpsc;

use super::answer;
use super::body::{self, Out};
use super::conversation::Endpoint;
use super::exchange::{Exchange, Owed, is_reply};
use super::gate;
use super::inspect::{Fate, Passing};
use super::pool::Line;

/// Events that may wait for a client that reads slowly.
const WAITING: usize = 4;

/// Bytes that the other fields of an event may take beside a message of full size. 4 KiB.
const EVENT_FIELDS: u32 = 4 * 1_024;

/// What a stream may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The answer to one request, and what belongs to it.
    OfRequest,
    /// Whatever the server has to say in this session.
    OfServer,
}

/// Carries one stream from the server to the client.
pub(crate) struct Pump {
    exchange: Exchange,
    client: mpsc::Sender<Bytes>,
    owed: Option<Owed>,
    stream: Stream,
    framer: SseFramer,
    /// The client can come back for what it missed.
    is_resumable: bool,
    /// What the endpoint of this stream is called.
    token: Option<Box<str>>,
    out: Vec<u8>,
}

/// The client has gone.
struct Gone;

impl Pump {
    /// Starts the pump; what it releases is the body of the response.
    pub(crate) fn start(
        exchange: Exchange,
        incoming: Incoming,
        line: Line,
        owed: Option<Owed>,
        stream: Stream,
    ) -> Out {
        let (client, receiver) = mpsc::channel(WAITING);
        let pump = Self::new(exchange, client, owed, stream);
        tokio::task::spawn_local(pump.run(incoming, line));
        Out::Events(receiver)
    }

    fn new(
        exchange: Exchange,
        client: mpsc::Sender<Bytes>,
        owed: Option<Owed>,
        stream: Stream,
    ) -> Self {
        let limits = exchange.worker.generation().limits;
        Self {
            exchange,
            client,
            owed,
            stream,
            framer: SseFramer::new(ByteSize(limits.max_frame.0.saturating_add(EVENT_FIELDS))),
            is_resumable: false,
            token: None,
            out: Vec::new(),
        }
    }

    async fn run(mut self, mut incoming: Incoming, line: Line) {
        let client = self.client.clone();
        let ended = tokio::select! {
            // Under the sessionless revision this is how a request is cancelled; in others the
            // server goes on, and the client may come back.
            () = client.closed() => Err(Gone),
            ended = self.carry(&mut incoming) => ended,
        };
        if ended.is_ok() {
            drop(incoming);
            self.exchange.worker.pool.give_back(line);
            let _gone = self.finish().await;
        }
    }

    async fn carry(&mut self, incoming: &mut Incoming) -> Result<(), Gone> {
        while let Some(frame) = body::next(incoming).await {
            let Ok(frame) = frame else { break };
            if let Ok(data) = frame.into_data() {
                self.framer.push(&data);
                self.events().await?;
            }
        }
        Ok(())
    }

    async fn events(&mut self) -> Result<(), Gone> {
        loop {
            let event = match self.framer.next_event() {
                None => return Ok(()),
                Some(Ok(event)) => Event::of(&event),
                Some(Err(error)) => {
                    let is_endless = matches!(error, FrameError::TooLarge { .. });
                    let limits = self.exchange.worker.generation().limits;
                    let refusal = error.refusal(&limits);
                    let exchange = &self.exchange;
                    let decided = exchange.worker.refuse(
                        &exchange.conversation,
                        Direction::Outbound,
                        &refusal,
                        self.awaited(),
                    );
                    exchange.recorded(decided.seq).await;
                    self.told(decided.fate, None).await?;
                    if is_endless {
                        // Its end may never come, and most likely it is the answer.
                        self.give_up("the server's answer is larger than `limits.max_frame`")
                            .await?;
                    }
                    continue;
                }
            };
            self.event(event).await?;
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Gone> {
        self.is_resumable |= event.id.is_some() && self.exchange.is_in_session();
        let data = match event.data.as_ref().filter(|data| !data.is_empty()) {
            // Keep-alive, or the event that primes a cursor.
            None => return self.bare(event).await,
            Some(data) => data.clone(),
        };
        if self.stream == Stream::OfServer && event.kind.as_deref() == Some(b"endpoint") {
            return self.endpoint(&event, &data).await;
        }
        if event.kind.as_deref().is_some_and(|kind| kind != b"message") {
            // Clients ignore it; so it is not inspected, and does not go on.
            tracing::info!("an event of an unknown type was dropped");
            return self.cursor(&event).await;
        }
        let exchange = &self.exchange;
        let decided = exchange.worker.inspect(
            &exchange.conversation,
            Direction::Outbound,
            &data,
            None,
            self.awaited(),
        );
        if let Fate::Batch(elements) = decided.fate {
            for range in elements {
                let element = Event {
                    data: Some(data.slice(range)),
                    ..event.clone()
                };
                Box::pin(self.event(element)).await?;
            }
            return Ok(());
        }
        if !exchange.recorded(decided.seq).await {
            return self.cursor(&event).await;
        }
        match decided.fate {
            Fate::Forward(passing) if self.belongs(&passing) => {
                if is_reply(passing.kind)
                    && let Some(owed) = &mut self.owed
                {
                    owed.settle();
                }
                self.write(&event, Some(&passing.bytes)).await
            }
            fate => self.told(fate, Some(&event)).await,
        }
    }

    /// 2024-11-05, "HTTP with SSE": the server names the place for the client's messages. The client
    /// is given one of ours instead.
    async fn endpoint(&mut self, event: &Event, data: &[u8]) -> Result<(), Gone> {
        let settings = &self.exchange.worker.gateway.settings;
        let target = std::str::from_utf8(data)
            .ok()
            .and_then(|reference| settings.upstream.resolve(reference));
        let (Some(target), None) = (target, &self.token) else {
            tracing::warn!("the server named an endpoint that is not its own; the stream ends");
            return Err(Gone);
        };
        let Some(token) = token() else {
            return Err(Gone);
        };
        let path = format!("{}/{token}", settings.path.trim_end_matches('/'));
        let conversation = &self.exchange.conversation;
        conversation.attach(Endpoint {
            target,
            stream: self.client.clone(),
        });
        let conversations = &self.exchange.worker.gateway.conversations;
        conversations.enter(&token, Arc::clone(conversation));
        self.token = Some(token);
        self.write(event, Some(path.as_bytes())).await
    }

    /// Which requests may be answered here.
    fn awaited(&self) -> Awaited {
        match (self.stream, &self.owed) {
            (Stream::OfServer, _) => Awaited::Named,
            (Stream::OfRequest, Some(owed)) if owed.is_owed() => Awaited::Only(owed.id.clone()),
            (Stream::OfRequest, _) => Awaited::Nothing,
        }
    }

    /// Whether a message may stand in this stream: an answer only where its request was made.
    fn belongs(&self, passing: &Passing) -> bool {
        match (self.stream, passing.kind) {
            (Stream::OfRequest, MessageKind::Response | MessageKind::Error) => {
                let owed = self.owed.as_ref().filter(|owed| owed.is_owed());
                passing.id.is_some() && owed.map(|owed| &owed.id) == passing.id.as_ref()
            }
            _ => true,
        }
    }

    /// What the client, or the server, is told instead of a message that does not go on.
    async fn told(&mut self, fate: Fate, event: Option<&Event>) -> Result<(), Gone> {
        match fate {
            Fate::Answer(own) if own.direction == Direction::Inbound => {
                self.exchange.tell_server(own.frame);
            }
            Fate::Answer(own) => {
                if let Some(owed) = &mut self.owed
                    && own.id.as_ref() == Some(&owed.id)
                {
                    owed.settle();
                }
                let event = event.cloned().unwrap_or_default();
                return self.write(&event, Some(&own.frame)).await;
            }
            Fate::Forward(_) => {
                tracing::warn!("the server answered a request in the stream of another");
            }
            Fate::Drop(_) | Fate::Batch(_) => {}
        }
        match event {
            Some(event) => self.cursor(event).await,
            None => Ok(()),
        }
    }

    /// An event without its message: the client's cursor moves on.
    async fn cursor(&mut self, event: &Event) -> Result<(), Gone> {
        if event.id.is_none() && event.retry.is_none() {
            return Ok(());
        }
        self.write(event, Some(b"")).await
    }

    /// An event that carries no message.
    async fn bare(&mut self, event: Event) -> Result<(), Gone> {
        if event.is_comment {
            self.out.clear();
            write_comment(&mut self.out);
            return self.flush().await;
        }
        let data = event.data.clone();
        self.write(&event, data.as_deref()).await
    }

    async fn write(&mut self, event: &Event, data: Option<&[u8]>) -> Result<(), Gone> {
        self.out.clear();
        write_event(
            &mut self.out,
            event.id.as_deref(),
            event.kind.as_deref(),
            event.retry,
            data,
        );
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        let bytes = Bytes::copy_from_slice(&self.out);
        self.client.send(bytes).await.map_err(|_| Gone)
    }

    /// The server has ended its stream.
    async fn finish(&mut self) -> Result<(), Gone> {
        match &mut self.owed {
            // The client comes back for the answer: its request stays open.
            Some(owed) if self.is_resumable => {
                owed.settle();
                Ok(())
            }
            _ => self.give_up("the server ended before it answered").await,
        }
    }

    /// The request of this stream is answered by us, if it is not answered yet.
    async fn give_up(&mut self, why: &str) -> Result<(), Gone> {
        let id: RequestId = match &mut self.owed {
            Some(owed) if owed.is_owed() => {
                owed.settle();
                owed.id.clone()
            }
            _ => return Ok(()),
        };
        match self.exchange.lost(&id, why) {
            Some(frame) => self.write(&Event::default(), Some(&frame)).await,
            None => Ok(()),
        }
    }

    /// What comes of a batch, in one stream.
    pub(crate) async fn batch(
        exchange: Exchange,
        messages: Vec<Passing>,
        own: Vec<Bytes>,
    ) -> Response<Out> {
        let is_awaited = messages
            .iter()
            .any(|message| message.kind == MessageKind::Request);
        if !is_awaited && own.is_empty() {
            for message in messages {
                if let Err(why) = exchange.send_one(message.bytes).await {
                    tracing::warn!(why, "part of a batch was not delivered");
                }
            }
            return answer::bare(hyper::StatusCode::ACCEPTED, hyper::HeaderMap::new());
        }
        let (client, receiver) = mpsc::channel(WAITING);
        let mut pump = Self::new(exchange, client, None, Stream::OfRequest);
        tokio::task::spawn_local(async move {
            let _gone = pump.elements(messages, own).await;
        });
        let status = hyper::StatusCode::OK;
        answer::events(status, hyper::HeaderMap::new(), Out::Events(receiver))
    }

    async fn elements(&mut self, messages: Vec<Passing>, own: Vec<Bytes>) -> Result<(), Gone> {
        for frame in own {
            self.write(&Event::default(), Some(&frame)).await?;
        }
        for message in messages {
            self.owed = match (message.kind, message.id) {
                (MessageKind::Request, Some(id)) => Some(self.exchange.owe(id)),
                _ => None,
            };
            let sent = self.exchange.send_one(message.bytes).await;
            if let Ok((response, line)) = sent {
                let is_stream = response
                    .headers()
                    .get(hyper::header::CONTENT_TYPE)
                    .is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"));
                let mut incoming = response.into_body();
                if is_stream {
                    self.carry(&mut incoming).await?;
                } else {
                    let max = self.exchange.worker.max_frame();
                    let time = self.exchange.worker.gateway.settings.timeouts.request;
                    if let Ok(data) = body::read(incoming, max, time).await
                        && self.owed.is_some()
                    {
                        let event = Event {
                            data: Some(data),
                            ..Event::default()
                        };
                        self.event(event).await?;
                    }
                    self.exchange.worker.pool.give_back(line);
                }
            }
            self.is_resumable = false;
            self.finish().await?;
        }
        Ok(())
    }
}

/// An event with nothing but a message.
pub(crate) fn event_of(frame: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(frame.len() + 8);
    write_event(&mut out, None, None, None, Some(frame));
    out.into()
}

impl Drop for Pump {
    fn drop(&mut self) {
        // Without its stream nobody hears the answers.
        if let Some(token) = &self.token {
            self.exchange.worker.gateway.conversations.leave(token);
        }
    }
}

/// A name that nobody guesses.
fn token() -> Option<Box<str>> {
    let mut bytes = [0_u8; gate::TOKEN / 2];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the system has no random numbers");
        return None;
    }
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(text.into_boxed_str())
}

/// An event on its own.
#[derive(Clone, Debug, Default)]
struct Event {
    data: Option<Bytes>,
    id: Option<Rc<[u8]>>,
    kind: Option<Rc<[u8]>>,
    retry: Option<u64>,
    is_comment: bool,
}

impl Event {
    fn of(event: &SseEvent<'_>) -> Self {
        Self {
            data: event.data.map(Bytes::copy_from_slice),
            id: event.id.map(Rc::from),
            kind: event.event.map(Rc::from),
            retry: event.retry,
            is_comment: event.comment,
        }
    }
}
