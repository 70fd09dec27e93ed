//! A server over HTTP, played by the test: each request comes as a [`Call`] to be answered.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mcpf_bridge::{Connect, Target};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::soon;

pub(crate) struct Host {
    calls: mpsc::UnboundedReceiver<Call>,
    pub(crate) url: String,
}

pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Value,
    answer: oneshot::Sender<Response<Reply>>,
}

/// A stream of events. Dropped, it ends.
pub(crate) struct Stream(mpsc::Sender<io::Result<Bytes>>);

pub(crate) enum Reply {
    Whole(Option<Bytes>),
    Events(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Events(events) => events
                .poll_recv(context)
                .map(|event| event.map(|bytes| bytes.map(Frame::data))),
        }
    }
}

impl Host {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (sender, calls) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                let service = service_fn(move |request| receive(request, sender.clone()));
                tokio::task::spawn_local(async move {
                    let served = http1::Builder::new();
                    let _gone = served.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { calls, url }
    }

    pub(crate) fn options(&self) -> Connect {
        Connect::new(Target::parse(&self.url).unwrap())
    }

    pub(crate) async fn next(&mut self) -> Call {
        soon(self.calls.recv()).await.unwrap()
    }

    /// The next request, which is to be this message.
    pub(crate) async fn post(&mut self, message: &Value) -> Call {
        let call = self.next().await;
        assert_eq!(call.method, "POST", "{} {}", call.path, call.body);
        assert_eq!(call.body, *message);
        call
    }

    pub(crate) async fn asked(&mut self, method: &str) -> Call {
        let call = self.next().await;
        assert_eq!(call.method, method, "{} {}", call.path, call.body);
        call
    }
}

async fn receive(
    request: Request<Incoming>,
    calls: mpsc::UnboundedSender<Call>,
) -> Result<Response<Reply>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let (answer, answered) = oneshot::channel();
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default(),
        answer,
    };
    let _test_is_over = calls.send(call);
    match answered.await {
        Ok(response) => Ok(response),
        // The test does not answer.
        Err(_) => std::future::pending().await,
    }
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn status(self, status: u16) {
        self.with(status, &[], Reply::Whole(None));
    }

    pub(crate) fn text(self, status: u16, media: &str, text: &str) {
        let body = Reply::Whole(Some(Bytes::copy_from_slice(text.as_bytes())));
        self.with(status, &[("content-type", media)], body);
    }

    pub(crate) fn json(self, message: &Value) {
        self.text(200, "application/json", &message.to_string());
    }

    /// A JSON answer that begins a session.
    pub(crate) fn begin(self, session: &str, message: &Value) {
        let headers = [
            ("content-type", "application/json"),
            ("mcp-session-id", session),
        ];
        let body = Bytes::from(message.to_string());
        self.with(200, &headers, Reply::Whole(Some(body)));
    }

    pub(crate) fn events(self) -> Stream {
        let (stream, events) = mpsc::channel(4);
        self.with(
            200,
            &[("content-type", "text/event-stream")],
            Reply::Events(events),
        );
        Stream(stream)
    }

    pub(crate) fn with(self, status: u16, headers: &[(&str, &str)], body: Reply) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let _gone = self.answer.send(response.body(body).unwrap());
    }

    /// Returns once the client has given the request up.
    pub(crate) async fn given_up(mut self) {
        soon(self.answer.closed()).await;
    }
}

impl Stream {
    pub(crate) async fn raw(&self, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        soon(self.0.send(Ok(bytes))).await.expect("nobody hears");
    }

    pub(crate) async fn say(&self, message: &Value) {
        self.raw(&format!("data: {message}\n\n")).await;
    }

    pub(crate) async fn say_as(&self, id: &str, message: &Value) {
        self.raw(&format!("id: {id}\ndata: {message}\n\n")).await;
    }

    pub(crate) async fn break_off(self) {
        let error = io::Error::other("broken on purpose");
        let _gone = self.0.send(Err(error)).await;
    }

    /// How many more events can be said without waiting.
    pub(crate) fn room(&self) -> usize {
        self.0.capacity()
    }

    /// Returns once the client hears no more.
    pub(crate) async fn given_up(self) {
        soon(self.0.closed()).await;
    }
}
