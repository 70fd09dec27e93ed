//! `wrap`: one server on stdio, with the firewall in front of it.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use mcpf_config::Checked;
use mcpf_pipeline::{Context, Session, Shared};
use mcpf_proxy::{Approver, Ears, Nobody, Parts, Relay, Terminal, Waker};

use crate::args::WrapArgs;
use crate::{assemble, bridge, kill_file, log};

pub(crate) fn run(args: &WrapArgs) -> anyhow::Result<ExitCode> {
    let config = assemble::configuration(args.flags())?;
    assemble::logging(&config);
    let generation = Arc::new(assemble::generation(&config)?);
    // Handlers before anything that could be interrupted, and before other threads start.
    let ears = Ears::install()?;
    let waker = ears.waker()?;
    let hook = Box::new(move || waker.wake());
    let log = Arc::new(log::open(&config, &generation, hook)?);
    tracing::info!(
        policy = &*assemble::policy_name(&config),
        mode = generation.policy.mode().as_str(),
        rules = generation.engine.rules().len(),
        audit = %log.path().display(),
        "firewall up"
    );
    let shared = Arc::new(Shared::default());
    kill_file::watch(config.kill_switch.clone(), &shared, Arc::clone(&log))
        .context("cannot watch the kill switch")?;
    let principal = assemble::principal(&config);
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
        deny_as: assemble::deny_as(&config),
        approver: approver(&config, ears.waker()?)?,
    };
    let mut relay = Relay::new(parts).context("cannot prepare the scanner")?;
    let bridged;
    let command = match &args.url {
        Some(url) => {
            bridged = bridge::command(args, url, &config)?;
            &bridged
        }
        None => &args.command,
    };
    let (command, rest) = command.split_first().context("no command given")?;
    let status = mcpf_proxy::run(command, rest, &mut relay, ears);
    drop(relay);
    let closed = log.close();
    let status = status?;
    closed.context("the audit log did not close cleanly")?;
    Ok(ExitCode::from(status))
}

fn approver(config: &Checked, waker: Waker) -> anyhow::Result<Box<dyn Approver>> {
    if !config.approvals.terminal {
        return Ok(Box::new(Nobody));
    }
    let terminal =
        Terminal::new(config.approvals.timeout, waker).context("cannot prepare approvals")?;
    Ok(Box::new(terminal))
}
