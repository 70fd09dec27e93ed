//! The matcher misses nothing that a plain automaton finds, save for the defect its module names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpf_vectorscan::differential::run_bytes;

fuzz_target!(|bytes: &[u8]| {
    match run_bytes(bytes) {
        Ok(report) => assert!(report.misses.is_empty(), "{report:#?}"),
        Err(error) => panic!("{error}"),
    }
});
