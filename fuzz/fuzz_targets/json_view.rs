//! The fast parser and its slow twin accept the same frames and read the same in them, and what
//! would be forwarded is what serde_json reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpf_model::Limits;

fuzz_target!(|frame: &[u8]| {
    let tight = Limits {
        max_depth: 6,
        max_nodes: 24,
        max_name: 8,
        max_uri: 16,
        ..Limits::default()
    };
    for limits in [Limits::default(), tight] {
        if let Err(difference) = mcpf_wire::oracle::check(frame, &limits) {
            panic!("{difference}");
        }
    }
    mcpf_tests::json::check(frame).unwrap_or_else(|difference| panic!("{difference}"));
});
