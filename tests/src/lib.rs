//! Generators, oracles and fake peers shared by tests, benches and fuzz targets.
//!
//! Enter: a seed, a message, or a fuzzer's bytes. Leave: the next random choice, what a small honest
//! server would answer, or what the gateway's code did that it must not. Generators and peers never
//! use that code, which is what these are to judge.

mod answer;
pub mod corridor;
pub mod json;
mod random;

pub use answer::{answer, to_modern};
pub use random::Random;
