//! HTTP/1.1 by hand: a test decides on every byte it sends, and sees every byte that comes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longest wait for a peer to read or to write. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The first line of a message and its fields.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// The value of the only field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "`{name}` stands twice: {self:?}");
        all.first().copied()
    }

    /// Every value of the fields of this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter();
        let named = named.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.first.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn is_chunked(&self) -> bool {
        self.get("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }
}

/// A connection, read in the pieces that HTTP has. The end and a reset are both `None`.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// A read or write that takes longer than `patience` fails the test.
    pub(crate) fn new(stream: TcpStream, patience: Option<Duration>) -> Self {
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes; the other side may have gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads more; `None` when nothing more comes.
    fn fill(&mut self) -> Option<()> {
        let mut chunk = vec![0; 64 * 1024];
        let count = loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("nothing came within {PATIENCE:?}, after {:?}", self.rest());
                }
                // A reset.
                Err(_) => return None,
                Ok(count) => break count,
            }
        };
        self.buffer.extend_from_slice(&chunk[..count]);
        (count > 0).then_some(())
    }

    /// Takes what has been read.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// What has been read and not taken.
    fn rest(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    /// Whether the other side closes without another byte. Waits for either.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().is_none()
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Some(self.buffer.drain(..count).collect())
    }

    fn take_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut seen = 0;
        loop {
            let found = self.buffer[seen..]
                .windows(end.len())
                .position(|window| window == end);
            if let Some(found) = found {
                return self.take(seen + found + end.len());
            }
            seen = (self.buffer.len() + 1).saturating_sub(end.len());
            self.fill()?;
        }
    }

    /// The next head.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let text = String::from_utf8(self.take_through(b"\r\n\r\n")?).unwrap();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        });
        Some(Head {
            first,
            fields: fields.collect(),
        })
    }

    /// The body that follows `head`. One that breaks off is `None`.
    pub(crate) fn body(&mut self, head: &Head) -> Option<Vec<u8>> {
        if head.is_chunked() {
            let mut all = Vec::new();
            while let Some(chunk) = self.chunk()? {
                all.extend_from_slice(&chunk);
            }
            return Some(all);
        }
        if let Some(length) = head.get("content-length") {
            return self.take(length.parse().unwrap());
        }
        let is_request = !head.first.starts_with("HTTP/");
        let is_bare = head
            .first
            .split(' ')
            .nth(1)
            .is_some_and(|s| s == "204" || s == "304");
        if is_request || is_bare {
            return Some(Vec::new());
        }
        while self.fill().is_some() {}
        Some(std::mem::take(&mut self.buffer))
    }

    /// The next chunk of a chunked body; `Some(None)` at its end.
    #[expect(
        clippy::option_option,
        reason = "a body that ends and one that breaks off are different things"
    )]
    pub(crate) fn chunk(&mut self) -> Option<Option<Vec<u8>>> {
        let line = String::from_utf8(self.take_through(b"\r\n")?).unwrap();
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = self.take(size + 2)?;
        chunk.truncate(size);
        Some((size > 0).then_some(chunk))
    }
}

