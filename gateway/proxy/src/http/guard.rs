//! The framing guard: reads what a client sends before hyper does.
//!
//! Enter: the bytes of one connection. Leave: the same bytes, as far as every HTTP/1 head and chunk
//! in them is framed in the one way that all parsers read alike (RFC 9112), and the first
//! [`Violation`] otherwise. hyper 1.12 accepts line feeds without a carriage return, repeated equal
//! `Content-Length` lines, `gzip, chunked`, several `Host` lines or none, and heads of 400 KiB; once
//! it has parsed a head, most of that can no longer be seen. Never: a byte changed, a header
//! interpreted beyond framing, a timer, a decision about a message.
//!
//! A head is handed on whole or not at all: what has arrived of it waits in the guard, so hyper
//! holds no byte of a head that is refused, and the verdict does not depend on how the network cut
//! the bytes. The body is counted, not held: bytes before an offending one in chunked framing have
//! reached hyper, which then sees the body end in an error, never a complete request.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose incoming bytes are checked for strict HTTP/1 framing.
///
/// Bytes pass unchanged until the first [`Violation`]. From then on, that is from the first byte of
/// a refused head or the offending byte of a chunked body, every read fails with
/// [`io::ErrorKind::InvalidData`] and the violation as source. Writes pass as they are, but a
/// shutdown after a violation only flushes: the owner answers and closes. Worst-case memory is
/// [`GuardOptions::max_head`] plus one read of the caller's buffer, and nothing between heads.
///
/// hyper also reads while a response is on its way, to notice that the client left. A violation in
/// a pipelined request therefore ends the connection under the answer to the request before it,
/// unless hyper's `half_close` is on, which in turn does not notice that a client left.
#[derive(Debug)]
pub struct Guard<S> {
    inner: S,
    framing: Framing,
    /// Bytes not yet handed on: `sent <= cleared <= held.len()`.
    ///
    /// ```text
    ///  0        sent        cleared        len
    ///  | handed on | may be handed on | start of a head |
    /// ```
    held: Vec<u8>,
    sent: usize,
    cleared: usize,
    watch: Watch,
}

impl<S> Guard<S> {
    /// Guards `inner`, whose first byte is the first of the connection.
    pub fn new(inner: S, options: GuardOptions) -> Self {
        Self {
            inner,
            framing: Framing::new(options),
            held: Vec::new(),
            sent: 0,
            cleared: 0,
            watch: Watch::default(),
        }
    }

    /// A handle that tells where the connection stands while hyper owns the guard.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The stream itself, to answer on it. Bytes the guard still holds are dropped.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Obeys [`Watch::switch_protocols`], or refuses it if the client did not wait for the answer.
    fn switch(&mut self) {
        if !self.watch.0.switch.load(Ordering::Relaxed) || self.framing.is_transparent() {
            return;
        }
        if self.framing.upgrade_asked {
            self.framing.state = State::Transparent;
            self.watch.enter(Phase::Transparent);
        } else {
            self.watch.refuse(Violation::UpgradeEarlyData);
        }
    }

    /// Hands on cleared bytes, as many as fit.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let clear = self.held.get(self.sent..self.cleared).unwrap_or_default();
        let fit = clear.get(..buf.remaining()).unwrap_or(clear);
        buf.put_slice(fit);
        self.sent += fit.len();
        if self.sent == self.cleared {
            self.held.drain(..self.cleared);
            (self.sent, self.cleared) = (0, 0);
            if self.held.is_empty() {
                // An idle connection keeps no buffer; a head that came in pieces costs one anew.
                self.held = Vec::new();
            }
        }
    }

    /// Judges what was read into `buf` from `before` on and leaves there what may be handed on.
    fn judge(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let judged = if self.held.is_empty() {
            let judged = self.framing.scan(fresh);
            if judged.violation.is_none() {
                self.held
                    .extend_from_slice(fresh.get(judged.clear..).unwrap_or_default());
            }
            buf.set_filled(before + judged.clear);
            judged
        } else {
            self.held.extend_from_slice(fresh);
            let judged = self.framing.scan(&self.held);
            self.cleared = judged.clear;
            if judged.violation.is_some() {
                self.held.truncate(judged.clear);
            }
            buf.set_filled(before);
            judged
        };
        self.watch.note(&judged, self.framing.phase());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Ends: each turn hands something on, returns, or adds to a head that has a limit.
        loop {
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.cleared > this.sent {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            this.switch();
            if let Some(violation) = this.watch.violation() {
                let error = io::Error::new(io::ErrorKind::InvalidData, violation);
                return Poll::Ready(Err(error));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let ended = buf.filled().len() == before;
            if ended || this.framing.is_transparent() {
                return Poll::Ready(Ok(()));
            }
            this.judge(buf, before);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.watch.writing();
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.watch.writing();
        Pin::new(&mut this.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        this.watch.0.flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.violation().is_some() {
            // hyper takes the error between two requests for the end of the connection and shuts it
            // down. The owner still has something to say.
            return Pin::new(this).poll_flush(cx);
        }
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

/// What one connection may send.
#[derive(Clone, Debug)]
pub struct GuardOptions {
    /// Largest head in bytes, its empty line included. Default 32 KiB. One head per connection is
    /// held while it arrives; a larger one is refused as [`Violation::HeadTooLarge`].
    pub max_head: usize,
    /// Most field lines in a head. Default 100, which is also hyper's limit.
    pub max_fields: usize,
    /// Longest line in a head in bytes, without its line end. Default 16 KiB.
    pub max_line: usize,
    /// Longest request target in bytes. Default 8 KiB.
    pub max_target: usize,
    /// Accept `http://host/path` targets, as a forward proxy gets them; the authority must then
    /// equal `Host`. Default false.
    pub allow_absolute: bool,
    /// Accept `Upgrade: websocket`. Default false.
    pub allow_websocket: bool,
    /// Accept a connection that starts with the HTTP/2 preface, and check nothing in it. Default false.
    pub allow_h2: bool,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            max_head: 32 * 1024,
            max_fields: 100,
            max_line: 16 * 1024,
            max_target: 8 * 1024,
            allow_absolute: false,
            allow_websocket: false,
            allow_h2: false,
        }
    }
}

/// Where the bytes read so far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before a request: not a byte of its head has come. The last request may still await its answer.
    Idle,
    /// Inside a head.
    Head,
    /// Inside a body.
    Body,
    /// No longer HTTP/1: every byte passes.
    Transparent,
}

/// The view of a [`Guard`] that stays with the connection's owner.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Shared>);

/// Atomic because hyper's upgrades ask for `Send`; all of it belongs to one connection, so nothing
/// is ordered against anything else.
#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    violation: OnceLock<Violation>,
    requests: AtomicU64,
    switch: AtomicBool,
    /// Whether something was written since the last head was let through.
    wrote: AtomicBool,
    /// Whether all that was written has been flushed.
    flushed: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Idle as u8),
            violation: OnceLock::new(),
            requests: AtomicU64::new(0),
            switch: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            flushed: AtomicBool::new(true),
        }
    }
}

impl Watch {
    /// Where the bytes read so far end.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Relaxed) {
            p if p == Phase::Idle as u8 => Phase::Idle,
            p if p == Phase::Head as u8 => Phase::Head,
            p if p == Phase::Body as u8 => Phase::Body,
            _ => Phase::Transparent,
        }
    }

    /// Whether a head has begun and not ended: the time a client may take for that is running.
    #[must_use]
    pub fn head_is_pending(&self) -> bool {
        self.phase() == Phase::Head
    }

    /// What was refused. Set as soon as it is read, which can be before hyper meets the error.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.0.violation.get().copied()
    }

    /// How many heads were let through.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Declares that the last request is being answered with `101 Switching Protocols`: bytes pass
    /// unchecked from the end of its head on.
    ///
    /// Until this call the guard goes on expecting requests, so a refused upgrade leaves nothing
    /// open. A client that sent anything after its request is refused as
    /// [`Violation::UpgradeEarlyData`], and so is a switch that no request asked for.
    pub fn switch_protocols(&self) {
        self.0.switch.store(true, Ordering::Relaxed);
    }

    /// Whether [`refusal`] can be written without landing inside or ahead of another answer, given
    /// how many responses the owner has finished, bodies included.
    ///
    /// Errs towards `false`; the connection is then closed without a word.
    #[must_use]
    pub fn may_refuse(&self, answered: u64) -> bool {
        // A switch that was refused may have come after its 101.
        if self.0.switch.load(Ordering::Relaxed) || !self.0.flushed.load(Ordering::Relaxed) {
            return false;
        }
        match self.phase() {
            Phase::Idle | Phase::Head => answered == self.requests(),
            Phase::Body => {
                answered.checked_add(1) == Some(self.requests())
                    && !self.0.wrote.load(Ordering::Relaxed)
            }
            Phase::Transparent => false,
        }
    }

    fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn refuse(&self, violation: Violation) {
        // Only the first counts: nothing is read after it.
        let _ = self.0.violation.set(violation);
    }

    fn note(&self, judged: &Judged, phase: Phase) {
        if judged.heads > 0 {
            self.0.requests.fetch_add(judged.heads, Ordering::Relaxed);
            self.0.wrote.store(false, Ordering::Relaxed);
        }
        self.enter(phase);
        if let Some(violation) = judged.violation {
            self.refuse(violation);
        }
    }

    fn writing(&self) {
        self.0.wrote.store(true, Ordering::Relaxed);
        self.0.flushed.store(false, Ordering::Relaxed);
    }
}

