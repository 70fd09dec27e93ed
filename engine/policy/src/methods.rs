//! Which methods policy decides on.
//!
//! A method's name enters, its class leaves. Lifecycle, discovery and notifications are let
//! through unless a rule names them, because without them no session comes to be; everything
//! else, and everything unknown, is subject to rules and default.

/// Whether policy leaves `method` alone unless a rule names it under `methods`.
///
/// `initialize`, `ping`, `server/discover`, `logging/setLevel`, `subscriptions/listen`,
/// `resources/unsubscribe`, the four list methods of servers, and every notification.
#[must_use]
pub fn is_exempt(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "server/discover"
            | "logging/setLevel"
            | "subscriptions/listen"
            | "resources/unsubscribe"
            | "tools/list"
            | "resources/list"
            | "resources/templates/list"
            | "prompts/list"
    ) || method.starts_with("notifications/")
}

/// Whether the method carries text for a model or a person to read: the methods a `prompts`
/// condition is about.
pub(crate) fn speaks_to_a_model(method: &str) -> bool {
    matches!(
        method,
        "prompts/get" | "completion/complete" | "sampling/createMessage" | "elicitation/create"
    )
}
