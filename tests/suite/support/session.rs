//! A raw client of `mcp-firewall wrap`: it sends lines and reads lines.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::program::CACHE;
use super::{Dir, fake_peer, program};

/// Longest wait for a line or an end. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// `mcp-firewall wrap` about to start, with everything it writes in a directory of its own.
pub(crate) struct Wrap {
    pub(crate) dir: Arc<Dir>,
    options: Vec<OsString>,
    command: Vec<OsString>,
}

impl Wrap {
    /// In front of any command.
    pub(crate) fn of<S: Into<OsString>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            dir: Arc::new(Dir::new()),
            options: Vec::new(),
            command: command.into_iter().map(Into::into).collect(),
        }
    }

    /// In front of the server at `url`.
    pub(crate) fn url(url: &str) -> Self {
        Self::of(std::iter::empty::<OsString>()).option("--url", url)
    }

    /// In front of the fake server in the given modes.
    pub(crate) fn fake(modes: &[&str]) -> Self {
        Self::of([fake_peer()].iter().chain(modes).copied())
    }

    /// One more mode of the fake server, or argument of the command.
    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.command.push(arg.into());
        self
    }

    /// One more flag of `wrap`, with its value.
    pub(crate) fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.options.push(name.into());
        self.options.push(value.into());
        self
    }

    /// A policy of its own, in YAML.
    pub(crate) fn policy(self, yaml: &str) -> Self {
        let file = self.dir.join("policy.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.option("--policy", file)
    }

    /// In the directory of another one, so that both write one log.
    pub(crate) fn in_dir(mut self, dir: &Arc<Dir>) -> Self {
        self.dir = Arc::clone(dir);
        self
    }

    /// The arguments of `mcp-firewall`, `wrap` and all.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["wrap".into()];
        let defaults = [
            ("--audit-path", self.dir.join("audit")),
            ("--audit-key", self.dir.join("audit.key")),
            ("--kill-switch", self.dir.join("kill")),
            // So that a record is there as soon as its message is.
            ("--audit-durability", "fsync".into()),
        ];
        for (name, value) in defaults {
            if !self.options.iter().any(|option| option == name) {
                args.push(name.into());
                args.push(value.into());
            }
        }
        args.extend(self.options.iter().cloned());
        if !self.command.is_empty() {
            args.push("--".into());
            args.extend(self.command.iter().cloned());
        }
        args
    }

    /// The whole command, its three streams piped.
    pub(crate) fn to_command(&self) -> Command {
        let mut command = clean(&self.dir);
        command
            .args(self.args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it.
    pub(crate) fn start(self) -> Session {
        let mut child = self.to_command().spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (line, lines) = channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::with_capacity(1 << 20, stdout);
            let mut bytes = Vec::new();
            while stdout.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
                if line.send(std::mem::take(&mut bytes)).is_err() {
                    return;
                }
            }
        });
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                heard.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        Session {
            dir: self.dir,
            child,
            stdin,
            lines,
            said,
            listener: Some(listener),
            seen: Vec::new(),
        }
    }
}

/// `mcp-firewall` with a home of its own and nothing of this process's settings. Compiled patterns
/// are shared between all runs of the suite.
pub(crate) fn clean(dir: &Dir) -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MCP_FIREWALL_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(dir.path())
        .env("HOME", dir.path())
        .env("XDG_CONFIG_HOME", dir.join("config"))
        .env("XDG_STATE_HOME", dir.join("state"))
        .env("XDG_CACHE_HOME", CACHE);
    command
}

/// A running `mcp-firewall wrap`.
pub(crate) struct Session {
    pub(crate) dir: Arc<Dir>,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    said: Arc<Mutex<Vec<u8>>>,
    listener: Option<std::thread::JoinHandle<()>>,
    /// Every line read so far.
    pub(crate) seen: Vec<Vec<u8>>,
}

impl Session {
    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// The same; the other side may have gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stdin.as_mut().unwrap().write_all(bytes)
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &Value) {
        self.send_bytes(format!("{message}\n").as_bytes());
    }

    /// The next line, without its end; `None` at the end of output.
    pub(crate) fn next_line(&mut self, patience: Duration) -> Option<Vec<u8>> {
        match self.lines.recv_timeout(patience) {
            Ok(mut line) => {
                assert_eq!(
                    line.pop(),
                    Some(b'\n'),
                    "a cut line: {}",
                    String::from_utf8_lossy(&line)
                );
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let _ended = self.child.kill();
                panic!(
                    "no line within {patience:?}; standard error:\n{}",
                    self.stderr()
                )
            }
        }
    }

    /// The next message. Fails when what comes is not a JSON-RPC message.
    pub(crate) fn read(&mut self) -> Value {
        let Some(line) = self.next_line(PATIENCE) else {
            panic!("the output ended; standard error:\n{}", self.stderr())
        };
        let message: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(message["jsonrpc"], "2.0", "{message}");
        message
    }

    /// Reads until the answer for `id`.
    pub(crate) fn answer_to(&mut self, id: &Value) -> Value {
        loop {
            let message = self.read();
            if message.get("id") == Some(id) && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// Sends a request and reads until its answer.
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.send(request);
        self.answer_to(&request["id"])
    }

    /// Ends the input.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Everything that still comes, to the end.
    pub(crate) fn drain(&mut self) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Some(line) = self.next_line(PATIENCE) {
            rest.push(serde_json::from_slice(&line).unwrap());
        }
        rest
    }

    /// Waits for the end and gives its status.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(listener) = self.listener.take() {
                    let _joined = listener.join();
                }
                return status;
            }
            if Instant::now() > until {
                let _ended = self.child.kill();
                panic!("it does not end; standard error:\n{}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the input, waits, and verifies the audit log.
    pub(crate) fn finish(mut self) -> ExitStatus {
        self.close();
        self.drain();
        let status = self.wait();
        self.verify();
        status
    }

    /// What was written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// The process id of `mcp-firewall`.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The log verifies, and gives its report.
    pub(crate) fn verify(&self) -> mcpf_audit::Report {
        verify(&self.dir)
    }

    /// Every record of the log, in order.
    pub(crate) fn records(&self) -> Vec<Value> {
        records(&self.dir)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Verifies the audit log below `dir` with the key that signed it.
pub(crate) fn verify(dir: &Dir) -> mcpf_audit::Report {
    let key = mcpf_audit::PublicKey::load(&dir.join(mcpf_audit::PUBLIC_KEY_FILE)).unwrap();
    match mcpf_audit::verify(&dir.join("audit"), &[key]) {
        Ok(report) => report,
        Err(error) => panic!("the audit log does not verify: {error}"),
    }
}

/// The log files below `dir`, oldest first.
pub(crate) fn log_files(dir: &Dir) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir.join("audit")) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == mcpf_audit::EXTENSION)
        })
        .collect();
    files.sort();
    files
}

/// Every whole record below `dir`, in order.
pub(crate) fn records(dir: &Dir) -> Vec<Value> {
    let mut all = Vec::new();
    for file in log_files(dir) {
        let text = std::fs::read(file).unwrap();
        let whole = text
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in text[..whole]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            all.push(serde_json::from_slice(line).unwrap());
        }
    }
    all
}

/// A request.
pub(crate) fn request(id: i64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A call of a tool.
pub(crate) fn call(id: i64, tool: &str, arguments: &Value) -> Value {
    request(
        id,
        "tools/call",
        &json!({ "name": tool, "arguments": arguments }),
    )
}

/// The handshake's first message.
pub(crate) fn initialize(id: i64) -> Value {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "suite", "version": "1.0.0" },
    });
    request(id, "initialize", &params)
}
