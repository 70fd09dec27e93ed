//! HTTP/2 by hand, as much of it as one request takes: a test decides on every field, also on such
//! that no client library would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::http::PATIENCE;

/// Types of frames, flags (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A response.
    Response {
        /// Its status.
        status: u16,
        /// Its whole body.
        body: Vec<u8>,
    },
    /// The stream, or the connection, was reset or closed before a response ended.
    Reset,
}

impl Outcome {
    /// The status of the response; `None` when there is none.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Response { status, .. } => Some(*status),
            Self::Reset => None,
        }
    }

    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Response { body, .. } => serde_json::from_slice(body).unwrap_or_default(),
            Self::Reset => Value::Null,
        }
    }
}

/// A connection for one request.
#[derive(Debug)]
pub(crate) struct Http2 {
    stream: TcpStream,
    status: Option<u16>,
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        let mut connection = Self {
            stream,
            status: None,
        };
        connection.frame(SETTINGS, 0, 0, &[]);
        connection
    }

    /// Sends a frame; the other side may have gone.
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        let _gone = self.stream.write_all(&bytes);
    }

    /// Sends the head of a request whose body is to come.
    pub(crate) fn send_head(&mut self, fields: &[(&str, &[u8])]) {
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal field that is not to be remembered, without Huffman coding (RFC 7541, 6.2.2).
            block.push(0);
            string(&mut block, name.as_bytes());
            string(&mut block, value);
        }
        let mut parts: Vec<&[u8]> = block.chunks(16_000).collect();
        let last = parts.pop().unwrap();
        for (at, part) in parts.iter().enumerate() {
            self.frame(if at == 0 { HEADERS } else { CONTINUATION }, 0, 1, part);
        }
        let kind = if parts.is_empty() {
            HEADERS
        } else {
            CONTINUATION
        };
        self.frame(kind, END_HEADERS, 1, last);
    }

    /// Sends a request with `fields`, as they are.
    pub(crate) fn send(&mut self, fields: &[(&str, &[u8])], body: &[u8]) {
        self.send_head(fields);
        self.frame(DATA, END_STREAM, 1, body);
    }

    /// Gives the request up.
    pub(crate) fn cancel(&mut self) {
        const CANCEL: u32 = 8;
        self.frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    }

    /// The next piece of the body; `None` at its end, and when the stream or the connection ends.
    pub(crate) fn piece(&mut self) -> Option<Vec<u8>> {
        match self.next_frame()? {
            Frame::Data(piece, _) => Some(piece),
            Frame::Head(true) => None,
            Frame::Head(false) => self.piece(),
        }
    }

    /// What comes of the request, whole.
    pub(crate) fn outcome(&mut self) -> Outcome {
        let mut body = Vec::new();
        loop {
            let ended = match self.next_frame() {
                None => return Outcome::Reset,
                Some(Frame::Head(ended)) => ended,
                Some(Frame::Data(piece, ended)) => {
                    body.extend_from_slice(&piece);
                    ended
                }
            };
            if ended {
                let status = self.status.unwrap();
                return Outcome::Response { status, body };
            }
        }
    }

    /// The next frame of the request's stream; `None` when it or the connection is over.
    fn next_frame(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.read(&mut head)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.read(&mut payload)?;
            let (kind, flags) = (head[3], head[4]);
            let ended = flags & END_STREAM != 0;
            match kind {
                DATA => return Some(Frame::Data(payload, ended)),
                HEADERS => {
                    assert!(flags & END_HEADERS != 0, "a head in several frames");
                    self.status = self.status.or(Some(status(&payload)));
                    return Some(Frame::Head(ended));
                }
                RST_STREAM | GOAWAY => return None,
                SETTINGS | PING if flags & ACK == 0 => {
                    let payload = if kind == PING { payload } else { Vec::new() };
                    self.frame(kind, ACK, 0, &payload);
                }
                _ => {}
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came within {PATIENCE:?}")
            }
            Err(_) => None,
        }
    }
}

enum Frame {
    /// A head, and whether nothing follows.
    Head(bool),
    /// A piece of a body, and whether nothing follows.
    Data(Vec<u8>, bool),
}

/// Writes a string literal (RFC 7541, section 5.2).
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        out.push(u8::try_from(length).unwrap());
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        out.push(u8::try_from(length).unwrap());
    }
    out.extend_from_slice(text);
}

/// The status in the block of a response's head, where it stands first (RFC 9113, 8.3.2).
fn status(block: &[u8]) -> u16 {
    // The table's size may be said before.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap();
    match block[start] {
        byte @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        // `:status` from the static table, its value literal.
        0x48 | 0x08 | 0x18 => match block[start + 1] {
            3 => std::str::from_utf8(&block[start + 2..start + 5])
                .unwrap()
                .parse()
                .unwrap(),
            length => huffman_digits(&block[start + 2..], length & 0x7f),
        },
        other => panic!("no status: {other:#x} in {block:?}"),
    }
}

/// Three digits in the code of RFC 7541, appendix B: `0` to `2` have five bits, the others six.
fn huffman_digits(bytes: &[u8], length: u8) -> u16 {
    let bytes = &bytes[..usize::from(length)];
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let number = |bits: &[u8]| {
        bits.iter()
            .fold(0_u16, |number, bit| number << 1 | u16::from(*bit))
    };
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let five = number(&bits[at..at + 5]);
        let digit = if five < 3 {
            at += 5;
            five
        } else {
            let six = number(&bits[at..at + 6]);
            at += 6;
            six - 0b01_1001 + 3
        };
        value = value * 10 + digit;
    }
    value
}
