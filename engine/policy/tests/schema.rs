//! The published schema and the parser agree: built-in policies fit, and what the schema refuses
//! the parser refuses too.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "support/schema.rs"]
mod schema;

use mcpf_policy::{Builtin, Plan, SCHEMA};
use serde_json::Value;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn builtin_policies_compile_and_fit_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for builtin in Builtin::ALL {
        let plan = Plan::builtin(builtin).unwrap_or_else(|all| panic!("{all:#?}"));
        assert_eq!(plan.revision().len(), 64);
        let found = schema::mistakes(&schema, &yaml(builtin.yaml()));
        assert_eq!(found, Vec::<String>::new(), "{}", builtin.file());
    }
}

#[test]
fn everything_in_one_file_fits_both() {
    let text = include_str!("cases/everything.yaml");
    Plan::parse(text, "everything.yaml").unwrap_or_else(|all| panic!("{all:#?}"));
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(schema::mistakes(&schema, &yaml(text)), Vec::<String>::new());
}

#[test]
fn what_the_schema_refuses_the_parser_refuses() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for text in [
        "{}",
        "version: 2",
        "{version: 1, mode: off}",
        "{version: 1, default: redact}",
        "{version: 1, extra: 1}",
        "{version: 1, rules: {}}",
        "{version: 1, rules: [{name: x}]}",
        "{version: 1, rules: [{name: x, action: block}]}",
        "{version: 1, rules: [{name: x, action: deny, match: {tool: [a]}}]}",
        "{version: 1, rules: [{name: '', action: deny}]}",
        "{version: 1, rules: [{name: x, action: deny, match: {arguments: {p: []}}}]}",
        "{version: 1, rules: [{name: x, action: deny, match: {prompts: {max_length: 0}}}]}",
        "{version: 1, agents: {a: {allow: 'x'}}}",
        "{version: 1, agents: {a: {rate_limit: 100}}}",
        "{version: 1, rate_limits: {global: 0/min}}",
        "{version: 1, rate_limits: {global: {rate: 1/min, capacity: 2}}}",
        "{version: 1, rate_limits: {global: {capacity: 2, refill_per_sec: 0}}}",
        "{version: 1, egress: {allow_private: 'no'}}",
        "{version: 1, chains: {rules: [{name: x, action: deny, steps: [{}]}]}}",
        "{version: 1, chains: {rules: [{name: x, action: redact, steps: [{}, {}]}]}}",
        "{version: 1, outbound: {secrets: redact}}",
        "{version: 1, content: [{name: x, keywords: [y]}]}",
        "{version: 1, servers: {m: {mode: monitor}}}",
    ] {
        assert!(
            !schema::mistakes(&schema, &yaml(text)).is_empty(),
            "schema: {text}"
        );
        assert!(Plan::parse(text, "t").is_err(), "parser: {text}");
    }
}
