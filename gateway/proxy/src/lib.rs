//! Transports: peers on either side of the corridor, and the answers we give ourselves.
//!
//! Enter: bytes and readiness. Leave: bytes that the corridor released, and answers that
//! [`respond()`] built; nothing else reaches a peer. Never: a decision about a message.

mod approve;
mod http;
mod record;
mod respond;
mod stdio;

pub use approve::{Approver, Nobody, Terminal, Ticket, Word, plain};
pub use http::guard;
pub use http::{
    Gateway, GatewayParts, HttpSettings, Metrics, ServeError, Serving, Tide, Timeouts, TlsError,
    Upstream, UpstreamError, client_tls, manage, serve, server_tls,
};
pub use respond::{
    DENIED, DenyAs, FAILED, HEADER_MISMATCH, INVALID_REQUEST, OVERLOADED, PARSE_ERROR, error_code,
    respond,
};
pub use stdio::{Ears, Outlet, Parts, Relay, Waker, WrapError, run};
