//! Waiting for records to be durable.
//!
//! Enter: the log's hook, on the writer's thread. Leave: tasks of the workers, woken in the order of
//! their records. One wake crosses threads for each group of records, not one for each record.

use std::cell::RefCell;
use std::collections::VecDeque;

use mcpf_audit::{Durability, Log};
use tokio::sync::{oneshot, watch};

/// Told by the audit's writer that it has moved on.
#[derive(Clone, Debug)]
pub struct Tide(watch::Sender<()>);

impl Default for Tide {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Tide {
    /// The writer has moved on: call this from the log's hook. It does not block.
    pub fn turn(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// Those of one worker that wait for their record.
#[derive(Debug, Default)]
pub(crate) struct Shore {
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
    pub(crate) fn release(&self, log: &Log) {
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
    }
}
