//! `policy`: validate and show.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use mcpf_policy::{Builtin, Diagnostic, Plan};
use serde_json::json;

use crate::args::PolicyCommand;
use crate::print;

pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Validate { files, json } => validate(files.iter().map(AsRef::as_ref), *json),
        PolicyCommand::Show { name } => match Builtin::from_name(name) {
            Some(builtin) => {
                print::line(builtin.yaml().trim_end())?;
                Ok(ExitCode::SUCCESS)
            }
            None => bail!("no built-in policy is called `{name}`: starter, developer, enterprise"),
        },
        PolicyCommand::Schema => {
            print::line(mcpf_policy::SCHEMA.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Exit status 0 when every file is good, 2 when one is not, 1 when one cannot be read.
fn validate<'p>(files: impl Iterator<Item = &'p Path>, json: bool) -> anyhow::Result<ExitCode> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut unsearchable: Vec<(String, String)> = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let text = match mcpf_config::read_trusted(file) {
            Ok(text) => text,
            Err(diagnostic) => bail!("{diagnostic}"),
        };
        match Plan::parse(&text, &name) {
            Ok(plan) => match mcpf_pipeline::check_content(&plan) {
                Ok(()) if !json => print::line(&format!("{name}: ok"))?,
                Ok(()) => {}
                Err(more) => unsearchable.extend(
                    more.into_iter()
                        .map(|error| (name.clone(), error.to_string())),
                ),
            },
            Err(more) => found.extend(more),
        }
    }
    if json {
        let mut all: Vec<_> = found
            .iter()
            .map(|d| {
                json!({
                    "file": &*d.file, "line": d.at.line, "column": d.at.column,
                    "code": d.code_name(), "message": d.message, "help": d.help,
                })
            })
            .collect();
        all.extend(
            unsearchable
                .iter()
                .map(|(file, message)| json!({"file": file, "message": message})),
        );
        print::line(&json!({ "diagnostics": all }).to_string())?;
    } else {
        for diagnostic in &found {
            print::note(&diagnostic.to_string());
        }
        for (file, message) in &unsearchable {
            print::note(&format!("{file}: error: {message}"));
        }
    }
    Ok(if found.is_empty() && unsearchable.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}