/// A request about to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: &'static str,
    path: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    fn new(method: &'static str, body: Vec<u8>) -> Self {
        Self {
            method,
            path: "/mcp".to_owned(),
            fields: Vec::new(),
            body,
        }
    }

    /// A message, without a field of its own.
    pub(crate) fn bare_post(message: &Value) -> Self {
        Self::new("POST", message.to_string().into_bytes())
    }

    /// A message, with the fields that every client sends.
    pub(crate) fn post(message: &Value) -> Self {
        Self::bare_post(message)
            .with("Content-Type", "application/json")
            .with("Accept", "application/json, text/event-stream")
    }

    /// The same under the sessionless revision.
    pub(crate) fn modern(message: Value) -> Self {
        let message = mcpf_tests::to_modern(message);
        let method = message["method"].as_str().unwrap().to_owned();
        Self::post(&message)
            .with("MCP-Protocol-Version", "2026-07-28")
            .with("Mcp-Method", method)
    }

    /// A stream of what the server has to say.
    pub(crate) fn get() -> Self {
        Self::bare_get().with("Accept", "text/event-stream")
    }

    /// The same, without a field of its own.
    pub(crate) fn bare_get() -> Self {
        Self::new("GET", Vec::new())
    }

    /// The end of a session.
    pub(crate) fn delete() -> Self {
        Self::new("DELETE", Vec::new())
    }

    /// One more field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// For another path.
    pub(crate) fn at(self, path: &str) -> Self {
        let path = path.to_owned();
        Self { path, ..self }
    }

    /// In the session called `id`.
    pub(crate) fn session(self, id: &str) -> Self {
        self.with("Mcp-Session-Id", id)
    }

    /// The bytes of it, for the server at `host`.
    pub(crate) fn bytes(&self, host: &str) -> Vec<u8> {
        let Self { method, path, .. } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method == "POST" {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A response, whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Every message of it, whether it is a message or a stream of events.
    pub(crate) fn messages(&self) -> Vec<Value> {
        match self.head.get("content-type") {
            Some("text/event-stream") => self
                .text()
                .split_inclusive("\n\n")
                .filter_map(message_of)
                .collect(),
            _ if self.body.is_empty() => Vec::new(),
            _ => vec![serde_json::from_slice(&self.body).unwrap()],
        }
    }

    /// The only response to request `id` in it. Fails when there is none or another.
    pub(crate) fn answer_to(&self, id: &Value) -> Value {
        let messages = self.messages();
        let mut answers = messages
            .iter()
            .filter(|message| message.get("method").is_none());
        match (answers.next(), answers.next()) {
            (Some(answer), None) if answer["id"] == *id => answer.clone(),
            _ => panic!("not one answer to {id}: {} {}", self.status(), self.text()),
        }
    }
}

/// The message of an event, if it carries one.
pub(crate) fn message_of(event: &str) -> Option<Value> {
    let lines = event.lines().filter_map(|line| line.strip_prefix("data: "));
    let data: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    (!data.is_empty()).then(|| serde_json::from_str(&data.join("\n")).unwrap())
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Wire,
    host: String,
    /// What has come of a stream of events and not been taken.
    events: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self {
            wire: Wire::new(TcpStream::connect(address).unwrap(), Some(PATIENCE)),
            host: address.to_string(),
            events: Vec::new(),
        }
    }

    /// Sends bytes as they are; the other side may have gone.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.wire.send(bytes)
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, ask: &Ask) {
        self.wire.send(&ask.bytes(&self.host)).unwrap();
    }

    /// The next response, whole; `None` when the connection ends before it does.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let head = loop {
            let head = self.wire.head()?;
            if head.status() >= 200 {
                break head;
            }
        };
        let body = self.wire.body(&head)?;
        Some(Reply { head, body })
    }

    /// Sends a request and reads its response.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Reply {
        self.send(ask);
        let reply = self.reply();
        reply.unwrap_or_else(|| panic!("no response to {ask:?}"))
    }

    /// Sends a request and reads the head of its response, which is a stream of events.
    pub(crate) fn open(&mut self, ask: &Ask) -> Head {
        self.send(ask);
        let head = self.wire.head().unwrap();
        assert_eq!(
            head.get("content-type"),
            Some("text/event-stream"),
            "{head:?}"
        );
        head
    }

    /// The next event of the stream, with its blank line; `None` at its end.
    pub(crate) fn event(&mut self) -> Option<String> {
        loop {
            let end = self.events.windows(2).position(|window| window == b"\n\n");
            if let Some(end) = end {
                let event = self.events.drain(..end + 2).collect();
                return Some(String::from_utf8(event).unwrap());
            }
            let chunk = self.wire.chunk()??;
            self.events.extend_from_slice(&chunk);
        }
    }

    /// Whether the connection ends here, without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.wire.is_closed()
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
