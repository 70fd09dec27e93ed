//! One relay between two random peers, moved byte by byte, and what must hold of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use mcpf_audit::{
    Durability, Location, Log, PUBLIC_KEY_FILE, PublicKey, Settings, SigningKey, Start,
};
use mcpf_model::{ByteSize, Direction, Limits, Principal};
use mcpf_pipeline::{Context, Generation, Question, Session, Shared};
use mcpf_policy::Plan;
use mcpf_proxy::{Approver, DenyAs, Outlet, Parts, Relay, Ticket, Word};
use mcpf_tests::Random;
use serde_json::Value;

use super::peers::{Client, Server};
use crate::support::{CACHE, Dir, program};

/// Small, so that long lines are cheap to make.
const MAX_FRAME: ByteSize = ByteSize::kib(16);
/// Small, so that it is reached.
const MAX_IN_FLIGHT: u32 = 24;

const POLICY: &str = "\
version: 1
default: allow
rules:
  - {name: forbidden, match: {tools: [forbidden]}, action: deny, message: not this one}
  - {name: ask-first, match: {tools: [ask]}, action: prompt}
";

fn generation() -> Arc<Generation> {
    static GENERATION: OnceLock<Arc<Generation>> = OnceLock::new();
    let built = GENERATION.get_or_init(|| {
        // It fills the cache first.
        let _warm = program();
        let limits = Limits {
            max_frame: MAX_FRAME,
            max_in_flight: MAX_IN_FLIGHT,
            ..Limits::default()
        };
        let policy = Plan::parse(POLICY, "policy.yaml").unwrap();
        let rules = mcpf_rules::load_builtin().unwrap();
        let cache = std::path::Path::new(CACHE).join("mcp-firewall");
        Arc::new(Generation::build(policy, rules, limits, Some(&cache)).unwrap())
    });
    Arc::clone(built)
}

/// A log that many runs share, and what each of them must have left in it.
pub(super) struct Lab {
    dir: Dir,
    log: Arc<Log>,
    expected: HashMap<String, Expected>,
}

struct Expected {
    frames: usize,
    /// Answers in the place of a server that is gone; unknown when the client is gone as well.
    abandoned: Option<usize>,
}

/// What a run amounted to.
pub(super) struct Run {
    /// Most bytes that waited in one queue.
    pub(super) queued: usize,
    /// Lines that were inspected.
    pub(super) frames: usize,
}

impl Lab {
    pub(super) fn new(seed: u64) -> Self {
        let dir = Dir::new();
        let key = SigningKey::load_or_create(dir.path()).unwrap();
        let mut settings = Settings::new(Location::Directory(dir.join("audit")));
        settings.durability = match seed / 100 % 4 {
            0 => Durability::Fsync,
            1 | 2 => Durability::Flush,
            _ => Durability::ASYNC,
        };
        let start = Start::new(SystemTime::now(), "suite");
        let (log, _) = Log::open(&settings, key, &start, Box::new(|| {})).unwrap();
        Self {
            dir,
            log: Arc::new(log),
            expected: HashMap::new(),
        }
    }

    pub(super) fn run(&mut self, seed: u64) -> Run {
        let name = format!("run-{seed}");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            World::new(seed, &name, Arc::clone(&self.log)).live()
        }));
        let Ok((run, expected)) = outcome else {
            panic!("replay with SUITE_SEED={seed}")
        };
        self.expected.insert(name, expected);
        run
    }

    /// One record for each verdict, no more, and a log that verifies.
    pub(super) fn close(self) {
        self.log.close().unwrap();
        let key = PublicKey::load(&self.dir.join(PUBLIC_KEY_FILE)).unwrap();
        let report = mcpf_audit::verify(&self.dir.join("audit"), &[key]).unwrap();
        assert!(report.decisions() > 0);
        let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
        for record in crate::support::records(&self.dir) {
            let text = record.to_string();
            assert!(
                !text.contains(super::peers::SECRET_HEAD),
                "a secret is in the audit log: {text}"
            );
            if record["type"] != "decision" {
                continue;
            }
            let count = counts
                .entry(record["session"].as_str().unwrap().to_owned())
                .or_default();
            let reason = record["reason"]["text"].as_str().unwrap_or_default();
            let is_abandoned =
                reason.contains("before it answered") || reason.contains("server is gone");
            // A call that waited for a person has its one record; an answer in the server's place, another.
            if !(is_abandoned && record["kind"] == "error") {
                count.0 += 1;
            }
            let to_client = record["kind"] == "request" || record["direction"] == "outbound";
            if is_abandoned && to_client {
                count.1 += 1;
            }
        }
        for (name, expected) in self.expected {
            let seed = name.trim_start_matches("run-");
            let (frames, abandoned) = counts.remove(&name).unwrap_or_default();
            assert_eq!(
                frames, expected.frames,
                "records of frames; replay with SUITE_SEED={seed}"
            );
            if let Some(expected) = expected.abandoned {
                assert_eq!(
                    abandoned, expected,
                    "records of abandoned requests; SUITE_SEED={seed}"
                );
            }
        }
    }
}

