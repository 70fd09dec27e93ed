//! Answers of HTTP/1.1, read from a connection (RFC 9112).
//!
//! Enter: bytes, in any pieces. Leave: one [`Response`] at a time, its body in one piece. Never: a socket, or
//! a byte of one answer in the next: a surplus byte is an error, because nothing here is pipelined.
//!
//! The buffer belongs to the reader and is reused; a body with a length is not copied, one in chunks is moved
//! together inside the buffer.

use std::ops::Range;

use thiserror::Error;

/// Reads answers.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// How much of the buffer is from the peer.
    filled: usize,
    stage: Stage,
}

/// A whole answer. Its body is asked for with [`Reader::body`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) head: Head,
    body: Range<usize>,
}

/// What the head of an answer says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) media: Media,
    /// The connection ends after this answer.
    pub(crate) closes: bool,
    /// `Mcp-Session-Id`.
    pub(crate) session: Option<Box<str>>,
}

/// `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    /// `text/event-stream`.
    Events,
    /// Another one, or none.
    Other,
}

/// Why an answer could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum HttpError {
    #[error("the head of the answer is not HTTP/1.1: {0}")]
    Head(httparse::Error),
    #[error("the answer has {0}, so that its length is not certain")]
    Framing(&'static str),
    #[error("a chunk of the answer has no valid size or end")]
    Chunk,
    #[error("the answer is longer than {MAX_RESPONSE} bytes, or its head than {MAX_HEAD}")]
    TooLarge,
    #[error("bytes follow the answer that nothing asked for")]
    Surplus,
    #[error("the connection ended within the answer")]
    Cut,
    #[error("the connection ended before an answer")]
    Ended,
}

/// Largest head, and largest set of trailers, in bytes.
const MAX_HEAD: usize = 64 * 1_024;
/// Most fields of a head.
const MAX_FIELDS: usize = 64;
/// Largest answer, head and chunk sizes included, in bytes. A connection's buffer grows to it when a peer
/// sends that much.
const MAX_RESPONSE: usize = 32 * 1_024 * 1_024;
/// First size of the buffer, in bytes: an answer of 16 KiB arrives in one read.
const FIRST_BUFFER: usize = 32 * 1_024;

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Head,
    Body {
        head: Head,
        start: usize,
        framing: Framing,
    },
}

#[derive(Debug)]
enum Framing {
    /// The body ends here.
    Length {
        end: usize,
    },
    Chunks(Chunks),
    /// The body ends with the connection.
    Close,
}

/// A chunked body. What is decoded lies before what is not: `start <= decoded <= at <= filled`.
#[derive(Debug)]
struct Chunks {
    decoded: usize,
    at: usize,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Size,
    Data { left: usize },
    DataEnd,
    Trailers,
    Done,
}

impl Reader {
    /// Room for the peer's next bytes; [`Reader::filled`] says how many came.
    pub(crate) fn space(&mut self) -> Result<&mut [u8], HttpError> {
        if self.filled == self.buffer.len() {
            if self.filled >= MAX_RESPONSE {
                return Err(HttpError::TooLarge);
            }
            let larger = self.buffer.len().saturating_mul(2);
            self.buffer
                .resize(larger.clamp(FIRST_BUFFER, MAX_RESPONSE), 0);
        }
        Ok(self.buffer.get_mut(self.filled..).unwrap_or_default())
    }

    /// `count` bytes of [`Reader::space`] are from the peer.
    pub(crate) fn filled(&mut self, count: usize) {
        self.filled = self.filled.saturating_add(count).min(self.buffer.len());
    }

