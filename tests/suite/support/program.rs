//! The programs under test, built once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The built `mcp-firewall`. `SUITE_PROGRAM` names another one, such as an installed release.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = std::env::var_os("SUITE_PROGRAM").map_or_else(built, PathBuf::from);
        warm(&path);
        path
    })
}

/// Where compiled patterns are kept: shared by all runs, since compiling them takes seconds.
pub(crate) const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// Compiles the patterns once, before many sessions would each do it at the same time.
fn warm(program: &Path) {
    let mut check = Command::new(program);
    check
        .args(["check", "--tool", "echo", "--args", "{}"])
        .env("XDG_CACHE_HOME", CACHE);
    let output = check.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Cargo decides whether it is stale: another package's binary is no dependency of a test.
fn built() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let profile_dir = exe.parent().and_then(Path::parent).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--quiet",
        "-p",
        "mcp-firewall",
        "-p",
        "mcpf-vulnerable-server",
    ]);
    match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            build.args(["--profile", profile]);
        }
    }
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    assert!(
        build.status().unwrap().success(),
        "the program under test does not build"
    );
    let path = profile_dir.join("mcp-firewall");
    assert!(path.exists(), "no program at {}", path.display());
    path
}

/// The fake server of this crate.
pub(crate) fn fake_peer() -> &'static str {
    env!("CARGO_BIN_EXE_mcpf-fake-peer")
}