/// Somebody who takes a random while and says a random word.
#[derive(Default)]
struct Desk {
    asked: Vec<Ticket>,
    words: Vec<(Ticket, Word)>,
}

struct Person(Arc<Mutex<Desk>>);

impl Approver for Person {
    fn ask(&mut self, ticket: Ticket, _question: &Question) -> Result<(), String> {
        self.0.lock().unwrap().asked.push(ticket);
        Ok(())
    }

    fn next_word(&mut self) -> Option<(Ticket, Word)> {
        self.0.lock().unwrap().words.pop()
    }

    fn cancel(&mut self, ticket: Ticket) {
        self.0
            .lock()
            .unwrap()
            .asked
            .retain(|&asked| asked != ticket);
    }
}

struct World {
    random: Random,
    relay: Relay,
    log: Arc<Log>,
    desk: Arc<Mutex<Desk>>,
    client: Client,
    server: Server,
    /// Bytes written by a peer and not read by the relay yet.
    wires: [Vec<u8>; 2],
    queued: usize,
    ended: [bool; 2],
    /// Peers that say much and read little.
    is_heavy: bool,
    tally: [Tally; 2],
}

/// Counts lines that are not blank.
#[derive(Default)]
struct Tally {
    lines: usize,
    partial: Vec<u8>,
}

impl Tally {
    fn read(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end();
            } else {
                self.partial.push(byte);
            }
        }
    }

    /// A line ends, or the input ends in the middle of one.
    fn end(&mut self) {
        self.lines += usize::from(!self.partial.trim_ascii().is_empty());
        self.partial.clear();
    }
}

const fn side(direction: Direction) -> usize {
    match direction {
        Direction::Inbound => 0,
        Direction::Outbound => 1,
    }
}

const BOTH: [Direction; 2] = [Direction::Inbound, Direction::Outbound];

/// How a run ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Both sides finish what they began.
    Orderly,
    /// The server stops in the middle of something.
    ServerDies,
    /// The server closes its input, then dies.
    ServerDeaf,
    /// The client goes away.
    ClientGone,
}

impl World {
    fn new(seed: u64, name: &str, log: Arc<Log>) -> Self {
        let mut random = Random::new(seed);
        let generation = generation();
        let session = Session::new(
            name.into(),
            "fake".into(),
            Principal::anonymous(),
            &generation.limits,
        );
        let desk = Arc::new(Mutex::new(Desk::default()));
        let parts = Parts {
            context: Context {
                generation,
                shared: Arc::new(Shared::default()),
            },
            session,
            log: Arc::clone(&log),
            deny_as: if random.percent(50) {
                DenyAs::Result
            } else {
                DenyAs::Error
            },
            approver: Box::new(Person(Arc::clone(&desk))),
        };
        // A few runs pile up more than the queues may hold.
        let is_heavy = random.percent(1);
        let chatter = if is_heavy { 300 } else { 2 + random.below(25) };
        Self {
            relay: Relay::new(parts).unwrap(),
            log,
            desk,
            client: Client::new(seed, chatter, is_heavy),
            server: Server::new(seed, is_heavy),
            is_heavy,
            wires: [Vec::new(), Vec::new()],
            queued: 0,
            ended: [false; 2],
            tally: [Tally::default(), Tally::default()],
            random,
        }
    }

    fn live(mut self) -> (Run, Expected) {
        let ending = match self.random.below(10) {
            0 => Ending::ServerDies,
            1 => Ending::ServerDeaf,
            2 => Ending::ClientGone,
            _ => Ending::Orderly,
        };
        while !self.client.is_silent() {
            self.step();
        }
        match ending {
            Ending::Orderly => self.settle(),
            Ending::ServerDies => self.end(Direction::Outbound),
            Ending::ServerDeaf => {
                self.relay.sink_gone(Direction::Inbound);
                self.server.stop();
                self.wires[1].clear();
                // Half a line is all that was read of what it said last.
                self.end(Direction::Outbound);
            }
            Ending::ClientGone => {
                self.relay.sink_gone(Direction::Outbound);
                self.client.stop();
                self.wires[0].clear();
                self.end(Direction::Inbound);
            }
        }
        self.finish(ending)
    }

    /// One random thing happens.
    fn step(&mut self) {
        match self.random.below(14) {
            0 | 1 => self.client.speak(&mut self.wires[0]),
            2 | 3 => self.server.speak(&mut self.wires[1]),
            4 => self.client.answer(&mut self.wires[0]),
            5 | 6 => self.deliver(Direction::Inbound),
            7 | 8 => self.deliver(Direction::Outbound),
            9 => self.drain(Direction::Inbound),
            10 => self.drain(Direction::Outbound),
            11 => self.relay.on_wake(),
            12 => self.decide(),
            _ => self.relay.pump(),
        }
        self.look();
    }

