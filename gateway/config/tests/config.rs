//! Configuration from files, variables and flags, and every mistake in them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "../../../engine/policy/tests/support/schema.rs"]
mod schema;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcpf_config::{
    Checked, DenyAs, Durability, Flags, LogFormat, LogLevel, PolicySource, Request, SCHEMA,
    Setting, TEMPLATE_BASIC, TEMPLATE_ENTERPRISE, load,
};
use mcpf_model::{Action, ByteSize, Limits, Mode};
use mcpf_policy::Builtin;
use serde_json::Value;

/// A directory that goes away with the value.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let unique = format!("mcpf-config-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn load(&self, flags: Flags, variables: &[(&str, &str)]) -> Result<Checked, String> {
        let home = [("HOME", "/home/u")];
        let variables = home.iter().chain(variables);
        let request = Request {
            flags,
            environment: variables
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            directory: self.0.clone(),
        };
        let here = format!("{}/", self.0.display());
        load(&request).map_err(|all| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            all.join("\n").replace(&here, "")
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn flag(setting: Setting, value: &str) -> Flags {
    Flags::new().with(setting, Some(value))
}

#[test]
fn nothing_given_means_the_defaults() {
    let here = Directory::new("defaults");
    let checked = here.load(Flags::new(), &[]).unwrap();
    assert_eq!(checked.file, None);
    assert_eq!(checked.policy, PolicySource::Builtin(Builtin::Starter));
    assert_eq!((checked.name.as_str(), checked.agent), ("", None));
    assert_eq!(checked.limits, Limits::default());
    assert_eq!(
        checked.audit.path,
        Path::new("/home/u/.local/state/mcp-firewall/audit")
    );
    assert_eq!(
        checked.audit.key,
        Path::new("/home/u/.local/state/mcp-firewall/audit.key")
    );
    assert_eq!(checked.audit.durability, Durability::Async);
    assert_eq!(checked.audit.group_interval, Duration::from_millis(5));
    assert_eq!(checked.audit.queue.get(), 8192);
    assert_eq!(
        checked.kill_switch,
        Path::new("/home/u/.local/state/mcp-firewall/kill-switch")
    );
    assert_eq!(
        checked.cache.unwrap(),
        Path::new("/home/u/.cache/mcp-firewall")
    );
    assert!(checked.approvals.terminal);
    assert_eq!(checked.approvals.timeout, Duration::from_secs(60));
    assert_eq!(checked.deny_as, DenyAs::Result);
    assert_eq!(
        (checked.log.level, checked.log.format),
        (LogLevel::Info, LogFormat::Text)
    );
}

#[test]
fn a_flag_beats_a_variable_and_that_the_file_and_that_the_default() {
    let here = Directory::new("order");
    here.write(
        "mcp-firewall.yaml",
        "version: 1\nlog: {level: warn, format: json}\ndeny_as: error\n",
    );
    let variables = [
        ("MCP_FIREWALL_LOG_LEVEL", "debug"),
        ("MCP_FIREWALL_LOG_FORMAT", "text"),
        ("MCP_FIREWALL_APPROVAL_TERMINAL", "false"),
        ("MCP_FIREWALL_PARANOIA", "3"),
        ("MCP_FIREWALL_AGENT", "12"),
        ("MCP_FIREWALL_POLCY", "x"),
    ];
    let checked = here
        .load(flag(Setting::LogLevel, "trace"), &variables)
        .unwrap();
    assert_eq!(checked.log.level, LogLevel::Trace);
    assert_eq!(checked.log.format, LogFormat::Text);
    assert_eq!(checked.deny_as, DenyAs::Error);
    assert!(!checked.approvals.terminal);
    assert_eq!(checked.rules.paranoia.unwrap().get(), 3);
    assert_eq!(checked.agent.as_deref(), Some("12"));
    assert_eq!(checked.unknown_variables, ["MCP_FIREWALL_POLCY"]);
}

#[test]
fn the_proxy_is_told_where_to_listen_and_where_to_send() {
    let here = Directory::new("http");
    let checked = here.load(Flags::new(), &[]).unwrap();
    assert_eq!(checked.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(
        (checked.http.upstream, checked.http.management),
        (None, None)
    );
    here.write(
        "mcp-firewall.yaml",
        "version: 1\nhttp: {listen: '[::]:1', upstream: 'http://a/mcp', path: /x, hosts: h, \
         origins: ['https://o'], workers: 3, session_ttl: 2h, management: '127.0.0.1:2'}\n",
    );
    let variables = [("MCP_FIREWALL_UPSTREAM", "http://b/mcp")];
    let http = here.load(Flags::new(), &variables).unwrap().http;
    assert_eq!(http.listen.to_string(), "[::]:1");
    assert_eq!(http.upstream.as_deref(), Some("http://b/mcp"));
    assert_eq!(http.path.as_deref(), Some("/x"));
    assert_eq!(
        (http.hosts, http.origins),
        (vec!["h".to_owned()], vec!["https://o".to_owned()])
    );
    assert_eq!(http.workers.unwrap().get(), 3);
    assert_eq!(http.session_ttl.as_secs(), 7_200);
    assert_eq!(http.management.unwrap().port(), 2);
}

#[test]
fn files_are_looked_for_in_order() {
    let here = Directory::new("lookup");
    let xdg = here.write("xdg/mcp-firewall/config.yaml", "version: 1\nname: xdg\n");
    let root = here.0.join("xdg");
    let variables = [("XDG_CONFIG_HOME", root.to_str().unwrap())];
    let checked = here.load(Flags::new(), &variables).unwrap();
    assert_eq!((checked.name.as_str(), checked.file), ("xdg", Some(xdg)));
    here.write("mcp-firewall.yaml", "version: 1\nname: local\n");
    assert_eq!(here.load(Flags::new(), &variables).unwrap().name, "local");
    here.write("other.yaml", "version: 1\nname: other\n");
    let variable = [("MCP_FIREWALL_CONFIG", "other.yaml")];
    assert_eq!(here.load(Flags::new(), &variable).unwrap().name, "other");
    let gone = here
        .load(flag(Setting::Config, "gone.yaml"), &[])
        .unwrap_err();
    assert!(
        gone.starts_with("gone.yaml: error[C012]: cannot be read"),
        "{gone}"
    );
}

#[test]
fn paths_start_from_the_file_and_variables_are_filled_in() {
    let here = Directory::new("paths");
    here.write("conf/p.yaml", "version: 1\nmode: monitor\n");
    here.write(
        "conf/c.yaml",
        "version: 1\nname: ${WHO:-me}\npolicy: p.yaml\naudit: {path: 'log/${WHO:-a}.jsonl', key: ~/k, queue: '${Q}'}\n\
         rules: {paths: [r, /abs], disable: [SEC-AWS-001], overrides: {PII-PHONE-001: alert}}\n\
         kill_switch: {file: stop}\nlimits: {max_frame: 64 KiB, max_depth: 10}\nmode: enforce\n",
    );
    let checked = here
        .load(flag(Setting::Config, "conf/c.yaml"), &[("Q", "100")])
        .unwrap();
    let conf = here.0.join("conf");
    assert_eq!(checked.policy, PolicySource::File(conf.join("p.yaml")));
    assert_eq!(
        checked.plan.mode(),
        Mode::Enforce,
        "the configuration's mode beats the policy's"
    );
    assert_eq!(checked.audit.path, conf.join("log/a.jsonl"));
    assert_eq!(checked.audit.key, Path::new("/home/u/k"));
    assert_eq!(checked.audit.queue.get(), 100);
    assert_eq!(checked.rules.paths, [conf.join("r"), PathBuf::from("/abs")]);
    assert_eq!(
        checked.rules.overrides,
        [("PII-PHONE-001".to_owned(), Action::Alert)]
    );
    assert_eq!(checked.kill_switch, conf.join("stop"));
    assert_eq!(checked.limits.max_frame, ByteSize::kib(64));
    assert_eq!(checked.limits.max_depth, 10);
    let flags = flag(Setting::Config, "conf/c.yaml").with(Setting::AuditPath, Some("here.jsonl"));
    let checked = here.load(flags, &[("Q", "100")]).unwrap();
    assert_eq!(
        checked.audit.path,
        here.0.join("here.jsonl"),
        "flags start from the working directory"
    );
}

#[test]
fn an_inline_policy_is_taken_as_it_stands() {
    let here = Directory::new("inline");
    let text = "version: 1\npolicy:\n  version: 1\n  default: allow\n  content: [{name: x, regex: 'a${2}'}]\n";
    here.write("mcp-firewall.yaml", text);
    let checked = here.load(Flags::new(), &[]).unwrap();
    assert_eq!(
        checked.plan.content()[0].regexes,
        ["a${2}"],
        "no variables in a policy"
    );
    here.write(
        "mcp-firewall.yaml",
        "version: 1\npolicy:\n  version: 1\n  default: alow\n",
    );
    let message = here.load(Flags::new(), &[]).unwrap_err();
    assert!(
        message.starts_with("mcp-firewall.yaml:4:12: error[C003]: unknown default `alow`"),
        "{message}"
    );
    here.write(
        "mcp-firewall.yaml",
        "version: 1\npolicy: {version: 1, default: allow}\n",
    );
    let checked = here.load(Flags::new(), &[]).unwrap();
    assert_eq!(checked.policy, PolicySource::Inline);
}

#[test]
fn all_mistakes_are_told_with_their_places() {
    let here = Directory::new("mistakes");
    here.write("bad-policy.yaml", "version: 1\ndefualt: deny\n");
    here.write(
        "mcp-firewall.yaml",
        "version: 1\nname: ${UNSET}\npolicy: bad-policy.yaml\nlimits: {max_frame: 64MiB, max_dept: 3}\n\
         audit: {durability: sometimes, queue: 1, group_interval: 2s}\nrules: {paranoia: 9, disable: [x]}\n\
         approvals: {timeout: 0s, terminal: maybe}\nlog: {level: loud}\nextra: 1\n\
         http: {listen: here, path: mcp, workers: 0, session_ttl: 1s, hots: x}\n",
    );
    let found = here
        .load(
            flag(Setting::DenyAs, "silence"),
            &[("MCP_FIREWALL_MODE", "off")],
        )
        .unwrap_err();
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/mistakes.out");
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(&out, format!("{found}\n")).unwrap();
    }
    let wanted = fs::read_to_string(&out).unwrap();
    assert_eq!(found.trim_end(), wanted.trim_end(), "{found}");
}

#[test]
fn files_others_could_change_are_refused() {
    let here = Directory::new("trust");
    let path = here.write("mcp-firewall.yaml", "version: 1\npolicy: p.yaml\n");
    let policy = here.write("p.yaml", "version: 1\n");
    here.load(Flags::new(), &[]).unwrap();
    for (file, name) in [(&policy, "p.yaml"), (&path, "mcp-firewall.yaml")] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
        let message = here.load(Flags::new(), &[]).unwrap_err();
        let wanted = format!(
            "{name}: error[C012]: can be written by anybody (mode 666)\n  help: chmod go-w '{name}'"
        );
        assert_eq!(message, wanted);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let message = here.load(Flags::new(), &[]).unwrap_err();
    assert_eq!(
        message,
        "mcp-firewall.yaml: error[C012]: is not a regular file"
    );
    fs::remove_dir(&path).unwrap();
    here.write("mcp-firewall.yaml", &"#".repeat(1024 * 1024 + 1));
    let message = here.load(Flags::new(), &[]).unwrap_err();
    assert!(
        message.contains("is larger than 1048576 bytes"),
        "{message}"
    );
}

#[test]
fn without_a_home_the_audit_needs_a_path() {
    let here = Directory::new("homeless");
    let request = Request {
        directory: here.0.clone(),
        ..Request::default()
    };
    let all = load(&request).expect_err("there is nowhere to write");
    assert!(
        all.iter().all(|d| d.message.contains("no place for")),
        "{all:#?}"
    );
    let flags = flag(Setting::AuditPath, "a").with(Setting::AuditKey, Some("k"));
    let flags = flags.with(Setting::KillSwitch, Some("s"));
    let request = Request { flags, ..request };
    assert_eq!(load(&request).unwrap().cache, None);
}

#[test]
fn templates_parse_and_fit_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for text in [TEMPLATE_BASIC, TEMPLATE_ENTERPRISE] {
        let here = Directory::new("templates");
        here.write("mcp-firewall.yaml", text);
        here.load(Flags::new(), &[])
            .unwrap_or_else(|message| panic!("{message}"));
        let value: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(schema::mistakes(&schema, &value), Vec::<String>::new());
    }
    // What the basic template shows commented out must be right as well.
    let shown: Vec<&str> = TEMPLATE_BASIC
        .lines()
        .skip(6)
        .filter_map(uncommented)
        .collect();
    let here = Directory::new("shown");
    here.write("mcp-firewall.yaml", &shown.join("\n"));
    let checked = here
        .load(Flags::new(), &[])
        .unwrap_or_else(|message| panic!("{message}"));
    assert_eq!(checked.agent.as_deref(), Some("claude-code"));
    assert_eq!(checked.audit.durability, Durability::Async);
}

/// A line of settings, its comment sign removed; prose is left out.
fn uncommented(line: &str) -> Option<&str> {
    let text = line.strip_prefix("# ").unwrap_or(line);
    let key = text.trim_start().split(':').next().unwrap_or_default();
    let setting = text.contains(':') && !key.is_empty() && !key.contains(' ');
    let capital = key.starts_with(char::is_uppercase);
    (setting && !capital && !text.contains("refuses")).then_some(text)
}
