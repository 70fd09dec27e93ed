//! The `mcp-firewall` program.

fn main() {}
