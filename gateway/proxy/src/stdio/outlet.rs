//! Bytes on their way to one peer.
//!
//! Enter: whole frames, each perhaps waiting for its audit record to be durable. Leave: bytes,
//! in the order the frames came. Never: a frame ahead of its record, or a byte out of order.

use std::collections::VecDeque;
use std::io;

/// A queue of bytes to one peer.
#[derive(Debug, Default)]
pub struct Outlet {
    bytes: Vec<u8>,
    /// First byte of `bytes` that is not written yet.
    head: usize,
    /// Frames whose record is not durable yet: the record, and where in `bytes` the frame ends.
    waiting: VecDeque<(u64, usize)>,
    /// Bytes before this place in `bytes` may be written.
    open_to: usize,
}

impl Outlet {
    /// A queue this long or longer stops reads from the peer that feeds it. One frame more may
    /// still be added, so memory is at most this and one frame.
    pub const HIGH_WATER: usize = 256 * 1024;

    /// Capacity kept for reuse after a large frame has gone.
    const KEEP: usize = 1024 * 1024;

    /// Adds a frame and its line feed; it may leave once record `after` is durable, or at once.
    pub fn push(&mut self, frame: &[u8], after: Option<u64>) {
        self.bytes.extend_from_slice(frame);
        self.bytes.push(b'\n');
        let end = self.bytes.len();
        match after {
            Some(seq) => self.waiting.push_back((seq, end)),
            None => match self.waiting.back_mut() {
                Some(last) => last.1 = end,
                None => self.open_to = end,
            },
        }
    }

    /// Records up to and including `durable` are on disk.
    pub fn release(&mut self, durable: u64) {
        while let Some(&(seq, end)) = self.waiting.front() {
            if seq > durable {
                break;
            }
            self.open_to = end;
            self.waiting.pop_front();
        }
    }

    /// Drops every frame whose record never became durable.
    pub fn discard_waiting(&mut self) {
        self.waiting.clear();
        self.bytes.truncate(self.open_to);
    }

    /// What may be written now.
    pub fn ready(&self) -> &[u8] {
        self.bytes.get(self.head..self.open_to).unwrap_or_default()
    }

    /// The first `n` bytes of [`Outlet::ready`] were written.
    pub fn written(&mut self, n: usize) {
        self.head = (self.head + n).min(self.open_to);
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(Self::KEEP);
            (self.head, self.open_to) = (0, 0);
        } else if self.head >= Self::HIGH_WATER {
            self.bytes.drain(..self.head);
            for (_, end) in &mut self.waiting {
                *end -= self.head;
            }
            self.open_to -= self.head;
            self.head = 0;
        }
    }

    /// Bytes queued, whether they may leave yet or not.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the peer that feeds this queue must wait.
    pub fn is_high(&self) -> bool {
        self.len() >= Self::HIGH_WATER
    }

    /// The peer is gone: nothing more can be delivered.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// Writes what may leave, at most `chunk` bytes a call, until `write` would block.
    pub fn drain(
        &mut self,
        chunk: usize,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        loop {
            let ready = self.ready();
            let part = ready.get(..ready.len().min(chunk)).unwrap_or_default();
            if part.is_empty() {
                return Ok(());
            }
            match write(part) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_leaves_before_its_record_or_out_of_order() {
        let mut outlet = Outlet::default();
        outlet.push(b"a", Some(1));
        outlet.push(b"own answer", None);
        outlet.push(b"b", Some(2));
        assert_eq!(outlet.ready(), b"");
        outlet.release(1);
        assert_eq!(outlet.ready(), b"a\nown answer\n");
        outlet.written(1);
        assert_eq!(outlet.ready(), b"\nown answer\n");
        outlet.release(2);
        assert_eq!(outlet.ready(), b"\nown answer\nb\n");
        let n = outlet.ready().len();
        outlet.written(n);
        assert!(outlet.is_empty());
        outlet.push(b"c", None);
        assert_eq!(outlet.ready(), b"c\n");
    }

    #[test]
    fn frames_without_a_durable_record_can_be_dropped() {
        let mut outlet = Outlet::default();
        outlet.push(b"kept", None);
        outlet.push(b"lost", Some(7));
        outlet.discard_waiting();
        outlet.release(9);
        outlet.push(b"next", None);
        assert_eq!(outlet.ready(), b"kept\nnext\n");
    }

    #[test]
    fn a_partial_write_keeps_every_byte_through_compaction() {
        let mut outlet = Outlet::default();
        let mut expected = Vec::new();
        let mut got = Vec::new();
        for n in 0..64_u64 {
            let frame = vec![u8::try_from(n).unwrap(); 20_000];
            outlet.push(&frame, Some(n));
            expected.extend_from_slice(&frame);
            expected.push(b'\n');
            outlet.release(n);
            let mut budget = 13_001_usize;
            outlet
                .drain(4_096, |part| {
                    let take = part.len().min(budget);
                    if take == 0 {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    budget -= take;
                    got.extend_from_slice(&part[..take]);
                    Ok(take)
                })
                .unwrap();
        }
        outlet
            .drain(4_096, |part| {
                got.extend_from_slice(part);
                Ok(part.len())
            })
            .unwrap();
        assert!(got == expected);
        assert!(outlet.is_empty());
    }
}
