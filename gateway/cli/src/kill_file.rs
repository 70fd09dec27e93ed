//! The kill switch as a file: while it exists, nothing passes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mcpf_audit::{Event, Log};
use mcpf_pipeline::Shared;

/// How often the file is looked for. A switch takes effect on the first message after the look.
const GLANCE: Duration = Duration::from_millis(100);

/// Looks at once, and from then on in a thread of its own.
pub(crate) fn watch(file: PathBuf, shared: &Arc<Shared>, log: Arc<Log>) -> std::io::Result<()> {
    let began = Instant::now();
    let mut was = exists(&file);
    shared.kill.set_by_file(was);
    if was {
        record(&log, true, "file", began);
    }
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("kill-switch".to_owned())
        .spawn(move || {
            while let Some(shared) = shared.upgrade() {
                let is = exists(&file);
                shared.kill.set_by_file(is);
                if is != was {
                    tracing::warn!(on = is, file = %file.display(), "kill switch");
                    record(&log, is, "file", began);
                    was = is;
                }
                drop(shared);
                std::thread::sleep(GLANCE);
            }
        })?;
    Ok(())
}

/// Records that the switch was turned, by a file or a signal.
pub(crate) fn record(log: &Log, on: bool, by: &'static str, began: Instant) {
    let event = Event {
        time: SystemTime::now(),
        monotonic_ns: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
        name: "kill_switch",
        detail: vec![
            ("state", if on { "on" } else { "off" }.into()),
            ("by", by.into()),
        ],
    };
    if let Err(error) = log.append_event(event) {
        tracing::error!(%error, "the kill switch could not be recorded");
    }
}

/// A file that cannot be looked for counts as there: the switch fails closed.
fn exists(file: &std::path::Path) -> bool {
    match file.symlink_metadata() {
        Ok(_) => true,
        Err(e) => !matches!(
            e.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
        ),
    }
}
