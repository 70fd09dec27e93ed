//! The queue between those who decide and the thread that writes.
//!
//! Items enter from any thread and get dense numbers in the order they were let in; the one writer
//! takes them in that order. Putting an item in never waits: a full, closed or failed queue says so
//! at once. Room is claimed by moving `head` under a compare-and-swap, which also carries the
//! closed and failed marks, so that no item is numbered after either; each item then goes into the
//! slot its number names.

use crate::record::Item;
use crossbeam::atomic::AtomicCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::Thread;
use std::time::{Duration, Instant};

const CLOSED: u64 = 1 << 63;
const FAILED: u64 = 1 << 62;
const COUNT: u64 = FAILED - 1;

/// Slots kept free by [`Queue::has_room`], so that what one message brings about still fits.
const RESERVED_ITEMS: u64 = 64;
/// Bytes kept free likewise: an entry with the longest arguments and names.
const RESERVED_BYTES: usize = 1024 * 1024;

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The queue is full, in records or in bytes. The writer is behind; deny and try later.
    #[error("the audit queue is full")]
    Full,
    /// Writing failed and the file is sealed. It will not recover: deny everything.
    #[error("the audit log has failed")]
    Failed,
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
}

pub(crate) struct Queue {
    slots: Box<[AtomicCell<Option<Box<Item>>>]>,
    mask: u64,
    max_bytes: usize,
    bytes: AtomicUsize,
    /// Number of the next item, and the marks.
    head: AtomicU64,
    /// Number of the next item the writer takes.
    tail: AtomicU64,
    /// Highest number that is durable.
    durable: AtomicU64,
    /// Whether the writer sleeps until the next item.
    idle: AtomicBool,
    /// Number of waiting items at which a writer that gathers is woken.
    rouse_at: u64,
    writer: OnceLock<Thread>,
}

/// Items that may wait before a writer that nobody nudged is woken all the same.
const UNNUDGED: u64 = 64;

impl Queue {
    /// A queue of `records` items (rounded up to a power of two) and `max_bytes` bytes whose first
    /// number is `first`.
    pub(crate) fn new(records: u32, max_bytes: usize, first: u64) -> Self {
        let capacity = records.clamp(2, 1 << 24).next_power_of_two();
        Self {
            slots: (0..capacity).map(|_| AtomicCell::new(None)).collect(),
            mask: u64::from(capacity) - 1,
            max_bytes,
            bytes: AtomicUsize::new(0),
            head: AtomicU64::new(first),
            tail: AtomicU64::new(first),
            durable: AtomicU64::new(first.saturating_sub(1)),
            idle: AtomicBool::new(false),
            rouse_at: u64::from(capacity / 2),
            writer: OnceLock::new(),
        }
    }

    /// Puts an item in, wakes the writer if it sleeps, and gives the item's number.
    pub(crate) fn push(&self, item: Item) -> Result<u64, AppendError> {
        let seq = self.push_quietly(item)?;
        self.nudge();
        Ok(seq)
    }

