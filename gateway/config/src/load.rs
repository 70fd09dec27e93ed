//! From flags, environment and file to [`Checked`].
//!
//! The file is found, read if it can be trusted, parsed, its variables filled in, and each section
//! read; whatever a flag or a variable gives takes the place of what the file says. All mistakes
//! are reported, wherever they come from.

mod http;

use std::num::{NonZeroU8, NonZeroU32};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcpf_model::{Action, ByteSize, Limits, Mode};
use mcpf_policy::yaml::{self, Fields, Node, Value};
use mcpf_policy::{At, Builtin, Code, Diagnostic, Plan, Sink};

use crate::LOCAL_FILE;
use crate::checked::{
    Approvals, Audit, Checked, DenyAs, Durability, Log, LogFormat, LogLevel, PolicySource, Rules,
};
use crate::interpolate;
use crate::read;
use crate::setting::{Environment, Flags, Setting};
use crate::trusted::read_trusted;

/// What configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Settings given on the command line.
    pub flags: Flags,
    /// The environment's variables.
    pub environment: Environment,
    /// The working directory: where `mcp-firewall.yaml` is looked for, and what relative paths in
    /// flags and variables are relative to. Must be absolute.
    pub directory: PathBuf,
}

/// Reads the configuration.
///
/// The file is the one of `--config` or `MCP_FIREWALL_CONFIG`, which must exist; else
/// `mcp-firewall.yaml` in the working directory; else `mcp-firewall/config.yaml` in
/// `$XDG_CONFIG_HOME` (`~/.config`); else there is none and defaults hold.
///
/// # Errors
/// Every mistake in flags, variables, the file and the policy it names.
pub fn load(request: &Request) -> Result<Checked, Vec<Diagnostic>> {
    let file = locate(request);
    let (text, shown) = match &file {
        Some(path) => (
            read_trusted(path).map_err(|d| vec![d])?,
            path.display().to_string(),
        ),
        None => ("version: 1\n".to_owned(), "defaults".to_owned()),
    };
    let mut sink = Sink::new(&shown, 'C');
    let base = file
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_path_buf);
    let mut loader = Loader {
        request,
        base: base.unwrap_or_else(|| request.directory.clone()),
        home: absolute(&request.environment, "HOME"),
        elsewhere: Vec::new(),
    };
    let checked = yaml::parse(&text, &mut sink).and_then(|mut node| {
        interpolate::fill(&mut node, &request.environment, &mut sink);
        loader.read(&node, file, &mut sink)
    });
    let mut mistakes = loader.elsewhere;
    // Only when nothing was wrong anywhere else is a missing value a mistake of its own.
    match sink
        .finish(checked.map_or_else(|| (!mistakes.is_empty()).then_some(None), |c| Some(Some(c))))
    {
        Ok(Some(checked)) if mistakes.is_empty() => Ok(checked),
        Ok(_) => Err(mistakes),
        Err(more) => {
            mistakes.extend(more);
            Err(mistakes)
        }
    }
}

fn locate(request: &Request) -> Option<PathBuf> {
    let variable = Setting::Config.variable();
    let given = request.flags.value(Setting::Config);
    if let Some(path) = given.or_else(|| request.environment.value(&variable)) {
        return Some(request.directory.join(path));
    }
    let local = request.directory.join(LOCAL_FILE);
    let user = user_directory(&request.environment, "XDG_CONFIG_HOME", ".config");
    let user = user.map(|directory| directory.join("config.yaml"));
    // What exists but cannot be read is an error later, not a reason to look further.
    std::iter::once(local)
        .chain(user)
        .find(|path| path.symlink_metadata().is_ok())
}

/// `$<variable>/mcp-firewall`, or `~/<fallback>/mcp-firewall`. Relative values do not count
/// (XDG Base Directory Specification).
fn user_directory(environment: &Environment, variable: &str, fallback: &str) -> Option<PathBuf> {
    let given = absolute(environment, variable);
    let directory = given.or_else(|| Some(absolute(environment, "HOME")?.join(fallback)));
    Some(directory?.join("mcp-firewall"))
}

