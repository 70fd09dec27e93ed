//! What one thread of the generator does.
//!
//! Enter: its share of connections and of the schedule. Leave: its counts. Never: another thread's state; a
//! thread shares nothing while it measures.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::http::Response;
use crate::load::{GRACE, LoadError, Pace, Plan};
use crate::message::{Expected, Request, Script, id, judge_initialize, judge_list, judge_notified};
use crate::pace::Timer;
use crate::schedule::{Schedule, Share};
use crate::stop::Stop;
use crate::tally::{Failure, Flaw, Tally};

/// What a thread counted.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) tally: Tally,
    /// When the last right answer came.
    pub(crate) last: Option<Instant>,
}

/// One connection, ready to call.
#[derive(Debug)]
pub(crate) struct Hand {
    /// None after a failure, or when the peer closed it.
    connection: Option<Connection>,
    call: Request,
    timer: Timer,
}

/// How long connecting, greeting and warming up may take together.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Calls of each connection before the measurement begins.
const WARM_UP: u64 = 20;
/// How long a connection waits before it is opened again after it could not be.
const RETRY: Duration = Duration::from_millis(10);
/// How often a thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Opens, greets and warms up this thread's share of the connections.
pub(crate) async fn muster(plan: &Plan, share: Share, stop: &Stop) -> Result<Vec<Hand>, LoadError> {
    let connections = u64::try_from(plan.connections.get()).unwrap_or(u64::MAX);
    let mine = connections
        .saturating_sub(share.index)
        .div_ceil(share.of.max(1));
    let expected = Rc::new(Expected::new(plan.size));
    let mut getting_ready = JoinSet::new();
    for _ in 0..mine {
        let timer = Timer::new()?;
        let expected = Rc::clone(&expected);
        let plan = plan.clone();
        getting_ready.spawn_local(async move { Hand::ready(&plan, timer, &expected).await });
    }
    let unfit = |why: String| LoadError::Unfit {
        endpoint: plan.endpoint.to_string(),
        why,
    };
    let give_up = Instant::now() + READY_WITHIN;
    let mut hands = Vec::new();
    loop {
        match timeout(LOOK, getting_ready.join_next()).await {
            Ok(None) => return Ok(hands),
            Ok(Some(Ok(Ok(hand)))) => hands.push(hand),
            Ok(Some(Ok(Err(flaw)))) => return Err(unfit(flaw.to_string())),
            Ok(Some(Err(_panicked))) => return Err(LoadError::Bug),
            Err(_) if stop.is_set() => return Err(LoadError::Interrupted),
            Err(_) if Instant::now() > give_up => {
                let seconds = READY_WITHIN.as_secs();
                return Err(unfit(format!(
                    "after {seconds} s {} of {mine} connections were not served yet",
                    getting_ready.len()
                )));
            }
            Err(_) => {}
        }
    }
}

/// Measures: every hand works until the end, and is back when this returns, unless it hangs.
pub(crate) async fn work(
    plan: &Plan,
    share: Share,
    begin: Instant,
    hands: Vec<Hand>,
    stop: &Stop,
) -> (Counted, Vec<Hand>) {
    let shift = Rc::new(Shift::new(plan, share, begin));
    let mut working = JoinSet::new();
    for hand in hands {
        let shift = Rc::clone(&shift);
        working.spawn_local(async move { hand.work(&shift).await });
    }
    let give_up = begin + plan.duration + GRACE;
    let mut back = Vec::new();
    loop {
        match timeout(LOOK, working.join_next()).await {
            Ok(None) => break,
            Ok(Some(Ok(hand))) => back.push(hand),
            Ok(Some(Err(_panicked))) => {}
            Err(_) if stop.is_set() || Instant::now() > give_up => break,
            Err(_) => {}
        }
    }
    // Dropped, not only aborted: what hangs must not go on counting.
    working.shutdown().await;
    (shift.close(), back)
}

/// What the connections of a thread share while they measure.
struct Shift {
    begin: Instant,
    end: Instant,
    give_up: Instant,
    share: Share,
    expected: Expected,
    address: SocketAddr,
    /// None in a closed loop.
    schedule: Option<(Schedule, u64)>,
    /// The next request of the schedule, or the number of those sent so far.
    next: Cell<u64>,
    tally: RefCell<Tally>,
    last: Cell<Option<Instant>>,
}

