//! One transport turned into another, on either side of the firewall.
//!
//! ```text
//! wrap --url:     client <-stdio-> firewall <-stdio-> connect <-HTTP-> server
//! proxy -- CMD:   client <-HTTP-> firewall <-HTTP over a Unix socket-> serve <-stdio-> server
//! ```
//!
//! Enter: messages as one transport carries them. Leave: the same messages as the other does, and an
//! error for each request that nobody else will answer. Never: a decision about a message. A message is
//! read only for what a transport needs of it: its kind, its id, its revision and where it belongs;
//! the firewall that stands in front of either half inspects it.

mod answer;
mod body;
mod connect;
mod envelope;
mod fields;
mod mirror;
mod serve;

pub use connect::{
    Connect, ConnectError, ConnectTimeouts, Field, FieldError, Retry, Target, TargetError, connect,
    connect_stdio,
};
pub use serve::{Children, Restart, Serve, ServeError, ServeTimeouts, listen, serve};
