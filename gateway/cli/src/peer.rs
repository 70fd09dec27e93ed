//! A client on stdio, as small as the demonstration and the measurements need.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// A running server and the conversation with it.
pub(crate) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    line: String,
}

impl Peer {
    /// Starts `command`; its standard error goes to `stderr`.
    pub(crate) fn start<S: AsRef<OsStr>>(
        command: &OsStr,
        args: &[S],
        stderr: Stdio,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(command)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start `{}`", command.to_string_lossy()))?;
        let stdin = child.stdin.take();
        let stdout = child
            .stdout
            .take()
            .context("the child has no standard output")?;
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::with_capacity(1 << 20, stdout),
            line: String::new(),
        })
    }

    /// Sends one line.
    pub(crate) fn send(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("the conversation is over")?;
        stdin
            .write_all(line)
            .and_then(|()| stdin.flush())
            .context("the server reads no more")
    }

    /// Receives one line.
    pub(crate) fn receive(&mut self) -> anyhow::Result<&str> {
        self.line.clear();
        if self
            .stdout
            .read_line(&mut self.line)
            .context("the server's answer cannot be read")?
            == 0
        {
            bail!("the server ended before it answered");
        }
        Ok(&self.line)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&mut self, id: u64, method: &str, params: &Value) -> anyhow::Result<Value> {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(format!("{request}\n").as_bytes())?;
        loop {
            let message: Value =
                serde_json::from_str(self.receive()?).context("the answer is not JSON")?;
            if message.get("id") == Some(&json!(id)) {
                return Ok(message);
            }
        }
    }

    /// The handshake.
    pub(crate) fn initialize(&mut self, name: &str) -> anyhow::Result<()> {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": name, "version": env!("CARGO_PKG_VERSION")},
        });
        self.call(0, "initialize", &params)?;
        self.send(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")
    }

    /// The process, to be measured.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the conversation and waits for the server.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.stdin = None;
        self.child
            .wait()
            .context("the server cannot be waited for")?;
        Ok(())
    }
}
