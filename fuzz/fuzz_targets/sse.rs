//! Any chunking of any event stream gives the events that reading it at once gives, and they survive being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpf_model::ByteSize;

fuzz_target!(|input: (u8, Vec<u8>, Vec<u8>)| {
    let (limit, cuts, bytes) = input;
    let cuts: Vec<usize> = cuts.into_iter().map(usize::from).collect();
    let limit = ByteSize(u32::from(limit));
    if let Err(difference) = mcpf_wire::oracle::sse::check(&bytes, &cuts, limit) {
        panic!("{difference}");
    }
});
