//! A server over HTTP that does what a test tells it, byte for byte.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::http::{Head, Wire};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// `POST`, `GET` or `DELETE`.
    pub(crate) fn verb(&self) -> &str {
        self.head.first.split(' ').next().unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The message; null when there is none.
    pub(crate) fn message(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The message's method; empty when it has none.
    pub(crate) fn method(&self) -> String {
        self.message()["method"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// One connection of the firewall's. Writes to one that has gone do nothing.
#[derive(Debug)]
pub(crate) struct Peer {
    wire: Wire,
    number: usize,
    state: Arc<State>,
    is_over: bool,
}

impl Peer {
    /// The next request.
    pub(crate) fn request(&mut self) -> Option<Seen> {
        if self.is_over {
            return None;
        }
        let head = self.wire.head()?;
        let body = self.wire.body(&head)?;
        let seen = Seen {
            connection: self.number,
            head,
            body,
        };
        self.state.seen.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    /// Answers each request, as long as there are some.
    fn serve(&mut self, answer: &dyn Fn(&Seen, &mut Self)) {
        while let Some(seen) = self.request() {
            answer(&seen, self);
        }
    }

    /// Sends bytes as they are, and tells whether the firewall still takes them.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes.as_ref()).is_ok()
    }

    /// A whole response: `status` is the code and the reason.
    pub(crate) fn respond(
        &mut self,
        status: &str,
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes);
    }

    /// A message as the response.
    pub(crate) fn json(&mut self, message: &Value) {
        let fields = [("Content-Type", "application/json")];
        self.respond("200 OK", &fields, message.to_string());
    }

    /// The honest answer to `seen`.
    pub(crate) fn honest(&mut self, seen: &Seen) {
        let message = seen.message();
        let json = ("Content-Type", "application/json");
        match (seen.verb(), mcpf_tests::answer(&message)) {
            ("POST", Some(answer)) if message["method"] == "initialize" => {
                let made = self.state.sessions.fetch_add(1, Ordering::Relaxed);
                let session = format!("session-{made}");
                let fields = [json, ("Mcp-Session-Id", &session)];
                self.respond("200 OK", &fields, answer.to_string());
            }
            ("POST", Some(answer)) => self.json(&answer),
            ("POST", None) => self.respond("202 Accepted", &[], ""),
            ("DELETE", _) => self.respond("200 OK", &[], ""),
            _ => self.respond("405 Method Not Allowed", &[("Allow", "POST, DELETE")], ""),
        }
    }

    /// Begins a stream of events.
    pub(crate) fn events(&mut self) {
        self.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        );
    }

    /// Sends `text` as a chunk, and tells whether the firewall still takes it.
    pub(crate) fn chunk(&mut self, text: impl AsRef<[u8]>) -> bool {
        let text = text.as_ref();
        let mut bytes = format!("{:x}\r\n", text.len()).into_bytes();
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(b"\r\n");
        self.send(bytes)
    }

    /// Sends chunks until the firewall takes no more.
    pub(crate) fn chunks_without_end(&mut self) {
        let chunk = vec![b'x'; 65_536];
        while self.chunk(&chunk) {}
    }

    /// Sends `byte` until the firewall takes no more.
    pub(crate) fn send_without_end(&mut self, byte: u8) {
        let bytes = vec![byte; 65_536];
        while self.send(&bytes) {}
    }

    /// Sends a message as an event.
    pub(crate) fn event(&mut self, message: &Value) -> bool {
        self.chunk(format!("data: {message}\n\n"))
    }

    /// Ends a body in chunks.
    pub(crate) fn end(&mut self) {
        self.send("0\r\n\r\n");
    }

    /// Ends the connection with a reset, as soon as the test's closure returns.
    pub(crate) fn reset(&mut self) {
        let stream = self.wire.stream();
        rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
        self.is_over = true;
    }

    /// Ends the connection.
    pub(crate) fn close(&mut self) {
        let _gone = self.wire.stream().shutdown(Shutdown::Both);
        self.is_over = true;
    }

    /// Waits until the firewall has closed the connection, and tells whether it did so without
    /// sending anything more.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.wire.is_closed()
    }
}

#[derive(Debug, Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    sessions: AtomicUsize,
    ended: AtomicBool,
}

/// A listening server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
}

impl Upstream {
    /// Each connection is given to `serve`, in a thread of its own, and closed afterwards.
    pub(crate) fn new(serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), serve)
    }

    fn on(listener: TcpListener, serve: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (shared, serve) = (Arc::clone(&state), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                let (state, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                std::thread::spawn(move || {
                    serve(&mut Peer {
                        // As long as it takes: the firewall ends with its test.
                        wire: Wire::new(stream, None),
                        number,
                        state,
                        is_over: false,
                    });
                });
            }
        });
        Self { address, state }
    }

    /// Each request is given to `answer`, connection by connection, until `answer` closes it or
    /// the firewall does.
    pub(crate) fn each(answer: impl Fn(&Seen, &mut Peer) + Send + Sync + 'static) -> Self {
        Self::new(move |peer| peer.serve(&answer))
    }

    /// Answers as a small honest server does.
    pub(crate) fn honest() -> Self {
        Self::each(|seen, peer| peer.honest(seen))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many requests have come so far.
    pub(crate) fn count(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().unwrap()
    }
}

/// An address that is taken, and where nobody listens: connections to it are refused.
#[derive(Debug)]
pub(crate) struct Silent(TcpListener);

impl Silent {
    pub(crate) fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self(socket.into())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.0.local_addr().unwrap())
    }

    /// From now on somebody does.
    pub(crate) fn listen(self) -> Upstream {
        rustix::net::listen(&self.0, 64).unwrap();
        Upstream::on(self.0, |peer| peer.serve(&|seen, peer| peer.honest(seen)))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // So that the listener's thread looks.
        let _woken = TcpStream::connect(self.address);
    }
}