    /// The relay reads some of what a peer wrote.
    fn deliver(&mut self, direction: Direction) {
        if !self.relay.wants(direction) || self.ended[side(direction)] {
            return;
        }
        let wire = &mut self.wires[side(direction)];
        let most = match self.random.below(4) {
            0 => 1,
            1 => 50,
            2 => 2_000,
            _ => usize::MAX,
        };
        let space = self.relay.space(direction);
        let n = wire.len().min(space.len()).min(1 + self.random.below(most));
        space[..n].copy_from_slice(&wire[..n]);
        self.tally[side(direction)].read(&wire[..n]);
        wire.drain(..n);
        self.relay.advance(direction, n);
        if self.random.percent(70) {
            self.relay.pump();
        }
    }

    /// A peer reads some of what waits for it.
    fn drain(&mut self, direction: Direction) {
        if self.is_heavy && !self.client.is_silent() && self.random.percent(97) {
            return;
        }
        let outlet = self.relay.outlet_mut(direction);
        let ready = outlet.ready();
        let most = if self.random.percent(60) {
            usize::MAX
        } else {
            700
        };
        let n = ready.len().min(1 + self.random.below(most));
        match direction {
            Direction::Inbound => self.server.read(&ready[..n]),
            Direction::Outbound => self.client.read(&ready[..n]),
        }
        outlet.written(n);
    }

    /// A person says a word about one of the questions.
    fn decide(&mut self) {
        let mut desk = self.desk.lock().unwrap();
        if desk.asked.is_empty() {
            return;
        }
        let at = self.random.below(desk.asked.len());
        let ticket = desk.asked.remove(at);
        let word = if self.random.percent(50) {
            Word::Approved {
                by: "suite".to_owned(),
            }
        } else {
            Word::Denied {
                why: "a person refused this".to_owned(),
            }
        };
        desk.words.push((ticket, word));
    }

    /// Queues are bounded, whatever happens.
    fn look(&mut self) {
        for direction in BOTH {
            self.queued = self.queued.max(self.relay.outlet(direction).len());
        }
        // A frame more than the mark, our own answers, and one for each abandoned request.
        let limit = Outlet::HIGH_WATER + MAX_FRAME.bytes() + Relay::MAX_UNREAD;
        assert!(self.queued <= limit, "{} bytes queued", self.queued);
    }

    fn end(&mut self, direction: Direction) {
        self.ended[side(direction)] = true;
        self.relay.end_of(direction);
    }

    /// Moves everything until both sides have said and heard all there is.
    fn settle(&mut self) {
        let mut idle = 0;
        let mut rounds = 0_u32;
        while idle < 3 {
            rounds += 1;
            assert!(rounds < 1_000_000, "it never comes to rest");
            let before = self.mark();
            for direction in BOTH {
                self.deliver(direction);
                self.drain(direction);
            }
            self.relay.pump();
            self.relay.on_wake();
            self.decide();
            if !self.ended[0] {
                self.client.answer(&mut self.wires[0]);
            }
            if !self.ended[1] {
                self.server.finish(&mut self.wires[1]);
            }
            self.look();
            let waits = BOTH.iter().any(|&d| {
                !self.wires[side(d)].is_empty() && !self.ended[side(d)]
                    || !self.relay.outlet(d).is_empty()
            });
            let durable = self.log.durable();
            if waits && self.mark() == before {
                std::thread::sleep(std::time::Duration::from_micros(200));
                assert!(!self.log.has_failed(), "the log failed at {durable}");
            }
            let quiet =
                !waits && self.mark() == before && self.desk.lock().unwrap().asked.is_empty();
            idle = if quiet { idle + 1 } else { 0 };
        }
    }

    fn mark(&self) -> (usize, usize, usize, usize) {
        (
            self.wires[0].len(),
            self.wires[1].len(),
            self.client.heard(),
            self.server.heard(),
        )
    }

    fn finish(mut self, ending: Ending) -> (Run, Expected) {
        self.settle();
        // What is left unfinished on a wire is no line.
        for direction in BOTH {
            if !self.ended[side(direction)] {
                self.end(direction);
                self.settle();
            }
        }
        for tally in &mut self.tally {
            tally.end();
        }
        self.client
            .check(&self.server, ending != Ending::ClientGone);
        self.server.check(&self.client, ending == Ending::Orderly);
        let abandoned = (ending != Ending::ClientGone).then(|| self.client.abandoned());
        let frames = self.tally.iter().map(|tally| tally.lines).sum();
        (
            Run {
                queued: self.queued,
                frames,
            },
            Expected { frames, abandoned },
        )
    }
}

/// The id of a message, as text that keeps numbers and strings apart.
pub(super) fn id_of(message: &Value) -> Option<String> {
    message.get("id").map(Value::to_string)
}
