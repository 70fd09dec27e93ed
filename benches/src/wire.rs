//! The wire room: one frame, parsed and every string visited.

use mcpf_model::Limits;
use mcpf_wire::Parser;

use crate::work::{Observation, Work};

pub(crate) struct Wire {
    parser: Parser,
    frame: String,
}

impl Wire {
    pub(crate) fn new(frame: String) -> Self {
        Self {
            parser: Parser::new(&Limits::default()),
            frame,
        }
    }
}

impl Work for Wire {
    fn run(&mut self) -> Observation {
        match self.parser.parse(self.frame.as_bytes()) {
            Ok(message) => Observation::of(message.strings().count()),
            Err(refusal) => Observation {
                verdict: Some(refusal.code.as_str()),
                ..Observation::of(0)
            },
        }
    }
}
