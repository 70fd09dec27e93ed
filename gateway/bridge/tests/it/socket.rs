//! A client of `serve`, in the place of the firewall's HTTP proxy.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use mcpf_bridge::{Serve, ServeError, listen, serve};
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{initialize, initialized, soon};

/// A server that is offered, and where.
pub(crate) struct Offer {
    pub(crate) directory: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), ServeError>>,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
    media: String,
    body: Incoming,
    buffer: String,
    _connection: http1::SendRequest<Full<Bytes>>,
}

impl Offer {
    pub(crate) fn start(arguments: &[&str], options: impl FnOnce(&mut Serve)) -> Self {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("mcpf-bridge-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fake_server.py");
        let mut args: Vec<OsString> = vec![script.into()];
        args.extend(arguments.iter().map(OsString::from));
        args.push("--trace".into());
        args.push(directory.join("trace").into());
        let mut settings = Serve::new("python3".into(), args);
        options(&mut settings);
        let listener = listen(&directory.join("socket")).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::task::spawn_local(async move {
            let stopped = async {
                let _dropped = stopped.await;
            };
            serve(listener, settings, stopped).await
        });
        Self {
            directory,
            stop: Some(stop),
            running,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// The messages that children got, of all children.
    pub(crate) fn trace(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("trace")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until a child got a message like this.
    pub(crate) async fn traced(&self, what: impl Fn(&Value) -> bool) -> Value {
        soon(async {
            loop {
                if let Some(found) = self.trace().into_iter().find(|message| what(message)) {
                    return found;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await
    }

    pub(crate) async fn end(mut self) {
        let _ended = self.stop.take().unwrap().send(());
        soon(&mut self.running).await.unwrap().unwrap();
        assert!(!self.socket().exists());
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        session: Option<&str>,
        version: Option<&str>,
        body: String,
    ) -> Reply {
        let heads = [
            ("mcp-session-id", session),
            ("mcp-protocol-version", version),
        ];
        let heads: Vec<_> = heads
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        soon(send(&self.socket(), method, &heads, body)).await
    }

    pub(crate) async fn post(&self, session: &str, message: &Value) -> Reply {
        let session = Some(session);
        self.send(Method::POST, session, None, message.to_string())
            .await
    }

    pub(crate) async fn post_modern(&self, message: &Value) -> Reply {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = &message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        let version = text(version);
        let heads = [
            (
                "mcp-protocol-version",
                if version.is_empty() {
                    "2026-07-28"
                } else {
                    &version
                },
            ),
            ("mcp-method", &text(&message["method"])),
            ("mcp-name", &text(&message["params"]["name"])),
        ];
        self.post_with(&heads, message).await
    }

    pub(crate) async fn post_with(&self, heads: &[(&str, &str)], message: &Value) -> Reply {
        soon(send(
            &self.socket(),
            Method::POST,
            heads,
            message.to_string(),
        ))
        .await
    }

    /// `initialize` without a session.
    pub(crate) async fn initialize(&self, id: i64) -> Reply {
        let body = initialize(id).to_string();
        self.send(Method::POST, None, None, body).await
    }

    /// A handshake; gives the session.
    pub(crate) async fn begin(&self) -> String {
        let mut reply = self.initialize(0).await;
        assert_eq!(reply.status, 200);
        let session = reply.session.clone().unwrap();
        while reply
            .next()
            .await
            .is_some_and(|message| message["id"].is_null())
        {}
        assert_eq!(self.post(&session, &initialized()).await.status, 202);
        session
    }

    pub(crate) async fn get(&self, session: &str) -> Reply {
        self.send(Method::GET, Some(session), None, String::new())
            .await
    }

    pub(crate) async fn delete(&self, session: &str) -> Reply {
        self.send(Method::DELETE, Some(session), None, String::new())
            .await
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.running.abort();
        let _gone = std::fs::remove_dir_all(&self.directory);
    }
}

async fn send(socket: &Path, method: Method, heads: &[(&str, &str)], body: String) -> Reply {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    let mut request = Request::builder()
        .method(method)
        .uri("/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json");
    for (name, value) in heads {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let response: Response<Incoming> = sender.send_request(request).await.unwrap();
    let text = |name: &str| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    Reply {
        status: response.status().as_u16(),
        session: text("mcp-session-id"),
        media: text("content-type").unwrap_or_default(),
        body: response.into_body(),
        buffer: String::new(),
        _connection: sender,
    }
}

impl Reply {
    pub(crate) fn is_stream(&self) -> bool {
        self.media == "text/event-stream"
    }

    /// The only message.
    pub(crate) async fn json(mut self) -> Value {
        assert_eq!(self.media, "application/json");
        self.next().await.unwrap()
    }

    /// The next message, of one or of a stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if self.is_stream() {
                while let Some((event, rest)) = self.buffer.split_once("\n\n") {
                    let message = event.strip_prefix("data: ").map(str::to_owned);
                    self.buffer = rest.to_owned();
                    if let Some(message) = message {
                        return Some(serde_json::from_str(&message).unwrap());
                    }
                }
            }
            match soon(self.body.frame()).await {
                Some(frame) => {
                    let data = frame.unwrap().into_data().unwrap();
                    self.buffer.push_str(std::str::from_utf8(&data).unwrap());
                }
                None if self.buffer.is_empty() => return None,
                None => {
                    let message = serde_json::from_str(&self.buffer).unwrap();
                    self.buffer.clear();
                    return Some(message);
                }
            }
        }
    }

    /// The next piece of the body as it came.
    pub(crate) async fn raw(&mut self) -> String {
        let frame = soon(self.body.frame()).await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    }

    /// Everything until the end.
    pub(crate) async fn all(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            all.push(message);
        }
        all
    }
}
