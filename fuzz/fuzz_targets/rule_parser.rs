//! No rule file makes the parser or the linter panic, and linting twice says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|yaml: &str| {
    match mcpf_rules::parse(yaml, "rulesets/fuzz/rules.yaml") {
        Ok(rules) => assert_eq!(
            mcpf_rules::lint(&rules).len(),
            mcpf_rules::lint(&rules).len()
        ),
        Err(found) => assert!(!found.is_empty(), "refused without a reason"),
    }
});
