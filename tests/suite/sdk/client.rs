//! The real clients and servers, as `scripts/fixtures` installs them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

use crate::support::{Wrap, clean, program, verify};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// Longest run of a client.
const PATIENCE: Duration = Duration::from_secs(180);

/// A client of an official SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    TypeScript1,
    TypeScript2,
    /// Speaks the newest revision that the server knows.
    Python,
    /// Begins with `initialize`, whatever the server knows.
    PythonLegacy,
}

impl Client {
    pub(super) const ALL: [Self; 3] = [Self::TypeScript1, Self::TypeScript2, Self::Python];
}

/// A real server, and what it is started with.
pub(super) struct Server {
    pub(super) name: &'static str,
    is_python: bool,
    pub(super) args: Vec<String>,
    pub(super) env: Map<String, Value>,
}

/// What a client is told to do.
pub(super) struct Plan {
    /// Where the server is, instead of its command.
    url: Option<String>,
    pub(super) command: String,
    pub(super) args: Vec<String>,
    env: Map<String, Value>,
    operations: Value,
}

impl Server {
    /// A package of `@modelcontextprotocol`.
    pub(super) fn node(name: &'static str, args: &[&str]) -> Self {
        Self {
            name,
            is_python: false,
            args: args.iter().map(ToString::to_string).collect(),
            env: Map::new(),
        }
    }

    /// A Python package.
    pub(super) fn python(name: &'static str, args: &[&str]) -> Self {
        Self {
            is_python: true,
            ..Self::node(name, args)
        }
    }

    pub(super) fn plan(&self, fixtures: &Fixtures, operations: &Value) -> Plan {
        let (command, mut args) = if self.is_python {
            (fixtures.python().with_file_name(self.name), Vec::new())
        } else {
            let package = format!(
                "node_modules/@modelcontextprotocol/{}/dist/index.js",
                self.name
            );
            (fixtures.node(), vec![text(&fixtures.root.join(package))])
        };
        args.extend(self.args.iter().cloned());
        Plan {
            url: None,
            command: text(&command),
            args,
            env: self.env.clone(),
            operations: operations.clone(),
        }
    }
}

impl Plan {
    /// The operations, for the server at `url`.
    pub(super) fn at(url: &str, operations: &Value) -> Self {
        Self {
            url: Some(url.to_owned()),
            command: String::new(),
            args: Vec::new(),
            env: Map::new(),
            operations: operations.clone(),
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The installed servers and clients.
pub(super) struct Fixtures {
    root: PathBuf,
}

impl Fixtures {
    /// `None`, and a line that says so, when they are not installed.
    pub(super) fn installed() -> Option<Self> {
        let this = Self {
            root: PathBuf::from(FIXTURES),
        };
        // `scripts/fixtures` writes it when all is installed.
        if this.root.join(".installed").exists() {
            return Some(this);
        }
        eprintln!("SKIPPED (offline): real servers and clients; `scripts/fixtures` installs them");
        None
    }

    fn node(&self) -> PathBuf {
        self.root.join("node_modules/node/bin/node")
    }

    fn python(&self) -> PathBuf {
        self.root.join(".venv/bin/python")
    }

    /// Runs a client against the server of `plan`; gives every outcome, what is volatile masked.
    pub(super) fn run(&self, client: Client, plan: &Plan) -> Vec<Value> {
        let (program, script) = match client {
            Client::TypeScript1 => (self.node(), "ts-v1.mjs"),
            Client::TypeScript2 => (self.node(), "ts-v2.mjs"),
            Client::Python | Client::PythonLegacy => (self.python(), "py.py"),
        };
        let mode = if client == Client::PythonLegacy {
            "legacy"
        } else {
            "auto"
        };
        let Plan {
            url,
            command,
            args,
            env,
            operations,
        } = plan;
        let told = json!({
            "url": url, "command": command, "args": args, "env": env, "operations": operations, "mode": mode,
        });
        let mut child = Command::new(program)
            .arg(self.root.join("clients").join(script))
            .arg(told.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            let _ended = stderr.read_to_string(&mut said);
            said
        });
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            if is_done.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ended = kill_process(pid, Signal::KILL);
            }
        });
        let mut printed = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut printed)
            .unwrap();
        let status = child.wait().unwrap();
        drop(done);
        let said = said.join().unwrap();
        assert!(
            status.success(),
            "{client:?} ends with {status}: {printed}\n{said}"
        );
        // The SDKs say a word of their own now and then.
        let outcomes = printed.lines().filter(|line| line.starts_with('{'));
        outcomes
            .map(|line| masked(serde_json::from_str(line).unwrap()))
            .collect()
    }

    /// The same through the firewall, whose log then verifies.
    pub(super) fn run_wrapped(&self, client: Client, plan: &Plan) -> Vec<Value> {
        let wrap = Wrap::of(std::iter::once(&plan.command).chain(&plan.args));
        self.run_in(client, &wrap, &plan.env, &plan.operations)
    }

    /// The same with `wrap` as the server's command.
    pub(super) fn run_in(
        &self,
        client: Client,
        wrap: &Wrap,
        env: &Map<String, Value>,
        operations: &Value,
    ) -> Vec<Value> {
        let args = wrap
            .args()
            .into_iter()
            .map(|arg| arg.into_string().unwrap())
            .collect();
        let mut env = env.clone();
        for (name, value) in clean(&wrap.dir).get_envs() {
            // Only where the firewall itself keeps things: the server's world stays as it is.
            if let (Some(name), Some(value)) = (name.to_str(), value)
                && name.starts_with("XDG_")
            {
                env.insert(name.to_owned(), json!(value.to_str().unwrap()));
            }
        }
        let outcomes = self.run(
            client,
            &Plan {
                url: None,
                command: text(program()),
                args,
                env,
                operations: operations.clone(),
            },
        );
        assert!(verify(&wrap.dir).decisions() > 0);
        outcomes
    }
}

/// An outcome for a person, cut.
pub(super) fn shown(outcome: &Value) -> String {
    outcome.to_string().chars().take(2_000).collect()
}

/// Times of day with their date are replaced: they differ between two runs.
fn masked(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(mask(&text)),
        Value::Array(all) => all.into_iter().map(masked).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| (key, masked(value)))
            .collect(),
        other => other,
    }
}

fn mask(text: &str) -> String {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let fits = |window: &[u8]| {
        window.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        })
    };
    let mut out = text.as_bytes().to_vec();
    for at in 0..out.len().saturating_sub(SHAPE.len() - 1) {
        if fits(&text.as_bytes()[at..at + SHAPE.len()]) {
            out[at..at + SHAPE.len()].copy_from_slice(SHAPE);
            for byte in out[at + SHAPE.len()..]
                .iter_mut()
                .take_while(|byte| matches!(byte, b'.' | b'0'..=b'9'))
            {
                *byte = b'0';
            }
        }
    }
    String::from_utf8(out).unwrap()
}
