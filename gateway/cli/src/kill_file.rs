//! The kill switch as a file: while it exists, nothing passes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mcpf_pipeline::Shared;

/// How often the file is looked for. A switch takes effect on the first message after the look.
const GLANCE: Duration = Duration::from_millis(100);

/// Looks at once, and from then on in a thread of its own.
pub(crate) fn watch(file: PathBuf, shared: &Arc<Shared>) -> std::io::Result<()> {
    shared.kill.set_by_file(exists(&file));
    let shared = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("kill-switch".to_owned())
        .spawn(move || {
            let mut was = false;
            while let Some(shared) = shared.upgrade() {
                let is = exists(&file);
                shared.kill.set_by_file(is);
                if is != was {
                    tracing::warn!(on = is, file = %file.display(), "kill switch");
                    was = is;
                }
                drop(shared);
                std::thread::sleep(GLANCE);
            }
        })?;
    Ok(())
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
