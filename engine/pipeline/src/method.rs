//! The protocol's methods, and who reads the strings each of them carries.

use mcpf_model::{Direction, MessageKind, Surface};

macro_rules! methods {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A method of the Model Context Protocol, in any revision.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each variant is the method it is spelled like")]
        pub enum Method {
            $($variant,)+
            /// A method this program does not know: inspected and forwarded like any other.
            Other,
        }

        impl Method {
            /// The method spelled `name`, exactly.
            #[must_use]
            pub fn of(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)+
                    _ => Self::Other,
                }
            }
        }
    };
}

methods! {
    Initialize = "initialize",
    Discover = "server/discover",
    Ping = "ping",
    ToolsList = "tools/list",
    ToolsCall = "tools/call",
    ResourcesList = "resources/list",
    ResourceTemplatesList = "resources/templates/list",
    ResourcesRead = "resources/read",
    ResourcesSubscribe = "resources/subscribe",
    ResourcesUnsubscribe = "resources/unsubscribe",
    PromptsList = "prompts/list",
    PromptsGet = "prompts/get",
    CompletionComplete = "completion/complete",
    LoggingSetLevel = "logging/setLevel",
    SubscriptionsListen = "subscriptions/listen",
    SamplingCreateMessage = "sampling/createMessage",
    ElicitationCreate = "elicitation/create",
    RootsList = "roots/list",
    Cancelled = "notifications/cancelled",
}

impl Method {
    /// Who reads the strings of a message of this kind, about this method, going this way.
    ///
    /// For a response, `self` is the method of the request it answers.
    #[must_use]
    pub const fn surface(self, direction: Direction, kind: MessageKind) -> Surface {
        match (direction, kind) {
            (Direction::Inbound, _) => Surface::Arguments,
            (Direction::Outbound, MessageKind::Response) => match self {
                Self::Initialize
                | Self::Discover
                | Self::ToolsList
                | Self::ResourcesList
                | Self::ResourceTemplatesList
                | Self::PromptsList => Surface::ToolDescription,
                Self::PromptsGet => Surface::Prompt,
                _ => Surface::ToolResult,
            },
            (Direction::Outbound, MessageKind::Request) => match self {
                Self::SamplingCreateMessage | Self::ElicitationCreate => Surface::Prompt,
                _ => Surface::ToolResult,
            },
            (Direction::Outbound, MessageKind::Error | MessageKind::Notification) => {
                Surface::ToolResult
            }
        }
    }

    /// The member of a list result that holds the listed things, and what names each of them.
    pub(crate) const fn list_member(self) -> Option<&'static str> {
        match self {
            Self::ToolsList => Some("tools"),
            Self::PromptsList => Some("prompts"),
            Self::ResourcesList => Some("resources"),
            Self::ResourceTemplatesList => Some("resourceTemplates"),
            _ => None,
        }
    }
}
