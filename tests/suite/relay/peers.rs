//! The two random peers: what they say, what they heard, and whether that is what they may hear.

use std::collections::HashMap;

use mcpf_tests::Random;
use serde_json::{Value, json};

use super::world::id_of;

/// Begins every text that must not pass.
const LEAK: &str = "LEAK-";
/// Begins every secret.
pub(super) const SECRET_HEAD: &str = "AKIAQ7T5";

/// What is to become of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It arrives as the very bytes that were sent, in order, or not at all.
    Untouched,
    /// The same, but a person delays it.
    Late,
    /// It arrives with its secret replaced.
    Redacted,
}

/// Lines that one side said, and lines that it heard.
#[derive(Default)]
struct Mouth {
    /// By number: only lines that may arrive have one.
    said: HashMap<u64, (Fate, Vec<u8>)>,
    next: u64,
    partial: Vec<u8>,
    heard: Vec<Vec<u8>>,
}

impl Mouth {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn say(&mut self, wire: &mut Vec<u8>, number: u64, fate: Fate, line: String) {
        wire.extend_from_slice(line.as_bytes());
        wire.push(b'\n');
        self.said.insert(number, (fate, line.into_bytes()));
    }

    /// Says what is not to arrive.
    fn lose(wire: &mut Vec<u8>, line: &str) {
        wire.extend_from_slice(line.as_bytes());
        wire.push(b'\n');
    }

    /// Takes in bytes; gives the lines that are complete now.
    fn hear(&mut self, bytes: &[u8]) -> Vec<Value> {
        self.partial.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(at) = self.partial.iter().position(|&byte| byte == b'\n') {
            let mut line: Vec<u8> = self.partial.drain(..=at).collect();
            line.pop();
            messages.push(serde_json::from_slice(&line).unwrap());
            self.heard.push(line);
        }
        messages
    }

    /// Everything that was heard is what the other side said, or an answer of the gateway's.
    fn check(&self, other: &Self) {
        let mut last = 0;
        for line in &self.heard {
            let text = String::from_utf8_lossy(line);
            assert!(!text.contains(LEAK), "blocked text passes: {text}");
            assert!(!text.contains(SECRET_HEAD), "a secret passes: {text}");
            let message: Value = serde_json::from_slice(line).unwrap();
            let members = [
                "/params/n",
                "/params/arguments/n",
                "/result/n",
                "/error/data/n",
            ];
            let number = members
                .iter()
                .find_map(|path| message.pointer(path)?.as_u64());
            let Some(number) = number else {
                assert!(text.contains("mcp-firewall"), "nobody said {text}");
                continue;
            };
            let Some((fate, said)) = other.said.get(&number) else {
                panic!("nobody said {text}")
            };
            match fate {
                Fate::Untouched | Fate::Late => {
                    assert_eq!(text, String::from_utf8_lossy(said), "changed on the way");
                }
                Fate::Redacted => assert!(text.contains("[REDACTED:"), "{text}"),
            }
            if *fate != Fate::Late {
                assert!(number > last, "{text} overtook number {last}");
                last = number;
            }
        }
    }
}

/// Requests of one side: how often each id was used, and answered.
#[derive(Default)]
struct Book {
    asked: HashMap<String, usize>,
    answered: HashMap<String, usize>,
    cancelled: Vec<String>,
    open: Vec<Value>,
}

impl Book {
    fn ask(&mut self, id: &Value) {
        *self.asked.entry(id.to_string()).or_default() += 1;
        self.open.push(id.clone());
    }

    fn hear(&mut self, message: &Value) {
        if message.get("method").is_some() {
            return;
        }
        let id = id_of(message).unwrap();
        *self.answered.entry(id.clone()).or_default() += 1;
        if let Some(at) = self
            .open
            .iter()
            .position(|open| Some(open) == message.get("id"))
        {
            self.open.remove(at);
        }
    }

    /// Exactly one answer for each request; at most one for what was cancelled, or when nobody is left.
    fn check(&self, who: &str, mouth: &Mouth, exactly: bool) {
        let heard = || String::from_utf8_lossy(&mouth.heard.join(&b"\n"[..])).into_owned();
        for (id, &answered) in &self.answered {
            let asked = self.asked.get(id).copied().unwrap_or_default();
            assert!(
                answered <= asked,
                "{who} {id}: {asked} requests, {answered} answers\n{}",
                heard()
            );
        }
        if !exactly {
            return;
        }
        for (id, &asked) in &self.asked {
            let answered = self.answered.get(id).copied().unwrap_or_default();
            let cancelled = self.cancelled.contains(id);
            assert!(
                answered == asked || cancelled,
                "{who} {id}: {asked} requests, {answered} answers\n{}",
                heard()
            );
        }
    }
}

