//! Where messages are posted to.
//!
//! Enter: a URL as typed, or an address. Leave: a socket address, and what the request line and `Host` say.
//! Never: TLS. A gateway is measured on the machine it runs on, where a certificate says nothing.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use thiserror::Error;

/// An `http://` URL, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    address: SocketAddr,
    authority: String,
    path: String,
}

/// Why a URL cannot be measured.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// Another scheme than `http`.
    #[error("`{0}` does not begin with `http://`; only plain HTTP is measured")]
    Scheme(String),
    /// No valid host, port or path.
    #[error("`{0}` is not a URL such as `http://127.0.0.1:8080/mcp`")]
    Form(String),
    /// The name has no address.
    #[error("the host of `{url}` has no address: {why}")]
    Host {
        /// The URL.
        url: String,
        /// What the system said.
        why: String,
    },
}

impl Endpoint {
    /// `path` at `address`.
    ///
    /// ```
    /// let mcp = mcpf_load::Endpoint::new(([127, 0, 0, 1], 8080).into(), "/mcp");
    /// assert_eq!(mcp.to_string(), "http://127.0.0.1:8080/mcp");
    /// ```
    #[must_use]
    pub fn new(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            authority: address.to_string(),
            path: path.to_owned(),
        }
    }

    /// The address to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Host and port, as `Host` carries them.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads `http://HOST[:PORT][/PATH]`; the port is 80 and the path `/` where none is given.
    fn from_str(url: &str) -> Result<Self, EndpointError> {
        let form = || EndpointError::Form(url.to_owned());
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| EndpointError::Scheme(url.to_owned()))?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['#', '@', '\\']) {
            return Err(form());
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.is_empty() || authority.starts_with(':') || authority.contains('?') {
            return Err(form());
        }
        let with_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
        let resolvable = if with_port {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let mut addresses = resolvable
            .to_socket_addrs()
            .map_err(|why| EndpointError::Host {
                url: url.to_owned(),
                why: why.to_string(),
            })?;
        Ok(Self {
            address: addresses.next().ok_or_else(form)?,
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, address, path) in [
            ("http://127.0.0.1:8080/mcp", "127.0.0.1:8080", "/mcp"),
            ("http://127.0.0.1", "127.0.0.1:80", "/"),
            ("http://[::1]:90/a/b?c=d", "[::1]:90", "/a/b?c=d"),
            ("http://[::1]/", "[::1]:80", "/"),
        ] {
            let endpoint: Endpoint = url.parse().unwrap();
            assert_eq!(endpoint.address(), address.parse().unwrap(), "{url}");
            assert_eq!(endpoint.path(), path, "{url}");
        }
    }

    #[test]
    fn what_is_no_plain_http_url_is_refused() {
        for url in [
            "https://127.0.0.1/",
            "127.0.0.1:80",
            "http://",
            "http://:80/",
            "http://127.0.0.1:99999/",
            "http://a b/",
            "http://user@127.0.0.1/",
            "http://127.0.0.1/a\r\nHost: b",
        ] {
            assert!(url.parse::<Endpoint>().is_err(), "{url}");
        }
    }
}
