//! What a request may do wrong before it is one, and how the client is told.

use std::error::Error;
use std::fmt;

/// How a client broke the framing of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A line ended with a line feed alone.
    BareLf,
    /// A carriage return stood without its line feed.
    BareCr,
    /// A NUL or another control character stood in the head.
    ControlByte,
    /// The first line was not method, target and version, with one space between each.
    RequestLine,
    /// The method was `CONNECT`.
    ConnectMethod,
    /// The target held a byte outside printable ASCII, or a fragment.
    TargetByte,
    /// The target was not a path, or not one of the forms that were allowed.
    TargetForm,
    /// The target was longer than [`GuardOptions::max_target`](super::GuardOptions::max_target).
    TargetTooLong,
    /// The version was neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// The HTTP/2 preface came where it is not allowed.
    Http2,
    /// The head was larger than [`GuardOptions::max_head`](super::GuardOptions::max_head).
    HeadTooLarge,
    /// A line of the head was longer than [`GuardOptions::max_line`](super::GuardOptions::max_line).
    LineTooLong,
    /// The head had more field lines than [`GuardOptions::max_fields`](super::GuardOptions::max_fields).
    TooManyFields,
    /// A field line had no colon, no name, or a name that is no token.
    FieldName,
    /// White space stood between a field's name and its colon.
    SpaceBeforeColon,
    /// A field went on in the next line, which began with white space.
    ObsFold,
    /// There was no `Host`.
    HostMissing,
    /// `Host`, or the authority of an absolute target, was not `host[:port]`.
    HostSyntax,
    /// `Host` named another authority than the target.
    HostMismatch,
    /// `Content-Length` was not one decimal number of at most 64 bits.
    ContentLength,
    /// `Transfer-Encoding` was anything but `chunked`.
    TransferEncoding,
    /// `Content-Length` and `Transfer-Encoding` came together.
    LengthAndEncoding,
    /// `Transfer-Encoding` came with HTTP/1.0.
    EncodingOnHttp10,
    /// A field that may occur once came twice.
    Duplicate(Single),
    /// `Upgrade` was not allowed, not `websocket`, or not in a `GET` of HTTP/1.1.
    Upgrade,
    /// A request for an upgrade had a body.
    UpgradeBody,
    /// Bytes came between a request for an upgrade and its answer.
    UpgradeEarlyData,
    /// `Expect` was anything but `100-continue`.
    Expect,
    /// The size of a chunk was not 1 to 16 hexadecimal digits.
    ChunkSize,
    /// A chunk had an extension.
    ChunkExtension,
    /// A chunk was longer or shorter than its size.
    ChunkEnd,
    /// A chunked body had trailer fields.
    Trailer,
}

impl Violation {
    /// The name in audit records and metrics. Stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ControlByte => "control_byte",
            Self::RequestLine => "request_line",
            Self::ConnectMethod => "connect_method",
            Self::TargetByte => "target_byte",
            Self::TargetForm => "target_form",
            Self::TargetTooLong => "target_too_long",
            Self::Version => "version",
            Self::Http2 => "http2",
            Self::HeadTooLarge => "head_too_large",
            Self::LineTooLong => "line_too_long",
            Self::TooManyFields => "too_many_fields",
            Self::FieldName => "field_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::ObsFold => "obs_fold",
            Self::HostMissing => "host_missing",
            Self::HostSyntax => "host_syntax",
            Self::HostMismatch => "host_mismatch",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::EncodingOnHttp10 => "encoding_on_http10",
            Self::Duplicate(single) => single.entry().1,
            Self::Upgrade => "upgrade",
            Self::UpgradeBody => "upgrade_body",
            Self::UpgradeEarlyData => "upgrade_early_data",
            Self::Expect => "expect",
            Self::ChunkSize => "chunk_size",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkEnd => "chunk_end",
            Self::Trailer => "trailer",
        }
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::LineTooLong | Self::TooManyFields => 431,
            Self::TransferEncoding => 501,
            Self::Version | Self::Http2 => 505,
            _ => 400,
        }
    }

    /// One sentence for the client. Holds nothing that the client sent.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::BareLf => "A line must end with CR LF.",
            Self::BareCr => "A CR must be followed by LF.",
            Self::ControlByte => "The request head must not contain control characters.",
            Self::RequestLine => "The request line is malformed.",
            Self::ConnectMethod => "The CONNECT method is not accepted here.",
            Self::TargetByte => {
                "The request target contains a character that must be percent-encoded."
            }
            Self::TargetForm => "The request target must be a path that starts with a slash.",
            Self::TargetTooLong => "The request target is too long.",
            Self::Version => "Only HTTP/1.1 and HTTP/1.0 are accepted here.",
            Self::Http2 => "HTTP/2 is not accepted here.",
            Self::HeadTooLarge => "The request head is too large.",
            Self::LineTooLong => "A line of the request head is too long.",
            Self::TooManyFields => "The request head has too many fields.",
            Self::FieldName => "A header field has no valid name.",
            Self::SpaceBeforeColon => "A header field has white space before its colon.",
            Self::ObsFold => "A header field must not continue in another line.",
            Self::HostMissing => "The Host header field is missing.",
            Self::HostSyntax => "The Host must be host or host:port.",
            Self::HostMismatch => "The Host and the request target name different servers.",
            Self::ContentLength => "The Content-Length must be one decimal number.",
            Self::TransferEncoding => "Only the transfer encoding chunked is accepted here.",
            Self::LengthAndEncoding => {
                "Content-Length and Transfer-Encoding must not come together."
            }
            Self::EncodingOnHttp10 => "HTTP/1.0 has no Transfer-Encoding.",
            Self::Duplicate(_) => "A header field that may occur once came twice.",
            Self::Upgrade => "This Upgrade is not accepted here.",
            Self::UpgradeBody => "A request for an upgrade must not have a body.",
            Self::UpgradeEarlyData => {
                "Nothing may follow a request for an upgrade before its answer."
            }
            Self::Expect => "Only the expectation 100-continue is accepted here.",
            Self::ChunkSize => "The size of a chunk is malformed.",
            Self::ChunkExtension => "Chunk extensions are not accepted here.",
            Self::ChunkEnd => "A chunk does not end where its size says.",
            Self::Trailer => "Trailer fields are not accepted here.",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error for Violation {}

