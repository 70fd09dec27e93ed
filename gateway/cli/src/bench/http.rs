//! `bench --http`: a gateway under load, beside its upstream itself and nginx.
//!
//! Enter: arguments. Leave: a table or JSON on standard output, and whether the gate was kept. Never: a
//! process or a file left behind, however it ends.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mcpf_load::{
    Broken, Campaign, Endpoint, Gate, Kind, Pace, Progress, Report, Service, Stop, Target,
    Upstream, free_address, nginx,
};
use serde_json::{Value, json};

use crate::args::{BenchArgs, LoadArgs, SettingArgs};
use crate::{assemble, print};

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    let load = &args.load;
    if let Some(address) = load.serve {
        return serve(address, load, &stop);
    }
    if cfg!(debug_assertions) {
        print::note("mcp-firewall: this is a debug build; its figures say little");
    }
    let gate = load.gate.as_deref().map(Gate::load).transpose()?;
    // Said now, not after minutes of measuring.
    if !load.nginx
        && gate
            .as_ref()
            .is_some_and(|gate| gate.compares_with(Kind::Nginx))
    {
        bail!("the gate compares with nginx, which is not measured: add --nginx");
    }
    let stage = Stage::set(args, &stop)?;
    let campaign = campaign(load);
    let rows = campaign.run(&stage.targets, &stop, &mut progress);
    clear_progress();
    if rows.is_err() {
        stage.tell_last_words();
    }
    drop(stage);
    let report = Report {
        rows: rows?,
        campaign,
    };
    let broken = gate.map(|gate| gate.check(&report)).transpose();
    if args.json {
        print::line(
            &with_gate(
                report.json(),
                broken.as_ref().ok().and_then(Option::as_deref),
            )
            .to_string(),
        )?;
    } else {
        print::line(report.text().trim_end())?;
    }
    let broken = broken?.unwrap_or_default();
    for bound in &broken {
        print::note(&format!("mcp-firewall: {bound}"));
    }
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn campaign(load: &LoadArgs) -> Campaign {
    let open = load.rates.0.iter().copied().map(Pace::Open);
    Campaign {
        sizes: load.size.clone(),
        arguments: load.arguments,
        paces: std::iter::once(Pace::Closed).chain(open).collect(),
        connections: load.connections,
        threads: load.threads,
        time: Duration::from_secs(load.seconds.get().into()),
        rounds: load.rounds,
        headers: load.headers.clone(),
    }
}

/// The report, with what the gate said where there was one.
fn with_gate(mut report: Value, broken: Option<&[Broken]>) -> Value {
    if let (Some(object), Some(broken)) = (report.as_object_mut(), broken) {
        let said: Vec<String> = broken.iter().map(ToString::to_string).collect();
        object.insert(
            "gate".into(),
            json!({"kept": said.is_empty(), "broken": said}),
        );
    }
    report
}

/// Everything that runs while it is measured. Dropped from the front: gateways end before their upstream,
/// and the directory goes last.
struct Stage {
    targets: Vec<Target>,
    gateway: Option<Service>,
    nginx: Option<Service>,
    _upstream: Option<Upstream>,
    _scratch: Scratch,
}

impl Stage {
    fn set(args: &BenchArgs, stop: &Stop) -> anyhow::Result<Self> {
        let load = &args.load;
        let scratch = Scratch::new()?;
        let (upstream, direct) = match &load.upstream {
            Some(endpoint) => (None, endpoint.clone()),
            None => {
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                let upstream = Upstream::start(any, load.upstream_workers)
                    .context("cannot start the built-in upstream")?;
                let endpoint = Endpoint::new(upstream.address(), Upstream::PATH);
                (Some(upstream), endpoint)
            }
        };
        let mut targets = vec![target(Kind::Direct, "direct", &direct, None)];
        let mut nginx = None;
        if load.nginx {
            let (service, endpoint) = start_nginx(&scratch.0, &direct, stop)?;
            targets.push(target(Kind::Nginx, "nginx", &endpoint, Some(service.id())));
            nginx = Some(service);
        }
        let mut gateway = None;
        if let Some(endpoint) = &load.url {
            targets.push(target(Kind::Gateway, "gateway", endpoint, load.pid));
        } else {
            let (service, endpoint) = start_proxy(args, &scratch.0, &direct, stop)?;
            let process = Some(service.id());
            targets.push(target(Kind::Gateway, "mcp-firewall", &endpoint, process));
            gateway = Some(service);
        }
        Ok(Self {
            targets,
            gateway,
            nginx,
            _upstream: upstream,
            _scratch: scratch,
        })
    }