impl Shift {
    fn new(plan: &Plan, share: Share, begin: Instant) -> Self {
        let schedule = match plan.pace {
            Pace::Closed => None,
            Pace::Open(rate) => {
                let schedule = Schedule::new(rate, share);
                Some((schedule, schedule.count(plan.duration)))
            }
        };
        let end = begin + plan.duration;
        Self {
            begin,
            end,
            give_up: end + GRACE,
            share,
            expected: Expected::new(plan.size),
            address: plan.endpoint.address(),
            schedule,
            next: Cell::new(0),
            tally: RefCell::default(),
            last: Cell::new(None),
        }
    }

    /// Takes the next request: its number, and when it is due. None when there is none any more.
    fn take(&self) -> Option<(u64, Instant)> {
        let now = Instant::now();
        let number = self.next.get();
        let due = match &self.schedule {
            None if now < self.end => now.max(self.begin),
            Some((schedule, count)) if number < *count && now < self.give_up => {
                self.begin + schedule.due(number)
            }
            _ => return None,
        };
        self.next.set(number + 1);
        Some((number, due))
    }

    /// An id that no other connection of the run uses now.
    fn id(&self, number: u64) -> u32 {
        id(number
            .wrapping_mul(self.share.of)
            .wrapping_add(self.share.index))
    }

    /// The counts, with what was never sent or never answered.
    fn close(&self) -> Counted {
        let mut tally = self.tally.take();
        let ended = tally.answered + tally.failed();
        tally.count(Failure::Unanswered, tally.sent.saturating_sub(ended));
        if let Some((schedule, count)) = &self.schedule {
            let now = Instant::now();
            for number in self.next.get()..*count {
                let due = self.begin + schedule.due(number);
                tally.give_up(now.saturating_duration_since(due));
            }
        }
        Counted {
            tally,
            last: self.last.get(),
        }
    }
}

impl Hand {
    /// Connects, greets, finds the tool, and calls it some times.
    async fn ready(plan: &Plan, timer: Timer, expected: &Expected) -> Result<Self, Flaw> {
        let mut connection = Connection::open(plan.endpoint.address()).await?;
        let mut script = Script {
            endpoint: &plan.endpoint,
            headers: &plan.headers,
            session: None,
        };
        let first = id(0);
        let mut initialize = script.initialize();
        let response = connection.exchange(initialize.with_id(first)).await?;
        script.session = judge_initialize(&response, connection.body(&response), first)?;
        let mut hand = Self {
            connection: Some(connection).filter(|_| !response.head.closes),
            call: script.initialized(),
            timer,
        };
        let to = plan.endpoint.address();
        hand.exchange(to, first, judge_notified).await?;
        hand.call = script.list();
        let tool = hand
            .exchange(to, first, |response, body| {
                judge_list(response, body, first)
            })
            .await?;
        hand.call = script.call(&tool, plan.size, plan.arguments);
        for number in 0..WARM_UP {
            let id = id(number);
            hand.exchange(to, id, |response, body| expected.judge(response, body, id))
                .await?;
        }
        Ok(hand)
    }

    /// Calls until there is nothing left to do.
    async fn work(mut self, shift: &Shift) -> Self {
        while let Some((number, due)) = shift.take() {
            self.timer.until(due).await;
            let lag = Instant::now().saturating_duration_since(due);
            shift.tally.borrow_mut().send(lag);
            let id = shift.id(number);
            let outcome = self
                .exchange(shift.address, id, |response, body| {
                    shift.expected.judge(response, body, id)
                })
                .await;
            let now = Instant::now();
            match outcome {
                Ok(()) => {
                    let latency = now.saturating_duration_since(due);
                    shift.tally.borrow_mut().answer(latency);
                    shift.last.set(Some(now));
                }
                Err(flaw) => {
                    shift.tally.borrow_mut().fail(&flaw);
                    if matches!(flaw.failure, Failure::Connect | Failure::Closed) {
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
        self
    }

    /// Sends the request under `id` and judges the answer, over a new connection where the last one has gone.
    async fn exchange<T>(
        &mut self,
        to: SocketAddr,
        id: u32,
        judge: impl FnOnce(&Response, &[u8]) -> Result<T, Flaw>,
    ) -> Result<T, Flaw> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(to).await?,
        };
        let response = connection.exchange(self.call.with_id(id)).await?;
        let verdict = judge(&response, connection.body(&response));
        if !response.head.closes {
            self.connection = Some(connection);
        }
        verdict
    }
}
