//! A directory that goes away, a key, plain entries, and logs made of them.

use mcpf_audit::{
    Arguments, Durability, Entry, FindingRecord, Location, Log, PublicKey, Recovery, Report,
    Settings, Sign, SigningKey, Start, VerifyError,
};
use mcpf_model::{
    Action, Direction, Family, MessageKind, Reason, ReasonCode, RequestId, Severity, Span, Stage,
    Surface, Verdict, View,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mcpf-audit-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.join("audit")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[42; 32]).unwrap()
}

pub(crate) fn public() -> PublicKey {
    key().public()
}

pub(crate) fn now(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_000_000 + seconds)
}

pub(crate) fn settings(location: Location) -> Settings {
    let mut settings = Settings::new(location);
    settings.durability = Durability::Flush;
    settings
}

pub(crate) fn open_with(settings: &Settings, seconds: u64) -> (Log, Recovery) {
    Log::open(
        settings,
        key(),
        &Start::new(now(seconds), "test 1.0"),
        Box::new(|| {}),
    )
    .unwrap()
}

pub(crate) fn open(path: &Path) -> (Log, Recovery) {
    open_with(&settings(Location::File(path.to_owned())), 0)
}

pub(crate) fn entry(n: u64) -> Entry {
    let verdicts = [
        Verdict::Allow,
        Verdict::Redact,
        Verdict::Deny,
        Verdict::Monitor,
    ];
    let mut entry = Entry::new(
        now(n),
        Direction::Inbound,
        "s1".into(),
        "cursor".into(),
        verdicts[usize::try_from(n % 4).unwrap()],
    );
    entry.monotonic_ns = n;
    entry.kind = Some(MessageKind::Request);
    entry.method = Some("tools/call".into());
    entry.tool = Some("read_file".into());
    entry.request = Some(RequestId::Number(n as i64));
    entry.arguments = Some(Arguments {
        text: format!("{{\"path\":\"/tmp/{n}\"}}").into(),
        truncated: false,
    });
    if entry.decision == Verdict::Deny {
        entry.reason = Some(Reason {
            stage: Stage::Secrets,
            code: ReasonCode::Denied,
            rule: Some("SEC-AWS-001".into()),
            text: "holds a secret".into(),
        });
        entry.findings.push(FindingRecord {
            rule: "SEC-AWS-001".into(),
            family: Family::Secret,
            severity: Severity::High,
            action: Action::Block,
            surface: Surface::Arguments,
            view: View::Plain,
            span: Span { start: 10, end: 30 },
        });
    }
    entry
}

/// Appends and waits until it is recorded, so that each entry is a group of its own.
pub(crate) fn put(log: &Log, entry: Entry) {
    let ticket = log.append(entry).unwrap();
    while !log.is_recorded(ticket) {
        std::thread::yield_now();
    }
}

/// A closed log of `count` decisions, in groups of one and of several.
pub(crate) fn sample(path: &Path, count: u64, sign: Sign) -> Vec<u8> {
    let mut settings = settings(Location::File(path.to_owned()));
    settings.sign = sign;
    settings.durability = Durability::Async {
        interval: Duration::from_millis(1),
    };
    let (log, _) = open_with(&settings, 0);
    for n in 0..count {
        let _ = log.append(entry(n)).unwrap();
        if n % 7 == 0 {
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    log.close().unwrap();
    std::fs::read(path).unwrap()
}

pub(crate) fn verify_file(path: &Path) -> Result<Report, VerifyError> {
    mcpf_audit::verify(path, &[public()])
}

/// Verifies bytes as a file would be.
pub(crate) fn verify_bytes(bytes: &[u8]) -> Result<mcpf_audit::FileReport, VerifyError> {
    mcpf_audit::verify_reader(bytes, Path::new("log"), &[public()])
}
