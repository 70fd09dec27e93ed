//! `audit`: verify and tail.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mcpf_audit::{PublicKey, Report, TailError, TailOptions, VerifyError};
use serde_json::json;

use crate::args::{AuditCommand, SettingArgs};
use crate::{assemble, print};

/// How often a followed log is looked at.
const GLANCE: Duration = Duration::from_millis(200);

pub(crate) fn run(command: &AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify {
            path,
            keys,
            json,
            settings,
        } => verify(path.as_deref(), keys, *json, settings),
        AuditCommand::Tail {
            path,
            follow,
            lines,
            json,
            settings,
        } => {
            let path = match path {
                Some(path) => path.clone(),
                None => assemble::configuration(settings.flags())?.audit.path,
            };
            there(&path)?;
            let options = TailOptions {
                last: *lines,
                follow: *follow,
                json: *json,
            };
            let mut wait = || {
                std::thread::sleep(GLANCE);
                ControlFlow::Continue(())
            };
            match mcpf_audit::tail(&path, options, &mut std::io::stdout().lock(), &mut wait) {
                // Whoever read this has seen enough: `audit tail | head`.
                Ok(()) | Err(TailError::Output(_)) => Ok(ExitCode::SUCCESS),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Fails with words of its own where no log was written yet.
fn there(path: &Path) -> anyhow::Result<()> {
    if path.try_exists().is_ok_and(|there| !there) {
        bail!(
            "there is no audit log at `{}`; the first `mcp-firewall wrap` writes one",
            path.display()
        );
    }
    Ok(())
}

/// Exit status 0 when everything verifies, 2 when a record is bad, 1 when it cannot be told.
fn verify(
    path: Option<&Path>,
    keys: &[String],
    as_json: bool,
    settings: &SettingArgs,
) -> anyhow::Result<ExitCode> {
    let config = assemble::configuration(settings.flags())?;
    let path = path.map_or(config.audit.path.clone(), Path::to_owned);
    there(&path)?;
    let keys = if keys.is_empty() {
        let public = config.audit.key.with_file_name(mcpf_audit::PUBLIC_KEY_FILE);
        vec![key(&public.to_string_lossy())?]
    } else {
        keys.iter()
            .map(|text| key(text))
            .collect::<anyhow::Result<_>>()?
    };
    match mcpf_audit::verify(&path, &keys) {
        Ok(report) => {
            print_report(&report, as_json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ VerifyError::File(_)) => Err(error).context("cannot verify"),
        Err(error) => {
            if as_json {
                print::line(&json!({"ok": false, "error": error.to_string()}).to_string())?;
            } else {
                print::line(&print::paint("FAILED", print::RED, print::colour()))?;
                print::line(&format!("  {error}"))?;
            }
            Ok(ExitCode::from(2))
        }
    }
}

/// A key given as 64 hex digits or as the file that holds them.
fn key(text: &str) -> anyhow::Result<PublicKey> {
    if let Some(key) = PublicKey::from_hex(text) {
        return Ok(key);
    }
    let path = PathBuf::from(text);
    let hex = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "`{}` is neither 64 hex digits nor a public key file that can be read; give one with --key",
            path.display()
        )
    })?;
    match PublicKey::from_hex(hex.trim()) {
        Some(key) => Ok(key),
        None => bail!(
            "`{}` holds no public key: 64 hex digits are expected",
            path.display()
        ),
    }
}

fn print_report(report: &Report, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let files: Vec<_> = report
            .files
            .iter()
            .map(|file| {
                json!({
                    "path": file.path, "records": file.records, "groups": file.groups,
                    "decisions": {
                        "allow": file.verdicts.allow, "redact": file.verdicts.redact,
                        "deny": file.verdicts.deny, "monitor": file.verdicts.monitor,
                    },
                })
            })
            .collect();
        let all = json!({"ok": true, "records": report.records(), "files": files, "warnings": report.warnings()});
        return print::line(&all.to_string());
    }
    let (mut allow, mut redact, mut deny, mut monitor) = (0, 0, 0, 0);
    for file in &report.files {
        allow += file.verdicts.allow;
        redact += file.verdicts.redact;
        deny += file.verdicts.deny;
        monitor += file.verdicts.monitor;
    }
    print::line(&print::paint("ok", print::GREEN, print::colour()))?;
    print::line(&format!(
        "  {} records in {}: {allow} allowed, {redact} redacted, {deny} denied, {monitor} only monitored",
        report.records(),
        match report.files.len() {
            1 => "1 file".to_owned(),
            files => format!("{files} files"),
        }
    ))?;
    for warning in report.warnings() {
        print::line(&format!(
            "  {}: {warning}",
            print::paint("note", print::YELLOW, print::colour())
        ))?;
    }
    Ok(())
}
