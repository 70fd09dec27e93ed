//! From bytes to a message with one meaning.
//!
//! What enters: the bytes a peer wrote. What leaves: frames, cut from lines ([`LineFramer`], stdio) or
//! from Server-Sent Events ([`SseFramer`], streamable HTTP), and for each frame either a [`Message`] that every
//! JSON-RPC reader understands alike, or a [`Refusal`] that says which rule it broke, with the id it can be
//! answered under. What it never does: read a socket, look at a clock, decide whether
//! a message is welcome, or change a byte by itself; where the spelling of an accepted message is not the
//! canonical one it lists [`Edit`]s, and [`apply`] makes them.
//!
//! Strictness is the point. The parsers behind a firewall disagree on duplicate keys, on `7.0` as an id, on
//! a bare carriage return, on `NaN`: whatever two of them read differently is refused here, or rewritten
//! to the spelling they agree on.
//!
//! ```
//! use mcpf_model::{Limits, MessageKind};
//! use mcpf_wire::Parser;
//!
//! let mut parser = Parser::new(&Limits::default());
//! let frame = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}"#;
//! let message = parser.parse(frame).unwrap();
//! assert_eq!(message.kind(), MessageKind::Request);
//! assert_eq!(message.tool_name(), Some("echo"));
//! assert!(message.edits().is_empty());
//! drop(message);
//!
//! let refusal = parser.parse(br#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#).unwrap_err();
//! assert_eq!((refusal.code.code(), refusal.code.as_str()), (-32600, "duplicate_key"));
//! ```

mod edit;
mod envelope;
mod framing;
mod keys;
mod marks;
mod message;
mod names;
#[cfg(feature = "oracle")]
#[doc(hidden)]
pub mod oracle;
mod parser;
mod refusal;
mod rescue;
mod respell;
mod sse;
mod text;
mod value;

pub use edit::{Edit, apply, merge};
pub use framing::{FrameError, LineFramer};
pub use message::{Id, Message};
pub use parser::Parser;
pub use refusal::{IdOfRefused, Refusal, RefusalCode, Shape};
pub use sse::{SseEvent, SseFramer, write_comment, write_event};
pub use value::{Elements, Kind, Members, Place, StringLeaf, Strings, Value};
