//! Why a frame was refused, and what can be said to whom about it.
//!
//! What enters: the rule that was broken and the frame that broke it. What leaves: a code for the answer,
//! the id to answer under when exactly one can be read, and the shape the frame had. It never builds an answer.

use std::fmt;

use mcpf_model::{ReasonCode, RequestId};

/// The rule a refused frame broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalCode {
    /// Not UTF-8.
    InvalidUtf8,
    /// Starts with a byte order mark.
    ByteOrderMark,
    /// A raw control character where JSON allows none.
    ControlCharacter,
    /// An escape that names no character: a lone surrogate, bad hexadecimal, an unknown letter.
    InvalidEscape,
    /// `NaN`, `Infinity`, or a number beyond the range of a double.
    NonFiniteNumber,
    /// Something follows the first value.
    TrailingData,
    /// Not JSON in some other way.
    NotJson,
    /// Longer than `Limits::max_frame`.
    TooLarge,
    /// Nested deeper than `Limits::max_depth`.
    TooDeep,
    /// More values and keys than `Limits::max_nodes`.
    TooManyNodes,
    /// Needs more than 65,536 canonical respellings.
    TooManyEdits,
    /// A method, name or string id longer than `Limits::max_name`.
    NameTooLong,
    /// A URI longer than `Limits::max_uri`.
    UriTooLong,
    /// An array, where batches were not negotiated.
    Batch,
    /// A batch of nothing.
    EmptyBatch,
    /// A batch of more requests than `Limits::max_in_flight`.
    BatchTooLong,
    /// A JSON value that is not an object.
    NotAnObject,
    /// One object holds the same key twice.
    DuplicateKey,
    /// A key that some reader takes for a protocol key though it is spelled otherwise.
    KeyCollision,
    /// A top-level member that JSON-RPC does not know.
    UnknownMember,
    /// A key with a control character.
    ControlInKey,
    /// A method, name, URI or id with a control character.
    ControlInName,
    /// The key `__proto__` in arguments.
    ProtoKey,
    /// `jsonrpc` is missing or not the string `2.0`.
    BadVersion,
    /// An id that is neither a plainly written integer within ±(2^53-1) nor a string.
    BadId,
    /// A request, or a response, without id.
    MissingId,
    /// A notification with an id.
    NotificationWithId,
    /// A method that is not a non-empty string.
    BadMethod,
    /// `method` together with `result`, `error`; or `params` in a response.
    Ambiguous,
    /// `result` together with `error`.
    ResultAndError,
    /// No `method`, `result` or `error`.
    NotAMessage,
    /// `params` is not an object.
    BadParams,
    /// `arguments` is not an object.
    BadArguments,
    /// The `name` or `uri` a method needs is missing or not a string.
    BadTarget,
    /// `result` is not an object.
    BadResult,
    /// `error` is not an object with an integer `code` and a string `message`.
    BadError,
}

impl RefusalCode {
    /// Every code, in declaration order.
    pub const ALL: [Self; 36] = [
        Self::InvalidUtf8,
        Self::ByteOrderMark,
        Self::ControlCharacter,
        Self::InvalidEscape,
        Self::NonFiniteNumber,
        Self::TrailingData,
        Self::NotJson,
        Self::TooLarge,
        Self::TooDeep,
        Self::TooManyNodes,
        Self::TooManyEdits,
        Self::NameTooLong,
        Self::UriTooLong,
        Self::Batch,
        Self::EmptyBatch,
        Self::BatchTooLong,
        Self::NotAnObject,
        Self::DuplicateKey,
        Self::KeyCollision,
        Self::UnknownMember,
        Self::ControlInKey,
        Self::ControlInName,
        Self::ProtoKey,
        Self::BadVersion,
        Self::BadId,
        Self::MissingId,
        Self::NotificationWithId,
        Self::BadMethod,
        Self::Ambiguous,
        Self::ResultAndError,
        Self::NotAMessage,
        Self::BadParams,
        Self::BadArguments,
        Self::BadTarget,
        Self::BadResult,
        Self::BadError,
    ];

    /// The JSON-RPC error code of the answer: -32700 when the frame is not one JSON value in UTF-8,
    /// otherwise -32600 (JSON-RPC 2.0, section 5.1).
    #[must_use]
    pub const fn code(self) -> i32 {
        match self.reason() {
            ReasonCode::Malformed => -32700,
            _ => -32600,
        }
    }

