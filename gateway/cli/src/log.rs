//! The audit log, opened as configured.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use mcpf_audit::{Durability, Hook, Location, Log, Settings, SigningKey, Start};
use mcpf_config::Checked;
use mcpf_pipeline::Generation;

/// Opens the log that `config` names; `hook` is called as records become durable.
pub(crate) fn open(config: &Checked, generation: &Generation, hook: Hook) -> anyhow::Result<Log> {
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
    let (log, recovery) = Log::open(&settings, key, &start, hook)
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
