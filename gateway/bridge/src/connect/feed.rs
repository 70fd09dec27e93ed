//! Lines from the client.
//!
//! Enter: bytes. Leave: lines within the limit. Never: a byte that nobody asked for: what is not read
//! stays with the client.

use bytes::Bytes;
use mcpf_model::Limits;
use mcpf_wire::{FrameError, LineFramer};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::ConnectError;

#[derive(Debug)]
pub(crate) struct Feed<I> {
    input: I,
    framer: LineFramer,
    is_over: bool,
}

impl<I: AsyncRead + Unpin> Feed<I> {
    pub(crate) fn new(input: I, limits: &Limits) -> Self {
        Self {
            input,
            framer: LineFramer::new(limits.max_frame),
            is_over: false,
        }
    }

    /// The next line, or `None` at the end. To be dropped at any time: nothing read is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Result<Bytes, FrameError>>, ConnectError> {
        loop {
            if let Some(frame) = self.framer.next_frame() {
                return Ok(Some(
                    frame.map(|range| Bytes::copy_from_slice(self.framer.frame(range))),
                ));
            }
            if self.is_over {
                return Ok(None);
            }
            let read = self.input.read(self.framer.space()).await;
            let read = read.map_err(ConnectError::Input)?;
            self.framer.advance(read);
            if read == 0 {
                self.is_over = true;
                return Ok(self.framer.finish().map(Err));
            }
        }
    }
}