fn sealed(random: &mut Random) -> String {
    format!(
        "{SECRET_HEAD}{}",
        random.word(b"ABCDEFGHJKLMNPQRSTUVWXYZ234567", 12)
    )
}

/// The same message with spaces where JSON allows them.
fn spaced(random: &mut Random, line: String) -> String {
    if random.percent(80) {
        line
    } else {
        format!(" {}\t", line.replacen("{\"", "{ \"", 1))
    }
}

/// A client that calls, cancels, repeats itself, attacks and talks nonsense.
pub(super) struct Client {
    random: Random,
    mouth: Mouth,
    book: Book,
    chatter: usize,
    ids: i64,
    /// Requests of the server that it owes an answer.
    owed: Vec<Value>,
    stopped: bool,
    /// Says long things.
    is_heavy: bool,
}

impl Client {
    pub(super) fn new(seed: u64, chatter: usize, is_heavy: bool) -> Self {
        let random = Random::new(seed ^ 0xc11e);
        Self {
            random,
            mouth: Mouth::default(),
            book: Book::default(),
            chatter,
            ids: 0,
            owed: Vec::new(),
            stopped: false,
            is_heavy,
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.chatter == 0
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.mouth.partial.clear();
    }

    pub(super) fn heard(&self) -> usize {
        self.mouth.heard.len() + self.mouth.partial.len()
    }

    fn id(&mut self) -> Value {
        self.ids += 1;
        if self.random.percent(30) {
            json!(format!("c{}", self.ids))
        } else {
            json!(self.ids)
        }
    }

    pub(super) fn speak(&mut self, wire: &mut Vec<u8>) {
        if self.stopped || self.chatter == 0 {
            return;
        }
        self.chatter -= 1;
        match self.random.below(20) {
            0..=5 => self.request(wire),
            6 | 7 => self.notify(wire),
            8 => self.cancel(wire),
            9 | 10 => self.attack(wire),
            11 => self.held(wire),
            12 => self.repeat(wire),
            13 => {
                self.book.ask(&Value::Null);
                Mouth::lose(wire, &format!("{{\"jsonrpc\" garbage {LEAK}"));
            }
            14 => {
                let id = self.id();
                self.book.ask(&id);
                let line =
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping","method":"{LEAK}"}}"#);
                Mouth::lose(wire, &line);
            }
            15 => Mouth::lose(
                wire,
                &format!(r#"{{"jsonrpc":"2.0","method":"x","extra":"{LEAK}"}}"#),
            ),
            16 => Mouth::lose(
                wire,
                &format!(r#"{{"jsonrpc":"2.0","id":"nobody","result":{{"x":"{LEAK}"}}}}"#),
            ),
            17 => self.long(wire),
            18 => Mouth::lose(wire, "  \t\r"),
            _ => {
                let n = self.mouth.number();
                let line =
                    json!({ "jsonrpc": "2.0", "method": "notifications/x", "params": { "n": n } });
                // A carriage return belongs to the line end, not to the message.
                self.mouth
                    .said
                    .insert(n, (Fate::Untouched, line.to_string().into_bytes()));
                Mouth::lose(wire, &format!("{line}\r"));
            }
        }
    }

    fn request(&mut self, wire: &mut Vec<u8>) {
        let (n, id) = (self.mouth.number(), self.id());
        let length = if self.is_heavy || self.random.percent(10) {
            9_000
        } else {
            60
        };
        let text = "lorem ipsum ".repeat(self.random.below(length) / 12);
        let (method, params) = match self.random.below(4) {
            0 => ("ping", json!({ "n": n })),
            1 => ("tools/list", json!({ "n": n })),
            2 => ("resources/read", json!({ "uri": "file:///a", "n": n })),
            _ => (
                "tools/call",
                json!({ "name": "echo", "arguments": { "n": n, "text": text } }),
            ),
        };
        self.book.ask(&id);
        let line =
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
        let line = spaced(&mut self.random, line);
        self.mouth.say(wire, n, Fate::Untouched, line);
    }

    fn notify(&mut self, wire: &mut Vec<u8>) {
        let n = self.mouth.number();
        let line =
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "n": n } });
        let line = spaced(&mut self.random, line.to_string());
        self.mouth.say(wire, n, Fate::Untouched, line);
    }