    /// Wakes the writer if it sleeps though items wait.
    pub(crate) fn nudge(&self) {
        // Pairs with the fence in `sleep`: either the writer sees the claim, or we see it idle.
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::Relaxed)
            && self.depth() > 0
            && self.idle.swap(false, Ordering::Relaxed)
        {
            self.rouse();
        }
    }

    /// Puts an item in and gives its number. The writer is only woken when many items wait: the
    /// caller is to [`nudge`](Self::nudge) it.
    pub(crate) fn push_quietly(&self, item: Item) -> Result<u64, AppendError> {
        let weight = item.weight();
        if self
            .bytes
            .fetch_add(weight, Ordering::Relaxed)
            .saturating_add(weight)
            > self.max_bytes
        {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.marks()?;
            self.rouse();
            return Err(AppendError::Full);
        }
        let claimed = self.claim();
        let (seq, waiting) = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                self.bytes.fetch_sub(weight, Ordering::Relaxed);
                return Err(error);
            }
        };
        if let Some(slot) = self.slot(seq) {
            slot.store(Some(Box::new(item)));
        }
        if waiting == self.rouse_at || waiting == UNNUDGED {
            self.rouse();
        }
        Ok(seq)
    }

    /// Claims the next number; also says how many items wait then.
    fn claim(&self) -> Result<(u64, u64), AppendError> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            Self::judge(head)?;
            // The writer may be further than a stale `head`; the exchange below then fails.
            let waiting = head.saturating_sub(self.tail.load(Ordering::Acquire));
            if waiting > self.mask {
                self.rouse();
                return Err(AppendError::Full);
            }
            match self.head.compare_exchange_weak(
                head,
                head + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok((head, waiting + 1)),
                Err(now) => head = now,
            }
        }
    }

    fn judge(head: u64) -> Result<(), AppendError> {
        if head & FAILED != 0 {
            Err(AppendError::Failed)
        } else if head & CLOSED != 0 {
            Err(AppendError::Closed)
        } else {
            Ok(())
        }
    }

    /// Whether an item of ordinary size would be taken now, as far as room goes.
    pub(crate) fn has_room(&self) -> bool {
        let head = self.head.load(Ordering::Acquire) & COUNT;
        let waiting = head.saturating_sub(self.tail.load(Ordering::Acquire));
        let roomy = waiting < self.mask.saturating_sub(RESERVED_ITEMS)
            && self.bytes.load(Ordering::Relaxed) < self.max_bytes.saturating_sub(RESERVED_BYTES);
        if !roomy {
            self.rouse();
        }
        roomy
    }

    /// How many items await the writer, near enough.
    pub(crate) fn depth(&self) -> u64 {
        let head = self.head.load(Ordering::Relaxed) & COUNT;
        head.saturating_sub(self.tail.load(Ordering::Relaxed))
    }

    /// Whether items are taken at all.
    pub(crate) fn marks(&self) -> Result<(), AppendError> {
        Self::judge(self.head.load(Ordering::Acquire))
    }

    /// Lets nothing more in, and wakes the writer to finish.
    pub(crate) fn close(&self) {
        self.head.fetch_or(CLOSED, Ordering::AcqRel);
        self.rouse();
    }

    /// Lets nothing more in, for good.
    pub(crate) fn fail(&self) {
        self.head.fetch_or(FAILED, Ordering::AcqRel);
    }

    /// Whether [`Self::fail`] was called.
    pub(crate) fn has_failed(&self) -> bool {
        self.head.load(Ordering::Acquire) & FAILED != 0
    }

    /// Highest durable number.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn set_durable(&self, seq: u64) {
        self.durable.store(seq, Ordering::Release);
    }

    /// Names the one thread that takes items. To be called once, by that thread.
    pub(crate) fn attach(&self) {
        let _ = self.writer.set(std::thread::current());
    }

    /// The next item, if it is there. Writer only.
    pub(crate) fn take(&self) -> Option<Box<Item>> {
        let seq = self.tail.load(Ordering::Relaxed);
        let item = self.slot(seq)?.take()?;
        self.bytes.fetch_sub(item.weight(), Ordering::Relaxed);
        self.tail.store(seq + 1, Ordering::Release);
        Some(item)
    }

    /// Whether the queue is closed and everything let in has been taken. Writer only.
    pub(crate) fn is_finished(&self) -> bool {
        let head = self.head.load(Ordering::Acquire);
        head & CLOSED != 0 && head & COUNT == self.tail.load(Ordering::Relaxed)
    }

    /// Waits until there is something to do, or `time` is over. Writer only.
    pub(crate) fn sleep(&self, time: Option<Duration>) {
        self.idle.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let head = self.head.load(Ordering::Acquire);
        if head & COUNT != self.tail.load(Ordering::Relaxed) {
            // Someone is between claiming a number and filling its slot.
            std::thread::yield_now();
        } else if head & (CLOSED | FAILED) == 0 {
            match time {
                Some(time) => std::thread::park_timeout(time),
                None => std::thread::park(),
            }
        }
        self.idle.store(false, Ordering::Relaxed);
    }

    /// Waits `interval` for more items to come, less when the queue is half full or closed. Writer only.
    pub(crate) fn gather(&self, interval: Duration) {
        let Some(until) = Instant::now().checked_add(interval) else {
            return;
        };
        loop {
            let head = self.head.load(Ordering::Acquire);
            let waiting = (head & COUNT).saturating_sub(self.tail.load(Ordering::Relaxed));
            let crowded = self.bytes.load(Ordering::Relaxed) > self.max_bytes / 2;
            let left = until.saturating_duration_since(Instant::now());
            if head & (CLOSED | FAILED) != 0
                || waiting >= self.rouse_at
                || crowded
                || left.is_zero()
            {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    /// Wakes the writer's thread.
    pub(crate) fn rouse(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    fn slot(&self, seq: u64) -> Option<&AtomicCell<Option<Box<Item>>>> {
        self.slots.get(usize::try_from(seq & self.mask).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;

    fn item() -> Item {
        Item::Decision(entry(1))
    }

    #[test]
    fn slots_are_lock_free() {
        assert!(AtomicCell::<Option<Box<Item>>>::is_lock_free());
    }

    #[test]
    fn full_in_records_and_in_bytes() {
        let queue = Queue::new(4, usize::MAX, 7);
        let numbers: Vec<_> = (0..5).map(|_| queue.push(item())).collect();
        assert_eq!(
            numbers,
            [Ok(7), Ok(8), Ok(9), Ok(10), Err(AppendError::Full)]
        );
        assert!(queue.take().is_some());
        assert_eq!(queue.push(item()), Ok(11));

        let small = Queue::new(64, item().weight() * 2, 0);
        let numbers: Vec<_> = (0..3).map(|_| small.push(item())).collect();
        assert_eq!(numbers, [Ok(0), Ok(1), Err(AppendError::Full)]);
        assert!(small.take().is_some());
        assert_eq!(small.push(item()), Ok(2));
    }

    #[test]
    fn nothing_is_numbered_after_close_or_failure() {
        let queue = Queue::new(4, usize::MAX, 0);
        assert_eq!(queue.push(item()), Ok(0));
        queue.close();
        assert_eq!(queue.push(item()), Err(AppendError::Closed));
        assert!(!queue.is_finished());
        assert!(queue.take().is_some());
        assert!(queue.take().is_none() && queue.is_finished());
        queue.fail();
        assert_eq!(queue.push(item()), Err(AppendError::Failed));
    }

    #[test]
    fn many_producers_one_order() {
        const EACH: u64 = 5_000;
        let queue = Queue::new(64, usize::MAX, 0);
        std::thread::scope(|scope| {
            for producer in 0..8_u64 {
                let queue = &queue;
                scope.spawn(move || {
                    for i in 0..EACH {
                        let mut entry = entry(1);
                        entry.monotonic_ns = producer * EACH + i;
                        while queue.push(Item::Decision(entry.clone())) == Err(AppendError::Full) {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            queue.attach();
            let mut last = [None; 8];
            for _ in 0..8 * EACH {
                let item = loop {
                    match queue.take() {
                        Some(item) => break item,
                        None => queue.sleep(None),
                    }
                };
                let Item::Decision(entry) = *item else {
                    unreachable!()
                };
                let producer = usize::try_from(entry.monotonic_ns / EACH).unwrap();
                assert!(
                    last[producer] < Some(entry.monotonic_ns),
                    "a producer's items keep their order"
                );
                last[producer] = Some(entry.monotonic_ns);
            }
            assert!(queue.take().is_none());
        });
    }
}
