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
}

/// Longest URL that is looked at, in bytes; the host of a longer one still stands at its front.
const MAX_URL: usize = 2_048;

/// Every destination that stands in `text` as a URL with `://`, in order.
pub fn destinations(text: &str) -> impl Iterator<Item = Destination> + '_ {
    memchr::memmem::find_iter(text.as_bytes(), b"://").filter_map(move |at| {
        let scheme = scheme_at_end(text.get(..at)?);
        let start = at - scheme.len();
        let rest = text.get(start..)?;
        let mut end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`'))
            .unwrap_or(rest.len())
            .min(MAX_URL);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        Destination::of(rest.get(..end)?.as_bytes())
    })
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