    fn cancel(&mut self, wire: &mut Vec<u8>) {
        let Some(id) = self
            .random
            .pick(&self.book.open)
            .filter(|id| !id.is_null())
            .cloned()
        else {
            return;
        };
        let n = self.mouth.number();
        self.book.cancelled.push(id.to_string());
        let params = json!({ "requestId": id, "n": n });
        let line =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        self.mouth.say(wire, n, Fate::Untouched, line.to_string());
    }

    fn attack(&mut self, wire: &mut Vec<u8>) {
        let id = self.id();
        self.book.ask(&id);
        let (tool, text) = match self.random.below(3) {
            0 => ("forbidden", LEAK.to_owned()),
            1 => (
                "fetch",
                format!("http://169.254.169.254/latest/meta-data/{LEAK}"),
            ),
            _ => ("echo", format!("http://[::ffff:a9fe:a9fe]/{LEAK}")),
        };
        let params = json!({ "name": tool, "arguments": { "url": text } });
        let line = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        Mouth::lose(wire, &line.to_string());
    }

    fn held(&mut self, wire: &mut Vec<u8>) {
        let (n, id) = (self.mouth.number(), self.id());
        self.book.ask(&id);
        let params = json!({ "name": "ask", "arguments": { "n": n } });
        let line = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        self.mouth.say(wire, n, Fate::Late, line.to_string());
    }

    /// Uses an id again that may still be waiting.
    fn repeat(&mut self, wire: &mut Vec<u8>) {
        let Some(id) = self
            .random
            .pick(&self.book.open)
            .filter(|id| !id.is_null())
            .cloned()
        else {
            return;
        };
        let n = self.mouth.number();
        self.book.ask(&id);
        let line = json!({ "jsonrpc": "2.0", "id": id, "method": "ping", "params": { "n": n } });
        self.mouth.say(wire, n, Fate::Untouched, line.to_string());
    }

    fn long(&mut self, wire: &mut Vec<u8>) {
        let text = LEAK.repeat(20_000 / LEAK.len());
        if self.random.percent(50) {
            let id = self.id();
            self.book.ask(&id);
            Mouth::lose(
                wire,
                &format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"ping","params":{{"x":"{text}"}}}}"#
                ),
            );
        } else {
            self.book.ask(&Value::Null);
            Mouth::lose(
                wire,
                &format!(r#"{{"jsonrpc":"2.0","method":"ping","params":{{"x":"{text}"}},"id":1}}"#),
            );
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        for message in self.mouth.hear(bytes) {
            self.book.hear(&message);
            if let (Some(id), Some(_)) = (message.get("id"), message.get("method")) {
                self.owed.push(id.clone());
            }
        }
    }

    /// Answers one of the server's requests: well, with an error, or badly.
    pub(super) fn answer(&mut self, wire: &mut Vec<u8>) {
        if self.stopped || self.owed.is_empty() {
            return;
        }
        let at = self.random.below(self.owed.len());
        let id = self.owed.remove(at);
        let n = self.mouth.number();
        match self.random.below(5) {
            0 => Mouth::lose(
                wire,
                &format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{}},"result":{{"x":"{LEAK}"}}}}"#
                ),
            ),
            1 => {
                let error = json!({ "code": -1, "message": "no", "data": { "n": n } });
                let line = json!({ "jsonrpc": "2.0", "id": id, "error": error });
                self.mouth.say(wire, n, Fate::Untouched, line.to_string());
            }
            _ => {
                let line = json!({ "jsonrpc": "2.0", "id": id, "result": { "n": n } });
                self.mouth.say(wire, n, Fate::Untouched, line.to_string());
            }
        }
    }

    pub(super) fn check(&self, server: &Server, is_left: bool) {
        self.book.check("client", &self.mouth, is_left);
        self.mouth.check(&server.mouth);
    }

    /// Answers that said that the server is gone.
    pub(super) fn abandoned(&self) -> usize {
        let texts = self
            .mouth
            .heard
            .iter()
            .map(|line| String::from_utf8_lossy(line));
        texts
            .filter(|text| text.contains("before it answered") || text.contains("server is gone"))
            .count()
    }
}

/// A server that answers late, twice, badly or not at all, and asks for things itself.
pub(super) struct Server {
    random: Random,
    mouth: Mouth,
    book: Book,
    ids: i64,
    /// Requests of the client that it has read and not answered.
    owed: Vec<Value>,
    done: Vec<Value>,
    stopped: bool,
    /// Says long things.
    is_heavy: bool,
}

