//! The two halves that turn one transport into another, wired.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use mcpf_bridge::{Children, Connect, ConnectError, Field, Serve, Target};
use mcpf_config::Checked;
use mcpf_model::ByteSize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::{BridgeArgs, WrapArgs};
use crate::assemble;

/// `bridge`: HTTP on one side, this process's standard input and output on the other. `wrap --url`
/// runs it as its server.
pub(crate) fn run(args: &BridgeArgs) -> anyhow::Result<ExitCode> {
    let mut options = Connect::new(Target::parse(&args.url)?);
    for header in &args.headers {
        options.fields.push(Field::parse(header)?);
    }
    options.limits.max_frame = ByteSize(args.max_frame);
    // The relay sends SIGTERM after 5 s: by then the session has been ended.
    options.timeouts.drain = Duration::from_secs(3);
    let runtime = runtime()?;
    let ended: Result<(), ConnectError> = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).map_err(ConnectError::Input)?;
        let stop = async move {
            terminated.recv().await;
        };
        mcpf_bridge::connect_stdio(options, stop).await
    });
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// The command that reaches the server at the URL of `args`.
pub(crate) fn command(
    args: &WrapArgs,
    url: &str,
    config: &Checked,
) -> anyhow::Result<Vec<OsString>> {
    // Told here, before anything starts.
    Target::parse(url)?;
    let mut command = vec![assemble::this_program()?.into_os_string()];
    command.extend(["bridge".into(), "--url".into(), url.into()]);
    let max_frame = config.limits.max_frame.0.to_string();
    command.extend(["--max-frame".into(), max_frame.into()]);
    for header in &args.headers {
        Field::parse(header)?;
        command.extend(["--header".into(), header.into()]);
    }
    Ok(command)
}

/// A server on stdio, offered over HTTP on a socket that only this user reaches.
#[derive(Debug)]
pub(crate) struct Offered {
    directory: PathBuf,
    /// The socket.
    pub(crate) socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

/// Offers `command`, in a thread of its own.
pub(crate) fn offer(
    command: &[OsString],
    shared: bool,
    config: &Checked,
) -> anyhow::Result<Offered> {
    let (program, rest) = command.split_first().context("no command given")?;
    let mut options = Serve::new(program.clone(), rest.to_vec());
    options.limits = config.limits;
    options.session_ttl = config.http.session_ttl;
    if shared {
        options.children = Children::Shared;
    }
    let directory = std::env::temp_dir().join(format!("mcp-firewall-{}", assemble::run_id()));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .with_context(|| format!("cannot make `{}`", directory.display()))?;
    let socket = directory.join("server.sock");
    let listener = mcpf_bridge::listen(&socket)?;
    let runtime = runtime()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("bridge".to_owned())
        .spawn(move || {
            let stop = async move {
                // Gone or told, it is over.
                let _told = stopped.await;
            };
            runtime.block_on(mcpf_bridge::serve(listener, options, stop))?;
            Ok(())
        })
        .context("cannot start the bridge")?;
    Ok(Offered {
        directory,
        socket,
        stop: Some(stop),
        thread: Some(thread),
    })
}

impl Drop for Offered {
    /// Ends all children, and takes the socket away.
    fn drop(&mut self) {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => tracing::error!("the bridge failed: {error:#}"),
            Some(Err(_)) => tracing::error!("the bridge ended in a panic"),
            _ => {}
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, directory = %self.directory.display(), "left behind");
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot prepare the runtime")
}
