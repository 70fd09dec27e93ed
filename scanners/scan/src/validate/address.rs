//! Where does a URL really go? Hosts are judged as a resolver would read them.
//!
//! Enters: a URL, or a bare host with or without port and path. Leaves: whether its host is one
//! that must not be reached. It never resolves a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Private, loopback, link-local, carrier-grade, benchmark, multicast, broadcast or unspecified,
/// or a name for one of these.
pub(crate) fn is_private(text: &[u8]) -> bool {
    host(text).is_some_and(|host| match host {
        Found::Address(ip) => special(ip),
        Found::Name(name) => {
            local_name(&name) || embedded(&name).is_some_and(|v4| special(IpAddr::V4(v4)))
        }
    })
}

/// The metadata service of a cloud.
pub(crate) fn is_metadata(text: &[u8]) -> bool {
    host(text).is_some_and(|host| match host {
        Found::Address(ip) => metadata(ip),
        Found::Name(name) => {
            METADATA_NAMES.contains(&name.as_str())
                || embedded(&name).is_some_and(|v4| metadata(IpAddr::V4(v4)))
        }
    })
}

/// This machine itself.
pub(crate) fn is_loopback(text: &[u8]) -> bool {
    host(text).is_some_and(|host| match host {
        Found::Address(ip) => ip.is_loopback(),
        Found::Name(name) => {
            matches!(
                name.as_str(),
                "localhost" | "localhost.localdomain" | "ip6-localhost" | "ip6-loopback"
            ) || name.ends_with(".localhost")
        }
    })
}

/// The host in the form that is compared with lists.
pub(crate) fn name_of_host(text: &[u8]) -> Option<String> {
    Some(match host(text)? {
        Found::Address(ip) => ip.to_string(),
        Found::Name(name) => name,
    })
}

/// A scheme that reads files, runs code or speaks raw protocols (server-side request forgery,
/// script injection).
pub(super) fn dangerous_scheme(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let scheme = text.split(|b| *b == b':').next().unwrap_or_default();
    scheme.len() < text.len()
        && SCHEMES
            .iter()
            .any(|s| s.as_bytes().eq_ignore_ascii_case(scheme))
}

const SCHEMES: [&str; 20] = [
    "file",
    "gopher",
    "dict",
    "ldap",
    "ldaps",
    "tftp",
    "sftp",
    "scp",
    "smb",
    "jar",
    "netdoc",
    "php",
    "phar",
    "expect",
    "glob",
    "zlib",
    "data",
    "javascript",
    "vbscript",
    "view-source",
];

const METADATA_NAMES: [&str; 7] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.packet.net",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Services that answer with the address written in the name.
const ECHO_DOMAINS: [&str; 6] = [
    ".nip.io",
    ".sslip.io",
    ".xip.io",
    ".traefik.me",
    ".localtest.me",
    ".lvh.me",
];

enum Found {
    Address(IpAddr),
    Name(String),
}

/// The host as WHATWG URL parsers read it: decimal, octal and hexadecimal IPv4 are addresses,
/// percent-encoding is decoded, names are lower-cased.
fn host(text: &[u8]) -> Option<Found> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.trim_start_matches(['"', '\'', '`', '(', '<']);
    let rest = match text.split_once("://") {
        Some((_, rest)) => rest,
        None => text.strip_prefix("//").unwrap_or(text),
    };
    // The `file` and unknown schemes would not get their host parsed: ask as if it were `http`.
    let bare: IpAddr = match rest.parse::<Ipv6Addr>() {
        Ok(v6) => IpAddr::V6(v6),
        Err(_) => return parsed(rest),
    };
    Some(Found::Address(unwrap(bare)))
}

fn parsed(rest: &str) -> Option<Found> {
    let url = Url::parse(&format!("http://{rest}"))
        .or_else(|_| Url::parse(&format!("http://{}", authority(rest))))
        .ok()?;
    match url.host()? {
        Host::Ipv4(v4) => Some(Found::Address(IpAddr::V4(v4))),
        Host::Ipv6(v6) => Some(Found::Address(unwrap(IpAddr::V6(v6)))),
        Host::Domain(name) => Some(Found::Name(name.trim_end_matches('.').to_ascii_lowercase())),
    }
}

/// What is left of a broken URL when path, user and an impossible port are dropped.
fn authority(rest: &str) -> &str {
    let end = rest
        .find(['/', '?', '#', '\\', ' ', '"', '\''])
        .unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    }
}

/// The IPv4 address inside an IPv6 one: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056),
/// ISATAP (RFC 5214) or Teredo (RFC 4380, server's client address inverted).
fn unwrap(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let pair = |hi: u16, lo: u16| {
        let ([w, x], [y, z]) = (hi.to_be_bytes(), lo.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) => pair(g, h),
        (0, 0, 0, 0, 0, 0) if g != 0 => pair(g, h),
        (0x64, 0xff9b, 0, 0, 0, 0) | (0x64, 0xff9b, 1, _, _, _) => pair(g, h),
        (0x2002, hi, lo, ..) => pair(hi, lo),
        (0x2001, 0, ..) => pair(!g, !h),
        (_, _, _, _, 0 | 0x200, 0x5efe) => pair(g, h),
        _ => ip,
    }
}

