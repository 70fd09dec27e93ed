//! Configuration as it is used: typed, bounded, complete.

use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use mcpf_model::{Action, Limits};
use mcpf_policy::{Builtin, Plan};

/// Everything the gateway was told, checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The file that was read; `None` when there was none.
    pub file: Option<PathBuf>,
    /// The server's name, which chooses the policy's section; empty when it has none.
    pub name: String,
    /// The agent's name, when the operator gives it one.
    pub agent: Option<String>,
    /// Where the policy came from, for reloading and for display.
    pub policy: PolicySource,
    /// The policy, compiled, in the mode that was asked for.
    pub plan: Plan,
    /// Detection rules beyond the built-in ones, and changes to those.
    pub rules: Rules,
    /// What peers may send.
    pub limits: Limits,
    /// The audit log.
    pub audit: Audit,
    /// The file whose existence stops all traffic. Default `kill-switch` in the state directory.
    pub kill_switch: PathBuf,
    /// How a person is asked.
    pub approvals: Approvals,
    /// How a refusal of a tool call is told to the client. Default a result.
    pub deny_as: DenyAs,
    /// How `proxy` listens and where it sends.
    pub http: Http,
    /// The program's own log.
    pub log: Log,
    /// Where compiled pattern databases are kept; `None` when there is no home directory.
    pub cache: Option<PathBuf>,
    /// Variables that begin with `MCP_FIREWALL_` and mean nothing: most likely misspelt.
    pub unknown_variables: Vec<String>,
}

/// Where a policy came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// One that comes with the program.
    Builtin(Builtin),
    /// A file of its own.
    File(PathBuf),
    /// The `policy` mapping of the configuration file.
    Inline,
}

/// The `rules` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Rule files, or directories of them, beyond the built-in ones.
    pub paths: Vec<PathBuf>,
    /// Ids of rules that are not to be used.
    pub disable: Vec<String>,
    /// How eager the rules are, 1 to 4; `None` is 1. Higher finds more and errs more.
    pub paranoia: Option<NonZeroU8>,
    /// Actions of single rules, by id, in the order of the file.
    pub overrides: Vec<(String, Action)>,
}

/// The `audit` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The log: a directory with a file for each run, or one file whose name ends in `.jsonl`. Default
    /// `audit` in the state directory, which any number of gateways may share.
    pub path: PathBuf,
    /// When a record counts as written. Default async, which can lose what the last
    /// `group_interval` brought when this program is killed; the log says so itself.
    pub durability: Durability,
    /// Records of so long a time are made durable together, 0 to 1 s. Default 5 ms.
    pub group_interval: Duration,
    /// Records that may await the writer, 64 to 1,048,576. Default 8,192. When they are all taken
    /// the message is refused.
    pub queue: NonZeroU32,
    /// The signing key's file, made when it does not exist. Default `audit.key` in the state
    /// directory.
    pub key: PathBuf,
}

/// When an audit record counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// When the disk has it: no record, no action.
    Fsync,
    /// When the operating system has it: survives the program, not the machine.
    Flush,
    /// When the queue has it: what the queue holds can be lost.
    Async,
}

/// The `approvals` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// Whether a person is asked on the controlling terminal. Default yes.
    pub terminal: bool,
    /// How long an answer is awaited, 1 s to 1 h; then it is no. Default 60 s.
    pub timeout: Duration,
}

/// The `http` section: how `proxy` listens and where it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where clients connect. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Where operators ask for health and metrics; `None` is nowhere.
    pub management: Option<SocketAddr>,
    /// The server's URL; `proxy` cannot begin without one.
    pub upstream: Option<String>,
    /// The path clients use. Default the path of the upstream's URL.
    pub path: Option<String>,
    /// Host names served beside `localhost` and the address listened on.
    pub hosts: Vec<String>,
    /// Origins that browsers may call from.
    pub origins: Vec<String>,
    /// Paths of authorization that go to the server as they are, beside those of OAuth's metadata.
    pub passed: Vec<String>,
    /// Certificate chain and private key, PEM, to speak TLS with clients; `None` is plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Certificates that vouch for the upstream, PEM; `None` is those of the system.
    pub upstream_ca: Option<PathBuf>,
    /// Runtimes, 1 to 256; `None` is one for each core.
    pub workers: Option<NonZeroU32>,
    /// Most client connections at once, 1 to 1,000,000. Default 10,000.
    pub max_connections: u32,
    /// Most sessions at once, 1 to 10,000,000. Default 100,000.
    pub max_sessions: u32,
    /// How long a session lives that nobody uses, 10 s to 7 d. Default 1 h.
    pub session_ttl: Duration,
    /// For the head of a request, and between two, 1 s to 1 h. Default 75 s.
    pub idle_timeout: Duration,
    /// For the body of a request, 1 s to 1 h. Default 30 s.
    pub body_timeout: Duration,
    /// For the server to accept a connection, 100 ms to 1 min. Default 5 s.
    pub connect_timeout: Duration,
    /// For the server's answer, 1 s to 1 d. Default 5 min.
    pub request_timeout: Duration,
    /// For requests under way at the end, 0 to 1 h. Default 10 s.
    pub drain_timeout: Duration,
}

/// How a refusal of a tool call is told to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyAs {
    /// As a tool result with `isError`, which the model reads and can act on.
    Result,
    /// As a JSON-RPC error.
    Error,
}

/// The `log` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important message that is written. Default info.
    pub level: LogLevel,
    /// How messages look. Default text.
    pub format: LogFormat,
}

/// How important a message of the program's own log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing is written.
    Off,
    /// Something failed.
    Error,
    /// Something is wrong.
    Warn,
    /// Something happened that an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The name used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How the program's own log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
