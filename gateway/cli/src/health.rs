//! `healthcheck`: a word with a running proxy.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::args::HealthArgs;
use crate::{assemble, print};

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are read.
const MAX_ANSWER: u64 = 4_096;

pub(crate) fn run(args: &HealthArgs) -> anyhow::Result<ExitCode> {
    let config = assemble::configuration(args.flags())?;
    let Some(address) = config.http.management else {
        bail!(
            "no management address is known: give --management, or `http.management` in the configuration"
        );
    };
    let answer = ask(reachable(address))
        .with_context(|| format!("the proxy does not answer at {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("it takes no traffic: {}", body.trim());
    }
    print::line(body.trim())?;
    Ok(ExitCode::SUCCESS)
}

/// Where to ask what listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}
