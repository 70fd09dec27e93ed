//! Waiting for records to be durable.
//!
//! Enter: the log's hook, on whichever thread has written. Leave: tasks of the workers, woken in the
//! order of their records. A worker that waits for nothing is left in peace.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, PoisonError, RwLock};

use mcpf_audit::{Durability, Log};
use tokio::sync::{Notify, oneshot};

/// Told by the audit's writer that it has moved on.
#[derive(Clone, Debug, Default)]
pub struct Tide(Arc<RwLock<Vec<Arc<Buoy>>>>);

/// One worker's mark.
#[derive(Debug, Default)]
struct Buoy {
    is_waiting: AtomicBool,
    notify: Notify,
}

impl Tide {
    /// The writer has moved on: call this from the log's hook. It does not block.
    pub fn turn(&self) {
        // Pairs with the fence in `reached`: either we see who waits, or it sees what is durable.
        fence(Ordering::SeqCst);
        let buoys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for buoy in buoys.iter() {
            if buoy.is_waiting.swap(false, Ordering::Relaxed) {
                buoy.notify.notify_one();
            }
        }
    }

    /// A shore of this tide.
    pub(crate) fn shore(&self) -> Shore {
        let buoy = Arc::new(Buoy::default());
        let mut buoys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        buoys.push(Arc::clone(&buoy));
        Shore {
            buoy,
            waiting: RefCell::default(),
        }
    }
}

/// Those of one worker that wait for their record.
#[derive(Debug)]
pub(crate) struct Shore {
    buoy: Arc<Buoy>,
    waiting: RefCell<VecDeque<(u64, oneshot::Sender<()>)>>,
}

/// The log failed: what it did not record does not leave.
#[derive(Debug)]
pub(crate) struct Unrecorded;

impl Shore {
    /// Returns once record `seq` is as durable as the log promises.
    pub(crate) async fn reached(&self, log: &Log, seq: u64) -> Result<(), Unrecorded> {
        if matches!(log.durability(), Durability::Async { .. }) || log.durable() >= seq {
            return Ok(());
        }
        if log.has_failed() {
            return Err(Unrecorded);
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back((seq, sender));
        // The writer may have moved on before this was in the queue.
        self.release(log);
        receiver.await.map_err(|_| Unrecorded)
    }

    /// Wakes whoever waits for what is durable now; all are dropped when the log has failed.
    fn release(&self, log: &Log) {
        self.buoy.is_waiting.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let durable = log.durable();
        let mut waiting = self.waiting.borrow_mut();
        while let Some((seq, _)) = waiting.front() {
            if *seq > durable {
                break;
            }
            if let Some((_, sender)) = waiting.pop_front() {
                // Nobody there: its client is gone.
                let _gone = sender.send(());
            }
        }
        if log.has_failed() {
            waiting.clear();
        }
        if waiting.is_empty() {
            self.buoy.is_waiting.store(false, Ordering::Relaxed);
        }
    }

    /// Wakes those that wait, whenever the writer has moved on. Never returns.
    pub(crate) async fn follow(&self, log: &Log) {
        loop {
            self.buoy.notify.notified().await;
            self.release(log);
        }
    }
}
