//! Standard input and output, read and written by threads of their own: a terminal, a file and a pipe
//! alike, and none of them made non-blocking for whoever else holds them.

use std::future::Future;
use std::io::{self, Read as _, Write as _};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::options::Connect;
use super::outlet::FLUSH;
use super::{ConnectError, connect};

/// Bytes on their way between a thread and the runtime. 64 KiB each way.
const PIPE: usize = 64 * 1_024;

/// [`connect`](connect()) with this process's standard input and output. Nothing else may read or write
/// these; log to standard error.
///
/// The thread that reads standard input outlives the call when `stop` ended it; it ends with the
/// process.
///
/// # Errors
///
/// As [`connect`](connect()), and when a thread cannot be made.
pub async fn connect_stdio(
    options: Connect,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectError> {
    let input = input().map_err(ConnectError::Input)?;
    let (output, written) = output().map_err(ConnectError::Output)?;
    let outcome = connect(options, input, output, stop).await;
    // A thread that cannot write is left behind; it ends with the process.
    match tokio::time::timeout(FLUSH, written).await {
        Ok(Ok(Err(error))) => outcome.and(Err(ConnectError::Output(error))),
        _ => outcome,
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().build()
}

fn input() -> io::Result<DuplexStream> {
    let (ours, mut theirs) = duplex(PIPE);
    let runtime = runtime()?;
    let read = move || {
        let mut buffer = vec![0; PIPE];
        let mut stdin = io::stdin().lock();
        loop {
            let read = match stdin.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "standard input failed");
                    0
                }
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            if read == 0 || runtime.block_on(theirs.write_all(bytes)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)?;
    Ok(ours)
}

fn output() -> io::Result<(DuplexStream, oneshot::Receiver<io::Result<()>>)> {
    let (ours, mut theirs) = duplex(PIPE);
    let (done, written) = oneshot::channel();
    let runtime = runtime()?;
    let mut write = move || -> io::Result<()> {
        let mut buffer = vec![0; PIPE];
        let mut stdout = io::stdout().lock();
        loop {
            let read = runtime.block_on(theirs.read(&mut buffer))?;
            if read == 0 {
                return Ok(());
            }
            stdout.write_all(buffer.get(..read).unwrap_or_default())?;
            stdout.flush()?;
        }
    };
    std::thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(move || {
            let _gone = done.send(write());
        })?;
    Ok((ours, written))
}
