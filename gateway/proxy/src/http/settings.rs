//! What the proxy was told, checked.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{Method, Uri};

/// How the proxy listens and where it sends.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where messages go.
    pub upstream: Upstream,
    /// The path clients use, exactly. Default that of the upstream.
    pub path: Arc<str>,
    /// Names that a `Host` may carry beside `localhost`, the loopback addresses and the address
    /// listened on. A name holds for every port.
    pub hosts: Vec<Box<str>>,
    /// Origins that a browser may call from, such as `https://app.example`. Beside these only
    /// loopback origins are let in, and only when `listen` is a loopback address.
    pub origins: Vec<Box<str>>,
    /// Paths beside `path` whose requests go to the server as they are: those of authorization, which
    /// carry no messages. One that ends in `*` stands for all that begin so.
    pub passed: Vec<Box<str>>,
    /// Runtimes, one a core. Default the number of cores.
    pub workers: NonZeroUsize,
    /// Most client connections at once, in all. Default 10,000; further ones are closed at once.
    pub max_connections: usize,
    /// Most sessions at once. Default 100,000; further ones are refused with 503.
    pub max_sessions: usize,
    /// A session that nobody has used for so long is forgotten. Default one hour.
    pub session_ttl: Duration,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// What to speak TLS with to clients; `None` is plain HTTP.
    pub server_tls: Option<Arc<rustls::ServerConfig>>,
    /// What to speak TLS with to the upstream.
    pub client_tls: Option<Arc<rustls::ClientConfig>>,
}

/// How long a peer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the head of a request, and between requests of a connection. Default 75 s.
    pub idle: Duration,
    /// For the body of a request. Default 30 s.
    pub body: Duration,
    /// For the upstream to accept a connection. Default 5 s.
    pub connect: Duration,
    /// For the head of the upstream's answer, and for the whole of an answer that is not a stream.
    /// Default 5 min.
    pub request: Duration,
    /// For requests under way when the gateway is told to end. Default 10 s.
    pub drain: Duration,
}

impl HttpSettings {
    /// Paths of OAuth's metadata (RFC 9728, RFC 8414, OpenID Connect Discovery), which clients look
    /// for before they have a credential.
    pub const METADATA: [&'static str; 3] = [
        "/.well-known/oauth-protected-resource*",
        "/.well-known/oauth-authorization-server*",
        "/.well-known/openid-configuration*",
    ];

    /// Whether requests for `path` pass without being messages. Metadata is only ever fetched.
    pub(crate) fn passes(&self, path: &str, method: &Method) -> bool {
        self.passed.iter().any(|passed| matches(passed, path))
            || (*method == Method::GET && Self::is_metadata(path))
    }

    /// Whether `path` is one of OAuth's metadata.
    pub(crate) fn is_metadata(path: &str) -> bool {
        Self::METADATA.into_iter().any(|known| matches(known, path))
    }
}

/// Whether `path` is `pattern`, or begins like one that ends in `*`.
fn matches(pattern: &str, path: &str) -> bool {
    // Two servers read these differently; they are nobody's path.
    if path.contains("..") || path.contains("//") || path.contains('%') {
        return false;
    }
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => pattern == path,
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            body: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            request: Duration::from_secs(300),
            drain: Duration::from_secs(10),
        }
    }
}

/// A server to send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub(crate) place: Place,
    /// Whether messages go through a WebSocket.
    pub(crate) is_websocket: bool,
    /// As sent in `Host`.
    pub(crate) authority: HeaderValue,
    /// Path and query, as sent.
    pub(crate) target: Uri,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A name or an address without brackets, a port, and whether TLS is spoken.
    Host {
        host: Arc<str>,
        port: u16,
        is_tls: bool,
    },
    /// A Unix domain socket.
    Socket(Arc<Path>),
}

/// Why a URL cannot be an upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Not a URL.
    #[error("`{0}` is not a URL; write https://host:port/path")]
    NotAUrl(String),
    /// A scheme that is not spoken.
    #[error("the scheme `{0}` is not spoken here; write http://, https://, ws:// or wss://")]
    Scheme(String),
    /// A user name or password.
    #[error("credentials do not belong in the URL of an upstream")]
    Credentials,
}

