//! A deliberately vulnerable MCP server.

fn main() {}
