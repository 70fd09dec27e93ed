//! The wire room: one frame, parsed and every string visited.

use mcpf_model::Limits;
use mcpf_wire::Parser;

use crate::work::{Observation, Turns, Work};

pub(crate) struct Wire {
    parser: Parser,
    frames: Turns<String>,
}

impl Wire {
    pub(crate) fn new(frames: Turns<String>) -> Self {
        Self {
            parser: Parser::new(&Limits::default()),
            frames,
        }
    }
}

impl Work for Wire {
    fn before(&mut self) {
        self.frames.turn();
    }

    fn run(&mut self) -> Observation {
        let frame = self.frames.now().map_or("", String::as_str);
        match self.parser.parse(frame.as_bytes()) {
            Ok(message) => Observation::of(message.strings().count()),
            Err(refusal) => Observation {
                verdict: Some(refusal.code.as_str()),
                ..Observation::of(0)
            },
        }
    }
}
