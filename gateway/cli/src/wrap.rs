//! `wrap`: one server on stdio, with the firewall in front of it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use mcpf_audit::{Durability, Location, Log, Settings, SigningKey, Start};
use mcpf_config::{Checked, PolicySource};
use mcpf_model::Principal;
use mcpf_pipeline::{Context, Generation, Session, Shared};
use mcpf_proxy::{Approver, DenyAs, Ears, Nobody, Parts, Relay, Terminal, Waker};

use crate::args::WrapArgs;
use crate::{assemble, kill_file};

pub(crate) fn run(args: &WrapArgs) -> anyhow::Result<ExitCode> {
    let config = assemble::configuration(args.flags())?;
    assemble::logging(&config);
    let generation = Arc::new(assemble::generation(&config)?);
    // Handlers before anything that could be interrupted, and before other threads start.
    let ears = Ears::install()?;
    let log = Arc::new(open_log(&config, &generation, &ears.waker()?)?);
    tracing::info!(
        policy = &*policy_name(&config),
        mode = generation.policy.mode().as_str(),
        rules = generation.engine.rules().len(),
        audit = %log.path().display(),
        "firewall up"
    );
    let shared = Arc::new(Shared::default());
    kill_file::watch(config.kill_switch.clone(), &shared, Arc::clone(&log))
        .context("cannot watch the kill switch")?;
    let principal = match &config.agent {
        Some(agent) => Principal {
            agent: agent.as_str().into(),
            asserted_by_operator: true,
        },
        None => Principal::anonymous(),
    };
    let session = Session::new(
        assemble::run_id(),
        config.name.as_str().into(),
        principal,
        &generation.limits,
    );
    let parts = Parts {
        context: Context { generation, shared },
        session,
        log: Arc::clone(&log),
        deny_as: match config.deny_as {
            mcpf_config::DenyAs::Result => DenyAs::Result,
            mcpf_config::DenyAs::Error => DenyAs::Error,
        },
        approver: approver(&config, ears.waker()?)?,
    };
    let mut relay = Relay::new(parts).context("cannot prepare the scanner")?;
    let (command, rest) = args.command.split_first().context("no command given")?;
    let status = mcpf_proxy::run(command, rest, &mut relay, ears);
    drop(relay);
    let closed = log.close();
    let status = status?;
    closed.context("the audit log did not close cleanly")?;
    Ok(ExitCode::from(status))
}

fn policy_name(config: &Checked) -> String {
    match &config.policy {
        PolicySource::Builtin(builtin) => builtin.as_str().to_owned(),
        PolicySource::File(path) => path.display().to_string(),
        PolicySource::Inline => "inline".to_owned(),
    }
}

fn approver(config: &Checked, waker: Waker) -> anyhow::Result<Box<dyn Approver>> {
    if !config.approvals.terminal {
        return Ok(Box::new(Nobody));
    }
    let terminal =
        Terminal::new(config.approvals.timeout, waker).context("cannot prepare approvals")?;
    Ok(Box::new(terminal))
}

fn open_log(config: &Checked, generation: &Generation, waker: &Waker) -> anyhow::Result<Log> {
    let audit = &config.audit;
    let location = location(&audit.path);
    let mut settings = Settings::new(location);
    settings.durability = match audit.durability {
        mcpf_config::Durability::Fsync => Durability::Fsync,
        mcpf_config::Durability::Flush => Durability::Flush,
        mcpf_config::Durability::Async => Durability::Async {
            interval: audit.group_interval.max(Duration::from_millis(1)),
        },
    };
    settings.queue_records = audit.queue.get();
    let state = audit.key.parent().unwrap_or(&audit.key);
    let key = if audit
        .key
        .file_name()
        .is_some_and(|name| name == mcpf_audit::KEY_FILE)
    {
        SigningKey::load_or_create(state)
    } else {
        SigningKey::load(&audit.key)
    };
    let key = key.context("cannot use the audit key")?;
    let mut start = Start::new(
        SystemTime::now(),
        concat!("mcp-firewall ", env!("CARGO_PKG_VERSION")),
    );
    start.mode = generation.policy.mode();
    start.policy = Some(Arc::clone(generation.policy.revision()));
    start.rules = Some(Arc::clone(&generation.rules));
    start.server = Some(config.name.as_str().into()).filter(|name: &Arc<str>| !name.is_empty());
    let waker = waker
        .try_clone()
        .context("cannot duplicate the wake pipe")?;
    let (log, recovery) = Log::open(&settings, key, &start, Box::new(move || waker.wake()))
        .context("cannot open the audit log; without it nothing may pass")?;
    if let Some((file, why)) = &recovery.damaged {
        tracing::warn!(file = %file.display(), why, "an earlier audit log cannot be continued; a new chain begins");
    }
    tracing::debug!(file = %log.path().display(), "audit log open");
    Ok(log)
}

/// A path that ends in `.jsonl` is a file that each run goes on with; any other is a directory.
pub(crate) fn location(path: &std::path::Path) -> Location {
    if path
        .extension()
        .is_some_and(|ending| ending == mcpf_audit::EXTENSION)
    {
        Location::File(path.to_owned())
    } else {
        Location::Directory(path.to_owned())
    }
}
