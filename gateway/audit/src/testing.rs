//! Things the tests of this crate share: a directory that goes away, a plain entry.

use crate::record::{Arguments, Entry};
use mcpf_model::{Direction, MessageKind, RequestId, Verdict};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("mcpf-audit-unit-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn entry(n: u64) -> Entry {
    let time = UNIX_EPOCH + Duration::from_micros(1_795_000_000_000_000 + n);
    let mut entry = Entry::new(
        time,
        Direction::Inbound,
        "s1".into(),
        "cursor".into(),
        Verdict::Allow,
    );
    entry.kind = Some(MessageKind::Request);
    entry.method = Some("tools/call".into());
    entry.tool = Some("read_file".into());
    entry.request = Some(RequestId::Number(i64::try_from(n).unwrap()));
    entry.arguments = Some(Arguments {
        text: "{\"path\":\"/tmp/a\"}".into(),
        truncated: false,
    });
    entry
}