/// How a client broke the framing of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A line ended with a line feed alone.
    BareLf,
    /// A carriage return stood without its line feed.
    BareCr,
    /// A NUL or another control character stood in the head.
    ControlByte,
    /// The first line was not method, target and version, with one space between each.
    RequestLine,
    /// The method was `CONNECT`.
    ConnectMethod,
    /// The target held a byte outside printable ASCII, or a fragment.
    TargetByte,
    /// The target was not a path, or not one of the forms that were allowed.
    TargetForm,
    /// The target was longer than [`GuardOptions::max_target`].
    TargetTooLong,
    /// The version was neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// The HTTP/2 preface came where it is not allowed.
    Http2,
    /// The head was larger than [`GuardOptions::max_head`].
    HeadTooLarge,
    /// A line of the head was longer than [`GuardOptions::max_line`].
    LineTooLong,
    /// The head had more field lines than [`GuardOptions::max_fields`].
    TooManyFields,
    /// A field line had no colon, no name, or a name that is no token.
    FieldName,
    /// White space stood between a field's name and its colon.
    SpaceBeforeColon,
    /// A field went on in the next line, which began with white space.
    ObsFold,
    /// There was no `Host`.
    HostMissing,
    /// `Host`, or the authority of an absolute target, was not `host[:port]`.
    HostSyntax,
    /// `Host` named another authority than the target.
    HostMismatch,
    /// `Content-Length` was not one decimal number of at most 64 bits.
    ContentLength,
    /// `Transfer-Encoding` was anything but `chunked`.
    TransferEncoding,
    /// `Content-Length` and `Transfer-Encoding` came together.
    LengthAndEncoding,
    /// `Transfer-Encoding` came with HTTP/1.0.
    EncodingOnHttp10,
    /// A field that may occur once came twice.
    Duplicate(Single),
    /// `Upgrade` was not allowed, not `websocket`, or not in a `GET` of HTTP/1.1.
    Upgrade,
    /// A request for an upgrade had a body.
    UpgradeBody,
    /// Bytes came between a request for an upgrade and its answer.
    UpgradeEarlyData,
    /// `Expect` was anything but `100-continue`.
    Expect,
    /// The size of a chunk was not 1 to 16 hexadecimal digits.
    ChunkSize,
    /// A chunk had an extension.
    ChunkExtension,
    /// A chunk was longer or shorter than its size.
    ChunkEnd,
    /// A chunked body had trailer fields.
    Trailer,
}

impl Violation {
    /// The name in audit records and metrics. Stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ControlByte => "control_byte",
            Self::RequestLine => "request_line",
            Self::ConnectMethod => "connect_method",
            Self::TargetByte => "target_byte",
            Self::TargetForm => "target_form",
            Self::TargetTooLong => "target_too_long",
            Self::Version => "version",
            Self::Http2 => "http2",
            Self::HeadTooLarge => "head_too_large",
            Self::LineTooLong => "line_too_long",
            Self::TooManyFields => "too_many_fields",
            Self::FieldName => "field_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::ObsFold => "obs_fold",
            Self::HostMissing => "host_missing",
            Self::HostSyntax => "host_syntax",
            Self::HostMismatch => "host_mismatch",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::EncodingOnHttp10 => "encoding_on_http10",
            Self::Duplicate(single) => single.entry().1,
            Self::Upgrade => "upgrade",
            Self::UpgradeBody => "upgrade_body",
            Self::UpgradeEarlyData => "upgrade_early_data",
            Self::Expect => "expect",
            Self::ChunkSize => "chunk_size",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkEnd => "chunk_end",
            Self::Trailer => "trailer",
        }
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::LineTooLong | Self::TooManyFields => 431,
            Self::TransferEncoding => 501,
            Self::Version | Self::Http2 => 505,
            _ => 400,
        }
    }

    /// One sentence for the client. Holds nothing that the client sent.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::BareLf => "A line must end with CR LF.",
            Self::BareCr => "A CR must be followed by LF.",
            Self::ControlByte => "The request head must not contain control characters.",
            Self::RequestLine => "The request line is malformed.",
            Self::ConnectMethod => "The CONNECT method is not accepted here.",
            Self::TargetByte => {
                "The request target contains a character that must be percent-encoded."
            }
            Self::TargetForm => "The request target must be a path that starts with a slash.",
            Self::TargetTooLong => "The request target is too long.",
            Self::Version => "Only HTTP/1.1 and HTTP/1.0 are accepted here.",
            Self::Http2 => "HTTP/2 is not accepted here.",
            Self::HeadTooLarge => "The request head is too large.",
            Self::LineTooLong => "A line of the request head is too long.",
            Self::TooManyFields => "The request head has too many fields.",
            Self::FieldName => "A header field has no valid name.",
            Self::SpaceBeforeColon => "A header field has white space before its colon.",
            Self::ObsFold => "A header field must not continue in another line.",
            Self::HostMissing => "The Host header field is missing.",
            Self::HostSyntax => "The Host must be host or host:port.",
            Self::HostMismatch => "The Host and the request target name different servers.",
            Self::ContentLength => "The Content-Length must be one decimal number.",
            Self::TransferEncoding => "Only the transfer encoding chunked is accepted here.",
            Self::LengthAndEncoding => {
                "Content-Length and Transfer-Encoding must not come together."
            }
            Self::EncodingOnHttp10 => "HTTP/1.0 has no Transfer-Encoding.",
            Self::Duplicate(_) => "A header field that may occur once came twice.",
            Self::Upgrade => "This Upgrade is not accepted here.",
            Self::UpgradeBody => "A request for an upgrade must not have a body.",
            Self::UpgradeEarlyData => {
                "Nothing may follow a request for an upgrade before its answer."
            }
            Self::Expect => "Only the expectation 100-continue is accepted here.",
            Self::ChunkSize => "The size of a chunk is malformed.",
            Self::ChunkExtension => "Chunk extensions are not accepted here.",
            Self::ChunkEnd => "A chunk does not end where its size says.",
            Self::Trailer => "Trailer fields are not accepted here.",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error for Violation {}