fn special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && matches!(b, 18 | 19))
                || metadata(ip)
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
                || first & 0xffc0 == 0xfec0
                || (first == 0x100 && second == 0)
                || metadata(ip)
        }
    }
}

/// AWS, Azure, Google, Oracle, Alibaba, Tencent, OpenStack; ECS task credentials; Azure's wire
/// server; AWS over IPv6 and its EKS pod identity agent.
fn metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => matches!(
            v4.octets(),
            [169, 254, 169, 254]
                | [169, 254, 170, 2 | 23]
                | [169, 254, 0, 23]
                | [169, 254, 169, 253]
                | [100, 100, 100, 200]
                | [168, 63, 129, 16]
                | [192, 0, 0, 192]
        ),
        IpAddr::V6(v6) => matches!(
            v6.segments(),
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        ),
    }
}

fn local_name(name: &str) -> bool {
    const ENDINGS: [&str; 7] = [
        ".localhost",
        ".localdomain",
        ".local",
        ".internal",
        ".intranet",
        ".home.arpa",
        ".svc.cluster.local",
    ];
    const NAMES: [&str; 9] = [
        "localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "ip6-loopback",
        "host.docker.internal",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localtest.me",
        "lvh.me",
    ];
    NAMES.contains(&name)
        || METADATA_NAMES.contains(&name)
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
        || name.ends_with(".localtest.me")
        || name.ends_with(".lvh.me")
}

/// The address written in a name such as `app.10-0-0-1.nip.io` or `7f000001.nip.io`.
fn embedded(name: &str) -> Option<Ipv4Addr> {
    let rest = ECHO_DOMAINS
        .iter()
        .find_map(|domain| name.strip_suffix(domain))?;
    let hex = rest.rsplit(['.', '-']).next()?;
    if let Ok(bits) = u32::from_str_radix(hex, 16)
        && hex.len() == 8
    {
        return Some(Ipv4Addr::from(bits));
    }
    let mut octets = [0_u8; 4];
    let mut parts = rest.rsplit(['.', '-']);
    for slot in octets.iter_mut().rev() {
        *slot = parts.next()?.parse().ok()?;
    }
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_of_a_private_address() {
        for inside in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::a00:1]/",
            "http://[2002:a00:1::]/",
            "http://[fe80::1]/",
            "http://[fd12:3456::1]/",
            "http://[::]/",
            "http://0.0.0.0:8080/",
            "http://0/",
            "http://10.0.0.1",
            "http://user:pass@10.0.0.1:99999/",
            "http://172.16.0.1/",
            "http://192.168.1.1:8080/x",
            "http://100.64.0.1/",
            "http://169.254.1.1/",
            "http://localhost:3000/",
            "http://LOCALHOST./",
            "http://app.localhost/",
            "http://127.0.0.1.nip.io/",
            "http://app-10-0-0-1.nip.io/",
            "http://7f000001.nip.io/",
            "http://db.internal/",
            "http://metadata.google.internal/",
            "http://%6c%6f%63%61%6chost/",
            "http://①②⑦.⓪.⓪.①/",
            "//127.0.0.1/x",
            "localhost:8080",
            "10.1.2.3",
            "::1",
            "fe80::1",
            "ws://127.0.0.1:9229/",
        ] {
            assert!(is_private(inside.as_bytes()), "{inside}");
        }
    }

    #[test]
    fn public_hosts_are_public() {
        for outside in [
            "http://8.8.8.8/",
            "https://example.com/",
            "http://localhost.example.com/",
            "https://[2606:4700::1111]/",
            "http://11.0.0.1/",
            "http://172.32.0.1/",
            "http://8.8.8.8.nip.io/",
            "not a url",
            "",
        ] {
            assert!(!is_private(outside.as_bytes()), "{outside}");
        }
    }

    #[test]
    fn metadata_services() {
        for service in [
            "http://169.254.169.254/latest/meta-data/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "http://metadata.google.internal./computeMetadata/v1/",
            "http://100.100.100.200/",
            "http://169.254.170.2/v2/credentials",
            "http://169-254-169-254.nip.io/",
        ] {
            assert!(is_metadata(service.as_bytes()), "{service}");
        }
        assert!(!is_metadata(b"http://169.254.1.1/"));
        assert!(!is_metadata(b"http://10.0.0.1/"));
    }

    #[test]
    fn schemes() {
        assert!(dangerous_scheme(b"file:///etc/passwd"));
        assert!(dangerous_scheme(b"GOPHER://x"));
        assert!(dangerous_scheme(b"javascript:alert(1)"));
        assert!(!dangerous_scheme(b"https://x"));
        assert!(!dangerous_scheme(b"file"));
    }
}