    /// The answer, once it is whole. The next one may be read after [`Reader::next`].
    pub(crate) fn poll(&mut self) -> Result<Option<Response>, HttpError> {
        if matches!(self.stage, Stage::Head) {
            self.read_head()?;
        }
        let Stage::Body {
            head,
            start,
            framing,
        } = &mut self.stage
        else {
            return Ok(None);
        };
        let (body, end) = match framing {
            Framing::Length { end } if self.filled < *end => return Ok(None),
            Framing::Length { end } => (*start..*end, *end),
            Framing::Chunks(chunks) => {
                if !chunks.decode(&mut self.buffer, self.filled)? {
                    return Ok(None);
                }
                (*start..chunks.decoded, chunks.at)
            }
            Framing::Close => return Ok(None),
        };
        if end < self.filled {
            return Err(HttpError::Surplus);
        }
        let head = head.clone();
        Ok(Some(Response { head, body }))
    }

    /// The peer has closed the connection: the answer that ends with it, or why there is none.
    pub(crate) fn end(&mut self) -> Result<Response, HttpError> {
        match &self.stage {
            Stage::Head if self.filled == 0 => Err(HttpError::Ended),
            Stage::Body {
                head,
                start,
                framing: Framing::Close,
            } => Ok(Response {
                head: head.clone(),
                body: *start..self.filled,
            }),
            Stage::Head | Stage::Body { .. } => Err(HttpError::Cut),
        }
    }

    /// The body of the answer that was read last.
    pub(crate) fn body(&self, response: &Response) -> &[u8] {
        self.buffer.get(response.body.clone()).unwrap_or_default()
    }

    /// Forgets the answer that was read.
    pub(crate) fn next(&mut self) {
        self.filled = 0;
        self.stage = Stage::Head;
    }

    /// Reads the head, and skips heads that only say to go on waiting.
    fn read_head(&mut self) -> Result<(), HttpError> {
        loop {
            let bytes = self.buffer.get(..self.filled).unwrap_or_default();
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut parsed = httparse::Response::new(&mut fields);
            let start = match parsed.parse(bytes).map_err(HttpError::Head)? {
                httparse::Status::Complete(start) if start <= MAX_HEAD => start,
                httparse::Status::Complete(_) => return Err(HttpError::TooLarge),
                httparse::Status::Partial if bytes.len() > MAX_HEAD => {
                    return Err(HttpError::TooLarge);
                }
                httparse::Status::Partial => return Ok(()),
            };
            let status = parsed.code.unwrap_or_default();
            if status == 101 {
                return Err(HttpError::Framing("status 101"));
            }
            if (100..200).contains(&status) {
                self.buffer.copy_within(start..self.filled, 0);
                self.filled -= start;
                continue;
            }
            let (head, framing) = understand(&parsed, start)?;
            self.stage = Stage::Body {
                head,
                start,
                framing,
            };
            return Ok(());
        }
    }
}

/// What a head says about the answer and where its body ends (RFC 9112, section 6.3).
fn understand(
    parsed: &httparse::Response<'_, '_>,
    start: usize,
) -> Result<(Head, Framing), HttpError> {
    let status = parsed.code.unwrap_or_default();
    let mut head = Head {
        status,
        media: Media::Other,
        closes: parsed.version == Some(0),
        session: None,
    };
    let mut length = None;
    let mut chunked = false;
    for field in parsed.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("content-length") {
            let stated =
                decimal(value).ok_or(HttpError::Framing("a content-length that is no number"))?;
            if length
                .replace(stated)
                .is_some_and(|before| before != stated)
            {
                return Err(HttpError::Framing("two content-lengths"));
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpError::Framing(
                    "a transfer-encoding that is not `chunked`",
                ));
            }
            chunked = true;
        } else if field.name.eq_ignore_ascii_case("content-type") {
            head.media = media(value);
        } else if field.name.eq_ignore_ascii_case("connection") {
            for word in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                head.closes |= word.eq_ignore_ascii_case(b"close");
                head.closes &= !word.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if field.name.eq_ignore_ascii_case("mcp-session-id") {
            head.session = std::str::from_utf8(value).ok().map(Into::into);
        }
    }
    let framing = match (chunked, length) {
        (true, Some(_)) => return Err(HttpError::Framing("a content-length and chunks")),
        _ if status == 204 || status == 304 => Framing::Length { end: start },
        (true, None) => Framing::Chunks(Chunks {
            decoded: start,
            at: start,
            part: Part::Size,
        }),
        (false, Some(length)) => Framing::Length {
            end: start
                .checked_add(length)
                .filter(|end| *end <= MAX_RESPONSE)
                .ok_or(HttpError::TooLarge)?,
        },
        (false, None) => {
            head.closes = true;
            Framing::Close
        }
    };
    Ok((head, framing))
}

