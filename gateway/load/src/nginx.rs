//! nginx as a plain reverse proxy: what a gateway costs that inspects nothing.
//!
//! Enter: where it listens, where the upstream is, a directory. Leave: a command. Never: a file outside that
//! directory, or a setting that makes nginx slower than its defaults.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes nginx's configuration into `directory` and makes the command that runs it in the foreground.
///
/// Two workers, up to 64 idle connections to the upstream kept by each, no access log, connections that are
/// never closed for their number of requests; buffering as nginx has it.
///
/// # Errors
///
/// When the configuration cannot be written.
pub fn command(
    program: &Path,
    directory: &Path,
    listen: SocketAddr,
    upstream: SocketAddr,
) -> io::Result<Command> {
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration(directory, listen, upstream))?;
    let mut command = Command::new(program);
    command
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(file)
        .args(["-e", "stderr"]);
    Ok(command)
}

/// nginx of this machine, if it is installed.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|directory| directory.join("nginx"))
        .find(|program| program.is_file())
}

fn configuration(directory: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    // A master that is root gives its workers another user's rights, who may not enter the directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    let directory = directory.display();
    format!(
        "{user}\
daemon off;
worker_processes 2;
pid \"{directory}/nginx.pid\";
error_log stderr error;
events {{
  worker_connections 1024;
}}
http {{
  access_log off;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_temp_path \"{directory}/body\";
  proxy_temp_path \"{directory}/proxy\";
  fastcgi_temp_path \"{directory}/fastcgi\";
  uwsgi_temp_path \"{directory}/uwsgi\";
  scgi_temp_path \"{directory}/scgi\";
  upstream mcp {{
    server {upstream};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen};
    location / {{
      proxy_pass http://mcp;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
    }}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_inside_the_directory() {
        let text = configuration(
            Path::new("/tmp/x"),
            ([127, 0, 0, 1], 8_000).into(),
            ([127, 0, 0, 1], 9_000).into(),
        );
        assert!(text.contains("listen 127.0.0.1:8000;"));
        assert!(text.contains("server 127.0.0.1:9000;"));
        for line in text
            .lines()
            .filter(|line| line.contains("_path") || line.contains("pid "))
        {
            assert!(line.contains("\"/tmp/x/"), "{line}");
        }
    }
}
