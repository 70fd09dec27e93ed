//! No policy makes the parser panic, nor does deciding by one that was accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpf_policy::{Call, NoArguments, Plan};

fuzz_target!(|yaml: &str| {
    match Plan::parse(yaml, "policy.yaml") {
        Ok(plan) => {
            let call = Call::tool("agent", "read_file", &NoArguments);
            assert_eq!(plan.decide(&call), plan.decide(&call));
        }
        Err(found) => assert!(!found.is_empty(), "refused without a reason"),
    }
});
