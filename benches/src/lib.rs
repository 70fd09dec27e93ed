//! Benches as data: what is measured stands in `definitions/*.toml`, how in here.
//!
//! Enter: the definitions, the shipped rules and policies, and a seed. Leave: [`Prepared`] benches
//! whose counts were checked, ready for criterion or for the goals. Never: a text that somebody
//! else wrote, or a timing of something that gave a wrong answer.
//!
//! ```text
//! cargo bench -p mcpf-benches                                   # everything, then the goals
//! cargo bench -p mcpf-benches --bench corridor -- scan/prose    # some of it
//! cargo bench -p mcpf-benches --bench goals -- --gate           # ratios; fails when one is missed
//! ```

mod arguments;
mod corridor;
mod definition;
mod fixture;
mod frame;
mod haystack;
mod policy;
mod scan;
mod wire;
mod work;

pub use definition::{Bench, Count, EngineName, Goal, Size, benches, goals};
pub use fixture::Fixture;
pub use frame::{Carrier, frame};
pub use haystack::{Haystack, generate, generate_from};
pub use work::{Observation, Prepared, Work, prepare};