impl Server {
    pub(super) fn new(seed: u64, is_heavy: bool) -> Self {
        Self {
            random: Random::new(seed ^ 0x5e24),
            mouth: Mouth::default(),
            book: Book::default(),
            ids: 0,
            owed: Vec::new(),
            done: Vec::new(),
            stopped: false,
            is_heavy,
        }
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn heard(&self) -> usize {
        self.mouth.heard.len() + self.mouth.partial.len()
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        for message in self.mouth.hear(bytes) {
            self.book.hear(&message);
            if let (Some(id), Some(_)) = (message.get("id"), message.get("method")) {
                self.owed.push(id.clone());
            }
        }
    }

    pub(super) fn speak(&mut self, wire: &mut Vec<u8>) {
        if self.stopped {
            return;
        }
        match self.random.below(16) {
            0..=5 => self.answer(wire),
            6 => {
                let n = self.mouth.number();
                let params = json!({ "level": "info", "data": "lorem ipsum", "n": n });
                let line = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params });
                let line = spaced(&mut self.random, line.to_string());
                self.mouth.say(wire, n, Fate::Untouched, line);
            }
            7 => self.request(wire),
            8 => Mouth::lose(wire, &format!("Listening on stdio {LEAK}")),
            9 => {
                if let Some(id) = self.take() {
                    Mouth::lose(
                        wire,
                        &format!(
                            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"a":1,"a":"{LEAK}"}}}}"#
                        ),
                    );
                }
            }
            10 => Mouth::lose(
                wire,
                &format!(r#"{{"jsonrpc":"2.0","id":"nobody","result":{{"x":"{LEAK}"}}}}"#),
            ),
            11 => {
                if let Some(id) = self.random.pick(&self.done).cloned() {
                    // Perhaps the client uses the id again by now: then it is an answer.
                    let n = self.mouth.number();
                    let line = json!({ "jsonrpc": "2.0", "id": id, "result": { "n": n } });
                    self.mouth.say(wire, n, Fate::Untouched, line.to_string());
                }
            }
            12 => {
                if let Some(id) = self.take() {
                    let text = LEAK.repeat(20_000 / LEAK.len());
                    Mouth::lose(
                        wire,
                        &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":"{text}"}}}}"#),
                    );
                }
            }
            13 => {
                self.ids += 1;
                let id = json!(format!("bad{}", self.ids));
                self.book.ask(&id);
                Mouth::lose(
                    wire,
                    &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping","extra":"{LEAK}"}}"#),
                );
            }
            _ => {}
        }
    }

    fn take(&mut self) -> Option<Value> {
        if self.owed.is_empty() {
            return None;
        }
        let at = self.random.below(self.owed.len());
        let id = self.owed.remove(at);
        self.done.push(id.clone());
        Some(id)
    }

    fn answer(&mut self, wire: &mut Vec<u8>) {
        let Some(id) = self.take() else { return };
        let n = self.mouth.number();
        match self.random.below(6) {
            0 => {
                let text = format!("the key is {} .", sealed(&mut self.random));
                let line =
                    json!({ "jsonrpc": "2.0", "id": id, "result": { "n": n, "text": text } });
                self.mouth.say(wire, n, Fate::Redacted, line.to_string());
            }
            1 => {
                let error =
                    json!({ "code": -32601, "message": "no such thing", "data": { "n": n } });
                let line = json!({ "jsonrpc": "2.0", "id": id, "error": error });
                self.mouth.say(wire, n, Fate::Untouched, line.to_string());
            }
            _ => {
                let text = "dolor sit amet ".repeat(self.random.below(if self.is_heavy {
                    900
                } else {
                    40
                }));
                let line =
                    json!({ "jsonrpc": "2.0", "id": id, "result": { "n": n, "text": text } });
                let line = spaced(&mut self.random, line.to_string());
                self.mouth.say(wire, n, Fate::Untouched, line);
            }
        }
    }

    fn request(&mut self, wire: &mut Vec<u8>) {
        let n = self.mouth.number();
        self.ids += 1;
        // The numbers are those that the client uses too.
        let id = if self.random.percent(50) {
            json!(self.ids)
        } else {
            json!(format!("s{}", self.ids))
        };
        self.book.ask(&id);
        let line =
            json!({ "jsonrpc": "2.0", "id": id, "method": "roots/list", "params": { "n": n } });
        self.mouth.say(wire, n, Fate::Untouched, line.to_string());
    }

    /// Answers one of what is left, honestly or with a secret.
    pub(super) fn finish(&mut self, wire: &mut Vec<u8>) {
        if !self.stopped {
            self.answer(wire);
        }
    }

    pub(super) fn check(&self, client: &Client, exactly: bool) {
        self.book.check("server", &self.mouth, exactly);
        self.mouth.check(&client.mouth);
    }
}
