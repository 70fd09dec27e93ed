//! Configuration in, rooms out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use mcpf_config::{Checked, Environment, Flags, LogFormat, LogLevel, PolicySource, Request};
use mcpf_model::Principal;
use mcpf_pipeline::Generation;
use mcpf_proxy::DenyAs;
use mcpf_rules::Rule;
use tracing_subscriber::filter::LevelFilter;

use crate::print;

/// Reads the configuration and says what is odd about it.
pub(crate) fn configuration(flags: Flags) -> anyhow::Result<Checked> {
    let directory = std::env::current_dir().context("cannot tell the working directory")?;
    let request = Request {
        flags,
        environment: Environment::of_process(),
        directory,
    };
    mcpf_config::load(&request).map_err(print::joined)
}

/// Turns the program's own log on, on standard error.
pub(crate) fn logging(config: &Checked) {
    let level = match config.log.level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false);
    // A second call keeps the first log: only tests would notice.
    let _kept = match config.log.format {
        LogFormat::Text => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Some(file) = &config.file {
        tracing::info!(file = %file.display(), "configuration read");
    }
    for variable in &config.unknown_variables {
        tracing::warn!(
            variable,
            "this variable means nothing here: is it misspelt?"
        );
    }
}

/// The rules that are to be used, as configured.
pub(crate) fn rules(config: &Checked) -> anyhow::Result<Vec<Rule>> {
    let mut rules = mcpf_rules::builtin_rules().map_err(print::joined)?;
    for path in &config.rules.paths {
        for file in rule_files(path)? {
            let text = mcpf_config::read_trusted(&file)
                .map_err(|diagnostic| anyhow::anyhow!("{diagnostic}"))?;
            let more = mcpf_rules::parse(&text, &file.display().to_string());
            rules.extend(more.map_err(print::joined)?);
        }
    }
    if !config.rules.paths.is_empty() {
        let problems = mcpf_rules::lint(&rules);
        if !problems.is_empty() {
            return Err(print::joined(problems));
        }
    }
    let known = |id: &str| rules.iter().any(|rule| &*rule.id.value == id);
    for id in config
        .rules
        .disable
        .iter()
        .chain(config.rules.overrides.iter().map(|(id, _)| id))
    {
        if !known(id) {
            bail!(
                "no rule is called `{id}`; `rules.disable` and `rules.overrides` take ids such as `SEC-AWS-001`"
            );
        }
    }
    let paranoia = config.rules.paranoia.map_or(1, std::num::NonZeroU8::get);
    rules.retain(|rule| {
        rule.paranoia <= paranoia && !config.rules.disable.iter().any(|id| **id == *rule.id.value)
    });
    for (id, action) in &config.rules.overrides {
        for rule in rules.iter_mut().filter(|rule| *rule.id.value == **id) {
            rule.action.value = *action;
        }
    }
    Ok(rules)
}

/// The file, or the `.yaml` files of the directory, in order of their names.
pub(crate) fn rule_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry
            .with_context(|| format!("cannot read `{}`", path.display()))?
            .path();
        if file
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Policy, rules and limits, compiled. The scan library proves itself first.
pub(crate) fn generation(config: &Checked) -> anyhow::Result<Generation> {
    mcpf_vectorscan::self_test(config.cache.as_deref())
        .context("the scan library misses matches; refusing to run")?;
    let specs = mcpf_rules::specs(&rules(config)?);
    Generation::build(
        config.plan.clone(),
        specs,
        config.limits,
        config.cache.as_deref(),
    )
    .map_err(print::joined)
}

/// A random name of this run: 16 hex digits.
pub(crate) fn run_id() -> Arc<str> {
    // Hash keys are seeded by the system's random source; this is a name, not a secret.
    use std::hash::{BuildHasher, RandomState};
    let id = RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now()));
    Arc::from(format!("{id:016x}"))
}

/// This program's own path.
pub(crate) fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot tell where this program is")
}

/// What the policy is called, for people.
pub(crate) fn policy_name(config: &Checked) -> String {
    match &config.policy {
        PolicySource::Builtin(builtin) => builtin.as_str().to_owned(),
        PolicySource::File(path) => path.display().to_string(),
        PolicySource::Inline => "inline".to_owned(),
    }
}

/// Who calls, as far as the operator says.
pub(crate) fn principal(config: &Checked) -> Principal {
    match &config.agent {
        Some(agent) => Principal {
            agent: agent.as_str().into(),
            asserted_by_operator: true,
        },
        None => Principal::anonymous(),
    }
}

/// How a refused `tools/call` is answered.
pub(crate) const fn deny_as(config: &Checked) -> DenyAs {
    match config.deny_as {
        mcpf_config::DenyAs::Result => DenyAs::Result,
        mcpf_config::DenyAs::Error => DenyAs::Error,
    }
}
