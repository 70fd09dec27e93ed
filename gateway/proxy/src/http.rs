//! `proxy`: clients over Streamable HTTP on one side, a server over Streamable HTTP on the other.
//!
//! ```text
//! connection -> guard -> gate -> body -> inspect -> pool -> upstream
//!                                                             |
//! client <- answer or events <- inspect <---------------------+
//! ```
//!
//! One single-threaded runtime per core, each with its own listener, upstream connections and
//! scratch. They share the generation, the sessions and the queue of the audit.

mod answer;
mod body;
mod conversation;
mod events;
mod exchange;
mod gate;
pub mod guard;
mod inspect;
mod management;
mod metrics;
mod pool;
mod server;
mod settings;
mod tide;
mod tls;
mod websocket;

pub use management::manage;
pub use metrics::Metrics;
pub use server::{Gateway, GatewayParts, ServeError, Serving, serve};
pub use settings::{HttpSettings, Timeouts, Upstream, UpstreamError};
pub use tide::Tide;
pub use tls::{TlsError, client_tls, server_tls};
