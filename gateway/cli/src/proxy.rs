//! `proxy`: a server over HTTP, with the firewall in front of it.

use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mcpf_config::{Checked, PolicySource};
use mcpf_pipeline::Shared;
use mcpf_proxy::{Gateway, GatewayParts, HttpSettings, Tide, Timeouts, Upstream};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ProxyArgs;
use crate::bridge::Offered;
use crate::{assemble, bridge, kill_file, log};

pub(crate) fn run(args: &ProxyArgs) -> anyhow::Result<ExitCode> {
    let config = assemble::configuration(args.flags())?;
    assemble::logging(&config);
    let offered = match &*args.command {
        [] => None,
        command => Some(bridge::offer(command, args.shared, &config)?),
    };
    let settings = settings(&config, offered.as_ref())?;
    let generation = Arc::new(assemble::generation(&config)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot prepare the runtime")?;
    // Handlers before anything that could be interrupted.
    let mut signals = runtime.block_on(async { Signals::install() })?;
    let tide = Tide::default();
    let hook = {
        let tide = tide.clone();
        Box::new(move || tide.turn())
    };
    let log = Arc::new(log::open(&config, &generation, hook)?);
    let shared = Arc::new(Shared::default());
    kill_file::watch(config.kill_switch.clone(), &shared, Arc::clone(&log))
        .context("cannot watch the kill switch")?;
    let upstream = settings.upstream.display();
    let path = Arc::clone(&settings.path);
    let rules = generation.engine.rules().len();
    let mode = generation.policy.mode();
    let gateway = Arc::new(Gateway::new(GatewayParts {
        settings,
        generation,
        shared: Arc::clone(&shared),
        log: Arc::clone(&log),
        tide,
        deny_as: assemble::deny_as(&config),
        principal: assemble::principal(&config),
        server: config.name.as_str().into(),
        run: assemble::run_id(),
    }));
    let local = tokio::task::LocalSet::new();
    if let Some(address) = config.http.management {
        let managed = mcpf_proxy::manage(Arc::clone(&gateway), address, env!("CARGO_PKG_VERSION"));
        let address = local
            .block_on(&runtime, managed)
            .with_context(|| format!("cannot listen on {address} for management"))?;
        tracing::info!(listen = %format_args!("http://{address}"), "management");
    }
    let serving = mcpf_proxy::serve(Arc::clone(&gateway))?;
    tracing::info!(
        listen = %format_args!("http://{}{path}", serving.address()),
        upstream,
        policy = &*assemble::policy_name(&config),
        mode = mode.as_str(),
        rules,
        audit = %log.path().display(),
        "firewall up"
    );
    let ended = local.block_on(&runtime, async {
        let mut watched = Watched::of(&config);
        signals
            .follow(&shared, &log, |asked| {
                if asked || watched.has_changed() {
                    reload(args, &gateway, &mut watched);
                }
            })
            .await;
        // Monitors are told so for as long as it takes.
        tokio::task::spawn_blocking(move || serving.end()).await
    });
    ended.context("the workers did not end in order")?;
    drop(offered);
    drop(local);
    drop(gateway);
    log.close().context("the audit log did not close cleanly")?;
    tracing::info!("firewall down");
    Ok(ExitCode::SUCCESS)
}

fn settings(config: &Checked, offered: Option<&Offered>) -> anyhow::Result<HttpSettings> {
    let http = &config.http;
    let upstream = match (offered, &http.upstream) {
        (Some(offered), _) => Upstream::socket(&offered.socket, "/mcp"),
        (None, Some(url)) => Upstream::parse(url),
        (None, None) => bail!(
            "no server is named: give --upstream https://host:port/path, or `http.upstream` in the \
             configuration, or its command behind `--`"
        ),
    };
    let upstream = upstream.context("cannot use the upstream")?;
    let workers = match http.workers {
        Some(workers) => NonZeroUsize::try_from(workers).unwrap_or(NonZeroUsize::MIN),
        None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    let server_tls = match &http.tls {
        Some((certificate, key)) => Some(mcpf_proxy::server_tls(certificate, key)?),
        None => None,
    };
    let client_tls = if upstream.is_tls() {
        Some(mcpf_proxy::client_tls(http.upstream_ca.as_deref())?)
    } else {
        None
    };
    let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    Ok(HttpSettings {
        listen: http.listen,
        path: http
            .path
            .as_deref()
            .unwrap_or_else(|| upstream.path())
            .into(),
        upstream,
        hosts: boxed(&http.hosts),
        origins: boxed(&http.origins),
        passed: boxed(&http.passed),
        workers,
        max_connections: http.max_connections as usize,
        max_sessions: http.max_sessions as usize,
        session_ttl: http.session_ttl,
        timeouts: Timeouts {
            idle: http.idle_timeout,
            body: http.body_timeout,
            connect: http.connect_timeout,
            request: http.request_timeout,
            drain: http.drain_timeout,
        },
        server_tls,
        client_tls,
    })
}

/// Reads everything that decides again. What cannot be used changes nothing.
fn reload(args: &ProxyArgs, gateway: &Gateway, watched: &mut Watched) {
    let read = assemble::configuration(args.flags()).and_then(|config| {
        *watched = Watched::of(&config);
        assemble::generation(&config)
    });
    match read {
        Ok(generation) => {
            tracing::info!(
                policy = &**generation.policy.revision(),
                rules = generation.engine.rules().len(),
                "configuration, policy and rules read again"
            );
            gateway.replace(Arc::new(generation));
        }
        Err(error) => {
            tracing::error!("the old configuration goes on, the new one cannot be used: {error:#}");
        }
    }
}

/// How often the files that decide are looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// The files that decide, and what they were like when they were looked at last.
struct Watched {
    files: Vec<PathBuf>,
    seen: Vec<Option<Looks>>,
}

/// What changes with a file: its place on the disk, its length and its times.
type Looks = (u64, u64, i64, i64, i64);

impl Watched {
    fn of(config: &Checked) -> Self {
        let mut files: Vec<PathBuf> = config.file.iter().cloned().collect();
        if let PolicySource::File(path) = &config.policy {
            files.push(path.clone());
        }
        for path in &config.rules.paths {
            // A directory changes when files come and go, a file when it is written.
            files.push(path.clone());
            files.extend(assemble::rule_files(path).unwrap_or_default());
        }
        let seen = files.iter().map(|file| looks(file)).collect();
        Self { files, seen }
    }

    /// Whether one of them has changed since the last call.
    fn has_changed(&mut self) -> bool {
        let now: Vec<_> = self.files.iter().map(|file| looks(file)).collect();
        // A file that is being replaced may be away for a moment: that is no news yet.
        let has_changed = now != self.seen && now.iter().all(Option::is_some);
        if has_changed {
            self.seen = now;
        }
        has_changed
    }
}

fn looks(file: &Path) -> Option<Looks> {
    let of = file.metadata().ok()?;
    Some((
        of.ino(),
        of.len(),
        of.mtime(),
        of.mtime_nsec(),
        of.ctime_nsec(),
    ))
}

/// What the operator may say while the program runs.
struct Signals {
    end: [tokio::signal::unix::Signal; 2],
    reload: tokio::signal::unix::Signal,
    kill: [tokio::signal::unix::Signal; 2],
}

impl Signals {
    fn install() -> anyhow::Result<Self> {
        let hear = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            end: [
                hear(SignalKind::terminate())?,
                hear(SignalKind::interrupt())?,
            ],
            reload: hear(SignalKind::hangup())?,
            kill: [
                hear(SignalKind::user_defined1())?,
                hear(SignalKind::user_defined2())?,
            ],
        })
    }

    /// Returns when the program is to end. `reload` is called when the operator asks for it, and every
    /// [`GLANCE`] unasked.
    async fn follow(
        &mut self,
        shared: &Shared,
        log: &mcpf_audit::Log,
        mut reload: impl FnMut(bool),
    ) {
        let mut glances = tokio::time::interval(GLANCE);
        let [terminate, interrupt] = &mut self.end;
        let [on, off] = &mut self.kill;
        loop {
            let turned = tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = self.reload.recv() => {
                    reload(true);
                    continue;
                }
                _ = glances.tick() => {
                    reload(false);
                    continue;
                }
                _ = on.recv() => true,
                _ = off.recv() => false,
            };
            shared.kill.set_by_signal(turned);
            kill_file::record(log, turned, "signal", std::time::Instant::now());
            tracing::warn!(on = turned, "kill switch");
        }
    }
}
