//! Listeners and runtimes: one of each a core.
//!
//! Enter: connections. Leave: connections served, and at the end all of them drained. Never: a look
//! at a message.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mcpf_audit::Log;
use mcpf_model::Principal;
use mcpf_pipeline::{Generation, Nanos, Shared};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use super::conversation::Conversations;
use super::exchange;
use super::guard::{Guard, GuardOptions, Violation, refusal};
use super::inspect::Worker;
use super::metrics::Meter;
use super::settings::HttpSettings;
use super::tide::Tide;
use super::websocket::Upgrade;
use crate::respond::DenyAs;

/// Connections that the system may hold for a listener.
const BACKLOG: u32 = 1_024;

/// Largest head of a request, in bytes, as hyper buffers it. 64 KiB.
const MAX_HEAD: usize = 64 * 1_024;

/// Most requests at once on one connection of HTTP/2.
const MAX_STREAMS: u32 = 100;

/// How long a client that is refused may take to read why.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes that are still read from a client that is refused. 256 KiB.
const MAX_REST: usize = 256 * 1_024;

/// How often conversations are looked through for those that have gone stale.
const SWEEP: Duration = Duration::from_secs(60);

/// What a gateway needs to begin.
pub struct GatewayParts {
    /// How it listens and where it sends.
    pub settings: HttpSettings,
    /// Policy, rules and limits.
    pub generation: Arc<Generation>,
    /// Buckets and kill switch.
    pub shared: Arc<Shared>,
    /// Where decisions are recorded.
    pub log: Arc<Log>,
    /// Told by the log's hook that records are durable.
    pub tide: Tide,
    /// How a refused `tools/call` is answered.
    pub deny_as: DenyAs,
    /// Who calls, as far as the operator says.
    pub principal: Principal,
    /// The server's name.
    pub server: Arc<str>,
    /// A random name of this run.
    pub run: Arc<str>,
}

/// What the workers of one gateway share.
pub struct Gateway {
    pub(crate) settings: HttpSettings,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Arc<Log>,
    pub(crate) deny_as: DenyAs,
    pub(crate) principal: Principal,
    pub(crate) server: Arc<str>,
    pub(crate) conversations: Conversations,
    generation: ArcSwap<Generation>,
    pub(crate) tide: Tide,
    run: Arc<str>,
    started: Instant,
    sessions: AtomicU64,
    connections: AtomicUsize,
    ending: watch::Sender<bool>,
    meters: Box<[Meter]>,
    renewed: AtomicU64,
}

