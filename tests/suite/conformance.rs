//! The official conformance suite, directly and through the proxy: no difference.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::program;

/// Runs `scripts/conformance`, which says by itself when it is offline.
fn holds(arguments: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/conformance");
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/.installed");
    if !Path::new(fixtures).exists() {
        eprintln!("SKIPPED (offline): the conformance suite; `scripts/fixtures` installs it");
        return;
    }
    let output = Command::new(script)
        .args(arguments)
        .env("MCP_FIREWALL", program())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let noted = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}\n{noted}");
    assert!(said.contains(" the same"), "{said}\n{noted}");
}

#[test]
fn servers_conform_through_the_proxy_as_they_do_directly() {
    holds(&[]);
}

#[test]
fn clients_conform_through_the_proxy_as_they_do_directly() {
    holds(&["--client", "--only", "ts"]);
}