/// A field that may occur once: parsers differ in whether they take the first, the last or the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Single {
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Content-Type`
    ContentType,
    /// `Content-Encoding`
    ContentEncoding,
    /// `Authorization`
    Authorization,
    /// `Origin`
    Origin,
    /// `Mcp-Session-Id`
    McpSessionId,
    /// `Mcp-Protocol-Version`
    McpProtocolVersion,
    /// `Mcp-Method`
    McpMethod,
    /// `Mcp-Name`
    McpName,
    /// `Last-Event-ID`
    LastEventId,
    /// `Upgrade`
    Upgrade,
    /// `Expect`
    Expect,
}

impl Single {
    /// The field's name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    fn named(name: &[u8]) -> Option<Self> {
        // By length first: most fields then need no comparison, and no other more than two.
        let alike: &[Self] = match name.len() {
            4 => &[Self::Host],
            6 => &[Self::Origin, Self::Expect],
            7 => &[Self::Upgrade],
            8 => &[Self::McpName],
            10 => &[Self::McpMethod],
            12 => &[Self::ContentType],
            13 => &[Self::Authorization, Self::LastEventId],
            14 => &[Self::ContentLength, Self::McpSessionId],
            16 => &[Self::ContentEncoding],
            17 => &[Self::TransferEncoding],
            20 => &[Self::McpProtocolVersion],
            _ => &[],
        };
        let named = |single: &&Self| single.name().as_bytes().eq_ignore_ascii_case(name);
        alike.iter().find(named).copied()
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    const fn entry(self) -> (&'static str, &'static str) {
        match self {
            Self::Host => ("host", "duplicate_host"),
            Self::ContentLength => ("content-length", "duplicate_content_length"),
            Self::TransferEncoding => ("transfer-encoding", "duplicate_transfer_encoding"),
            Self::ContentType => ("content-type", "duplicate_content_type"),
            Self::ContentEncoding => ("content-encoding", "duplicate_content_encoding"),
            Self::Authorization => ("authorization", "duplicate_authorization"),
            Self::Origin => ("origin", "duplicate_origin"),
            Self::McpSessionId => ("mcp-session-id", "duplicate_mcp_session_id"),
            Self::McpProtocolVersion => ("mcp-protocol-version", "duplicate_mcp_protocol_version"),
            Self::McpMethod => ("mcp-method", "duplicate_mcp_method"),
            Self::McpName => ("mcp-name", "duplicate_mcp_name"),
            Self::LastEventId => ("last-event-id", "duplicate_last_event_id"),
            Self::Upgrade => ("upgrade", "duplicate_upgrade"),
            Self::Expect => ("expect", "duplicate_expect"),
        }
    }
}

/// The whole HTTP response to a violation, after which the connection closes.
///
/// For the connection's owner, once hyper is done, [`Watch::violation`] is set and
/// [`Watch::may_refuse`] agrees; hyper's own result does not tell, it is `Ok` between two requests.
/// The client may still be sending: closing at once can make its system drop the answer unread.
#[must_use]
pub fn refusal(violation: &Violation) -> Vec<u8> {
    let status = violation.status();
    let reason = match status {
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    };
    // The sentences are ours and need no escaping; a test reads each of them back.
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-32600,"message":"{}"}}}}"#,
        violation.sentence()
    );
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The state machine over the bytes of a connection.
#[derive(Debug)]
struct Framing {
    options: GuardOptions,
    state: State,
    head: HeadScan,
    /// Whether the last thing read was a head with `Upgrade`.
    upgrade_asked: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The start of a connection that may be HTTP/2.
    Preface,
    Head,
    /// So many bytes of a body of known length remain.
    Fixed(u64),
    Chunked(Chunk),
    Transparent,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size { digits: u8, size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LastCr,
    LastLf,
}

/// What came of one read.
#[derive(Debug, Default)]
struct Judged {
    /// So many bytes from the start may be handed on; the others begin a head or are refused.
    clear: usize,
    /// Heads that ended in them.
    heads: u64,
    violation: Option<Violation>,
}

impl Framing {
    fn new(options: GuardOptions) -> Self {
        Self {
            state: if options.allow_h2 {
                State::Preface
            } else {
                State::Head
            },
            options,
            head: HeadScan::default(),
            upgrade_asked: false,
        }
    }

    const fn is_transparent(&self) -> bool {
        matches!(self.state, State::Transparent)
    }

    fn phase(&self) -> Phase {
        match self.state {
            State::Preface => Phase::Head,
            State::Head if self.head.seen == 0 => Phase::Idle,
            State::Head => Phase::Head,
            State::Fixed(_) | State::Chunked(_) => Phase::Body,
            State::Transparent => Phase::Transparent,
        }
    }

    /// Judges `bytes`, which begin with what the last call did not clear.
    fn scan(&mut self, bytes: &[u8]) -> Judged {
        let mut judged = Judged::default();
        loop {
            let rest = bytes.get(judged.clear..).unwrap_or_default();
            if rest.is_empty() {
                return judged;
            }
            match self.advance(rest) {
                Ok(Step::Clear(count)) => judged.clear += count,
                Ok(Step::Head(count)) => {
                    judged.clear += count;
                    judged.heads += 1;
                }
                Ok(Step::Stay) => {}
                Ok(Step::Wait) => return judged,
                Err(violation) => {
                    judged.violation = Some(violation);
                    return judged;
                }
            }
        }
    }

    /// One step: as far as the current state reaches into `rest`, which is not empty.
    fn advance(&mut self, rest: &[u8]) -> Result<Step, Violation> {
        match self.state {
            State::Preface => Ok(self.preface(rest)),
            State::Head => {
                self.upgrade_asked = false;
                let Some(end) = self.head.feed(rest, &self.options)? else {
                    return Ok(Step::Wait);
                };
                self.upgrade_asked = end.upgrade;
                self.state = end.body;
                self.head = HeadScan::default();
                Ok(Step::Head(end.length))
            }
            State::Fixed(left) => {
                let (count, left) = take(left, rest);
                self.state = if left == 0 {
                    State::Head
                } else {
                    State::Fixed(left)
                };
                Ok(Step::Clear(count))
            }
            State::Chunked(chunk) => {
                let (count, state) = chunk.advance(rest)?;
                self.state = state;
                Ok(Step::Clear(count))
            }
            State::Transparent => Ok(Step::Clear(rest.len())),
        }
    }

    fn preface(&mut self, rest: &[u8]) -> Step {
        if rest.starts_with(H2_PREFACE) {
            self.state = State::Transparent;
        } else if H2_PREFACE.starts_with(rest) {
            return Step::Wait;
        } else {
            self.state = State::Head;
        }
        Step::Stay
    }
}

/// How far one step of the state machine came.
enum Step {
    /// So many bytes are in order.
    Clear(usize),
    /// So many bytes are a whole head.
    Head(usize),
    /// No byte was used; another state is to look at them.
    Stay,
    /// More bytes are needed.
    Wait,
}

impl Chunk {
    const START: Self = Self::Size { digits: 0, size: 0 };

    /// One step into `rest`: how many bytes are in order, and what comes after them.
    fn advance(self, rest: &[u8]) -> Result<(usize, State), Violation> {
        if let Self::Data { left } = self {
            let (count, left) = take(left, rest);
            let next = if left == 0 {
                Self::DataCr
            } else {
                Self::Data { left }
            };
            return Ok((count, State::Chunked(next)));
        }
        let Some(&byte) = rest.first() else {
            return Ok((0, State::Chunked(self)));
        };
        let next = match (self, byte) {
            (Self::Size { digits, size }, _) => Self::size(digits, size, byte)?,
            (Self::SizeLf { size: 0 }, b'\n') => Self::LastCr,
            (Self::SizeLf { size }, b'\n') => Self::Data { left: size },
            (Self::SizeLf { .. } | Self::LastLf, b) if b != b'\n' => return Err(Violation::BareCr),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::LastCr, b'\r') => Self::LastLf,
            (Self::LastCr, b'\n') => return Err(Violation::BareLf),
            (Self::LastCr, _) => return Err(Violation::Trailer),
            (Self::LastLf, _) => return Ok((1, State::Head)),
            _ => return Err(Violation::ChunkEnd),
        };
        Ok((1, State::Chunked(next)))
    }

    fn size(digits: u8, size: u64, byte: u8) -> Result<Self, Violation> {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(Self::SizeLf { size }),
            b'\n' if digits > 0 => return Err(Violation::BareLf),
            b';' | b' ' | b'\t' if digits > 0 => return Err(Violation::ChunkExtension),
            _ => return Err(Violation::ChunkSize),
        };
        if digits == MAX_CHUNK_DIGITS {
            return Err(Violation::ChunkSize);
        }
        Ok(Self::Size {
            digits: digits + 1,
            size: size << 4 | u64::from(value),
        })
    }
}

/// As many of `left` bytes as `rest` has, and how many remain.
fn take(left: u64, rest: &[u8]) -> (usize, u64) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    (count, left.saturating_sub(count as u64))
}

/// A head as far as it has come.
#[derive(Debug, Default)]
struct HeadScan {
    /// Where the current line starts, and how far a line feed was looked for.
    line: usize,
    seen: usize,
    request: Option<Request>,
    fields: usize,
    /// Bits of the [`Single`]s met.
    met: u16,
    length: Option<u64>,
}

/// What the request line said, as far as the fields depend on it.
#[derive(Clone, Copy, Debug)]
struct Request {
    version: Version,
    is_get: bool,
    /// Where in the head the authority of an absolute target stands.
    authority: Option<Span>,
}

/// A range that can be copied.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// A head that ended.
struct HeadEnd {
    length: usize,
    body: State,
    upgrade: bool,
}

impl HeadScan {
    /// Goes on through `head`, which holds the head from its first byte on. Each byte is searched
    /// once, however the head was cut.
    fn feed(&mut self, head: &[u8], options: &GuardOptions) -> Result<Option<HeadEnd>, Violation> {
        loop {
            let line_limit = self.line.saturating_add(options.max_line).saturating_add(2);
            let limit = line_limit.min(options.max_head);
            let reach = head.len().min(limit);
            let window = head.get(self.seen..reach).unwrap_or_default();
            let Some(found) = memchr(b'\n', window) else {
                self.seen = reach;
                // No line feed can follow within the limit, whatever comes.
                return match reach {
                    r if r < limit => Ok(None),
                    _ if line_limit <= options.max_head => Err(Violation::LineTooLong),
                    _ => Err(Violation::HeadTooLarge),
                };
            };
            let end = self.seen + found;
            let line = head.get(self.line..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").ok_or(Violation::BareLf)?;
            no_controls(line)?;
            match self.request {
                None => self.request = Some(Request::parse(line, options)?),
                Some(_) if line.is_empty() => return self.finish(end + 1).map(Some),
                Some(request) => self.field(line, head, request, options)?,
            }
            self.line = end + 1;
            self.seen = self.line;
        }
    }

    fn field(
        &mut self,
        line: &[u8],
        head: &[u8],
        request: Request,
        options: &GuardOptions,
    ) -> Result<(), Violation> {
        self.fields += 1;
        if self.fields > options.max_fields {
            return Err(Violation::TooManyFields);
        }
        let (name, value) = split_field(line)?;
        let Some(single) = Single::named(name) else {
            return Ok(());
        };
        if self.met & single.bit() != 0 {
            return Err(Violation::Duplicate(single));
        }
        self.met |= single.bit();
        match single {
            Single::Host => {
                if !is_authority(value) {
                    return Err(Violation::HostSyntax);
                }
                let named = request
                    .authority
                    .and_then(|Span { start, end }| head.get(start..end));
                if named.is_some_and(|named| !named.eq_ignore_ascii_case(value)) {
                    return Err(Violation::HostMismatch);
                }
            }
            Single::ContentLength => self.length = Some(decimal(value)?),
            Single::TransferEncoding => {
                if request.version == Version::Http10 {
                    return Err(Violation::EncodingOnHttp10);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::TransferEncoding);
                }
            }
            Single::Upgrade => {
                let may_ask =
                    options.allow_websocket && request.is_get && request.version == Version::Http11;
                if !may_ask || !value.eq_ignore_ascii_case(b"websocket") {
                    return Err(Violation::Upgrade);
                }
            }
            Single::Expect if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Violation::Expect);
            }
            _ => {}
        }
        Ok(())
    }

    const fn has(&self, single: Single) -> bool {
        self.met & single.bit() != 0
    }

    fn finish(&self, length: usize) -> Result<HeadEnd, Violation> {
        if !self.has(Single::Host) {
            return Err(Violation::HostMissing);
        }
        let chunked = self.has(Single::TransferEncoding);
        let upgrade = self.has(Single::Upgrade);
        let body = match self.length {
            Some(_) if chunked => return Err(Violation::LengthAndEncoding),
            None if chunked => State::Chunked(Chunk::START),
            None | Some(0) => State::Head,
            Some(left) => State::Fixed(left),
        };
        if upgrade && !matches!(body, State::Head) {
            return Err(Violation::UpgradeBody);
        }
        Ok(HeadEnd {
            length,
            body,
            upgrade,
        })
    }
}

impl Request {
    /// RFC 9112, section 3, without its leniency.
    fn parse(line: &[u8], options: &GuardOptions) -> Result<Self, Violation> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Violation::RequestLine);
        };
        if line == H2_LINE {
            return Err(Violation::Http2);
        }
        if !is_token(method) || target.is_empty() {
            return Err(Violation::RequestLine);
        }
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', rest @ ..] if !rest.is_empty() => {
                return Err(Violation::Version);
            }
            _ => return Err(Violation::RequestLine),
        };
        if target.len() > options.max_target {
            return Err(Violation::TargetTooLong);
        }
        if !target.iter().all(|&b| b.is_ascii_graphic() && b != b'#') {
            return Err(Violation::TargetByte);
        }
        if method.eq_ignore_ascii_case(b"CONNECT") {
            return Err(Violation::ConnectMethod);
        }
        let authority = match target {
            [b'/', ..] => None,
            _ if options.allow_absolute => {
                let before = method.len() + 1;
                let Span { start, end } = authority(target)?;
                Some(Span {
                    start: before + start,
                    end: before + end,
                })
            }
            _ => return Err(Violation::TargetForm),
        };
        Ok(Self {
            version,
            is_get: method == b"GET",
            authority,
        })
    }
}

/// Where in an absolute `http` or `https` target its authority stands.
fn authority(target: &[u8]) -> Result<Span, Violation> {
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .ok_or(Violation::TargetForm)?;
    let rest = target.get(scheme.len()..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    if !rest.get(..length).is_some_and(is_authority) {
        return Err(Violation::HostSyntax);
    }
    Ok(Span {
        start: scheme.len(),
        end: scheme.len() + length,
    })
}

/// A field line's name, and its value without the white space around it (RFC 9112, section 5).
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Violation::ObsFold);
    }
    let colon = memchr(b':', line).ok_or(Violation::FieldName)?;
    let (name, value) = line.split_at_checked(colon).unwrap_or_default();
    if matches!(name, [.., b' ' | b'\t']) {
        return Err(Violation::SpaceBeforeColon);
    }
    if !is_token(name) {
        return Err(Violation::FieldName);
    }
    let mut value = value.strip_prefix(b":").unwrap_or_default();
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    Ok((name, value))
}

/// Refuses control characters, of which a line may hold only tabs.
fn no_controls(line: &[u8]) -> Result<(), Violation> {
    // No early exit, so that the compiler can compare many bytes at once.
    let found = line.iter().fold(false, |found, &byte| {
        found | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)
    });
    match found {
        false => Ok(()),
        true if memchr(b'\r', line).is_some() => Err(Violation::BareCr),
        true => Err(Violation::ControlByte),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| {
            matches!(
                byte,
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
                    | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
                    | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
        })
}

/// `1*DIGIT` of at most 64 bits.
fn decimal(value: &[u8]) -> Result<u64, Violation> {
    if value.is_empty() {
        return Err(Violation::ContentLength);
    }
    value
        .iter()
        .try_fold(0u64, |number, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
        .ok_or(Violation::ContentLength)
}

/// `host[:port]`: a name of letters, digits, `-`, `.` and `_` (an IPv4 address is one), or an IPv6
/// address in brackets. Narrower than RFC 3986: no user, no percent-encoding, no empty label, no
/// zone, no leading zero in the port.
fn is_authority(value: &[u8]) -> bool {
    let (host_is_good, rest) = match value {
        [b'[', inner @ ..] => {
            let Some(close) = memchr(b']', inner) else {
                return false;
            };
            let (address, rest) = inner.split_at_checked(close).unwrap_or_default();
            let address = str::from_utf8(address).ok();
            (
                address.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok()),
                rest.strip_prefix(b"]").unwrap_or_default(),
            )
        }
        _ => {
            let end = memchr(b':', value).unwrap_or(value.len());
            let (name, rest) = value.split_at_checked(end).unwrap_or_default();
            (is_name(name), rest)
        }
    };
    host_is_good
        && match rest {
            [] => true,
            [b':', port @ ..] => is_port(port),
            _ => false,
        }
}

fn is_name(name: &[u8]) -> bool {
    let labels = name.strip_suffix(b".").unwrap_or(name);
    name.len() <= MAX_HOST
        && labels.split(|&byte| byte == b'.').all(|label| {
            !label.is_empty()
                && label
                    .iter()
                    .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

fn is_port(port: &[u8]) -> bool {
    !port.starts_with(b"0") && decimal(port).is_ok_and(|port| u16::try_from(port).is_ok())
}

/// RFC 9113, section 3.4.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first line of the preface.
const H2_LINE: &[u8] = b"PRI * HTTP/2.0";
/// Longest chunk size in digits: what fits 64 bits.
const MAX_CHUNK_DIGITS: u8 = 16;
/// Longest host name in bytes (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 255;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Waker;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request as HttpRequest, Response};
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// A peer that sends its chunks one per read, and is not ready before each of them.
    struct Script {
        chunks: VecDeque<Vec<u8>>,
        ready: bool,
    }

    impl Script {
        fn new(chunks: impl IntoIterator<Item = Vec<u8>>) -> Self {
            Self {
                chunks: chunks.into_iter().filter(|c| !c.is_empty()).collect(),
                ready: false,
            }
        }
    }

    impl AsyncRead for Script {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            this.ready = !this.ready;
            if this.ready {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(chunk) = this.chunks.front_mut() {
                let count = chunk.len().min(buf.remaining());
                buf.put_slice(&chunk[..count]);
                if count == chunk.len() {
                    this.chunks.pop_front();
                } else {
                    chunk.drain(..count);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Script {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Outcome {
        passed: Vec<u8>,
        violation: Option<Violation>,
        requests: u64,
    }

    /// One read: `None` when nothing is ready.
    fn read<S: AsyncRead + Unpin>(
        guard: &mut Guard<S>,
        room: usize,
    ) -> Option<io::Result<Vec<u8>>> {
        let mut room = vec![0xaa; room + 1];
        let mut buf = ReadBuf::new(&mut room);
        // A reader that already holds a byte must keep it.
        buf.put_slice(b"k");
        let cx = &mut Context::from_waker(Waker::noop());
        match Pin::new(guard).poll_read(cx, &mut buf) {
            Poll::Pending => {
                assert_eq!(buf.filled(), b"k");
                None
            }
            Poll::Ready(Ok(())) => Some(Ok(buf.filled().strip_prefix(b"k").unwrap().to_vec())),
            Poll::Ready(Err(error)) => {
                assert_eq!(buf.filled(), b"k");
                Some(Err(error))
            }
        }
    }

    /// Reads to the end of the chunks or to the violation.
    fn drain(guard: &mut Guard<Script>, room: usize) -> Outcome {
        let watch = guard.watch();
        let mut passed = Vec::new();
        let violation = loop {
            match read(guard, room) {
                None => {}
                Some(Ok(bytes)) if bytes.is_empty() => break None,
                Some(Ok(bytes)) => passed.extend(bytes),
                Some(Err(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                    let source = error.get_ref().and_then(|e| e.downcast_ref::<Violation>());
                    let again = read(guard, room).unwrap();
                    assert!(again.is_err(), "an error is final");
                    break Some(*source.unwrap());
                }
            }
        };
        assert_eq!(watch.violation(), violation);
        Outcome {
            passed,
            violation,
            requests: watch.requests(),
        }
    }

    fn run(
        options: &GuardOptions,
        chunks: impl IntoIterator<Item = Vec<u8>>,
        room: usize,
    ) -> Outcome {
        drain(&mut Guard::new(Script::new(chunks), options.clone()), room)
    }

    /// Runs `passes ++ withheld` whole, byte by byte and cut in two everywhere, and says what is wrong.
    fn check(
        name: &str,
        options: &GuardOptions,
        passes: &[u8],
        withheld: &[u8],
        violation: Option<Violation>,
    ) {
        assert_eq!(
            withheld.is_empty(),
            violation.is_none(),
            "{name}: a bad row"
        );
        let bytes = [passes, withheld].concat();
        let whole = run(options, [bytes.clone()], 8192);
        assert_eq!(whole.violation, violation, "{name}");
        assert!(
            whole.passed == passes,
            "{name}: {} bytes passed, not {}",
            whole.passed.len(),
            passes.len()
        );
        let each = bytes.iter().map(|&byte| vec![byte]);
        assert!(run(options, each, 8192) == whole, "{name}: byte by byte");
        assert!(
            run(options, [bytes.clone()], 7) == whole,
            "{name}: into a small buffer"
        );
        for at in cuts(&bytes) {
            let (first, second) = bytes.split_at(at);
            let cut = run(options, [first.to_vec(), second.to_vec()], 8192);
            assert!(cut == whole, "{name}: cut at {at}");
        }
    }

    /// Every position of a short input. Of a long one, those near its ends and the limits, and some
    /// between.
    fn cuts(bytes: &[u8]) -> Vec<usize> {
        let len = bytes.len();
        if len <= 4096 {
            return (0..=len).collect();
        }
        let limits = [0, 4096, 8192, 16384, 32768, 65536, len];
        let mut cuts: Vec<usize> = limits
            .iter()
            .flat_map(|&limit| limit.saturating_sub(80)..limit + 80)
            .chain((0..len).step_by(len / 64))
            .filter(|&at| at <= len)
            .collect();
        cuts.dedup();
        cuts
    }

    const SINGLES: [Single; 14] = [
        Single::Host,
        Single::ContentLength,
        Single::TransferEncoding,
        Single::ContentType,
        Single::ContentEncoding,
        Single::Authorization,
        Single::Origin,
        Single::McpSessionId,
        Single::McpProtocolVersion,
        Single::McpMethod,
        Single::McpName,
        Single::LastEventId,
        Single::Upgrade,
        Single::Expect,
    ];

    const HEAD: &str = "POST /mcp HTTP/1.1\r\nHost: gate.example\r\n";

    type Row = (&'static str, String, String, Option<Violation>);

    /// A head made of `HEAD` and `fields`, to be refused.
    fn refused(name: &'static str, fields: &str, violation: Violation) -> Row {
        let bytes = format!("{HEAD}{fields}\r\n\r\n");
        (name, String::new(), bytes, Some(violation))
    }

    fn refused_head(name: &'static str, head: &str, violation: Violation) -> Row {
        (name, String::new(), head.to_owned(), Some(violation))
    }

    /// A chunked request of which `good` passes and `bad` does not.
    fn refused_chunk(name: &'static str, good: &str, bad: &str, violation: Violation) -> Row {
        let passes = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{good}");
        (name, passes, bad.to_owned(), Some(violation))
    }

    fn passes(name: &'static str, bytes: String) -> Row {
        (name, bytes, String::new(), None)
    }

    fn check_rows(options: &GuardOptions, rows: Vec<Row>) {
        for (name, passes, withheld, violation) in rows {
            check(
                name,
                options,
                passes.as_bytes(),
                withheld.as_bytes(),
                violation,
            );
        }
    }

    /// The requests sent raw to hyper 1.12: what it refused, and what it accepted.
    #[test]
    fn the_probes_of_hyper_are_refused() {
        use Violation::*;
        let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
        let rows = vec![
            refused(
                "conflicting lengths",
                "Content-Length: 5\r\nContent-Length: 6",
                Duplicate(Single::ContentLength),
            ),
            refused("signed length", "Content-Length: +1", ContentLength),
            refused(
                "chunked, identity",
                "Transfer-Encoding: chunked, identity",
                TransferEncoding,
            ),
            refused(
                "unknown encoding",
                "Transfer-Encoding: cow",
                TransferEncoding,
            ),
            refused_head(
                "encoding on 1.0",
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                EncodingOnHttp10,
            ),
            refused("obs-fold", "X: a\r\n b", ObsFold),
            refused("space before colon", "X : a", SpaceBeforeColon),
            refused("NUL in value", "X: a\0b", ControlByte),
            refused("CR in value", "X: a\rb", BareCr),
            refused("101 fields", &many, TooManyFields),
            refused_chunk("chunk size no number", "", "g\r\n", ChunkSize),
            refused_chunk(
                "chunk extension",
                "5",
                ";a=b\r\nhello\r\n0\r\n\r\n",
                ChunkExtension,
            ),
            refused(
                "length, then encoding",
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                LengthAndEncoding,
            ),
            refused(
                "encoding, then length",
                "Transfer-Encoding: chunked\r\nContent-Length: 5",
                LengthAndEncoding,
            ),
            refused(
                "gzip, chunked",
                "Transfer-Encoding: gzip, chunked",
                TransferEncoding,
            ),
            refused(
                "two encodings",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                Duplicate(Single::TransferEncoding),
            ),
            refused(
                "equal lengths",
                "Content-Length: 5\r\nContent-Length: 5",
                Duplicate(Single::ContentLength),
            ),
            refused_head("line feeds alone", "GET / HTTP/1.1\nHost: a\n\n", BareLf),
            refused("two hosts", "Host: gate.example", Duplicate(Single::Host)),
            refused_head(
                "no host",
                "GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
                HostMissing,
            ),
            refused_head(
                "absolute target of another host",
                "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
                TargetForm,
            ),
            refused(
                "a field of 500 KB",
                &format!("X: {}", "a".repeat(500_000)),
                LineTooLong,
            ),
        ];
        assert_eq!(rows.len(), 22);
        check_rows(&GuardOptions::default(), rows);
    }

    /// What MCP servers read in different ways (section 5.2 of the protocol notes), as far as it is framing.
    #[test]
    fn what_servers_read_differently_is_refused() {
        use Violation::*;
        let rows = vec![
            refused(
                "two Mcp-Name",
                "Mcp-Name: a\r\nmcp-name: a",
                Duplicate(Single::McpName),
            ),
            refused(
                "two MCP-Protocol-Version",
                "MCP-Protocol-Version: 2025-11-25\r\nMCP-Protocol-Version: 2026-07-28",
                Duplicate(Single::McpProtocolVersion),
            ),
            refused_head(
                "a user in the host",
                "GET / HTTP/1.1\r\nHost: localhost:80@evil.com\r\n\r\n",
                HostSyntax,
            ),
            refused_head(
                "absolute target",
                "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
                TargetForm,
            ),
            refused_head(
                "one line feed alone",
                "GET / HTTP/1.1\r\nHost: a\r\n\n",
                BareLf,
            ),
            refused_head(
                "a line feed alone after the request line",
                "GET / HTTP/1.1\nHost: a\r\n\r\n",
                BareLf,
            ),
        ];
        check_rows(&GuardOptions::default(), rows);
    }

    #[test]
    fn malformed_heads_are_refused() {
        use Violation::*;
        let mut rows = Vec::new();
        for (name, line, violation) in [
            ("empty first line", "", RequestLine),
            ("HTTP/0.9", "GET /", RequestLine),
            ("two spaces", "GET  / HTTP/1.1", RequestLine),
            ("leading space", " GET / HTTP/1.1", RequestLine),
            ("trailing space", "GET / HTTP/1.1 ", RequestLine),
            ("tab for a space", "GET\t/ HTTP/1.1", RequestLine),
            ("method no token", "G(T / HTTP/1.1", RequestLine),
            ("version in lower case", "GET / http/1.1", RequestLine),
            ("no version", "GET / X", RequestLine),
            ("NUL in target", "GET /\0 HTTP/1.1", ControlByte),
            ("CR in target", "GET /\r HTTP/1.1", BareCr),
            ("tab in target", "GET /\t HTTP/1.1", TargetByte),
            ("UTF-8 in target", "GET /\u{e9} HTTP/1.1", TargetByte),
            ("fragment", "GET /a#b HTTP/1.1", TargetByte),
            ("HTTP/1.2", "GET / HTTP/1.2", Version),
            ("HTTP/2.0", "GET / HTTP/2.0", Version),
            ("HTTP/1.10", "GET / HTTP/1.10", Version),
            ("HTTP/2 preface", "PRI * HTTP/2.0", Http2),
            ("asterisk", "OPTIONS * HTTP/1.1", TargetForm),
            ("no slash", "GET mcp HTTP/1.1", TargetForm),
            ("CONNECT", "CONNECT a:443 HTTP/1.1", ConnectMethod),
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            rows.push(refused_head(name, &head, violation));
        }
        for (name, fields, violation) in [
            ("no colon", "X", FieldName),
            ("no name", ": a", FieldName),
            ("name no token", "X(: a", FieldName),
            ("UTF-8 name", "\u{e9}: a", FieldName),
            ("control in name", "X\u{1}: a", ControlByte),
            ("DEL in value", "X: \u{7f}", ControlByte),
            ("tab before colon", "X\t: a", SpaceBeforeColon),
            ("fold by tab", "X: a\r\n\tb", ObsFold),
            ("length empty", "Content-Length:", ContentLength),
            ("length list", "Content-Length: 5, 5", ContentLength),
            ("length in hex", "Content-Length: 0x5", ContentLength),
            (
                "length beyond 64 bits",
                "Content-Length: 18446744073709551616",
                ContentLength,
            ),
            ("length with a space", "Content-Length: 1 1", ContentLength),
            (
                "chunked twice",
                "Transfer-Encoding: chunked, chunked",
                TransferEncoding,
            ),
            (
                "chunked quoted",
                "Transfer-Encoding: \"chunked\"",
                TransferEncoding,
            ),
            (
                "chunked after a vertical tab",
                "Transfer-Encoding: \u{b}chunked",
                ControlByte,
            ),
            ("encoding empty", "Transfer-Encoding:", TransferEncoding),
            ("websocket", "Upgrade: websocket", Upgrade),
            ("h2c", "Upgrade: h2c", Upgrade),
            ("expectation", "Expect: 200-ok", Expect),
            (
                "expectation twice",
                "Expect: 100-continue\r\nExpect: 100-continue",
                Duplicate(Single::Expect),
            ),
        ] {
            rows.push(refused(name, fields, violation));
        }
        check_rows(&GuardOptions::default(), rows);
    }

    #[test]
    fn fields_that_may_occur_once() {
        for single in SINGLES {
            let value = match single {
                Single::Host => "a",
                Single::ContentLength => "0",
                Single::TransferEncoding => "chunked",
                Single::Upgrade => "websocket",
                Single::Expect => "100-continue",
                _ => "x",
            };
            let options = GuardOptions {
                allow_websocket: true,
                ..GuardOptions::default()
            };
            let upper = single.name().to_uppercase();
            let field = format!("{}: {value}\r\nX: 1\r\n{upper}: {value}\r\n", single.name());
            let head = format!("GET / HTTP/1.1\r\n{field}\r\n");
            let violation = Violation::Duplicate(single);
            assert_eq!(
                violation.as_str(),
                format!("duplicate_{}", single.name().replace('-', "_"))
            );
            check(
                single.name(),
                &options,
                b"",
                head.as_bytes(),
                Some(violation),
            );
        }
    }

    #[test]
    fn hosts() {
        let long = "a".repeat(255);
        for good in [
            "a",
            "localhost:3000",
            "gate.example",
            "gate.example.",
            "my_host-1:65535",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:443",
            "[::ffff:127.0.0.1]:80",
            &long,
            "\t a \t",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost:{good}\r\n\r\n");
            check(good, &GuardOptions::default(), head.as_bytes(), b"", None);
        }
        let too_long = "a".repeat(256);
        for bad in [
            "",
            " ",
            ":80",
            "a:",
            "a:0",
            "a:080",
            "a:65536",
            "a:+80",
            "a:8o",
            "a:80:80",
            "a b",
            "a,b",
            "a/b",
            "a\\b",
            "a@b",
            "user:pw@a",
            "a%2eb",
            "a..b",
            ".a",
            ".",
            "b\u{fc}cher.example",
            "http://a",
            "::1",
            "[::1",
            "[::1]a",
            "[::1]x80",
            "[::1]:",
            "[]",
            "[a]",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "[[::1]]",
            &too_long,
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost:{bad}\r\n\r\n");
            let violation = Some(Violation::HostSyntax);
            check(
                bad,
                &GuardOptions::default(),
                b"",
                head.as_bytes(),
                violation,
            );
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let options = GuardOptions {
            max_head: 400,
            max_fields: 3,
            max_line: 100,
            max_target: 20,
            ..GuardOptions::default()
        };
        // Each pads the head that `build` makes until it is refused; the last size before that is the limit.
        let biggest = |build: &dyn Fn(usize) -> String, violation: Violation| {
            let fits = |n: &usize| {
                run(&options, [build(*n).into_bytes()], 8192)
                    .violation
                    .is_none()
            };
            let n = (0..500).take_while(fits).last().unwrap();
            check("fits", &options, build(n).as_bytes(), b"", None);
            check(
                "too much",
                &options,
                b"",
                build(n + 1).as_bytes(),
                Some(violation),
            );
            build(n)
        };
        let target = |n| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "t".repeat(n));
        let head = biggest(&target, Violation::TargetTooLong);
        assert_eq!(head.split(' ').nth(1).unwrap().len(), 20);

        let line = |n| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "v".repeat(n));
        let head = biggest(&line, Violation::LineTooLong);
        assert_eq!(head.lines().nth(2).unwrap().len(), 100);

        let fields = |n| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(n));
        let head = biggest(&fields, Violation::TooManyFields);
        assert_eq!(head.lines().count(), 1 + 3 + 1);

        let options = GuardOptions {
            max_head: 80,
            ..options.clone()
        };
        let fits = format!("{:<76}\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: ");
        check("whole head", &options, fits.as_bytes(), b"", None);
        let over = format!("{:<77}\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: ");
        let violation = Some(Violation::HeadTooLarge);
        check("one byte over", &options, b"", over.as_bytes(), violation);
        // Nothing of an endless head is kept beyond its limit.
        let mut guard = Guard::new(Script::new([b"GET /".to_vec()]), options);
        assert_eq!(drain(&mut guard, 8192).violation, None);
        assert_eq!(guard.held.len(), 5);
        guard.inner.chunks.push_back(vec![b'a'; 4096]);
        assert_eq!(drain(&mut guard, 8192).violation, violation);
        assert!(guard.held.is_empty());
    }

    #[test]
    fn well_framed_requests_pass_unchanged() {
        let mib = "m".repeat(1 << 20);
        let many: String = (0..99).map(|n| format!("X-{n}: 1\r\n")).collect();
        let long = "v".repeat(16_000);
        check_rows(
            &GuardOptions::default(),
            vec![
                passes("no body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
                passes("HTTP/1.0", "GET /?a=b HTTP/1.0\r\nHost: a\r\n\r\n".into()),
                passes("length", format!("{HEAD}content-length: 5\r\n\r\nhello")),
                passes(
                    "length of zero",
                    format!("{HEAD}Content-Length: 000\r\n\r\n{HEAD}\r\n"),
                ),
                passes(
                    "two Connection",
                    format!("{HEAD}Connection: close\r\nConnection: te\r\n\r\n"),
                ),
                passes(
                    "expectation",
                    format!("{HEAD}Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx"),
                ),
                passes(
                    "tabs and UTF-8 in a value",
                    format!("{HEAD}X:\ta\tb \u{fc}\r\nY:\r\n\r\n"),
                ),
                passes(
                    "odd token",
                    "M-SEARCH /a%20b;c?d=[e]&f HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~: 1\r\n\r\n"
                        .into(),
                ),
                passes("100 fields", format!("{HEAD}{many}\r\n")),
                passes("a long line", format!("{HEAD}X: {long}\r\n\r\n")),
                passes(
                    "chunks",
                    format!(
                        "{HEAD}Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0000A\r\n\r\n0\r\n\r\nxyz\r\n0\r\n\r\n"
                    ),
                ),
                passes(
                    "16 digits",
                    format!(
                        "{HEAD}Transfer-Encoding: chunked\r\n\r\n0000000000000001\r\na\r\n00\r\n\r\n"
                    ),
                ),
                passes(
                    "body of 1 MiB",
                    format!("{HEAD}Content-Length: {}\r\n\r\n{mib}{HEAD}\r\n", mib.len()),
                ),
                passes(
                    "pipelined",
                    format!(
                        "{HEAD}\r\n{HEAD}Content-Length: 2\r\n\r\nhi{HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n{HEAD}\r\n"
                    ),
                ),
                passes(
                    "a request in a body",
                    format!(
                        "{HEAD}Content-Length: 14\r\n\r\nGET / HTTP/9\n\nxGET / HTTP/1.1\r\nHost: a\r\n\r\n"
                    ),
                ),
            ],
        );
    }

    #[test]
    fn the_end_may_come_anywhere() {
        for cut in ["", "GE", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
            let end = run(&GuardOptions::default(), [cut.as_bytes().to_vec()], 64);
            assert_eq!(end.violation, None);
            assert!(end.passed.is_empty(), "part of a head was handed on");
        }
    }

    #[test]
    fn a_reader_without_room_gets_nothing_and_loses_nothing() {
        let head = format!("{HEAD}\r\n").into_bytes();
        let mut guard = Guard::new(Script::new([head.clone()]), GuardOptions::default());
        assert!(read(&mut guard, 0).unwrap().unwrap().is_empty());
        assert_eq!(drain(&mut guard, 64).passed, head);
    }

    #[test]
    fn malformed_chunks_are_refused() {
        use Violation::*;
        check_rows(
            &GuardOptions::default(),
            vec![
                refused_chunk("no size", "", "\r\n", ChunkSize),
                refused_chunk("signed size", "", "+5\r\nhello\r\n", ChunkSize),
                refused_chunk("0x", "0", "x5\r\nhello\r\n", ChunkSize),
                refused_chunk("space before size", "", " 5\r\nhello\r\n", ChunkSize),
                refused_chunk("17 digits", "0000000000000000", "5\r\nhello\r\n", ChunkSize),
                refused_chunk(
                    "size beyond 64 bits",
                    "1000000000000000",
                    "0\r\n",
                    ChunkSize,
                ),
                refused_chunk("space after size", "5", " \r\nhello\r\n", ChunkExtension),
                refused_chunk(
                    "extension of the last chunk",
                    "0",
                    ";\r\n\r\n",
                    ChunkExtension,
                ),
                refused_chunk("line feed alone after size", "5", "\nhello\r\n", BareLf),
                refused_chunk("CR alone after size", "5\r", "5\nhello\r\n", BareCr),
                refused_chunk("data too long", "5\r\nhello", "!\r\n0\r\n\r\n", ChunkEnd),
                refused_chunk(
                    "line feed alone after data",
                    "5\r\nhello",
                    "\n0\r\n\r\n",
                    ChunkEnd,
                ),
                refused_chunk("CR alone after data", "5\r\nhello\r", "0\r\n\r\n", ChunkEnd),
                refused_chunk("trailer", "0\r\n", "Host: b\r\n\r\n", Trailer),
                refused_chunk("line feed alone at the end", "0\r\n", "\n", BareLf),
                refused_chunk("CR alone at the end", "0\r\n\r", "x", BareCr),
            ],
        );
    }

    #[test]
    fn a_bad_request_behind_good_ones_is_withheld_alone() {
        let good = format!("{HEAD}Content-Length: 2\r\n\r\nhi");
        let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n");
        for before in [
            good.clone(),
            chunked.clone(),
            format!("{good}{chunked}{good}"),
        ] {
            let bad = format!("{HEAD}Host: b\r\n\r\n{good}");
            let violation = Some(Violation::Duplicate(Single::Host));
            let options = GuardOptions::default();
            check(
                "pipelined",
                &options,
                before.as_bytes(),
                bad.as_bytes(),
                violation,
            );
            // RFC 9112, section 2.2 lets a server skip an empty line here. Ours does not.
            let violation = Some(Violation::RequestLine);
            check(
                "empty line",
                &options,
                before.as_bytes(),
                b"\r\nGET",
                violation,
            );
        }
    }

    #[test]
    fn forward_mode_takes_absolute_targets_of_the_same_host() {
        let options = GuardOptions {
            allow_absolute: true,
            ..GuardOptions::default()
        };
        for (target, host) in [
            ("http://a/", "a"),
            ("HTTP://A:80/x?y", "a:80"),
            ("https://[::1]:443", "[::1]:443"),
            ("http://a?x", "a"),
            ("/", "b"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nX: 1\r\nHost: {host}\r\n\r\n");
            check(target, &options, head.as_bytes(), b"", None);
        }
        for (target, host, violation) in [
            ("http://a/", "b", Violation::HostMismatch),
            ("http://a/", "a:80", Violation::HostMismatch),
            ("http://u@a/", "a", Violation::HostSyntax),
            ("http:///", "a", Violation::HostSyntax),
            ("http://a\\@b/", "a", Violation::HostSyntax),
            ("ftp://a/", "a", Violation::TargetForm),
            ("http:/a", "a", Violation::TargetForm),
            ("a:443", "a:443", Violation::TargetForm),
            ("*", "a", Violation::TargetForm),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            check(target, &options, b"", head.as_bytes(), Some(violation));
        }
    }

    #[test]
    fn http2_passes_only_where_it_is_allowed_and_first() {
        let frames = b"\0\0\0\x04\0\0\0\0\0\n\n\r";
        let h2 = [H2_PREFACE, frames].concat();
        let allowed = GuardOptions {
            allow_h2: true,
            ..GuardOptions::default()
        };
        let http2 = Some(Violation::Http2);
        check("allowed", &allowed, &h2, b"", None);
        check("not allowed", &GuardOptions::default(), b"", &h2, http2);
        let head = format!("{HEAD}\r\n");
        check("HTTP/1", &allowed, head.as_bytes(), b"", None);
        check("late", &allowed, head.as_bytes(), &h2, http2);
        let almost = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx";
        check("almost", &allowed, b"", almost, http2);
        check(
            "like it",
            &allowed,
            b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"",
            None,
        );
    }

    const UPGRADE: &[u8] =
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n";

    fn websocket() -> GuardOptions {
        GuardOptions {
            allow_websocket: true,
            ..GuardOptions::default()
        }
    }

    #[test]
    fn an_upgrade_opens_the_guard_only_when_it_is_answered() {
        let mut guard = Guard::new(Script::new([UPGRADE.to_vec()]), websocket());
        let watch = guard.watch();
        assert_eq!(drain(&mut guard, 64).passed, UPGRADE);
        watch.switch_protocols();
        guard.inner.chunks.push_back(b"\x81\x85\n\0".to_vec());
        assert_eq!(drain(&mut guard, 64).passed, b"\x81\x85\n\0");
        assert_eq!(watch.phase(), Phase::Transparent);

        // Not answered: still HTTP/1.
        check(
            "declined",
            &websocket(),
            UPGRADE,
            b"\x81\x85\n\0",
            Some(Violation::BareLf),
        );
        check(
            "declined, next",
            &websocket(),
            &[UPGRADE, UPGRADE].concat(),
            b"",
            None,
        );
    }

    #[test]
    fn a_client_that_does_not_wait_for_its_upgrade_is_refused() {
        let more = [&b"\x81"[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"];
        for more in more {
            let sent = [UPGRADE, more].concat();
            let mut guard = Guard::new(Script::new([sent]), websocket());
            assert!(drain(&mut guard, 4096).passed.starts_with(UPGRADE));
            guard.watch().switch_protocols();
            let violation = drain(&mut guard, 4096).violation;
            assert_eq!(violation, Some(Violation::UpgradeEarlyData));
            assert!(!guard.watch().may_refuse(guard.watch().requests()));
        }
        let mut guard = Guard::new(Script::new([]), websocket());
        guard.watch().switch_protocols();
        let violation = drain(&mut guard, 4096).violation;
        assert_eq!(violation, Some(Violation::UpgradeEarlyData));
    }

    #[test]
    fn upgrades_that_are_none() {
        for (head, violation) in [
            (
                "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
                Violation::Upgrade,
            ),
            (
                "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
                Violation::Upgrade,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket, h2c\r\n\r\n",
                Violation::Upgrade,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n",
                Violation::UpgradeBody,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nUpgrade: websocket\r\n\r\n",
                Violation::UpgradeBody,
            ),
        ] {
            check(head, &websocket(), b"", head.as_bytes(), Some(violation));
        }
    }

    #[test]
    fn the_watch_follows_the_bytes() {
        let mut guard = Guard::new(Script::new([]), GuardOptions::default());
        let watch = guard.watch();
        let mut feed = |bytes: &str| {
            guard.inner.chunks.push_back(bytes.as_bytes().to_vec());
            drain(&mut guard, 8192);
            (watch.phase(), watch.requests())
        };
        assert_eq!(feed(""), (Phase::Idle, 0));
        assert_eq!(feed("G"), (Phase::Head, 0));
        assert_eq!(feed("ET / HTTP/1.1\r\nHost: a\r\n\r"), (Phase::Head, 0));
        assert_eq!(feed("\n"), (Phase::Idle, 1));
        assert_eq!(
            feed(&format!("{HEAD}Content-Length: 2\r\n\r\n")),
            (Phase::Body, 2)
        );
        assert_eq!(feed("a"), (Phase::Body, 2));
        assert_eq!(feed("bP"), (Phase::Head, 2));
        assert_eq!(feed("OST / HTTP/1.0\r\nHost: a\r\n\r\n"), (Phase::Idle, 3));
        let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
        assert_eq!(feed(&chunked), (Phase::Body, 4));
        assert_eq!(feed("0\r\n\r"), (Phase::Body, 4));
        assert_eq!(feed("\n"), (Phase::Idle, 4));
        assert!(!watch.head_is_pending());
        // An idle connection holds nothing.
        assert_eq!(guard.held.capacity(), 0);
    }

    #[test]
    fn a_refusal_waits_for_the_answer_before_it() {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut guard = Guard::new(Script::new([]), GuardOptions::default());
        let watch = guard.watch();
        assert!(watch.may_refuse(0), "nothing was asked or answered");
        guard
            .inner
            .chunks
            .push_back(format!("{HEAD}\r\n").into_bytes());
        drain(&mut guard, 8192);
        assert!(!watch.may_refuse(0), "an answer is owed");
        assert!(Pin::new(&mut guard).poll_write(cx, b"HTTP/1.1").is_ready());
        assert!(!watch.may_refuse(1), "part of it is not flushed");
        assert!(Pin::new(&mut guard).poll_flush(cx).is_ready());
        assert!(watch.may_refuse(1));
        let body = format!("{HEAD}Content-Length: 9\r\n\r\n");
        guard.inner.chunks.push_back(body.into_bytes());
        drain(&mut guard, 8192);
        assert_eq!(watch.phase(), Phase::Body);
        assert!(watch.may_refuse(1), "in the body, before its answer");
        assert!(!watch.may_refuse(2), "answered ahead of its body");
        assert!(Pin::new(&mut guard).poll_write_vectored(cx, &[]).is_ready());
        assert!(Pin::new(&mut guard).poll_flush(cx).is_ready());
        assert!(!watch.may_refuse(1), "the answer has begun");
    }

    /// Every violation, through a match that fails to compile when one is missing.
    fn violations() -> Vec<Violation> {
        use Violation::*;
        let mut all = vec![
            BareLf,
            BareCr,
            ControlByte,
            RequestLine,
            ConnectMethod,
            TargetByte,
            TargetForm,
            TargetTooLong,
            Version,
            Http2,
            HeadTooLarge,
            LineTooLong,
            TooManyFields,
            FieldName,
            SpaceBeforeColon,
            ObsFold,
            HostMissing,
            HostSyntax,
            HostMismatch,
            ContentLength,
            TransferEncoding,
            LengthAndEncoding,
            EncodingOnHttp10,
            Upgrade,
            UpgradeBody,
            UpgradeEarlyData,
            Expect,
            ChunkSize,
            ChunkExtension,
            ChunkEnd,
            Trailer,
        ];
        all.extend(SINGLES.map(Duplicate));
        all
    }

    #[test]
    fn every_violation_has_a_name_a_status_and_an_answer() {
        let mut names = std::collections::HashSet::new();
        for violation in violations() {
            let name = violation.as_str();
            assert!(names.insert(name), "{name} twice");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            let answer = refusal(&violation);
            let answer = str::from_utf8(&answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let status = format!("HTTP/1.1 {} ", violation.status());
            assert!(head.starts_with(&status), "{head}");
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())));
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["error"]["code"], -32600);
            assert_eq!(body["error"]["message"], violation.sentence());
            assert!(body["id"].is_null());
        }
    }

    /// Requests, good and bad, that the property tests put together.
    fn pieces() -> Vec<Vec<u8>> {
        let head = |fields: &str| format!("{HEAD}{fields}\r\n").into_bytes();
        vec![
            head(""),
            head("Content-Length: 0\r\n"),
            [head("Content-Length: 12\r\n"), b"hello\r\n\r\nyou".to_vec()].concat(),
            [
                head("Transfer-Encoding: chunked\r\n"),
                b"3\r\na\r\n\r\n1\r\n0\r\n0\r\n\r\n".to_vec(),
            ]
            .concat(),
            head("Content-Length: 3\r\nContent-Length: 3\r\n"),
            head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            head("Transfer-Encoding: gzip, chunked\r\n"),
            head("Connection: keep-alive\r\nAccept: */*\r\n"),
            b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\nHost: a\n\n".to_vec(),
            UPGRADE.to_vec(),
            H2_PREFACE.to_vec(),
            b"\r\n".to_vec(),
        ]
    }

    /// Pieces in a row, with a few bytes replaced, put in or taken out.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let edit = (
            any::<proptest::sample::Index>(),
            0..3u8,
            proptest::sample::select(&b"\r\n \t\0:;,#05afG/\x7f\xff"[..]),
        );
        (
            proptest::collection::vec(proptest::sample::select(pieces()), 0..5),
            proptest::collection::vec(edit, 0..3),
        )
            .prop_map(|(pieces, edits)| {
                let mut bytes = pieces.concat();
                for (at, kind, byte) in edits {
                    if bytes.is_empty() {
                        break;
                    }
                    let at = at.index(bytes.len());
                    match kind {
                        0 => bytes[at] = byte,
                        1 => bytes.insert(at, byte),
                        _ => drop(bytes.remove(at)),
                    }
                }
                bytes
            })
    }

    fn chunked_at(bytes: &[u8], cuts: &[proptest::sample::Index]) -> Vec<Vec<u8>> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2)
            .map(|pair| bytes[pair[0]..pair[1]].to_vec())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_chunking_is_judged_like_the_whole(
            bytes in streams(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
            room in 1usize..200,
            tight in any::<bool>(),
            open in any::<bool>(),
        ) {
            let limits = if tight { (90, 1, 40) } else { (32 * 1024, 100, 16 * 1024) };
            let options = GuardOptions {
                max_head: limits.0,
                max_fields: limits.1,
                max_line: limits.2,
                allow_h2: open,
                allow_websocket: open,
                ..GuardOptions::default()
            };
            let whole = run(&options, [bytes.clone()], 8192);
            prop_assert!(bytes.starts_with(&whole.passed));
            let chunks = chunked_at(&bytes, &cuts);
            prop_assert_eq!(run(&options, chunks, room), whole);
        }
    }

    /// hyper's view of a tokio stream, for these tests: through a buffer of its own.
    struct Io<T>(T);

    impl<T: AsyncRead + Unpin> hyper::rt::Read for Io<T> {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            mut cursor: hyper::rt::ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            let mut room = vec![0; cursor.remaining().min(8192)];
            let mut buf = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.get_mut().0).poll_read(cx, &mut buf))?;
            cursor.put_slice(buf.filled());
            Poll::Ready(Ok(()))
        }
    }

    impl<T: AsyncWrite + Unpin> hyper::rt::Write for Io<T> {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().0).poll_flush(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
        }

        fn is_write_vectored(&self) -> bool {
            self.0.is_write_vectored()
        }
    }

    type Served = Rc<RefCell<Vec<(String, Vec<u8>)>>>;

    /// Serves one connection as its owner would: hyper behind the guard, and the refusal afterwards.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, served: Served) -> Watch {
        let guard = Guard::new(stream, GuardOptions::default());
        let watch = guard.watch();
        let answer = |request: HttpRequest<Incoming>| {
            let served = Rc::clone(&served);
            async move {
                let path = request.uri().path().to_owned();
                // A body that ends in an error is the client's fault: it ends the connection.
                let body = request.into_body().collect().await?;
                served.borrow_mut().push((path, body.to_bytes().to_vec()));
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"fine"))))
            }
        };
        let service = service_fn(answer);
        let mut connection = http1::Builder::new()
            // Lets an answer finish although what follows its request is refused.
            .half_close(true)
            .serve_connection(Io(guard), service);
        // Fails inside a request and ends well between two: the watch tells, not the result.
        let _ = poll_fn(|cx| Pin::new(&mut connection).poll(cx)).await;
        let mut stream = connection.into_parts().io.0.into_inner();
        let answered = served.borrow().len() as u64;
        if let Some(violation) = watch.violation()
            && watch.may_refuse(answered)
        {
            stream.write_all(&refusal(&violation)).await.unwrap();
        }
        let _ = stream.shutdown().await;
        watch
    }

    /// What the client got for `chunks`, and what the service saw.
    fn talk(chunks: Vec<Vec<u8>>) -> (String, Vec<(String, Vec<u8>)>, Watch) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let served = Served::default();
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (got, watch) = runtime.block_on(async {
            let local = tokio::task::LocalSet::new();
            let client = local.spawn_local(send(client, chunks));
            let watch = local.run_until(serve(server, Rc::clone(&served))).await;
            (local.run_until(client).await.unwrap(), watch)
        });
        let seen = served.borrow().clone();
        (got, seen, watch)
    }

    async fn send(mut client: DuplexStream, chunks: Vec<Vec<u8>>) -> String {
        let mut got = Vec::new();
        for chunk in chunks {
            if client.write_all(&chunk).await.is_err() {
                break;
            }
            // Lets the server come to rest between two chunks.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
        client.shutdown().await.unwrap();
        client.read_to_end(&mut got).await.unwrap();
        String::from_utf8_lossy(&got).into_owned()
    }

    #[test]
    fn hyper_serves_what_passes_and_never_sees_what_is_refused() {
        let good = format!("{HEAD}Content-Length: 5\r\n\r\nhello").into_bytes();
        let bad = format!("{HEAD}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello").into_bytes();
        let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n2\r\nhi").into_bytes();
        let hello = ("/mcp".to_owned(), b"hello".to_vec());

        let (got, seen, watch) = talk(vec![good.clone()]);
        assert!(
            got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("fine"),
            "{got}"
        );
        assert_eq!((seen, watch.requests()), (vec![hello.clone()], 1));

        let (got, seen, _) = talk(vec![bad.clone()]);
        let refused =
            String::from_utf8(refusal(&Violation::Duplicate(Single::ContentLength))).unwrap();
        assert_eq!((got, seen), (refused.clone(), vec![]));

        // In one write, and with a pause between.
        for chunks in [
            vec![[good.clone(), bad.clone()].concat()],
            vec![good.clone(), bad],
        ] {
            let (got, seen, _) = talk(chunks);
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
            assert!(got.ends_with(&format!("fine{refused}")), "{got}");
            assert_eq!(seen, vec![hello.clone()]);
        }

        let (got, seen, _) = talk(vec![good, chunked, b"\n0\r\n\r\n".to_vec()]);
        let refused = String::from_utf8(refusal(&Violation::ChunkEnd)).unwrap();
        assert!(got.ends_with(&format!("fine{refused}")), "{got}");
        assert_eq!(seen, vec![hello]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// The guard and hyper count the same requests, or hyper fewer where the connection ended.
        #[test]
        fn hyper_sees_no_request_that_the_guard_does_not(
            bytes in streams(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
        ) {
            let (_, seen, watch) = talk(chunked_at(&bytes, &cuts));
            prop_assert!(seen.len() as u64 <= watch.requests());
        }

        /// Bodies arrive as they were sent, however they are framed and cut.
        #[test]
        fn hyper_reads_the_bodies_that_were_sent(
            bodies in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), 0usize..40), 1..6),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let mut bytes = Vec::new();
            for (body, size) in &bodies {
                if *size == 0 {
                    bytes.extend(format!("{HEAD}Content-Length: {}\r\n\r\n", body.len()).bytes());
                    bytes.extend(body);
                    continue;
                }
                bytes.extend(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").bytes());
                for chunk in body.chunks(*size) {
                    bytes.extend(format!("{:X}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
            }
            let (_, seen, watch) = talk(chunked_at(&bytes, &cuts));
            let seen: Vec<Vec<u8>> = seen.into_iter().map(|(_, body)| body).collect();
            let sent: Vec<Vec<u8>> = bodies.into_iter().map(|(body, _)| body).collect();
            prop_assert_eq!(watch.violation(), None);
            prop_assert_eq!(watch.requests(), sent.len() as u64);
            prop_assert_eq!(seen, sent);
        }
    }
}
