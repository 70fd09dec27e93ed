//! Whoever writes: one at a time, a thread of its own or, with `flush`, the one that recorded.
//!
//! Items leave the queue in order, become chained and signed lines, and go to the file as many at a
//! time as wait: one `write(2)`, then `fdatasync` when that was asked for. With `flush` the signature
//! follows within [`UNSIGNED`], since nothing waits for it; else it is part of the write. After the first error nothing is ever tried again: the file is sealed, the queue refuses
//! everything, and `durable` stands where it stood.

use crate::Durability;
use crate::chain::{Chain, Hash};
use crate::encode;
use crate::log::Hook;
use crate::queue::Queue;
use crate::record::Item;
use rustix::io::Errno;
use std::fs::File;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Bytes at which a group is written. One record more may stand behind them.
const GROUP_BYTES: usize = 256 * 1024;
/// Records at which a group is written.
const GROUP_RECORDS: u32 = 1_024;
/// How long records stay without a signature with [`Durability::Flush`].
const UNSIGNED: Duration = Duration::from_millis(10);
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

/// What is left of a file that was closed.
struct Shut;

impl Sink for Shut {
    fn write(&mut self, _: &[u8]) -> Result<usize, Errno> {
        Err(Errno::BADF)
    }

    fn sync(&mut self) -> Result<(), Errno> {
        Err(Errno::BADF)
    }

    fn free(&mut self) -> Result<u64, Errno> {
        Err(Errno::BADF)
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

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
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
    /// Since when there are records without a signature.
    pub(crate) unsigned: Option<Instant>,
    /// What failed while another thread wrote.
    pub(crate) failed: Option<Failure>,
}

/// Writes until the queue is closed and empty, or until something fails: the writer's own thread.
pub(crate) fn run(writer: &Mutex<Writer>, queue: &Queue) -> Result<Closed, Failure> {
    queue.attach();
    // A panic of ours (or of the hook) unwinds through here: the log is then failed, not silent.
    let guard = FailOnDrop(queue);
    let outcome = work(writer, queue);
    match &outcome {
        Ok(_) => std::mem::forget(guard),
        Err(_) => drop(guard),
    }
    if let Ok(mut writer) = writer.lock() {
        // The file is free for the next run from here on.
        writer.sink = Box::new(Shut);
        (writer.hook)();
    }
    outcome
}

fn work(writer: &Mutex<Writer>, queue: &Queue) -> Result<Closed, Failure> {
    loop {
        // Whoever panics while it holds the writer has left half a group behind.
        let mut held = writer.lock().map_err(|_| Failure::Died)?;
        if let Some(failure) = &held.failed {
            return Err(failure.clone());
        }
        held.drain()?;
        if queue.is_finished() {
            return held.stop();
        }
        let rest = held.rest();
        let gather = match held.durability {
            Durability::Async { interval } => Some(interval),
            _ => None,
        };
        drop(held);
        match rest {
            Rest::Sign => {
                // A full queue has items to take; a closed one is ended with a signature.
                let _refused = queue.push_quietly(Item::Seal);
            }
            Rest::For(time) => queue.sleep(Some(time)),
            Rest::UntilWoken => {
                queue.sleep(None);
                if let Some(interval) = gather {
                    queue.gather(interval);
                }
            }
        }
    }
}

/// Writes what waits on the caller's own thread, if the writer's is not at it: between two threads
/// the news would take longer than the work.
pub(crate) fn write_here(writer: &Mutex<Writer>, queue: &Queue) {
    loop {
        // Pairs with itself: whoever finds the lock taken relies on its holder to look again.
        fence(Ordering::SeqCst);
        if queue.depth() == 0 {
            return;
        }
        let Ok(mut held) = writer.try_lock() else {
            return;
        };
        if held.failed.is_some() || queue.marks().is_err() {
            return;
        }
        let before = held.chain.next_seq();
        let guard = FailOnDrop(queue);
        let was_signed = held.unsigned.is_none();
        let outcome = held.drain();
        std::mem::forget(guard);
        if let Err(failure) = outcome {
            held.failed = Some(failure);
            queue.fail();
            (held.hook)();
        }
        // The thread sees to the signature, to a failure, and to an item that is not whole yet.
        let is_stuck = held.chain.next_seq() == before;
        let is_news = held.failed.is_some() || (was_signed && held.unsigned.is_some());
        drop(held);
        if is_news || is_stuck {
            queue.rouse();
        }
        if is_stuck {
            return;
        }
    }
}

/// What the thread does until there are items.
enum Rest {
    /// The last records have gone without a signature for long enough.
    Sign,
    For(Duration),
    UntilWoken,
}

impl Writer {
    /// Writes all that waits.
    fn drain(&mut self) -> Result<(), Failure> {
        while self.fill() {
            self.flush()?;
            (self.hook)();
        }
        Ok(())
    }

