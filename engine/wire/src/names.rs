//! The words of the protocol: methods, keys, and what may be mistaken for them.
//!
//! What enters: a key or a method. What leaves: whether the protocol knows it, or something that a careless
//! reader takes for it. Flat tables, collected from the MCP schema of every revision since 2024-11-05.

use unicode_normalization::UnicodeNormalization as _;

/// Where protocol keys live, and which ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The JSON-RPC message itself.
    Envelope,
    /// The top level of `params`, and the small objects in it that decisions rest on.
    Params,
    /// `_meta`.
    Meta,
    /// The top level of `result`.
    Result,
    /// The top level of `error`.
    Error,
    /// An entry of a tool, prompt or resource list.
    Item,
}

impl Level {
    pub(crate) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Envelope => ENVELOPE,
            Self::Params => PARAMS,
            Self::Meta => META,
            Self::Result => RESULT,
            Self::Error => ERROR,
            Self::Item => ITEM,
        }
    }
}

/// How a key relates to the protocol keys of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// It is one.
    Same(&'static str),
    /// Some reader takes it for one.
    Alike,
    /// It is something else.
    Other,
}

/// Compares a decoded key with the protocol keys of `level`.
pub(crate) fn likeness(key: &str, level: Level) -> Likeness {
    let keys = level.keys();
    if let Some(same) = keys.iter().find(|known| **known == key) {
        return Likeness::Same(same);
    }
    // Only an odd key can fold to something of another length: the plain ones need one comparison of case.
    let plain = key.bytes().all(|b| b.is_ascii_graphic());
    let alike = if plain {
        keys.iter().any(|known| known.eq_ignore_ascii_case(key))
    } else {
        let folded = fold(key);
        keys.iter().any(|known| known.eq_ignore_ascii_case(&folded))
    };
    if alike {
        Likeness::Alike
    } else {
        Likeness::Other
    }
}

/// A key as the most careless reader sees it: compatibility-composed, case gone, spaces at the ends and
/// invisible characters anywhere gone.
pub(crate) fn fold(key: &str) -> String {
    if key.bytes().all(|b| b.is_ascii_graphic()) {
        return key.to_ascii_lowercase();
    }
    let composed: String = key.nfkc().filter(|c| !invisible(*c)).collect();
    // Through capitals, because that is where sharp s, long s and dotless i lose themselves.
    let lower = composed.to_uppercase().to_lowercase();
    let folded: String = lower.nfkc().filter(|c| !invisible(*c)).collect();
    folded.trim().to_owned()
}

/// Characters that some readers drop and no reader shows.
const fn invisible(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}'
            | '\u{e}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether the specification makes `method` a request, which must have an id.
pub(crate) fn is_request(method: &str) -> bool {
    REQUESTS.contains(&method)
}

/// Whether the specification makes `method` a notification, which must not have an id.
pub(crate) fn is_notification(method: &str) -> bool {
    method.starts_with("notifications/")
}

/// Whether a message of `method` may come without its target. The newest revision has no more
/// subscriptions to single resources, and a server is to be asked so that it can say so.
pub(crate) fn may_lack_target(method: &str) -> bool {
    matches!(method, "resources/subscribe" | "resources/unsubscribe")
}

/// The member of `params` that names what a method is about.
pub(crate) fn target_of(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
        _ => None,
    }
}

/// Whether `params.arguments` of `method` must be an object.
pub(crate) fn takes_arguments(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get")
}

const REQUESTS: &[&str] = &[
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

const ENVELOPE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];

const ERROR: &[&str] = &["code", "message", "data"];

const META: &[&str] = &[
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/serverInfo",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/related-task",
    "io.modelcontextprotocol/subscriptionId",
    "traceparent",
    "tracestate",
    "baggage",
];

const PARAMS: &[&str] = &[
    "_meta",
    "name",
    "arguments",
    "uri",
    "cursor",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "version",
    "title",
    "requestId",
    "reason",
    "progressToken",
    "progress",
    "total",
    "message",
    "level",
    "logger",
    "data",
    "ref",
    "type",
    "argument",
    "context",
    "value",
    "messages",
    "modelPreferences",
    "systemPrompt",
    "includeContext",
    "temperature",
    "maxTokens",
    "stopSequences",
    "metadata",
    "tools",
    "toolChoice",
    "mode",
    "url",
    "elicitationId",
    "requestedSchema",
    "task",
    "taskId",
    "ttl",
    "status",
    "statusMessage",
    "inputResponses",
    "requestState",
    "notifications",
];

const RESULT: &[&str] = &[
    "_meta",
    "tools",
    "resources",
    "resourceTemplates",
    "prompts",
    "roots",
    "nextCursor",
    "content",
    "structuredContent",
    "isError",
    "contents",
    "messages",
    "description",
    "completion",
    "protocolVersion",
    "supportedVersions",
    "capabilities",
    "serverInfo",
    "instructions",
    "role",
    "model",
    "stopReason",
    "action",
    "resultType",
    "inputRequests",
    "requestState",
    "ttlMs",
    "cacheScope",
    "task",
    "tasks",
    "taskId",
    "status",
    "statusMessage",
];

const ITEM: &[&str] = &[
    "_meta",
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
    "icons",
    "execution",
    "uri",
    "uriTemplate",
    "mimeType",
    "arguments",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_are_seen() {
        for key in [
            "Name",
            "NAME",
            "name ",
            " name",
            "name\0",
            "na\0me",
            "\u{feff}name",
            "na\u{200b}me",
            "\u{ff4e}ame",
            "argument\u{17f}",
            "\u{1d427}ame",
            "me\u{df}age",
            "task\u{ad}",
            "tas\u{212a}",
            "name\u{a0}",
            "na\u{301}me\n",
        ] {
            let expected = if key.contains('\u{301}') {
                Likeness::Other
            } else {
                Likeness::Alike
            };
            assert_eq!(likeness(key, Level::Params), expected, "{key:?}");
        }
        assert_eq!(likeness("\u{131}d", Level::Envelope), Likeness::Alike);
    }

    #[test]
    fn exact_and_foreign_keys_are_told_apart() {
        assert_eq!(likeness("name", Level::Params), Likeness::Same("name"));
        assert_eq!(likeness("names", Level::Params), Likeness::Other);
        assert_eq!(likeness("n\u{e4}me", Level::Params), Likeness::Other);
        assert_eq!(likeness("com.example/Name", Level::Meta), Likeness::Other);
    }
}
