//! `mcp-firewall proxy` between a test's client and a test's server.

use std::ffi::OsString;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::{Ask, Client, PATIENCE, Reply};
use super::{Dir, Upstream, clean, eventually, initialize, records, verify};

/// `mcp-firewall proxy` about to start, with everything it writes in a directory of its own.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) dir: Arc<Dir>,
    options: Vec<OsString>,
    /// Lines of the section `http` of its configuration.
    http: String,
    largest_file: Option<u32>,
}

impl Proxy {
    /// In front of `upstream`.
    pub(crate) fn before(upstream: &Upstream) -> Self {
        Self::of(&upstream.url())
    }

    /// In front of whatever is at `url`.
    pub(crate) fn of(url: &str) -> Self {
        let proxy = Self {
            dir: Arc::new(Dir::new()),
            options: Vec::new(),
            http: String::new(),
            largest_file: None,
        };
        proxy.option("--upstream", url)
    }

    /// Offering a server on stdio: its command and arguments.
    pub(crate) fn offering<S: Into<OsString>>(command: impl IntoIterator<Item = S>) -> Self {
        let command = command.into_iter().map(Into::into);
        Self {
            dir: Arc::new(Dir::new()),
            options: std::iter::once("--".into()).chain(command).collect(),
            http: String::new(),
            largest_file: None,
        }
    }

    /// One more flag of `proxy`, with its value.
    pub(crate) fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.options.push(name.into());
        self.options.push(value.into());
        self
    }

    /// One more key of the section `http`, in YAML.
    pub(crate) fn http(mut self, key: &str, value: &str) -> Self {
        self.http.push_str(&format!("  {key}: {value}\n"));
        self
    }

    /// A policy of its own, in YAML.
    pub(crate) fn policy(self, yaml: &str) -> Self {
        let file = self.dir.join("policy.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.option("--policy", file)
    }

    fn command(&self) -> Command {
        let mut command = clean(&self.dir);
        command.arg("proxy");
        let defaults = [
            ("--listen", "127.0.0.1:0".into()),
            ("--management", "127.0.0.1:0".into()),
            ("--audit-path", self.dir.join("audit")),
            ("--audit-key", self.dir.join("audit.key")),
            ("--kill-switch", self.dir.join("kill")),
            // So that a record is there as soon as its message is.
            ("--audit-durability", "fsync".into()),
        ];
        for (name, value) in defaults {
            if !self.options.iter().any(|option| option == name) {
                command.arg(name).arg(value);
            }
        }
        command.args(&self.options);
        let Some(kibibytes) = self.largest_file else {
            return command;
        };
        // Writing beyond is an error then, and no signal.
        let blocks = 2 * kibibytes;
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let mut limited = Command::new("sh");
        limited
            .args(["-c", &script, "sh"])
            .arg(command.get_program());
        limited
            .args(command.get_args())
            .current_dir(self.dir.path());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        limited
    }

    /// No file that it writes may become larger than `kibibytes`.
    pub(crate) fn largest_file(mut self, kibibytes: u32) -> Self {
        self.largest_file = Some(kibibytes);
        self
    }

    /// Starts it, which fails: how it ends, and what it says of that.
    pub(crate) fn run_to_end(self) -> (ExitStatus, String) {
        let output = self.command().output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status, said)
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(self) -> Gateway {
        let workers = if self.http.contains("  workers:") {
            ""
        } else {
            "  workers: 2\n"
        };
        let config = format!("version: 1\nhttp:\n{workers}{}", self.http);
        std::fs::write(self.dir.join("mcp-firewall.yaml"), config).unwrap();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                heard.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        let mut gateway = Gateway {
            dir: self.dir,
            child,
            said,
            listener: Some(listener),
            address: SocketAddr::from(([0; 4], 0)),
            management: SocketAddr::from(([0; 4], 0)),
        };
        let is_up = eventually(PATIENCE, || {
            !gateway.is_running() || gateway.stderr().contains("firewall up ")
        });
        assert!(
            is_up && gateway.is_running(),
            "not up: {}",
            gateway.stderr()
        );
        gateway.address = gateway.announced("firewall up ");
        gateway.management = gateway.announced("management ");
        gateway
    }
}

/// A running `mcp-firewall proxy`.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) dir: Arc<Dir>,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where operators do.
    pub(crate) management: SocketAddr,
}

impl Gateway {
    /// The address in the line of the log that says `what`.
    fn announced(&self, what: &str) -> SocketAddr {
        let said = self.stderr();
        let line = said.lines().find(|line| line.contains(what)).unwrap();
        let (_, url) = line.split_once("listen=http://").unwrap();
        let address = url.split(['/', ' ']).next().unwrap();
        address.trim_end().parse().unwrap()
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends a request on a connection of its own.
    pub(crate) fn ask(&self, ask: &Ask) -> Reply {
        self.connect().ask(ask)
    }

    /// Asks the management listener for `path`.
    pub(crate) fn manage(&self, verb: &str, path: &str) -> Reply {
        let mut client = Client::connect(self.management);
        let host = self.management;
        let text = format!("{verb} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        client.send_bytes(text.as_bytes()).unwrap();
        client.reply().unwrap()
    }

    /// Begins a session under `version`, with more fields, and gives its id.
    pub(crate) fn session(&self, version: &str, fields: &[(&str, &str)]) -> String {
        let mut message = initialize(0);
        message["params"]["protocolVersion"] = version.into();
        let ask = Ask::post(&message);
        let with = |ask: Ask, (name, value): &(&str, &str)| ask.with(name, *value);
        let reply = self.ask(&fields.iter().fold(ask, with));
        assert_eq!(reply.status(), 200, "{reply:?}");
        reply.head.get("mcp-session-id").unwrap().to_owned()
    }

    /// What was written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end and gives its status.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let ended = eventually(PATIENCE, || self.child.try_wait().unwrap().is_some());
        if !ended {
            let _killed = self.child.kill();
            panic!("it does not end; standard error:\n{}", self.stderr());
        }
        if let Some(listener) = self.listener.take() {
            let _joined = listener.join();
        }
        self.child.wait().unwrap()
    }

    /// Ends it as an operator does, and verifies that it ended well and that its log does.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
        self.verify();
    }

    /// The log verifies, and gives its report.
    pub(crate) fn verify(&self) -> mcpf_audit::Report {
        verify(&self.dir)
    }

    /// Every record of the log, in order.
    pub(crate) fn records(&self) -> Vec<Value> {
        records(&self.dir)
    }

    /// The value of a line of `/proc/PID/status`, in bytes: `VmRSS` for what is resident now,
    /// `VmHWM` for the most that ever was.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self, what: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        let number: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        number * 1024
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