    fn rest(&self) -> Rest {
        let Some(since) = self.unsigned else {
            return Rest::UntilWoken;
        };
        let left = UNSIGNED.saturating_sub(since.elapsed());
        if left.is_zero() {
            Rest::Sign
        } else {
            Rest::For(left)
        }
    }

    /// Whether what is in the buffer is to be signed now. To survive the program records need no
    /// signature, and a signature takes longer than all else: with `flush` it follows a little later,
    /// for all records of that time together.
    fn signs(&mut self) -> bool {
        if self.durability != Durability::Flush || self.chain.signs_every() {
            return true;
        }
        let since = *self.unsigned.get_or_insert_with(Instant::now);
        let due = since.elapsed() >= UNSIGNED;
        if due {
            self.unsigned = None;
        }
        due
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
                    self.chain.push(&mut self.buffer, |out, place| {
                        encode::decision(out, place, entry);
                    });
                }
                Item::Event(event) => self.chain.push(&mut self.buffer, |out, place| {
                    encode::event(out, place, event);
                }),
                Item::Seal => self.chain.push(&mut self.buffer, |out, place| {
                    encode::seal(out, place, SystemTime::now());
                }),
            }
            records += 1;
        }
        if records == 0 {
            return false;
        }
        if self.signs() {
            self.chain.seal(&mut self.buffer);
        } else {
            self.chain.pause(&mut self.buffer);
        }
        true
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.look()?;
        write_all(&mut *self.sink, &self.buffer)?;
        if self.durability == Durability::Fsync {
            sync(&mut *self.sink)?;
        }
        self.queue
            .set_durable(self.chain.next_seq().saturating_sub(1));
        Ok(())
    }

    /// Stops in time: before the disk is so full that even the reason cannot be told.
    fn look(&mut self) -> Result<(), Failure> {
        self.since_look = self
            .since_look
            .saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX));
        if self.reserve == 0 || self.since_look < SPACE_STEP {
            return Ok(());
        }
        self.since_look = 0;
        let free = self
            .sink
            .free()
            .map_err(|error| Failure::Write(error.to_string()))?;
        if free < self.reserve {
            return Err(Failure::Space {
                free,
                reserve: self.reserve,
            });
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<Closed, Failure> {
        let seq = self.chain.next_seq();
        let decisions = self.decisions;
        self.buffer.clear();
        self.chain.push(&mut self.buffer, |out, place| {
            encode::stop(out, place, SystemTime::now(), decisions);
        });
        self.chain.seal(&mut self.buffer);
        write_all(&mut *self.sink, &self.buffer)?;
        sync(&mut *self.sink)?;
        self.queue.set_durable(seq);
        Ok(Closed {
            seq,
            decisions,
            hash: self.chain.head(),
        })
    }
}

struct FailOnDrop<'a>(&'a Queue);

