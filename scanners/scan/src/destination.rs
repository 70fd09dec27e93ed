//! Network destinations in text: which scheme, which host, which kind of address.
//!
//! Enter: text, or one URL. Leave: what a resolver and a browser would make of it. Never: a name
//! lookup.

use crate::validate::address;

/// What kind of address a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Anything that is none of the others.
    Public,
    /// This machine: 127.0.0.0/8, `::1`, `localhost`.
    Loopback,
    /// Private, link-local, carrier-grade or otherwise special, or a name for one of these.
    Private,
    /// A cloud's metadata service.
    Metadata,
}

/// A destination named in text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The scheme in lower case; empty for a bare host.
    pub scheme: String,
    /// The host as URL parsers read it: lower case, ASCII, addresses in their canonical form.
    pub host: Option<String>,
    /// What kind of address the host is.
    pub class: AddressClass,
}

impl Destination {
    /// The destination that `text` names: a URL, or a bare host with or without port and path.
    ///
    /// `None` when there is no host in it and no scheme.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        let scheme = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.split_once("://"))
            .map(|(before, _)| scheme_at_end(before).to_ascii_lowercase())
            .unwrap_or_default();
        let host = address::name_of_host(text);
        if host.is_none() && scheme.is_empty() {
            return None;
        }
        let class = if address::is_metadata(text) {
            AddressClass::Metadata
        } else if address::is_loopback(text) {
            AddressClass::Loopback
        } else if address::is_private(text) {
            AddressClass::Private
        } else {
            AddressClass::Public
        };
        Some(Self {
            scheme,
            host,
            class,
        })
    }

    /// Whether the scheme is one of the web's: http, https, ws, wss or ftp. A bare host has none.
    #[must_use]
    pub fn is_web(&self) -> bool {
        is_special(&self.scheme)
    }
}

/// Longest authority (user, host and port) that is looked at, in bytes.
const MAX_AUTHORITY: usize = 2_048;

/// Schemes after which WHATWG URL parsers take any number of slashes, either way round.
const SPECIAL: [&str; 5] = ["http", "https", "ws", "wss", "ftp"];

/// Every destination that stands in `text` as a URL, in order.
///
/// What browsers forgive is read as they read it: `http:\\\\host`, `https:/host`, quotes in the user
/// part. Authorities that are looked at do not overlap, so the work is linear in the text.
pub fn destinations(text: &str) -> impl Iterator<Item = Destination> + '_ {
    let mut from = 0;
    memchr::memchr_iter(b':', text.as_bytes())
        .filter_map(move |at| {
            if at < from {
                return None;
            }
            let scheme = scheme_at_end(text.get(..at)?);
            let rest = text.get(at + 1..)?;
            let special = is_special(scheme);
            let authority = if special {
                rest.trim_start_matches(['/', '\\'])
            } else {
                rest.strip_prefix("//")?
            };
            let authority = cut(authority, |c| {
                matches!(c, '/' | '?' | '#' | '<' | '>')
                    || (special && c == '\\')
                    || c.is_whitespace()
            });
            from = at
                + 1
                + (rest.len() - rest.trim_start_matches(['/', '\\']).len())
                + authority.len();
            // A quote ends a URL in text, and is a part of the user name for a parser.
            let quoted = cut(authority, |c| matches!(c, '"' | '\'' | '`'));
            let whole =
                Some(authority).filter(|all| all.len() != quoted.len() && all.contains('@'));
            Some(
                [Some(quoted), whole].map(|authority| {
                    Destination::of(format!("{scheme}://{}", authority?).as_bytes())
                }),
            )
        })
        .flatten()
        .flatten()
}

fn is_special(scheme: &str) -> bool {
    SPECIAL.iter().any(|name| name.eq_ignore_ascii_case(scheme))
}

/// The front of `text` up to the first character that `ends` it, at most [`MAX_AUTHORITY`] bytes.
fn cut(text: &str, ends: impl Fn(char) -> bool) -> &str {
    let mut limit = text.len().min(MAX_AUTHORITY);
    while !text.is_char_boundary(limit) {
        limit -= 1;
    }
    let front = text.get(..limit).unwrap_or_default();
    front
        .find(ends)
        .and_then(|end| front.get(..end))
        .unwrap_or(front)
}

/// The scheme that `text` ends with (RFC 3986 section 3.1).
fn scheme_at_end(text: &str) -> &str {
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let length = text.bytes().rev().take(64).take_while(is_part).count();
    text.get(text.len() - length..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_found_in_text_and_read_as_a_browser_would() {
        let text =
            "see HTTPS://Example.COM./a, (http://0x7f.1:80/) and gopher://[::ffff:10.0.0.1]/x";
        let found: Vec<_> = destinations(text)
            .map(|d| (d.scheme, d.host.unwrap(), d.class))
            .collect();
        assert_eq!(
            found,
            [
                ("https".into(), "example.com".into(), AddressClass::Public),
                ("http".into(), "127.0.0.1".into(), AddressClass::Loopback),
                ("gopher".into(), "10.0.0.1".into(), AddressClass::Private),
            ]
        );
    }

    #[test]
    fn what_browsers_forgive_is_a_destination() {
        for text in [
            "http:/10.0.0.1/",
            "http:\\\\10.0.0.1/",
            "http:10.0.0.1/",
            "HTTP:/\\/10.0.0.1",
            "http://a'b@10.0.0.1/",
            "https://good.example`@10.0.0.1/",
        ] {
            let private = destinations(text).any(|found| found.class == AddressClass::Private);
            assert!(private, "{text}");
        }
        let long = format!("http://{}@10.0.0.1/", "a".repeat(300));
        assert!(destinations(&long).any(|found| found.class == AddressClass::Private));
        assert_eq!(destinations("note: this, a:b, 10:30, x: http").count(), 0);
    }

    #[test]
    fn a_flood_of_schemes_is_read_once() {
        for piece in [
            "://",
            "http://",
            "http:",
            "https://a.b/?d=",
            "![a](http://a/?q=",
        ] {
            let text = piece.repeat(400_000 / piece.len());
            let authorities: usize = destinations(&text)
                .filter_map(|found| found.host)
                .map(|host| host.len())
                .sum();
            assert!(authorities <= text.len() * 2, "{piece}");
        }
    }

    #[test]
    fn the_web_is_told_from_other_schemes() {
        let web = |text: &str| Destination::of(text.as_bytes()).unwrap().is_web();
        for yes in [
            "http://a.b",
            "HTTPS://a.b",
            "ws://a.b",
            "wss://a.b",
            "ftp://a.b",
        ] {
            assert!(web(yes), "{yes}");
        }
        for no in ["a.b", "gopher://a.b", "file://a.b", "xhttp://a.b"] {
            assert!(!web(no), "{no}");
        }
    }

    #[test]
    fn a_bare_host_is_a_destination_too() {
        assert_eq!(
            Destination::of(b"169.254.169.254").unwrap().class,
            AddressClass::Metadata
        );
        assert_eq!(
            Destination::of(b"localhost:3000").unwrap().class,
            AddressClass::Loopback
        );
    }
}