    /// Whose fault it is: `Malformed`, `PeerMisbehaved`, or `Overloaded` for a limit of ours.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::InvalidUtf8
            | Self::ByteOrderMark
            | Self::ControlCharacter
            | Self::InvalidEscape
            | Self::NonFiniteNumber
            | Self::TrailingData
            | Self::NotJson => ReasonCode::Malformed,
            Self::TooLarge
            | Self::TooDeep
            | Self::TooManyNodes
            | Self::TooManyEdits
            | Self::NameTooLong
            | Self::UriTooLong
            | Self::BatchTooLong => ReasonCode::Overloaded,
            _ => ReasonCode::PeerMisbehaved,
        }
    }

    /// The name used in audit, in snake case. Never changes for a rule.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.words().0
    }

    /// One sentence for a person: lowercase, no full stop, nothing of the frame in it.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        self.words().1
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::InvalidUtf8 => ("invalid_utf8", "the message is not valid UTF-8"),
            Self::ByteOrderMark => (
                "byte_order_mark",
                "the message starts with a byte order mark",
            ),
            Self::ControlCharacter => (
                "control_character",
                "the message holds a raw control character",
            ),
            Self::InvalidEscape => (
                "invalid_escape",
                "a string holds an escape that names no character",
            ),
            Self::NonFiniteNumber => ("non_finite_number", "a number is not finite"),
            Self::TrailingData => ("trailing_data", "something follows the message on its line"),
            Self::NotJson => ("not_json", "the message is not valid JSON"),
            Self::TooLarge => ("too_large", "the message is longer than the limit"),
            Self::TooDeep => ("too_deep", "the message is nested deeper than the limit"),
            Self::TooManyNodes => (
                "too_many_nodes",
                "the message holds more values than the limit",
            ),
            Self::TooManyEdits => (
                "too_many_edits",
                "the message is spelled too oddly to be rewritten",
            ),
            Self::NameTooLong => (
                "name_too_long",
                "a method, name or id is longer than the limit",
            ),
            Self::UriTooLong => ("uri_too_long", "a URI is longer than the limit"),
            Self::Batch => (
                "batch",
                "batches are not part of the negotiated protocol version",
            ),
            Self::EmptyBatch => ("empty_batch", "the batch is empty"),
            Self::BatchTooLong => (
                "batch_too_long",
                "the batch holds more messages than the limit",
            ),
            Self::NotAnObject => ("not_an_object", "the message is not a JSON object"),
            Self::DuplicateKey => ("duplicate_key", "an object holds the same key twice"),
            Self::KeyCollision => (
                "key_collision",
                "a key differs from a protocol key only in spelling",
            ),
            Self::UnknownMember => (
                "unknown_member",
                "the message has a top-level member JSON-RPC does not know",
            ),
            Self::ControlInKey => ("control_in_key", "a key holds a control character"),
            Self::ControlInName => (
                "control_in_name",
                "a method, name, URI or id holds a control character",
            ),
            Self::ProtoKey => ("proto_key", "the arguments hold the key `__proto__`"),
            Self::BadVersion => ("bad_version", "`jsonrpc` must be the string `2.0`"),
            Self::BadId => (
                "bad_id",
                "`id` must be a string or a plain integer within 2^53-1",
            ),
            Self::MissingId => ("missing_id", "the message needs an `id`"),
            Self::NotificationWithId => (
                "notification_with_id",
                "a notification must not have an `id`",
            ),
            Self::BadMethod => ("bad_method", "`method` must be a non-empty string"),
            Self::Ambiguous => ("ambiguous", "the message is both a request and a response"),
            Self::ResultAndError => (
                "result_and_error",
                "the response has both `result` and `error`",
            ),
            Self::NotAMessage => (
                "not_a_message",
                "the message has no `method`, `result` or `error`",
            ),
            Self::BadParams => ("bad_params", "`params` must be an object"),
            Self::BadArguments => ("bad_arguments", "`arguments` must be an object"),
            Self::BadTarget => (
                "bad_target",
                "the `name` or `uri` this method needs must be a string",
            ),
            Self::BadResult => ("bad_result", "`result` must be an object"),
            Self::BadError => (
                "bad_error",
                "`error` must be an object with an integer `code` and a string `message`",
            ),
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// The id of a refused frame, if it has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdOfRefused {
    /// The frame has one top-level `id`, and it is a valid one.
    Known(RequestId),
    /// No id, more than one, one that is not valid, or a frame that cannot be followed: answered with `null`.
    Unknown,
}

impl IdOfRefused {
    /// The id, if it is known.
    #[must_use]
    pub const fn known(&self) -> Option<&RequestId> {
        match self {
            Self::Known(id) => Some(id),
            Self::Unknown => None,
        }
    }
}

/// What a refused frame was meant to be, as far as its top-level keys tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `method` and `id`: the sender awaits an answer.
    Request,
    /// `result` or `error`, no `method`: somebody on the other side awaits this.
    Response,
    /// `method`, no `id`: nobody awaits anything.
    Notification,
    /// Anything else, or contradictory. The sender is told, under the id if it is known.
    Unknown,
}

/// A frame that is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
#[must_use]
pub struct Refusal {
    /// The rule it broke.
    pub code: RefusalCode,
    /// The id to answer under.
    pub id: IdOfRefused,
    /// What it was meant to be.
    pub shape: Shape,
    /// Its method, for the audit: at most `Limits::max_name` bytes, no control characters.
    pub method: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_sentences_plain() {
        let names: HashSet<_> = RefusalCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), RefusalCode::ALL.len());
        for code in RefusalCode::ALL {
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
            );
            assert!(!code.sentence().ends_with('.'));
            assert!(matches!(code.code(), -32700 | -32600));
        }
    }
}