impl Drop for FailOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::GENESIS;
    use crate::encode::Place;
    use crate::log::Log;
    use crate::testing::entry;
    use crate::{AppendError, Sign, SigningKey, Ticket};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    type Step = Box<dyn FnMut(usize) -> Result<usize, Errno> + Send>;

    /// A sink whose every write is answered by `step` (given the length), and whose sync may fail.
    struct Faulty {
        step: Step,
        sync: Result<(), Errno>,
        free: u64,
        written: Arc<Mutex<Vec<u8>>>,
        calls: Arc<AtomicU32>,
    }

    impl Sink for Faulty {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let count = (self.step)(bytes.len())?;
            self.written
                .lock()
                .unwrap()
                .extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn sync(&mut self) -> Result<(), Errno> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.sync
        }

        fn free(&mut self) -> Result<u64, Errno> {
            Ok(self.free)
        }
    }

    struct Rig {
        log: Log,
        written: Arc<Mutex<Vec<u8>>>,
        calls: Arc<AtomicU32>,
        hooks: Arc<AtomicU32>,
    }

    fn rig(durability: Durability, step: Step, sync: Result<(), Errno>, free: u64) -> Rig {
        let (written, calls, hooks) =
            <(Arc<Mutex<Vec<u8>>>, Arc<AtomicU32>, Arc<AtomicU32>)>::default();
        let counted = Arc::clone(&hooks);
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let sink = Faulty {
            step,
            sync,
            free,
            written: Arc::clone(&written),
            calls: Arc::clone(&calls),
        };
        let writer = Writer {
            queue: Arc::new(Queue::new(64, 1 << 20, 1)),
            chain: Chain::new(key, Sign::Group, Place { seq: 1, group: 1 }, GENESIS),
            sink: Box::new(sink),
            durability,
            reserve: 100,
            hook: Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
            buffer: Vec::new(),
            decisions: 0,
            since_look: SPACE_STEP,
            unsigned: None,
            failed: None,
        };
        Rig {
            log: Log::start(writer, "test".into()).unwrap(),
            written,
            calls,
            hooks,
        }
    }

    fn wait_for_failure(rig: &Rig) {
        while !rig.log.has_failed() || rig.hooks.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }

    fn append(rig: &Rig) -> Ticket {
        rig.log.append(entry(1)).unwrap()
    }

    #[test]
    fn short_and_interrupted_writes_go_on() {
        let mut turn = 0;
        let step: Step = Box::new(move |length| {
            turn += 1;
            if turn % 2 == 0 {
                Err(Errno::INTR)
            } else {
                Ok(length.min(7))
            }
        });
        let rig = rig(Durability::Flush, step, Ok(()), 1 << 30);
        for _ in 0..20 {
            let _ = append(&rig);
        }
        let closed = rig.log.close().unwrap();
        assert_eq!((closed.decisions, closed.seq), (20, 21));
        assert_eq!(
            rig.written
                .lock()
                .unwrap()
                .iter()
                .filter(|byte| **byte == b'\n')
                .count(),
            21
        );
        assert_eq!(rig.log.close(), Ok(closed));
    }

    #[test]
    fn a_full_disk_is_final() {
        let mut room = 1_000;
        let step: Step = Box::new(move |length| {
            let count = length.min(room);
            room -= count;
            if count == 0 {
                Err(Errno::NOSPC)
            } else {
                Ok(count)
            }
        });
        let rig = rig(Durability::Fsync, step, Ok(()), 1 << 30);
        let first = append(&rig);
        while !rig.log.is_recorded(first) {
            std::thread::yield_now();
        }
        let second = append(&rig);
        while !rig.log.has_failed() {
            std::thread::yield_now();
        }
        assert!(rig.log.is_recorded(first) && !rig.log.is_recorded(second));
        assert_eq!(rig.log.append(entry(3)), Err(AppendError::Failed));
        assert!(matches!(rig.log.close(), Err(Failure::Write(_))));
        assert_eq!(
            rig.written.lock().unwrap().len(),
            1_000,
            "nothing more was tried"
        );
    }

    #[test]
    fn a_failed_sync_is_never_repeated() {
        let rig = rig(Durability::Fsync, Box::new(Ok), Err(Errno::IO), 1 << 30);
        let ticket = append(&rig);
        wait_for_failure(&rig);
        assert!(!rig.log.is_recorded(ticket));
        assert_eq!(rig.log.status(), Err(AppendError::Failed));
        assert!(matches!(rig.log.close(), Err(Failure::Sync(_))));
        assert_eq!(rig.calls.load(Ordering::Relaxed), 2, "one write, one sync");
    }

    #[test]
    fn the_reserve_is_kept() {
        let rig = rig(Durability::ASYNC, Box::new(Ok), Ok(()), 99);
        let ticket = append(&rig);
        wait_for_failure(&rig);
        assert!(!rig.log.is_recorded(ticket));
        assert_eq!(
            rig.log.close(),
            Err(Failure::Space {
                free: 99,
                reserve: 100
            })
        );
        assert!(rig.written.lock().unwrap().is_empty());
    }

    #[test]
    fn a_dead_writer_is_a_failed_log() {
        let rig = rig(
            Durability::Flush,
            Box::new(|_| panic!("on purpose")),
            Ok(()),
            1 << 30,
        );
        let _ = append(&rig);
        while !rig.log.has_failed() {
            std::thread::yield_now();
        }
        assert_eq!(rig.log.append(entry(2)), Err(AppendError::Failed));
        assert_eq!(rig.log.close(), Err(Failure::Died));
    }

    #[test]
    fn a_group_is_one_write() {
        let rig = rig(
            Durability::Async {
                interval: Duration::from_secs(60),
            },
            Box::new(Ok),
            Ok(()),
            1 << 30,
        );
        for _ in 0..32 {
            let _ = append(&rig);
        }
        rig.log.close().unwrap();
        let written = rig.written.lock().unwrap();
        let signatures = written
            .windows(7)
            .filter(|window| *window == b",\"sig\":")
            .count();
        // Half a queue wakes the writer, so there may be two groups; the stop is one more.
        assert!((2..=3).contains(&signatures), "{signatures}");
        assert_eq!(
            rig.calls.load(Ordering::Relaxed),
            u32::try_from(signatures).unwrap() + 1
        );
    }
}
