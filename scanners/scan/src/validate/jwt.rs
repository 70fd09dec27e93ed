//! JSON web tokens.

use crate::views::base64;

/// RFC 7519 compact form: three base64url parts, the first of which decodes to a JSON object
/// that names an `alg`. The signature may be empty (`alg: none`).
pub(super) fn jwt(text: &[u8]) -> bool {
    let mut parts = text.split(|b| *b == b'.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let url_safe = |part: &[u8]| {
        part.iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if !(url_safe(header) && url_safe(payload) && url_safe(signature)) || payload.is_empty() {
        return false;
    }
    let mut decoded = Vec::with_capacity(header.len());
    base64::decode(header, &mut decoded);
    decoded.trim_ascii_start().starts_with(b"{")
        && memchr::memmem::find(&decoded, b"\"alg\"").is_some()
}

#[cfg(test)]
mod tests {
    use super::jwt;

    #[test]
    fn header_must_name_an_algorithm() {
        // {"alg":"HS256","typ":"JWT"} . {"sub":"1"} . x
        assert!(jwt(
            b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2ln"
        ));
        assert!(!jwt(b"eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiIxIn0.c2ln"));
        assert!(!jwt(b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0"));
        assert!(!jwt(b"a.b.c"));
    }
}
