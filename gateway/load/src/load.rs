//! The generator: so many connections, in a closed or an open loop.
//!
//! Enter: a [`Plan`]. Leave: a [`Tally`]. Never: coordinated omission: in an open loop a request's time begins
//! when it was due, whether or not a connection was free then.

use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::endpoint::Endpoint;
use crate::message::Header;
use crate::process::Meter;
use crate::schedule::Share;
use crate::stop::Stop;
use crate::tally::Tally;
use crate::worker::{self, Hand};

/// One measured part.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is measured.
    pub endpoint: Endpoint,
    /// Headers that each request carries besides the protocol's own.
    pub headers: Vec<Header>,
    /// Connections, each with a conversation of its own; all are open before the measurement begins.
    pub connections: NonZeroUsize,
    /// Threads they are dealt to; not more are used than there are connections.
    pub threads: NonZeroUsize,
    /// When requests are sent.
    pub pace: Pace,
    /// Bytes of text in each result.
    pub size: usize,
    /// Bytes of text in each call's arguments.
    pub arguments: usize,
    /// How long requests are begun. Those on their way at the end are waited for, at most [`GRACE`].
    pub duration: Duration,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pace {
    /// Each connection sends when its last request is answered: this finds the throughput.
    Closed,
    /// So many requests are due per second, evenly spaced, whatever the answers do: this finds the latency.
    /// The next free connection of the thread takes the next request; while none is free, it waits, and
    /// the wait counts.
    Open(NonZeroU32),
}

/// Why a part could not be measured.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The generator has no threads, sockets or timers.
    #[error("cannot prepare the load: {0}")]
    Prepare(#[from] io::Error),
    /// The peer does not do what a measurement needs.
    #[error("{endpoint} cannot be measured: {why}")]
    Unfit {
        /// The peer.
        endpoint: String,
        /// What it did.
        why: String,
    },
    /// A signal, or [`Stop::set`].
    #[error("interrupted before the measurement was complete")]
    Interrupted,
    /// A thread of the generator has gone.
    #[error("a thread of the load generator ended early; this is a bug, please report it")]
    Bug,
}

/// How long after the end answers are waited for, and how long an open loop goes on to send what is due.
pub const GRACE: Duration = Duration::from_secs(2);

/// Measures once: connects, greets, warms up, and then counts.
///
/// `watched` is the process whose CPU time and memory are told with the counts, its descendants included.
///
/// # Errors
///
/// When the peer cannot be reached or does not answer calls rightly before the measurement begins, and when
/// `stop` is set. What goes wrong later is counted in the tally.
pub fn measure(plan: &Plan, watched: Option<u32>, stop: &Stop) -> Result<Tally, LoadError> {
    let threads = plan.threads.min(plan.connections).get();
    let (reports, reported) = channel();
    std::thread::scope(|scope| {
        let mut crews = Vec::new();
        for index in 0..threads {
            let (begin, begins) = channel();
            let (dismiss, dismissed) = channel();
            let reports = reports.clone();
            let crew = Crew {
                plan,
                stop,
                share: share(index, threads),
                begins,
                dismissed,
            };
            std::thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn_scoped(scope, move || crew.work(&reports))?;
            crews.push((begin, dismiss));
        }
        drop(reports);
        for _ in 0..threads {
            match reported.recv().map_err(|_| LoadError::Bug)? {
                Report::Ready(outcome) => outcome?,
                Report::Done(_) => return Err(LoadError::Bug),
            }
        }
        // Now, not before: a server may start its workers when it is first asked.
        let meter = Meter::start(watched);
        let begin = Instant::now() + HEAD_START;
        for (word, _) in &crews {
            word.send(begin).map_err(|_| LoadError::Bug)?;
        }
        let mut tally = Tally::default();
        let mut last = None;
        for _ in 0..threads {
            let Report::Done(part) = reported.recv().map_err(|_| LoadError::Bug)? else {
                return Err(LoadError::Bug);
            };
            last = last.max(part.last);
            tally.merge(&part.tally);
        }
        if stop.is_set() {
            return Err(LoadError::Interrupted);
        }
        let last = last.map(|last| last.saturating_duration_since(begin));
        tally.elapsed = last.unwrap_or_default().max(plan.duration);
        tally.costs = meter.read();
        // Only now may the connections go: what they hold in the gateway belongs to its memory.
        drop(crews);
        Ok(tally)
    })
}

/// Between the word to begin and the beginning: time for each thread to hear it.
const HEAD_START: Duration = Duration::from_millis(2);

fn share(index: usize, of: usize) -> Share {
    let number = |n| u64::try_from(n).unwrap_or(u64::MAX);
    Share {
        index: number(index),
        of: number(of),
    }
}

/// What a thread tells.
enum Report {
    Ready(Result<(), LoadError>),
    Done(Box<worker::Counted>),
}

/// One thread, its connections and its orders.
struct Crew<'a> {
    plan: &'a Plan,
    stop: &'a Stop,
    share: Share,
    /// When to begin. A sender that has gone says: not at all.
    begins: Receiver<Instant>,
    /// Its end says that the connections may be closed.
    dismissed: Receiver<()>,
}

impl Crew<'_> {
    fn work(self, reports: &Sender<Report>) {
        // Nobody listens any more when another thread could not get ready.
        let tell = |report| {
            let _unheard = reports.send(report);
        };
        let (runtime, hands) = match self.muster() {
            Ok(ready) => ready,
            Err(error) => return tell(Report::Ready(Err(error))),
        };
        tell(Report::Ready(Ok(())));
        let Ok(begin) = self.begins.recv() else {
            return;
        };
        let work = worker::work(self.plan, self.share, begin, hands, self.stop);
        let (counted, hands) = LocalSet::new().block_on(&runtime, work);
        tell(Report::Done(Box::new(counted)));
        let _dismissed = self.dismissed.recv();
        drop(hands);
    }

    /// Opens this thread's connections, greets and warms up.
    fn muster(&self) -> Result<(Runtime, Vec<Hand>), LoadError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let hands =
            LocalSet::new().block_on(&runtime, worker::muster(self.plan, self.share, self.stop))?;
        Ok((runtime, hands))
    }
}
