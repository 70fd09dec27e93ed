//! What `connect` was told.

use std::num::NonZeroUsize;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use mcpf_model::Limits;

use super::target::Target;

/// How [`connect`](super::connect()) reaches a server and what it may take.
///
/// Memory is at most `max_in_flight` times twice `limits.max_frame` for answers being read, 16 messages
/// that the client has not taken, and one message on its way to the server.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The server.
    pub target: Target,
    /// Fields that every request to the server carries beside its own, such as `Authorization`.
    pub fields: Vec<Field>,
    /// Limits of messages, as the firewall in front has them. A longer line of the client, and a longer
    /// answer of the server, are answered with errors.
    pub limits: Limits,
    /// Most requests that await an answer. Default 64, at most
    /// 65,536. While there are so many nothing more is read from
    /// the client, not even answers to what the server asked.
    pub max_in_flight: NonZeroUsize,
    /// How long anything may take.
    pub timeouts: ConnectTimeouts,
    /// How a stream that broke is taken up again.
    pub retry: Retry,
}

impl Connect {
    /// Everything by default.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            fields: Vec::new(),
            limits: Limits::default(),
            max_in_flight: NonZeroUsize::new(64).unwrap_or(NonZeroUsize::MIN),
            timeouts: ConnectTimeouts::default(),
            retry: Retry::default(),
        }
    }

    /// [`max_in_flight`](Self::max_in_flight), within what a semaphore counts.
    pub(crate) fn in_flight(&self) -> u32 {
        const MOST: u32 = 65_536;
        u32::try_from(self.max_in_flight.get()).map_or(MOST, |n| n.min(MOST))
    }
}

/// How long the server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectTimeouts {
    /// To accept a connection. Default 5 s.
    pub connect: Duration,
    /// For the head of an answer, and for the whole of one that is not a stream. Default 5 min.
    pub answer: Duration,
    /// For the steps of a handshake that the client does not see: taking `notifications/initialized`,
    /// and naming the endpoint of 2024-11-05. Default 10 s.
    pub handshake: Duration,
    /// For answers under way once the client has ended. Default 5 s. The firewall's relay sends SIGTERM
    /// 5 s after it closed our input or heard from us last.
    pub drain: Duration,
    /// To take the end of the session. Default 2 s.
    pub end: Duration,
}

impl Default for ConnectTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(300),
            handshake: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            end: Duration::from_secs(2),
        }
    }
}

/// How a stream that broke is taken up again, where the server named its events (MCP 2025-03-26,
/// "Resumability and Redelivery").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Most attempts in a row that bring nothing. Default 5.
    pub attempts: u32,
    /// The wait before the first of them, if the server does not name one with `retry`; doubled for each
    /// further. Default 1 s.
    pub first: Duration,
    /// The longest wait, whatever the server says. Default 30 s.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
        }
    }
}

/// A header field of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

/// Why a text cannot be a field of the operator's. Never says its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not `Name: value`.
    #[error("a header is written `Name: value`")]
    NotAField,
    /// Not a name, or not a value that HTTP can carry.
    #[error("`{0}` is not a header that HTTP can carry")]
    Invalid(String),
    /// A field that the transport decides.
    #[error("`{0}` is set by the transport itself")]
    Ours(String),
}

impl Field {
    /// Reads `Name: value`. The value counts as a secret: it is never logged.
    ///
    /// # Errors
    ///
    /// When it is not that, or names a field that the transport decides.
    ///
    /// ```
    /// use mcpf_bridge::Field;
    ///
    /// assert!(Field::parse("Authorization: Bearer abc").is_ok());
    /// assert!(Field::parse("Content-Length: 7").is_err());
    /// assert!(Field::parse("no colon").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let (name, value) = text.split_once(':').ok_or(FieldError::NotAField)?;
        let name = name.trim();
        let invalid = || FieldError::Invalid(name.escape_default().take(64).collect());
        let parsed = HeaderName::try_from(name).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        if is_ours(&parsed) {
            return Err(FieldError::Ours(parsed.to_string()));
        }
        Ok(Self {
            name: parsed,
            value,
        })
    }
}

fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("mcp-")
        || matches!(
            name,
            "host"
                | "connection"
                | "keep-alive"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "expect"
                | "content-length"
                | "content-encoding"
                | "content-type"
                | "accept"
                | "accept-encoding"
                | "last-event-id"
                | "range"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_a_field_never_says_its_value() {
        for text in ["Bad Name: s3cret", "X-Key: s3c\nret", "Host: s3cret"] {
            let error = Field::parse(text).unwrap_err();
            assert!(!error.to_string().contains("s3c"), "{error}");
        }
        let field = Field::parse("X-Key:  v ").unwrap();
        assert_eq!(field.value, "v");
        assert!(!format!("{field:?}").contains("\"v\""));
        assert_eq!(
            Field::parse("Mcp-Session-Id: 1").unwrap_err(),
            FieldError::Ours("mcp-session-id".into())
        );
    }
}