fn absolute(environment: &Environment, variable: &str) -> Option<PathBuf> {
    environment
        .value(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

struct Loader<'r> {
    request: &'r Request,
    /// The directory of the configuration file.
    base: PathBuf,
    home: Option<PathBuf>,
    /// Mistakes in flags, variables and the policy's file.
    elsewhere: Vec<Diagnostic>,
}

impl Loader<'_> {
    fn read(&mut self, node: &Node, file: Option<PathBuf>, sink: &mut Sink) -> Option<Checked> {
        let mut fields = Fields::open(node, "configuration", sink)?;
        if let Some(version) = fields.need("version", sink) {
            version.whole("version", 1, 1, sink);
        }
        let name = self.choose(Setting::Name, fields.take("name"), sink, |n, _, s| {
            read::name(n, "name", s)
        });
        let agent = self.choose(Setting::Agent, fields.take("agent"), sink, |n, _, s| {
            read::name(n, "agent", s)
        });
        let mode = self.choose(Setting::Mode, fields.take("mode"), sink, |n, _, s| {
            n.word("mode", &MODES, s)
        });
        let policy = self.policy(fields.take("policy"), sink);
        let rules = self.rules(fields.take("rules"), sink);
        let limits = self.limits(fields.take("limits"), sink);
        let audit = self.audit(fields.take("audit"), sink);
        let kill_switch = self.kill_switch(fields.take("kill_switch"), sink);
        let approvals = self.approvals(fields.take("approvals"), sink);
        let deny_as = self.choose(Setting::DenyAs, fields.take("deny_as"), sink, |n, _, s| {
            n.word("deny_as", &DENY_AS, s)
        });
        let http = self.http(fields.take("http"), sink);
        let log = self.log(fields.take("log"), sink);
        fields.finish(sink);
        let (policy, plan) = policy?;
        let environment = &self.request.environment;
        Some(Checked {
            file,
            name: name.unwrap_or_default(),
            agent,
            policy,
            plan: match mode {
                Some(mode) => plan.with_mode(mode),
                None => plan,
            },
            rules,
            limits,
            audit: audit?,
            kill_switch: kill_switch?,
            approvals,
            deny_as: deny_as.unwrap_or(DenyAs::Result),
            http,
            log,
            cache: user_directory(environment, "XDG_CACHE_HOME", ".cache"),
            unknown_variables: environment.unknown(),
        })
    }

    /// The value of `setting` from its flag, its variable or `node`, in this order. `read` gets
    /// the directory that relative paths start from.
    fn choose<T>(
        &mut self,
        setting: Setting,
        node: Option<&Node>,
        sink: &mut Sink,
        read: impl Fn(&Node, &Path, &mut Sink) -> Option<T>,
    ) -> Option<T> {
        // Read even when overridden: a mistake in the file should not lie in wait.
        let from_file = node.and_then(|node| read(node, &self.base, sink));
        let variable = setting.variable();
        let flag = self
            .request
            .flags
            .value(setting)
            .map(|text| (setting.flag(), text));
        let over = flag.or_else(|| {
            let text = self.request.environment.value(&variable)?;
            Some((variable.as_str(), text))
        });
        let Some((origin, text)) = over else {
            return from_file;
        };
        let mut own = Sink::new(origin, 'C');
        let node = Node {
            at: At::default(),
            value: Value::Text(text.to_owned()),
        };
        let value = read(&node, &self.request.directory, &mut own);
        match own.finish(value) {
            Ok(value) => Some(value),
            Err(mistakes) => {
                self.elsewhere.extend(mistakes);
                None
            }
        }
    }

    fn policy(&mut self, node: Option<&Node>, sink: &mut Sink) -> Option<(PolicySource, Plan)> {
        let home = self.home.clone();
        let before = self.elsewhere.len();
        let source = self.choose(Setting::Policy, node, sink, |node, base, sink| {
            if let Value::Map(_) = node.value {
                return Some((PolicySource::Inline, Plan::from_node(node, sink)));
            }
            let builtin = match &node.value {
                Value::Text(text) => Builtin::from_name(text),
                _ => None,
            };
            let source = match builtin {
                Some(builtin) => PolicySource::Builtin(builtin),
                None => {
                    PolicySource::File(read::path(node, "policy", base, home.as_deref(), sink)?)
                }
            };
            Some((source, None))
        });
        let given = node.is_some() || self.elsewhere.len() > before;
        let (source, inline) = match source {
            Some(source) => source,
            None if given => return None,
            None => (PolicySource::Builtin(Builtin::Starter), None),
        };
        let plan = match &source {
            PolicySource::Inline => return Some((source, inline?)),
            PolicySource::Builtin(builtin) => Plan::builtin(*builtin),
            PolicySource::File(path) => read_trusted(path)
                .map_err(|mut mistake| {
                    let known = "built in are starter, developer and enterprise; else name a file";
                    mistake.help.get_or_insert_with(|| known.to_owned());
                    vec![mistake]
                })
                .and_then(|text| Plan::parse(&text, &path.display().to_string())),
        };
        match plan {
            Ok(plan) => Some((source, plan)),
            Err(mistakes) => {
                self.elsewhere.extend(mistakes);
                None
            }
        }
    }

    fn rules(&mut self, node: Option<&Node>, sink: &mut Sink) -> Rules {
        let mut rules = Rules::default();
        let mut fields = node.and_then(|node| Fields::open(node, "`rules`", sink));
        let mut take = |key| fields.as_mut().and_then(|fields| fields.take(key));
        for item in take("paths").map(Node::one_or_many).unwrap_or_default() {
            let path = read::path(item, "path", &self.base, self.home.as_deref(), sink);
            rules.paths.extend(path);
        }
        for item in take("disable").map(Node::one_or_many).unwrap_or_default() {
            let id = item.text("rule", sink).map(str::to_owned);
            rules
                .disable
                .extend(id.and_then(|id| read::rule_id(item, &id, sink)));
        }
        let paranoia = take("paranoia");
        if let Some(node) = take("overrides") {
            for (key, value) in node.map("`overrides`", sink).unwrap_or_default() {
                let place = Node {
                    at: key.at,
                    value: Value::Null,
                };
                let id = read::rule_id(&place, &key.text, sink);
                let action = value.word("action", &ACTIONS, sink);
                rules.overrides.extend(id.zip(action));
            }
        }
        let paranoia = self.choose(Setting::Paranoia, paranoia, sink, |n, _, s| {
            let level = read::whole(n, "paranoia", 1, 4, s)?;
            u8::try_from(level).ok().and_then(NonZeroU8::new)
        });
        rules.paranoia = paranoia;
        if let Some(fields) = fields {
            fields.finish(sink);
        }
        rules
    }

    fn limits(&mut self, node: Option<&Node>, sink: &mut Sink) -> Limits {
        let mut limits = Limits::default();
        let mut fields = node.and_then(|node| Fields::open(node, "`limits`", sink));
        let mut take = |key| fields.as_mut().and_then(|fields| fields.take(key));
        let frame = take("max_frame");
        let mut number = |key, least, most| {
            let node = take(key)?;
            read::whole(node, key, least, most, sink)
        };
        let depth = number("max_depth", 4, 128);
        let nodes = number("max_nodes", 1_024, 4_194_304);
        let name = number("max_name", 64, 8_192);
        let uri = number("max_uri", 256, 65_535);
        let in_flight = number("max_in_flight", 1, 65_536);
        let findings = number("max_findings", 1, 65_536);
        let views = number("max_view_factor", 1, 16);
        let frame = self.choose(Setting::MaxFrame, frame, sink, |n, _, s| {
            read::size(n, "max_frame", ByteSize::kib(4), ByteSize::mib(8), s)
        });
        if let Some(fields) = fields {
            fields.finish(sink);
        }
        let short = |value: Option<u32>| value.and_then(|n| u16::try_from(n).ok());
        limits.max_frame = frame.unwrap_or(limits.max_frame);
        limits.max_depth = short(depth).unwrap_or(limits.max_depth);
        limits.max_nodes = nodes.unwrap_or(limits.max_nodes);
        limits.max_name = short(name).unwrap_or(limits.max_name);
        limits.max_uri = short(uri).unwrap_or(limits.max_uri);
        limits.max_in_flight = in_flight.unwrap_or(limits.max_in_flight);
        limits.max_findings = findings.unwrap_or(limits.max_findings);
        let views = views.and_then(|n| u8::try_from(n).ok());
        limits.max_view_factor = views.unwrap_or(limits.max_view_factor);
        limits
    }

    fn audit(&mut self, node: Option<&Node>, sink: &mut Sink) -> Option<Audit> {
        let mut fields = node.and_then(|node| Fields::open(node, "`audit`", sink));
        let mut take = |key| fields.as_mut().and_then(|fields| fields.take(key));
        let (path, key) = (take("path"), take("key"));
        let durability = take("durability");
        let interval = take("group_interval").map(|n| {
            n.duration(
                "group_interval",
                Duration::ZERO,
                Duration::from_secs(1),
                sink,
            )
        });
        let queue = take("queue").map(|n| read::whole(n, "queue", 64, 1 << 20, sink));
        let path = self.state_path(Setting::AuditPath, path, "audit", sink);
        let key = self.state_path(Setting::AuditKey, key, "audit.key", sink);
        let durability = self.choose(Setting::AuditDurability, durability, sink, |n, _, s| {
            n.word("durability", &DURABILITIES, s)
        });
        if let Some(fields) = fields {
            fields.finish(sink);
        }
        Some(Audit {
            path: path?,
            durability: durability.unwrap_or(Durability::Async),
            group_interval: interval.flatten().unwrap_or(Duration::from_millis(5)),
            queue: NonZeroU32::new(queue.flatten().unwrap_or(8_192))?,
            key: key?,
        })
    }

    fn kill_switch(&mut self, node: Option<&Node>, sink: &mut Sink) -> Option<PathBuf> {
        let mut fields = node.and_then(|node| Fields::open(node, "`kill_switch`", sink));
        let file = fields.as_mut().and_then(|fields| fields.take("file"));
        let file = self.state_path(Setting::KillSwitch, file, "kill-switch", sink);
        if let Some(fields) = fields {
            fields.finish(sink);
        }
        file
    }

    /// A path that defaults to `name` in the state directory.
    fn state_path(
        &mut self,
        setting: Setting,
        node: Option<&Node>,
        name: &str,
        sink: &mut Sink,
    ) -> Option<PathBuf> {
        let home = self.home.clone();
        let flagged = self.elsewhere.len();
        let given = self.choose(setting, node, sink, |node, base, sink| {
            read::path(node, name, base, home.as_deref(), sink)
        });
        if given.is_some() || node.is_some() || self.elsewhere.len() > flagged {
            return given;
        }
        let state = user_directory(&self.request.environment, "XDG_STATE_HOME", ".local/state");
        if state.is_none() {
            let message =
                format!("there is no place for `{name}`: neither HOME nor XDG_STATE_HOME is set");
            let help = format!("give {} or {}", setting.flag(), setting.variable());
            sink.error_with_help(At::default(), Code::MissingKey, message, help);
        }
        Some(state?.join(name))
    }

    fn approvals(&mut self, node: Option<&Node>, sink: &mut Sink) -> Approvals {
        let mut fields = node.and_then(|node| Fields::open(node, "`approvals`", sink));
        let mut take = |key| fields.as_mut().and_then(|fields| fields.take(key));
        let (terminal, timeout) = (take("terminal"), take("timeout"));
        if let Some(fields) = fields {
            fields.finish(sink);
        }
        let terminal = self.choose(Setting::ApprovalTerminal, terminal, sink, |n, _, s| {
            read::boolean(n, "terminal", s)
        });
        let timeout = self.choose(Setting::ApprovalTimeout, timeout, sink, |n, _, s| {
            n.duration(
                "timeout",
                Duration::from_secs(1),
                Duration::from_secs(3_600),
                s,
            )
        });
        Approvals {
            terminal: terminal.unwrap_or(true),
            timeout: timeout.unwrap_or(Duration::from_secs(60)),
        }
    }

    fn log(&mut self, node: Option<&Node>, sink: &mut Sink) -> Log {
        let mut fields = node.and_then(|node| Fields::open(node, "`log`", sink));
        let mut take = |key| fields.as_mut().and_then(|fields| fields.take(key));
        let (level, format) = (take("level"), take("format"));
        if let Some(fields) = fields {
            fields.finish(sink);
        }
        let level = self.choose(Setting::LogLevel, level, sink, |n, _, s| {
            n.word("level", &LEVELS, s)
        });
        let format = self.choose(Setting::LogFormat, format, sink, |n, _, s| {
            n.word("format", &FORMATS, s)
        });
        Log {
            level: level.unwrap_or(LogLevel::Info),
            format: format.unwrap_or(LogFormat::Text),
        }
    }
}

const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("monitor", Mode::Monitor)];

const ACTIONS: [(&str, Action); 4] = [
    ("pass", Action::Pass),
    ("alert", Action::Alert),
    ("redact", Action::Redact),
    ("block", Action::Block),
];

const DURABILITIES: [(&str, Durability); 3] = [
    ("fsync", Durability::Fsync),
    ("flush", Durability::Flush),
    ("async", Durability::Async),
];

const DENY_AS: [(&str, DenyAs); 2] = [("result", DenyAs::Result), ("error", DenyAs::Error)];

const LEVELS: [(&str, LogLevel); 6] = [
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
