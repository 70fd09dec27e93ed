//! `init`: a commented configuration to start from.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::args::InitArgs;
use crate::print;

pub(crate) fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let text = if args.enterprise {
        mcpf_config::TEMPLATE_ENTERPRISE
    } else {
        mcpf_config::TEMPLATE_BASIC
    };
    let path = &args.output;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if args.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!(
                "`{}` exists; --force replaces it, --output writes another",
                path.display()
            )
        }
        Err(e) => return Err(e).with_context(|| format!("cannot write `{}`", path.display())),
    };
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    print::line(&format!("wrote {}", path.display()))?;
    // Only there it is looked for unasked.
    let config = if path.as_os_str() == mcpf_config::LOCAL_FILE {
        String::new()
    } else {
        format!(" --config {}", std::path::absolute(path)?.display())
    };
    print::line(&format!(
        "next: mcp-firewall wrap{config} -- <your server's command>"
    ))?;
    Ok(ExitCode::SUCCESS)
}
