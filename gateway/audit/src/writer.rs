//! The one thread that writes.
//!
//! Items leave the queue in order, become chained and signed lines, and go to the file a group at a
//! time: one `write(2)` for records and signature together, then `fdatasync` when that was asked
//! for. After the first error nothing is ever tried again: the file is sealed, the queue refuses
//! everything, and `durable` stands where it stood.

use crate::Durability;
use crate::chain::{Chain, Hash};
use crate::encode;
use crate::log::Hook;
use crate::queue::Queue;
use crate::record::Item;
use rustix::io::Errno;
use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes at which a group is written. One record more may stand behind them.
const GROUP_BYTES: usize = 256 * 1024;
/// Records at which a group is written.
const GROUP_RECORDS: u32 = 1_024;
/// Bytes written between two looks at the free space.
const SPACE_STEP: u64 = 1024 * 1024;

/// Why the log can no longer record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// `write(2)` failed, or wrote a part and then failed.
    #[error("writing the audit log failed: {0}")]
    Write(String),
    /// `fdatasync(2)` failed. What the kernel still held is in doubt, and asking again would lie.
    #[error("syncing the audit log failed: {0}")]
    Sync(String),
    /// The disk has less room left than the reserve.
    #[error("the disk of the audit log has {free} bytes left, less than the reserve of {reserve}")]
    Space {
        /// Bytes free.
        free: u64,
        /// Bytes to be kept free.
        reserve: u64,
    },
    /// The writer thread died.
    #[error("the audit writer died")]
    Died,
}

/// Where the lines go.
pub(crate) trait Sink: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno>;
    fn sync(&mut self) -> Result<(), Errno>;
    /// Bytes left on the disk.
    fn free(&mut self) -> Result<u64, Errno>;
}

impl Sink for File {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(&*self, bytes)
    }

    fn sync(&mut self) -> Result<(), Errno> {
        rustix::fs::fdatasync(&*self)
    }

    fn free(&mut self) -> Result<u64, Errno> {
        let stat = rustix::fs::fstatvfs(&*self)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Writes all of `bytes`.
pub(crate) fn write_all(sink: &mut dyn Sink, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(Failure::Write("nothing was written".into())),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::Write(error.to_string())),
        }
    }
    Ok(())
}

/// Syncs once. An interrupted call did nothing and is made again; any other error is final.
pub(crate) fn sync(sink: &mut dyn Sink) -> Result<(), Failure> {
    loop {
        match sink.sync() {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::Sync(error.to_string())),
        }
    }
}

/// How a log ended that was closed in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Number of the `stop` record, the last in the file.
    pub seq: u64,
    /// Decisions recorded in this run.
    pub decisions: u64,
    /// Hash of the last record: what a witness elsewhere may keep.
    pub hash: Hash,
}

pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) chain: Chain,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) durability: Durability,
    pub(crate) reserve: u64,
    pub(crate) hook: Hook,
    pub(crate) buffer: Vec<u8>,
    pub(crate) decisions: u64,
    pub(crate) since_look: u64,
}

impl Writer {
    /// Writes until the queue is closed and empty, or until something fails.
    pub(crate) fn run(mut self) -> Result<Closed, Failure> {
        let queue = Arc::clone(&self.queue);
        queue.attach();
        // A panic of ours (or of the hook) unwinds through here: the log is then failed, not silent.
        let guard = FailOnDrop(&queue);
        let outcome = self.work();
        match &outcome {
            Ok(_) => std::mem::forget(guard),
            Err(_) => drop(guard),
        }
        (self.hook)();
        outcome
    }

    fn work(&mut self) -> Result<Closed, Failure> {
        loop {
            if !self.fill() {
                if self.queue.is_finished() {
                    return self.stop();
                }
                self.queue.sleep();
                if let Durability::Async { interval } = self.durability {
                    self.queue.gather(interval);
                }
                continue;
            }
            self.flush()?;
            (self.hook)();
        }
    }

    /// Turns waiting items into a group; says whether there were any.
    fn fill(&mut self) -> bool {
        self.buffer.clear();
        let mut records = 0;
        while records < GROUP_RECORDS && self.buffer.len() < GROUP_BYTES {
            let Some(item) = self.queue.take() else { break };
            match &*item {
                Item::Decision(entry) => {
                    self.decisions += 1;
                    self.chain.push(&mut self.buffer, |out, place| encode::decision(out, place, entry));
                }
                Item::Event(event) => self.chain.push(&mut self.buffer, |out, place| encode::event(out, place, event)),
            }
            records += 1;
        }
        self.chain.seal(&mut self.buffer);
        records > 0
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.look()?;
        write_all(&mut *self.sink, &self.buffer)?;
        if self.durability == Durability::Fsync {
            sync(&mut *self.sink)?;
        }
        self.queue.set_durable(self.chain.next_seq().saturating_sub(1));
        Ok(())
    }

    /// Stops in time: before the disk is so full that even the reason cannot be told.
    fn look(&mut self) -> Result<(), Failure> {
        self.since_look = self.since_look.saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX));
        if self.reserve == 0 || self.since_look < SPACE_STEP {
            return Ok(());
        }
        self.since_look = 0;
        let free = self.sink.free().map_err(|error| Failure::Write(error.to_string()))?;
        if free < self.reserve {
            return Err(Failure::Space { free, reserve: self.reserve });
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<Closed, Failure> {
        let seq = self.chain.next_seq();
        let decisions = self.decisions;
        self.buffer.clear();
        self.chain.push(&mut self.buffer, |out, place| encode::stop(out, place, SystemTime::now(), decisions));
        self.chain.seal(&mut self.buffer);
        write_all(&mut *self.sink, &self.buffer)?;
        sync(&mut *self.sink)?;
        self.queue.set_durable(seq);
        Ok(Closed { seq, decisions, hash: self.chain.head() })
    }
}

struct FailOnDrop<'a>(&'a Queue);

impl Drop for FailOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}