/// A field that may occur once: parsers differ in whether they take the first, the last or the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Single {
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Content-Type`
    ContentType,
    /// `Content-Encoding`
    ContentEncoding,
    /// `Authorization`
    Authorization,
    /// `Origin`
    Origin,
    /// `Mcp-Session-Id`
    McpSessionId,
    /// `Mcp-Protocol-Version`
    McpProtocolVersion,
    /// `Mcp-Method`
    McpMethod,
    /// `Mcp-Name`
    McpName,
    /// `Last-Event-ID`
    LastEventId,
    /// `Upgrade`
    Upgrade,
    /// `Expect`
    Expect,
}

impl Single {
    /// The field's name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    pub(super) fn named(name: &[u8]) -> Option<Self> {
        // By length first: most fields then need no comparison, and no other more than two.
        let alike: &[Self] = match name.len() {
            4 => &[Self::Host],
            6 => &[Self::Origin, Self::Expect],
            7 => &[Self::Upgrade],
            8 => &[Self::McpName],
            10 => &[Self::McpMethod],
            12 => &[Self::ContentType],
            13 => &[Self::Authorization, Self::LastEventId],
            14 => &[Self::ContentLength, Self::McpSessionId],
            16 => &[Self::ContentEncoding],
            17 => &[Self::TransferEncoding],
            20 => &[Self::McpProtocolVersion],
            _ => &[],
        };
        let named = |single: &&Self| single.name().as_bytes().eq_ignore_ascii_case(name);
        alike.iter().find(named).copied()
    }

    pub(super) const fn bit(self) -> u16 {
        1 << self as u16
    }

    const fn entry(self) -> (&'static str, &'static str) {
        match self {
            Self::Host => ("host", "duplicate_host"),
            Self::ContentLength => ("content-length", "duplicate_content_length"),
            Self::TransferEncoding => ("transfer-encoding", "duplicate_transfer_encoding"),
            Self::ContentType => ("content-type", "duplicate_content_type"),
            Self::ContentEncoding => ("content-encoding", "duplicate_content_encoding"),
            Self::Authorization => ("authorization", "duplicate_authorization"),
            Self::Origin => ("origin", "duplicate_origin"),
            Self::McpSessionId => ("mcp-session-id", "duplicate_mcp_session_id"),
            Self::McpProtocolVersion => ("mcp-protocol-version", "duplicate_mcp_protocol_version"),
            Self::McpMethod => ("mcp-method", "duplicate_mcp_method"),
            Self::McpName => ("mcp-name", "duplicate_mcp_name"),
            Self::LastEventId => ("last-event-id", "duplicate_last_event_id"),
            Self::Upgrade => ("upgrade", "duplicate_upgrade"),
            Self::Expect => ("expect", "duplicate_expect"),
        }
    }
}

/// The whole HTTP response to a violation, after which the connection closes.
///
/// For the connection's owner, once hyper is done, [`Watch::violation`](super::Watch::violation) is set and
/// [`Watch::may_refuse`](super::Watch::may_refuse) agrees; hyper's own result does not tell, it is `Ok` between two requests.
/// The client may still be sending: closing at once can make its system drop the answer unread.
#[must_use]
pub fn refusal(violation: &Violation) -> Vec<u8> {
    let status = violation.status();
    let reason = match status {
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    };
    // The sentences are ours and need no escaping; a test reads each of them back.
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-32600,"message":"{}"}}}}"#,
        violation.sentence()
    );
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
