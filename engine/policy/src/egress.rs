//! Which network destinations a call may name.
//!
//! Lists of schemes and domains enter, answers about one scheme or host leave. Finding URLs and
//! classing addresses is the scanner's work; metadata addresses are never permitted and have no
//! switch.

use crate::diagnostic::{Code, Sink};
use crate::yaml::{Fields, Node, clip};

/// The `egress` section of a policy.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    schemes: Vec<String>,
    deny_schemes: Vec<String>,
    allow_domains: Vec<Domain>,
    deny_domains: Vec<Domain>,
    /// Whether private addresses (RFC 1918, RFC 4193, carrier-grade NAT, link-local) may be
    /// named. Default no.
    pub allow_private: bool,
    /// Whether this machine itself (127.0.0.0/8, ::1, `localhost`) may be named. Default no.
    pub allow_loopback: bool,
}

/// A domain, alone or with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Domain {
    Exact(String),
    Below(String),
}

impl Egress {
    /// Whether URLs of `scheme` may be named. Case does not matter.
    ///
    /// `deny_schemes` wins; an empty `schemes` permits every other.
    #[must_use]
    pub fn permits_scheme(&self, scheme: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|s| s.eq_ignore_ascii_case(scheme));
        !listed(&self.deny_schemes) && (self.schemes.is_empty() || listed(&self.schemes))
    }

    /// Whether `host` may be named, going by the domain lists alone. Case and a final dot do
    /// not matter; an internationalised name must be in its ASCII form.
    ///
    /// `deny_domains` wins; an empty `allow_domains` permits every other.
    #[must_use]
    pub fn permits_domain(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let listed = |list: &[Domain]| list.iter().any(|domain| domain.covers(host));
        !listed(&self.deny_domains)
            && (self.allow_domains.is_empty() || listed(&self.allow_domains))
    }

    /// Whether no list restricts a scheme or a domain.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.schemes.is_empty()
            && self.deny_schemes.is_empty()
            && self.allow_domains.is_empty()
            && self.deny_domains.is_empty()
    }

    pub(crate) fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let mut fields = Fields::open(node, "`egress`", sink)?;
        let flag = |fields: &mut Fields<'_>, key, sink: &mut Sink| {
            let node = fields.take(key)?;
            node.boolean(key, sink)
        };
        let allow_private = flag(&mut fields, "allow_private", sink).unwrap_or(false);
        let allow_loopback = flag(&mut fields, "allow_loopback", sink).unwrap_or(false);
        let egress = Self {
            schemes: read_list(fields.take("schemes"), sink, scheme),
            deny_schemes: read_list(fields.take("deny_schemes"), sink, scheme),
            allow_domains: read_list(fields.take("allow_domains"), sink, Domain::parse),
            deny_domains: read_list(fields.take("deny_domains"), sink, Domain::parse),
            allow_private,
            allow_loopback,
        };
        fields.finish(sink);
        Some(egress)
    }
}

impl Domain {
    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name.eq_ignore_ascii_case(host),
            // Compares bytes, so that no slice can fall inside a character.
            Self::Below(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .filter(|at| *at > 0)
                .and_then(|at| host.as_bytes().get(at..))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix.as_bytes())),
        }
    }

    /// `example.com`, or `*.example.com` for everything below it.
    fn parse(text: &str) -> Option<Self> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let bracketed = name.starts_with('[') && name.ends_with(']') && !below;
        if name.len() > 253 || !(bracketed || name.split('.').all(label)) {
            return None;
        }
        let name = name.to_ascii_lowercase();
        Some(if below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Exact(name)
        })
    }
}

fn scheme(text: &str) -> Option<String> {
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    good.then(|| text.to_ascii_lowercase())
}

fn read_list<T>(node: Option<&Node>, sink: &mut Sink, parse: fn(&str) -> Option<T>) -> Vec<T> {
    let Some(node) = node else { return Vec::new() };
    let mut list = Vec::new();
    for item in node.list("this", sink).unwrap_or_default() {
        let Some(text) = item.text("this", sink) else {
            continue;
        };
        match parse(text) {
            Some(value) => list.push(value),
            None => sink.error_with_help(
                item.at,
                Code::BadValue,
                format!("`{}` is not a scheme or domain", clip(text)),
                "a scheme without `:`; a domain in ASCII, `*.` in front for all below it",
            ),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_cover_what_they_say() {
        let exact = Domain::parse("Example.com.").unwrap();
        assert!(exact.covers("EXAMPLE.com") && !exact.covers("a.example.com"));
        let below = Domain::parse("*.example.com").unwrap();
        assert!(below.covers("a.Example.com") && below.covers("a.b.example.com"));
        assert!(!below.covers("example.com") && !below.covers("badexample.com"));
        assert!(!below.covers(".example.com"), "an empty label is no host");
        for bad in [
            "",
            "*",
            "a..b",
            "ex ample",
            "münchen.de",
            "*.*.com",
            "http://x",
        ] {
            assert_eq!(Domain::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn denials_win() {
        let egress = Egress {
            schemes: vec!["https".into(), "ftp".into()],
            deny_schemes: vec!["ftp".into()],
            allow_domains: vec![Domain::parse("*.example.com").unwrap()],
            deny_domains: vec![Domain::parse("bad.example.com").unwrap()],
            ..Egress::default()
        };
        assert!(egress.permits_scheme("HTTPS") && !egress.permits_scheme("ftp"));
        assert!(!egress.permits_scheme("gopher"));
        assert!(egress.permits_domain("ok.example.com."));
        assert!(!egress.permits_domain("bad.example.com") && !egress.permits_domain("x.org"));
        assert!(Egress::default().permits_domain("x.org"));
    }
}