impl Gateway {
    /// A gateway that does not listen yet.
    #[must_use]
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts {
            settings,
            generation,
            shared,
            log,
            tide,
            deny_as,
            principal,
            server,
            run,
        } = parts;
        let meters = std::iter::repeat_with(Meter::default);
        Self {
            meters: meters.take(settings.workers.get()).collect(),
            renewed: AtomicU64::new(0),
            conversations: Conversations::new(settings.max_sessions, settings.session_ttl),
            settings,
            shared,
            log,
            deny_as,
            principal,
            server,
            generation: ArcSwap::new(generation),
            tide,
            run,
            started: Instant::now(),
            sessions: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            ending: watch::Sender::new(false),
        }
    }

    /// The generation that decides from now on. Messages under way end as they began.
    pub fn replace(&self, generation: Arc<Generation>) {
        let old = self.generation.swap(generation);
        self.renewed.store(self.now().0, Ordering::Relaxed);
        if old.policy.revision() != self.generation.load().policy.revision() {
            self.conversations.forget_chains();
        }
    }

    /// The generation that decides.
    #[must_use]
    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    pub(crate) fn is_newest(&self, generation: &Arc<Generation>) -> bool {
        Arc::ptr_eq(&self.generation.load(), generation)
    }

    pub(crate) fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn next_session(&self) -> Arc<str> {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.run).into()
    }

    pub(crate) fn meters(&self) -> &[Meter] {
        &self.meters
    }

    pub(crate) fn meter(&self, worker: usize) -> Option<&Meter> {
        self.meters.get(worker)
    }

    /// How long ago policy and rules were read.
    pub(crate) fn generation_age(&self) -> Duration {
        let renewed = self.renewed.load(Ordering::Relaxed);
        Duration::from_nanos(self.now().0.saturating_sub(renewed))
    }

    /// Why no traffic should be sent here now, as a line of text.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        if *self.ending.borrow() {
            return Some("the gateway is ending\n");
        }
        if self.log.status().is_err() {
            return Some("the audit log cannot record, and nothing goes unrecorded\n");
        }
        None
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.unready().is_none()
    }

    /// Client connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Sessions open now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.conversations.len()
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A runtime or its thread cannot be made.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
    /// The scan library cannot allocate its scratch.
    #[error("cannot prepare the scanner: {0}")]
    Scan(#[from] mcpf_pipeline::ScanError),
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Serving {
    gateway: Arc<Gateway>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl Serving {
    /// The address listened on; its port is the real one where 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets requests under way end for as long as
    /// [`Timeouts::drain`](super::Timeouts::drain), and returns when all workers have ended.
    pub fn end(self) {
        self.gateway.ending.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
    }
}

/// Listens and serves, in threads of its own.
///
/// # Errors
///
/// When the address cannot be listened on or a worker cannot be made.
pub fn serve(gateway: Arc<Gateway>) -> Result<Serving, ServeError> {
    let workers = gateway.settings.workers.get();
    let mut address = gateway.settings.listen;
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let listener = listen(address).map_err(|error| ServeError::Listen { address, error })?;
        // The others join the first on the port that it was given.
        address = listener
            .local_addr()
            .map_err(|error| ServeError::Listen { address, error })?;
        listeners.push(listener);
    }
    let mut threads = Vec::with_capacity(workers);
    for (number, listener) in listeners.into_iter().enumerate() {
        // Made here, so that a scratch that cannot be made is an error and not a dead thread.
        let scratch_fits = mcpf_pipeline::Scratch::new(&gateway.generation())?;
        drop(scratch_fits);
        let gateway = Arc::clone(&gateway);
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                if let Err(error) = work(gateway, listener, number) {
                    tracing::error!(%error, "a worker could not start");
                }
            })
            .map_err(ServeError::Worker)?;
        threads.push(thread);
    }
    Ok(Serving {
        gateway,
        address,
        threads,
    })
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    // Only to make the socket; it moves to the worker's own runtime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _inside = runtime.enter();
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn work(
    gateway: Arc<Gateway>,
    listener: std::net::TcpListener,
    number: usize,
) -> Result<(), ServeError> {
    let log = Arc::clone(&gateway.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        // Whatever the worker has recorded since it last slept is one group to the writer.
        .on_thread_park(move || log.nudge())
        .enable_all()
        .build()
        .map_err(ServeError::Worker)?;
    let worker = Rc::new(Worker::new(gateway, number)?);
    let local = LocalSet::new();
    runtime.block_on(local.run_until(accept(worker, listener)));
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener could not be used");
            return;
        }
    };
    let following = Rc::clone(&worker);
    tokio::task::spawn_local(async move { following.shore.follow(&following.gateway.log).await });
    if worker.number == 0 {
        tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    }
    let gateway = Arc::clone(&worker.gateway);
    let mut ending = gateway.ending.subscribe();
    let open = Rc::new(());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of descriptors, most likely: some will be free in a moment.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        if gateway.connections.load(Ordering::Relaxed) >= gateway.settings.max_connections {
            tracing::warn!(%peer, "refused a connection: there are too many");
            continue;
        }
        let open = Rc::clone(&open);
        let worker = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            let _open = open;
            connection(worker, stream, peer.ip()).await;
        });
    }
    drop(listener);
    let deadline = Instant::now() + gateway.settings.timeouts.drain;
    while Rc::strong_count(&open) > 1 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Counts a connection for as long as it is open.