impl Upstream {
    /// The server at `url`.
    ///
    /// # Errors
    ///
    /// When it is not an absolute `http`, `https`, `ws` or `wss` URL without credentials.
    pub fn parse(url: &str) -> Result<Self, UpstreamError> {
        let not = || UpstreamError::NotAUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| not())?;
        let scheme = uri.scheme_str().ok_or_else(not)?;
        let (is_tls, is_websocket) = match scheme {
            "http" => (false, false),
            "https" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            other => return Err(UpstreamError::Scheme(other.to_owned())),
        };
        let authority = uri.authority().ok_or_else(not)?;
        if authority.as_str().contains('@') {
            return Err(UpstreamError::Credentials);
        }
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(not());
        }
        let target = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            place: Place::Host {
                host: host.into(),
                port: authority
                    .port_u16()
                    .unwrap_or(if is_tls { 443 } else { 80 }),
                is_tls,
            },
            is_websocket,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| not())?,
            target: target.parse().map_err(|_| not())?,
        })
    }

    /// The server behind a Unix domain socket, asked for `path`.
    ///
    /// # Errors
    ///
    /// When `path` is not an absolute path of a URL.
    pub fn socket(socket: &Path, path: &str) -> Result<Self, UpstreamError> {
        let target = path.parse();
        Ok(Self {
            place: Place::Socket(socket.into()),
            is_websocket: false,
            authority: HeaderValue::from_static("localhost"),
            target: target.map_err(|_| UpstreamError::NotAUrl(path.to_owned()))?,
        })
    }

    const fn scheme(&self) -> &'static str {
        match (&self.place, self.is_websocket) {
            (Place::Host { is_tls: true, .. }, false) => "https",
            (Place::Host { is_tls: true, .. }, true) => "wss",
            (_, true) => "ws",
            (_, false) => "http",
        }
    }

    /// Whether TLS is spoken with the server.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.place, Place::Host { is_tls: true, .. })
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The path and query that `reference` names, if it stays on this server.
    pub(crate) fn resolve(&self, reference: &str) -> Option<Uri> {
        let authority = self.authority.to_str().ok()?;
        let base = format!("{}://{authority}{}", self.scheme(), self.target);
        let base = url::Url::parse(&base).ok()?;
        let there = base.join(reference).ok()?;
        if there.origin() != base.origin() || there.fragment().is_some() {
            return None;
        }
        let query = there.query().map(|query| format!("?{query}"));
        format!("{}{}", there.path(), query.unwrap_or_default())
            .parse()
            .ok()
    }

    /// The URL without its query, which may hold a secret.
    #[must_use]
    pub fn display(&self) -> String {
        if let Place::Socket(socket) = &self.place {
            return format!("unix:{}", socket.display());
        }
        let authority = self.authority.to_str().unwrap_or_default();
        format!("{}://{authority}{}", self.scheme(), self.target.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_an_absolute_http_url_without_credentials() {
        let upstream = Upstream::parse("http://127.0.0.1:4101/mcp?key=1").unwrap();
        let host = |host: &str, port, is_tls| Place::Host {
            host: host.into(),
            port,
            is_tls,
        };
        assert_eq!(upstream.place, host("127.0.0.1", 4101, false));
        assert_eq!(upstream.path(), "/mcp");
        assert_eq!(upstream.display(), "http://127.0.0.1:4101/mcp");
        let upstream = Upstream::parse("http://[::1]/").unwrap();
        assert_eq!(upstream.place, host("::1", 80, false));
        let upstream = Upstream::parse("https://a.example/mcp").unwrap();
        assert_eq!(upstream.place, host("a.example", 443, true));
        assert_eq!(upstream.display(), "https://a.example/mcp");
        let upstream = Upstream::parse("http://[::1]/").unwrap();
        assert_eq!(upstream.path(), "/");
        let upstream = Upstream::parse("http://a.example:1/sse").unwrap();
        let resolved = |reference| upstream.resolve(reference).map(|uri| uri.to_string());
        let named = resolved("/message?sessionId=1");
        assert_eq!(named.as_deref(), Some("/message?sessionId=1"));
        assert_eq!(resolved("http://a.example:1/m").as_deref(), Some("/m"));
        let elsewhere = [
            "http://b.example/m",
            "//b.example/m",
            "https://a.example:1/m",
            "file:///m",
        ];
        for reference in elsewhere {
            assert_eq!(resolved(reference), None, "{reference}");
        }
        for bad in [
            "",
            "mcp",
            "/mcp",
            "127.0.0.1:80",
            "ftp://a/",
            "http://u:p@a/",
        ] {
            assert!(Upstream::parse(bad).is_err(), "{bad}");
        }
    }
}
