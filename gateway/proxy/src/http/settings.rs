//! What the proxy was told, checked.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;

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
    /// Host name or address, without brackets.
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    /// As sent in `Host`.
    pub(crate) authority: HeaderValue,
    /// Path and query, as sent.
    pub(crate) target: Uri,
}

/// Why a URL cannot be an upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Not a URL.
    #[error("`{0}` is not a URL; write http://host:port/path")]
    NotAUrl(String),
    /// A scheme that is not spoken.
    #[error("the scheme `{0}` is not spoken here; write http://host:port/path")]
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
    /// When it is not an absolute `http` URL without credentials.
    pub fn parse(url: &str) -> Result<Self, UpstreamError> {
        let not = || UpstreamError::NotAUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| not())?;
        let scheme = uri.scheme_str().ok_or_else(not)?;
        if scheme != "http" {
            return Err(UpstreamError::Scheme(scheme.to_owned()));
        }
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
            host: host.into(),
            port: authority.port_u16().unwrap_or(80),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| not())?,
            target: target.parse().map_err(|_| not())?,
        })
    }

    /// The path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The path and query that `reference` names, if it stays on this server.
    pub(crate) fn resolve(&self, reference: &str) -> Option<Uri> {
        let base = format!("http://{}{}", self.authority.to_str().ok()?, self.target);
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
        let authority = self.authority.to_str().unwrap_or_default();
        format!("http://{authority}{}", self.target.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_an_absolute_http_url_without_credentials() {
        let upstream = Upstream::parse("http://127.0.0.1:4101/mcp?key=1").unwrap();
        assert_eq!((&*upstream.host, upstream.port), ("127.0.0.1", 4101));
        assert_eq!(upstream.path(), "/mcp");
        assert_eq!(upstream.display(), "http://127.0.0.1:4101/mcp");
        let upstream = Upstream::parse("http://[::1]/").unwrap();
        assert_eq!((&*upstream.host, upstream.port), ("::1", 80));
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
