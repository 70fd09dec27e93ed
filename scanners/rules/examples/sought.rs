//! What each pattern of the shipped rules is looked for by, one pattern a line: strings that begin
//! a word as they are, others behind a `*`, strings that must stand beside them behind a `+`.
//! `cargo run --release -p mcpf-rules --example sought`.
#![expect(clippy::print_stdout, reason = "this is a program for rule authors")]

use mcpf_rules::{builtin_rules, specs};
use mcpf_scan::Engine;

fn main() {
    let Ok(rules) = builtin_rules() else {
        println!("the built-in rules do not parse");
        return;
    };
    match Engine::build(specs(&rules), None) {
        Ok(engine) => {
            for (rule, place, strings) in engine.sought() {
                println!("{rule}/{place}\t{}", strings.join(" | "));
            }
        }
        Err(errors) => errors.iter().for_each(|error| println!("{error}")),
    }
}
