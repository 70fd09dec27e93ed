//! Whatever walks the corridor, what leaves is one message, and the facts agree.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: mcpf_tests::corridor::warm_up().unwrap_or_else(|error| panic!("{error}")),
    |bytes: &[u8]| {
    if let Err(broken) = mcpf_tests::corridor::check(bytes) {
        panic!("{broken}");
    }
}
);
