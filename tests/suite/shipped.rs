//! The shipped rules and the policy that `wrap` uses when it is told nothing, together: a rule's
//! own examples say nothing about what a policy forgives.

use std::sync::Arc;

use mcpf_model::{Action, Direction, Limits, Principal, Surface};
use mcpf_pipeline::{
    Context, Generation, Inspection, Nanos, Outcome, Scratch, Session, Shared, inspect,
};
use mcpf_policy::{Builtin, Plan};

#[test]
fn what_the_rules_block_is_blocked_under_the_starter_policy() {
    let rules = mcpf_rules::builtin_rules().unwrap();
    let policy = Plan::builtin(Builtin::Starter).unwrap();
    let limits = Limits::default();
    let generation = Generation::build(policy, mcpf_rules::specs(&rules), limits, None).unwrap();
    let mut scratch = Scratch::new(&generation).unwrap();
    let context = Context {
        generation: Arc::new(generation),
        shared: Arc::new(Shared::default()),
    };
    let mut seen = 0;
    let mut passed = Vec::new();
    for rule in &rules {
        if rule.action.value != Action::Block || !rule.surfaces.contains(Surface::Arguments) {
            continue;
        }
        for example in &rule.examples {
            let mut session =
                Session::new("s".into(), "srv".into(), Principal::anonymous(), &limits);
            let frame = serde_json::json!({
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "t", "arguments": {"a": example.value}},
            });
            let frame = serde_json::to_vec(&frame).unwrap();
            let Inspection { outcome, .. } = inspect(
                &context,
                &mut session,
                &mut scratch,
                Direction::Inbound,
                &frame,
                Nanos(1),
            );
            seen += 1;
            if !matches!(outcome, Outcome::Block(_)) {
                passed.push((rule.id.value.to_string(), example.value.clone()));
            }
        }
    }
    assert!(seen > 90, "{seen}");
    // This machine itself is open to tools.
    passed.retain(|(_, text)| {
        let here = mcpf_scan::destinations(text)
            .any(|found| found.class == mcpf_scan::AddressClass::Loopback);
        !here && !text.contains("localhost") && !text.contains("127.")
    });
    assert!(passed.is_empty(), "{passed:#?}");
}
