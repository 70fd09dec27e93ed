//! Lines on their way to a child.
//!
//! Enter: messages, from any task. Leave: whole lines, in the order in which they entered. A child that
//! does not read holds up those who have something to say.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use mcpf_model::ByteSize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Inbox {
    lines: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    most: usize,
    is_closed: Cell<bool>,
    filled: Notify,
    emptied: Notify,
}

/// Nothing more is taken.
#[derive(Debug)]
pub(crate) struct Closed;

impl Inbox {
    pub(crate) fn new(most: ByteSize) -> Self {
        Self {
            lines: RefCell::default(),
            bytes: Cell::new(0),
            most: most.bytes(),
            is_closed: Cell::new(false),
            filled: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// Puts `line` in once there is room.
    pub(crate) async fn put(&self, line: Bytes) -> Result<(), Closed> {
        loop {
            let emptied = self.emptied.notified();
            let bytes = self.bytes.get();
            if self.is_closed.get() {
                return Err(Closed);
            }
            if bytes == 0 || bytes.saturating_add(line.len()) <= self.most {
                self.slip(line);
                return Ok(());
            }
            emptied.await;
        }
    }

    /// Puts in a small line of our own, whether there is room or not. There are at most as many as
    /// there are requests.
    pub(crate) fn slip(&self, line: Bytes) {
        if self.is_closed.get() {
            return;
        }
        self.bytes.set(self.bytes.get().saturating_add(line.len()));
        self.lines.borrow_mut().push_back(line);
        self.filled.notify_one();
    }

    /// What is in is written still, but nothing more.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.filled.notify_one();
        self.emptied.notify_waiters();
    }

    async fn take(&self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.borrow_mut().pop_front() {
                return Some(line);
            }
            if self.is_closed.get() {
                return None;
            }
            self.filled.notified().await;
        }
    }

    /// Writes lines to the child's standard input until the inbox is closed and empty.
    pub(crate) async fn write(&self, mut stdin: pipe::Sender) -> io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(line) = self.take().await {
            buffer.clear();
            buffer.extend_from_slice(&line);
            buffer.push(b'\n');
            let written = stdin.write_all(&buffer).await;
            self.bytes.set(self.bytes.get().saturating_sub(line.len()));
            self.emptied.notify_waiters();
            written?;
            buffer.shrink_to(RESTING);
        }
        Ok(())
    }
}

/// Size of the write buffer, in bytes, that is kept for good. 64 KiB.
const RESTING: usize = 64 * 1_024;