struct Counted<'g>(&'g AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(worker: Rc<Worker>, stream: TcpStream, peer: IpAddr) {
    let gateway = Arc::clone(&worker.gateway);
    gateway.connections.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(&gateway.connections);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone at once");
        return;
    }
    let served = match gateway.settings.server_tls.clone() {
        None => {
            let mut ending = gateway.ending.subscribe();
            let is_http2 = tokio::select! {
                is_http2 = is_http2(&stream, gateway.settings.timeouts.idle) => is_http2,
                // Whoever has said nothing yet is owed nothing.
                _ = ending.wait_for(|ending| *ending) => return,
            };
            match is_http2 {
                Ok(true) => speak_http2(&worker, stream, peer).await,
                Ok(false) => speak_http1(&worker, stream, peer).await,
                Err(error) => Err(error.into()),
            }
        }
        Some(tls) => {
            let accepting = TlsAcceptor::from(tls).accept(stream);
            match tokio::time::timeout(gateway.settings.timeouts.idle, accepting).await {
                Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    speak_http2(&worker, stream, peer).await
                }
                Ok(Ok(stream)) => speak_http1(&worker, stream, peer).await,
                Ok(Err(error)) => Err(error.into()),
                Err(elapsed) => Err(elapsed.into()),
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Whether a connection without TLS begins as HTTP/2 does (RFC 9113 section 3.4). No request of
/// HTTP/1.1 has a method that begins so.
async fn is_http2(stream: &TcpStream, time: Duration) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI ";
    let mut first = [0; PREFACE.len()];
    let peeked = tokio::time::timeout(time, stream.peek(&mut first)).await;
    let count = peeked.map_err(|_| io::ErrorKind::TimedOut)??;
    // A preface that comes in pieces is taken for HTTP/1.1, and refused.
    Ok(first.get(..count) == Some(PREFACE))
}

/// Serves the requests of one connection, after the guard has seen their heads.
async fn speak_http1(
    worker: &Rc<Worker>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: IpAddr,
) -> Served {
    let gateway = &worker.gateway;
    let options = GuardOptions {
        allow_websocket: true,
        ..GuardOptions::default()
    };
    let guard = Guard::new(stream, options);
    let watch = guard.watch();
    let upgrade = Upgrade {
        watch: watch.clone(),
        joined: Rc::default(),
    };
    let answered = Rc::new(Cell::new(0));
    let service = service_fn(|request| {
        let (worker, answered) = (Rc::clone(worker), Rc::clone(&answered));
        let upgrade = upgrade.clone();
        async move {
            let response = exchange::serve(worker, request, peer, Some(&upgrade)).await;
            answered.set(answered.get() + 1);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(gateway.settings.timeouts.idle)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(guard), service);
    let mut ending = gateway.ending.subscribe();
    let served = tokio::select! {
        served = std::pin::Pin::new(&mut connection) => served,
        _ = ending.wait_for(|ending| *ending) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            std::pin::Pin::new(&mut connection).await
        }
    };
    let Some(violation) = watch.violation() else {
        served?;
        let joined = upgrade.joined.borrow_mut().take();
        if let Some(joined) = joined {
            let stream = connection.into_parts().io.into_inner();
            tokio::select! {
                () = joined.run(stream) => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        }
        return Ok(());
    };
    tracing::info!(%peer, violation = violation.as_str(), "refused a request: {violation}");
    if watch.may_refuse(answered.get()) {
        let stream = connection.into_parts().io.into_inner().into_inner();
        let refusing = refuse(stream, &violation);
        tokio::time::timeout(LINGER, refusing).await??;
    }
    Ok(())
}

/// Tells the client what was wrong, and waits until it has read that: a connection that is closed
/// while bytes are unread is reset, and the answer lost.
async fn refuse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    violation: &Violation,
) -> io::Result<()> {
    stream.write_all(&refusal(violation)).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4_096];
    let mut left = MAX_REST;
    while left > 0 {
        match stream.read(&mut rest).await? {
            0 => break,
            n => left = left.saturating_sub(n),
        }
    }
    Ok(())
}

async fn speak_http2(
    worker: &Rc<Worker>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: IpAddr,
) -> Served {
    let gateway = &worker.gateway;
    let has_asked = Rc::new(Cell::new(false));
    let service = service_fn(|request| {
        has_asked.set(true);
        let worker = Rc::clone(worker);
        async move { Ok::<_, Infallible>(exchange::serve(worker, request, peer, None).await) }
    });
    let silent = async {
        tokio::time::sleep(gateway.settings.timeouts.idle).await;
        if has_asked.get() {
            std::future::pending::<()>().await;
        }
    };
    let mut connection = http2::Builder::new(Here)
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(gateway.settings.timeouts.idle))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(stream), service);
    let mut ending = gateway.ending.subscribe();
    tokio::select! {
        served = std::pin::Pin::new(&mut connection) => served?,
        // It has begun, and never asked for anything.
        () = silent => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        _ = ending.wait_for(|ending| *ending) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            std::pin::Pin::new(&mut connection).await?;
        }
    }
    Ok(())
}

/// Runs what a connection needs on the worker that accepted it.
#[derive(Clone, Copy, Debug)]
struct Here;

impl<F: Future + 'static> Executor<F> for Here {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let gateway = &worker.gateway;
        gateway.conversations.sweep(gateway.now());
    }
}
