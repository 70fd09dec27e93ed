//! The URL of a server.

use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;

/// A server to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name or address, without brackets.
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    /// As sent in `Host`.
    pub(crate) authority: HeaderValue,
    /// Path and query, as sent.
    pub(crate) place: Uri,
}

/// Why a URL cannot be a server's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL.
    #[error("`{0}` is not a URL; write http://host:port/path")]
    NotAUrl(String),
    /// A scheme that is not spoken.
    #[error("the scheme `{0}` is not spoken here; write http://host:port/path")]
    Scheme(String),
    /// A user name or password.
    #[error("credentials do not belong in the URL; give them as a header")]
    Credentials,
}

impl Target {
    /// The server at `url`.
    ///
    /// # Errors
    ///
    /// When it is not an absolute `http` URL without credentials.
    ///
    /// ```
    /// use mcpf_bridge::Target;
    ///
    /// let target = Target::parse("http://127.0.0.1:4101/mcp?key=1").unwrap();
    /// assert_eq!(target.display(), "http://127.0.0.1:4101/mcp");
    /// assert!(Target::parse("ftp://a/").is_err());
    /// ```
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let not = || TargetError::NotAUrl(url.chars().take(256).collect());
        let uri: Uri = url.parse().map_err(|_| not())?;
        let scheme = uri.scheme_str().ok_or_else(not)?;
        let authority = uri.authority().ok_or_else(not)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        if scheme != "http" {
            return Err(TargetError::Scheme(scheme.to_owned()));
        }
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(not());
        }
        let place = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: host.into(),
            port: authority.port_u16().unwrap_or(80),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| not())?,
            place: place.parse().map_err(|_| not())?,
        })
    }

    /// The path and query that `reference` names, if it stays on this server: a stream may not send the
    /// client's messages, and the operator's credentials, elsewhere.
    pub(crate) fn resolve(&self, reference: &str) -> Option<Uri> {
        let base = format!("http://{}{}", self.authority.to_str().ok()?, self.place);
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
        format!("http://{authority}{}", self.place.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_absolute_http_url_without_credentials() {
        let target = Target::parse("http://[::1]/").unwrap();
        assert_eq!((&*target.host, target.port), ("::1", 80));
        for bad in [
            "",
            "mcp",
            "/mcp",
            "127.0.0.1:80",
            "https://a/",
            "http://u:p@a/",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
        let secret = Target::parse("http://u:s3cret@a/").unwrap_err();
        assert!(!secret.to_string().contains("s3cret"));
    }

    #[test]
    fn an_endpoint_stays_on_the_server() {
        let target = Target::parse("http://a.example:1/sse").unwrap();
        let resolved = |reference| target.resolve(reference).map(|uri| uri.to_string());
        assert_eq!(
            resolved("/m?sessionId=1").as_deref(),
            Some("/m?sessionId=1")
        );
        assert_eq!(resolved("m").as_deref(), Some("/m"));
        assert_eq!(resolved("http://a.example:1/m").as_deref(), Some("/m"));
        for elsewhere in [
            "http://b.example/m",
            "//b.example/m",
            "https://a.example:1/m",
        ] {
            assert_eq!(resolved(elsewhere), None, "{elsewhere}");
        }
    }
}
