//! The slow twin: which ends a pattern has in a text.

use std::collections::BTreeSet;

use regex_automata::hybrid::dfa::{Cache, DFA, OverlappingState};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

use crate::pattern::Flags;

/// Finds all match ends of one pattern without the library.
#[derive(Debug)]
pub struct Twin(Inner);

#[derive(Debug)]
enum Inner {
    Expression { dfa: Box<DFA>, cache: Box<Cache> },
    Literal { bytes: Vec<u8>, caseless: bool },
}

impl Twin {
    /// The twin of an expression; `None` if the `regex` crate refuses it.
    #[must_use]
    pub fn expression(expression: &str, flags: Flags) -> Option<Self> {
        let dfa = DFA::builder()
            .configure(DFA::config().match_kind(MatchKind::All))
            .syntax(
                syntax::Config::new()
                    .unicode(false)
                    .utf8(false)
                    .case_insensitive(flags.contains(Flags::CASELESS))
                    .dot_matches_new_line(flags.contains(Flags::DOTALL)),
            )
            .thompson(thompson::Config::new().utf8(false))
            .build(expression)
            .ok()?;
        let cache = Box::new(dfa.create_cache());
        Some(Self(Inner::Expression {
            dfa: Box::new(dfa),
            cache,
        }))
    }

    /// The twin of a plain byte string.
    #[must_use]
    pub fn literal(bytes: &[u8], flags: Flags) -> Self {
        let caseless = flags.contains(Flags::CASELESS);
        Self(Inner::Literal {
            bytes: bytes.to_vec(),
            caseless,
        })
    }

    /// Every offset at which some match of the pattern in `text` ends.
    pub fn ends(&mut self, text: &[u8]) -> BTreeSet<usize> {
        match &mut self.0 {
            Inner::Expression { dfa, cache } => overlapping(dfa, cache, text),
            Inner::Literal { bytes, caseless } => text
                .windows(bytes.len())
                .zip(bytes.len()..)
                .filter(|(window, _)| {
                    *window == bytes.as_slice() || (*caseless && window.eq_ignore_ascii_case(bytes))
                })
                .map(|(_, end)| end)
                .collect(),
        }
    }
}

fn overlapping(dfa: &DFA, cache: &mut Cache, text: &[u8]) -> BTreeSet<usize> {
    let input = Input::new(text);
    let mut state = OverlappingState::start();
    let mut ends = BTreeSet::new();
    // The automaton gives up only if told to; then what is known so far counts.
    while dfa
        .try_search_overlapping_fwd(cache, &input, &mut state)
        .is_ok()
    {
        let Some(found) = state.get_match() else {
            break;
        };
        ends.insert(found.offset());
    }
    ends
}
