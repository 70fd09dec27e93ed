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

mod violation;

use std::io::{self, IoSlice};
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use violation::{Single, Violation, refusal};

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
mod tests;
