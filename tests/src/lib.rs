//! Generators, oracles and fake peers shared by tests, benches and fuzz targets.
//!
//! Enter: a seed, or a message. Leave: the next random choice, or what a small honest server would
//! answer. Never: anything of the gateway's own code, which is what these are to judge.

mod answer;
mod random;

pub use answer::{answer, to_modern};
pub use random::Random;
