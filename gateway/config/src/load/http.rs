//! The `http` section.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use mcpf_policy::yaml::{Fields, Node};
use mcpf_policy::{Code, Sink};

use super::Loader;
use crate::checked::Http;
use crate::read;
use crate::setting::Setting;

const HOUR: Duration = Duration::from_secs(3_600);

impl Loader<'_> {
    pub(super) fn http(&mut self, node: Option<&Node>, sink: &mut Sink) -> Http {
        let mut fields = node.and_then(|node| Fields::open(node, "`http`", sink));
        let mut take = |key| fields.as_mut().and_then(|fields| fields.take(key));
        let (listen, upstream) = (take("listen"), take("upstream"));
        let management = take("management");
        let path = take("path").and_then(|node| path(node, sink));
        let hosts = words(take("hosts"), "host", sink);
        let origins = words(take("origins"), "origin", sink);
        let passed = words(take("passed"), "path", sink);
        let tls = take("tls").and_then(|node| self.tls(node, sink));
        let upstream_ca = take("upstream_ca").and_then(|node| self.file(node, "upstream_ca", sink));
        let mut number = |key, most| {
            let node = take(key)?;
            read::whole(node, key, 1, most, sink)
        };
        let workers = number("workers", 256).and_then(NonZeroU32::new);
        let max_connections = number("max_connections", 1_000_000);
        let max_sessions = number("max_sessions", 10_000_000);
        let mut time = |key, least, most| {
            let node: &Node = take(key)?;
            node.duration(key, least, most, sink)
        };
        let second = Duration::from_secs(1);
        let session_ttl = time("session_ttl", second * 10, HOUR * 24 * 7);
        let idle = time("idle_timeout", second, HOUR);
        let body = time("body_timeout", second, HOUR);
        let connect = time("connect_timeout", second / 10, second * 60);
        let request = time("request_timeout", second, HOUR * 24);
        let drain = time("drain_timeout", Duration::ZERO, HOUR);
        if let Some(fields) = fields {
            fields.finish(sink);
        }
        let listen = self.choose(Setting::Listen, listen, sink, |n, _, s| {
            address(n, "listen", s)
        });
        let management = self.choose(Setting::Management, management, sink, |n, _, s| {
            address(n, "management", s)
        });
        let upstream = self.choose(Setting::Upstream, upstream, sink, |n, _, s| {
            n.text("upstream", s).map(str::to_owned)
        });
        Http {
            listen: listen.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8_080)),
            management,
            upstream,
            path,
            hosts,
            origins,
            passed,
            tls,
            upstream_ca,
            workers,
            max_connections: max_connections.unwrap_or(10_000),
            max_sessions: max_sessions.unwrap_or(100_000),
            session_ttl: session_ttl.unwrap_or(HOUR),
            idle_timeout: idle.unwrap_or(second * 75),
            body_timeout: body.unwrap_or(second * 30),
            connect_timeout: connect.unwrap_or(second * 5),
            request_timeout: request.unwrap_or(second * 300),
            drain_timeout: drain.unwrap_or(second * 10),
        }
    }
}

impl Loader<'_> {
    fn tls(&self, node: &Node, sink: &mut Sink) -> Option<(PathBuf, PathBuf)> {
        let mut fields = Fields::open(node, "`tls`", sink)?;
        let certificate = fields.need("certificate", sink);
        let key = fields.need("key", sink);
        fields.finish(sink);
        let certificate = self.file(certificate?, "certificate", sink);
        let key = self.file(key?, "key", sink);
        certificate.zip(key)
    }

    fn file(&self, node: &Node, what: &str, sink: &mut Sink) -> Option<PathBuf> {
        read::path(node, what, &self.base, self.home.as_deref(), sink)
    }
}

fn address(node: &Node, what: &str, sink: &mut Sink) -> Option<SocketAddr> {
    let text = node.text(what, sink)?;
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!(
            "`{}` is not an address and a port",
            mcpf_policy::yaml::clip(text)
        );
        let help = "127.0.0.1:8080, or [::]:8080 for every address";
        sink.error_with_help(node.at, Code::BadValue, message, help);
    }
    address
}

fn path(node: &Node, sink: &mut Sink) -> Option<String> {
    let text = node.text("path", sink)?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    if text.starts_with('/') && text.bytes().all(is_plain) {
        return Some(text.to_owned());
    }
    let message = "path must begin with `/` and hold only letters, digits and -._~/".to_owned();
    sink.error(node.at, Code::BadValue, message);
    None
}

fn words(node: Option<&Node>, what: &str, sink: &mut Sink) -> Vec<String> {
    let nodes = node.map(Node::one_or_many).unwrap_or_default();
    nodes
        .iter()
        .filter_map(|node| node.text(what, sink).map(str::to_owned))
        .collect()
}