    /// What the gateways wrote on standard error: it may say why they cannot be measured.
    fn tell_last_words(&self) {
        for service in self.gateway.iter().chain(&self.nginx) {
            let said = service.said();
            if !said.is_empty() {
                print::note(&said);
            }
        }
    }
}

fn target(kind: Kind, name: &str, endpoint: &Endpoint, process: Option<u32>) -> Target {
    Target {
        kind,
        name: name.to_owned(),
        endpoint: endpoint.clone(),
        process,
    }
}

fn start_nginx(
    scratch: &Path,
    upstream: &Endpoint,
    stop: &Stop,
) -> anyhow::Result<(Service, Endpoint)> {
    let program = nginx::installed().context(
        "nginx is not installed; install it (apt-get install nginx) or leave out --nginx",
    )?;
    let listen = free_address().context("no port is free for nginx")?;
    let command = nginx::command(&program, scratch, listen, upstream.address())
        .with_context(|| format!("cannot write into `{}`", scratch.display()))?;
    let service = Service::start(command, listen, &scratch.join("nginx.log"), stop)?;
    Ok((service, Endpoint::new(listen, upstream.path())))
}

/// This program as a gateway, with its audit log in `scratch`.
fn start_proxy(
    args: &BenchArgs,
    scratch: &Path,
    upstream: &Endpoint,
    stop: &Stop,
) -> anyhow::Result<(Service, Endpoint)> {
    let listen = free_address().context("no port is free for the gateway")?;
    let mut command = Command::new(assemble::this_program()?);
    command
        .args(["proxy", "--upstream", &upstream.to_string()])
        .args(["--listen", &listen.to_string()])
        .args(settings(&args.settings))
        .arg("--audit-path")
        .arg(scratch.join("audit"))
        .arg("--audit-key")
        .arg(scratch.join("state/audit.key"))
        .arg("--kill-switch")
        .arg(scratch.join("kill-switch"));
    if let Some(durability) = &args.load.audit_durability {
        command.args(["--audit-durability", durability]);
    }
    if args.settings.log_level.is_none() {
        command.args(["--log-level", "error"]);
    }
    let service = Service::start(command, listen, &scratch.join("proxy.log"), stop)?;
    Ok((service, Endpoint::new(listen, upstream.path())))
}

/// The settings as they were typed, for another process.
fn settings(settings: &SettingArgs) -> Vec<OsString> {
    let SettingArgs {
        config,
        policy,
        name,
        agent,
        mode,
        paranoia,
        log_level,
        log_format,
    } = settings;
    let text = |value: &Option<String>| value.as_ref().map(OsString::from);
    [
        ("--config", config.clone().map(PathBuf::into_os_string)),
        ("--policy", text(policy)),
        ("--name", text(name)),
        ("--agent", text(agent)),
        ("--mode", text(mode)),
        ("--paranoia", text(paranoia)),
        ("--log-level", text(log_level)),
        ("--log-format", text(log_format)),
    ]
    .into_iter()
    .filter_map(|(flag, value)| Some([flag.into(), value?]))
    .flatten()
    .collect()
}

/// Only the upstream, for gateways that are started and measured elsewhere.
fn serve(address: SocketAddr, load: &LoadArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let upstream = Upstream::start(address, load.upstream_workers)
        .with_context(|| format!("cannot listen at {address}"))?;
    let endpoint = Endpoint::new(upstream.address(), Upstream::PATH);
    print::note(&format!(
        "mcp-firewall: the upstream of the measurements is at {endpoint}"
    ));
    while !stop.is_set() {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(ExitCode::SUCCESS)
}

/// A directory of this user's only, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let name = format!("mcp-firewall-bench-{}", assemble::run_id());
        let directory = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("cannot make the directory `{}`", directory.display()))?;
        Ok(Self(directory))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover in the temporary directory harms nobody.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// Says on the terminal, if there is one, what is being measured.
fn progress(progress: &Progress<'_>) {
    let Progress {
        done,
        of,
        size,
        pace,
        target,
    } = progress;
    let pace = match pace {
        Pace::Closed => "closed loop".to_owned(),
        Pace::Open(rate) => format!("{rate}/s"),
    };
    on_terminal(&format!("{CLEAR}[{done}/{of}] {size} B, {pace}, {target}"));
}

fn clear_progress() {
    on_terminal(CLEAR);
}

/// Back to the beginning of the line, and clear it.
const CLEAR: &str = "\r\u{1b}[K";

fn on_terminal(text: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        // Progress that cannot be shown is not missed.
        let _shown = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush());
    }
}