fn media(value: &[u8]) -> Media {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Media::Json
    } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
        Media::Events
    } else {
        Media::Other
    }
}

/// A number of digits only: no sign, no space.
fn decimal(value: &[u8]) -> Option<usize> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

impl Chunks {
    /// Decodes what there is; true when the last chunk and the trailers are in.
    fn decode(&mut self, buffer: &mut [u8], filled: usize) -> Result<bool, HttpError> {
        loop {
            let rest = buffer.get(self.at..filled).unwrap_or_default();
            match self.part {
                Part::Size => match httparse::parse_chunk_size(rest) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        let size = usize::try_from(size).map_err(|_| HttpError::TooLarge)?;
                        self.at += line;
                        self.part = if size == 0 {
                            Part::Trailers
                        } else {
                            Part::Data { left: size }
                        };
                    }
                    Ok(httparse::Status::Partial) if rest.len() < MAX_HEAD => return Ok(false),
                    Ok(httparse::Status::Partial) => return Err(HttpError::TooLarge),
                    Err(_) => return Err(HttpError::Chunk),
                },
                Part::Data { left } => {
                    let here = left.min(rest.len());
                    buffer.copy_within(self.at..self.at + here, self.decoded);
                    self.at += here;
                    self.decoded += here;
                    if here < left {
                        self.part = Part::Data { left: left - here };
                        return Ok(false);
                    }
                    self.part = Part::DataEnd;
                }
                Part::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.at += 2;
                        self.part = Part::Size;
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(HttpError::Chunk),
                },
                Part::Trailers => match rest.windows(2).position(|pair| pair == b"\r\n") {
                    Some(line) => {
                        self.at += line + 2;
                        if line == 0 {
                            self.part = Part::Done;
                        }
                    }
                    None if rest.len() < MAX_HEAD => return Ok(false),
                    None => return Err(HttpError::TooLarge),
                },
                Part::Done => return Ok(true),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `pieces` as a connection would; the answer and its body, or the first error.
    fn read(pieces: &[&[u8]]) -> Result<Option<(Response, Vec<u8>)>, HttpError> {
        let mut reader = Reader::default();
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                let space = reader.space()?;
                let count = space.len().min(piece.len());
                space[..count].copy_from_slice(&piece[..count]);
                reader.filled(count);
                piece = &piece[count..];
            }
            if let Some(response) = reader.poll()? {
                let body = reader.body(&response).to_vec();
                return Ok(Some((response, body)));
            }
        }
        Ok(None)
    }

    fn whole(text: &str) -> Result<Option<(Response, Vec<u8>)>, HttpError> {
        read(&[text.as_bytes()])
    }

    #[test]
    fn a_body_with_a_length() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Type: application/json; charset=utf-8\r\n\r\nhello";
        let (response, body) = whole(text).unwrap().unwrap();
        assert_eq!(response.head.status, 200);
        assert_eq!(response.head.media, Media::Json);
        assert!(!response.head.closes);
        assert_eq!(body, b"hello");
    }

    #[test]
    fn chunks_with_extensions_and_trailers() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nx: y\r\n\r\n";
        assert_eq!(whole(text).unwrap().unwrap().1, b"hello");
    }

    #[test]
    fn an_accepted_notification_has_no_body() {
        let text = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(whole(text).unwrap().unwrap().1, b"");
        let text = "HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(whole(text).unwrap().unwrap().1, b"");
    }

    #[test]
    fn a_head_that_says_to_go_on_waiting_is_skipped() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(whole(text).unwrap().unwrap().1, b"ok");
    }

    #[test]
    fn a_session_and_the_end_of_the_connection_are_told() {
        let text = "HTTP/1.1 200 OK\r\nMCP-Session-Id: abc\r\nConnection: close\r\ncontent-length: 0\r\n\r\n";
        let (response, _) = whole(text).unwrap().unwrap();
        assert_eq!(response.head.session.as_deref(), Some("abc"));
        assert!(response.head.closes);
    }

    #[test]
    fn a_body_may_end_with_the_connection() {
        let mut reader = Reader::default();
        let text = b"HTTP/1.0 200 OK\r\n\r\nhello";
        reader.space().unwrap()[..text.len()].copy_from_slice(text);
        reader.filled(text.len());
        assert_eq!(reader.poll(), Ok(None));
        let response = reader.end().unwrap();
        assert!(response.head.closes);
        assert_eq!(reader.body(&response), b"hello");
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        for (head, why) in [
            (
                "content-length: 2\r\ncontent-length: 3",
                "two content-lengths",
            ),
            (
                "content-length: 2\r\ntransfer-encoding: chunked",
                "a content-length and chunks",
            ),
            ("content-length: +2", "a content-length that is no number"),
            (
                "transfer-encoding: gzip, chunked",
                "a transfer-encoding that is not `chunked`",
            ),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok");
            assert_eq!(whole(&text), Err(HttpError::Framing(why)));
        }
        let surplus = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP";
        assert_eq!(whole(surplus), Err(HttpError::Surplus));
        let huge = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
        assert_eq!(whole(huge), Err(HttpError::TooLarge));
        let bad = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay";
        assert_eq!(whole(bad), Err(HttpError::Chunk));
        assert!(matches!(
            whole("SMTP ready\r\n\r\n"),
            Err(HttpError::Head(_))
        ));
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
        assert_eq!(whole(&long), Err(HttpError::TooLarge));
    }

    #[test]
    fn an_end_within_an_answer_is_no_answer() {
        let mut reader = Reader::default();
        assert_eq!(reader.end(), Err(HttpError::Ended));
        reader.space().unwrap()[..4].copy_from_slice(b"HTTP");
        reader.filled(4);
        assert_eq!(reader.poll(), Ok(None));
        assert_eq!(reader.end(), Err(HttpError::Cut));
    }

    /// A response, as bytes, and the body it has.
    fn response() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let body = prop::collection::vec(any::<u8>(), 0..600);
        let cuts = prop::collection::vec(1_usize..80, 1..12);
        (body, cuts, any::<bool>(), any::<bool>()).prop_map(|(body, cuts, chunked, continued)| {
            let mut bytes = Vec::new();
            if continued {
                bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if !chunked {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                bytes.extend_from_slice(head.as_bytes());
                bytes.extend_from_slice(&body);
                return (bytes, body);
            }
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let mut rest = &body[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
                rest = after;
            }
            bytes.extend_from_slice(b"0\r\nserver-timing: a\r\n\r\n");
            (bytes, body)
        })
    }

    proptest! {
        /// However the bytes arrive, the answer is the same, and it is whole at the last byte, not before.
        #[test]
        fn any_pieces_give_the_same_answer(
            (bytes, body) in response(),
            cuts in prop::collection::vec(1_usize..64, 1..20),
        ) {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let (in_pieces, decoded) = read(&pieces).unwrap().unwrap();
            prop_assert_eq!(&decoded, &body);
            prop_assert_eq!(in_pieces.head, read(&[&bytes]).unwrap().unwrap().0.head);
            let unfinished = read(&[&bytes[..bytes.len() - 1]]);
            prop_assert_eq!(unfinished, Ok(None));
        }

        /// No bytes make it panic.
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), chunked in any::<bool>()) {
            let mut all = Vec::new();
            if chunked {
                all.extend_from_slice(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            }
            all.extend_from_slice(&bytes);
            let _outcome = read(&[&all]);
        }
    }
}
