//! The `mcp-firewall` program.
//!
//! Enter: arguments. Leave: rooms wired together, and an exit code: 0 ok, 1 could not complete,
//! 2 completed and found failures; `wrap` leaves with the server's own status. Never: a decision.

mod args;
mod assemble;
mod audit;
mod bench;
mod bridge;
mod check;
mod demo;
mod health;
mod init;
mod kill_file;
mod log;
mod peer;
mod policy;
mod print;
mod proxy;
mod wrap;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = !error.use_stderr();
            // Nothing can be done about a closed terminal.
            let _printed = error.print();
            if lacks_separator(&error) {
                print::note(
                    "  tip: put `--` before the server's command: mcp-firewall wrap -- COMMAND",
                );
            }
            return if help {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
    };
    let outcome = match cli.command {
        Command::Wrap(args) => wrap::run(&args),
        Command::Proxy(args) => proxy::run(&args),
        Command::Healthcheck(args) => health::run(&args),
        Command::Bridge(args) => bridge::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Policy { command } => policy::run(&command),
        Command::Audit { command } => audit::run(&command),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Version { json } => version(json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mcp-firewall", &mut script);
            print::line(String::from_utf8_lossy(&script).trim_end()).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        print::error(&error);
        ExitCode::FAILURE
    })
}

/// Whether a word that is no flag stands where `wrap` takes flags only: the server's command.
fn lacks_separator(error: &clap::Error) -> bool {
    let wrapping = std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == "wrap");
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return false;
    };
    wrapping && error.kind() == ErrorKind::UnknownArgument && !word.starts_with('-')
}

fn version(json: bool) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let library = mcpf_vectorscan::version();
    let rules = mcpf_rules::builtin_rules().map_err(print::joined)?.len();
    if json {
        print::line(
            &serde_json::json!({ "version": version, "vectorscan": library, "rules": rules })
                .to_string(),
        )?;
    } else {
        print::line(&format!("mcp-firewall {version}"))?;
        print::line(&format!("vectorscan {library}, {rules} built-in rules"))?;
    }
    Ok(ExitCode::SUCCESS)
}
