//! Framing and the strict, borrowed JSON-RPC view of a message
