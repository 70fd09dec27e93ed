//! All sessions and all children.
//!
//! Enter: who wants to talk. Leave: the child to talk with, started if need be, or why there is none.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mcpf_model::ProtocolVersion;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::channel::{Item, channel};
use super::desk::Owner;
use super::link::{Kind, Link};
use super::options::{Children, Serve};
use super::session::Session;
use super::starts::Starts;
use crate::envelope::{Reader, Reading};

/// Length of a session id: 256 bits in hexadecimal.
const ID: usize = 64;

#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) options: Rc<Serve>,
    reader: RefCell<Reader>,
    sessions: RefCell<HashMap<Box<str>, Rc<Session>>>,
    /// Held while the child is being started: whoever comes then waits for it.
    shared: Mutex<Option<Rc<Link>>>,
    modern: Mutex<Option<Rc<Link>>>,
    starts: Rc<RefCell<Starts>>,
    lives: RefCell<JoinSet<()>>,
    links: RefCell<Vec<Weak<Link>>>,
    count: Cell<u64>,
}

impl Bridge {
    pub(crate) fn new(options: Serve) -> Self {
        Self {
            starts: Rc::new(RefCell::new(Starts::new(options.restart))),
            reader: RefCell::new(Reader::new(&options.limits)),
            options: Rc::new(options),
            sessions: RefCell::default(),
            shared: Mutex::default(),
            modern: Mutex::default(),
            lives: RefCell::default(),
            links: RefCell::default(),
            count: Cell::new(0),
        }
    }

    pub(crate) fn read(&self, frame: Bytes) -> Reading {
        self.reader.borrow_mut().read(frame)
    }

    /// The session called `id`, if its child is alive.
    pub(crate) fn find(&self, id: &str) -> Option<Rc<Session>> {
        let found = self.sessions.borrow().get(id).cloned()?;
        if found.link.over().is_some() {
            self.sessions.borrow_mut().remove(id);
            return None;
        }
        Some(found)
    }

    /// Whether another session may begin.
    pub(crate) fn has_room(&self) -> bool {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|_, session| session.link.over().is_none());
        sessions.len() < self.options.max_sessions.get()
    }

    /// A session with `link`, under a name that nobody guesses.
    pub(crate) fn enter(&self, link: Rc<Link>) -> Result<Rc<Session>, String> {
        let mut bytes = [0_u8; ID / 2];
        getrandom::fill(&mut bytes).map_err(|error| {
            tracing::error!(%error, "the system has no random numbers");
            "a session cannot be named: the system has no random numbers".to_owned()
        })?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.count.set(self.count.get().wrapping_add(1));
        let session = Session::new(id.clone().into(), self.count.get(), Rc::clone(&link));
        let session = Rc::new(session);
        link.join(&session);
        let mut sessions = self.sessions.borrow_mut();
        sessions.insert(id.into(), Rc::clone(&session));
        Ok(session)
    }

    /// Ends a session.
    pub(crate) fn leave(&self, session: &Session) {
        self.sessions.borrow_mut().remove(&session.id);
        session.link.leave(session);
    }

    /// The child for a new session.
    pub(crate) async fn child(&self, version: Option<&str>) -> Result<Rc<Link>, String> {
        match self.options.children {
            Children::PerSession => self.start(Kind::Own),
            Children::Shared => {
                let mut shared = self.shared.lock().await;
                if let Some(link) = alive(&shared) {
                    return Ok(link);
                }
                self.starts.borrow().check(Instant::now())?;
                let link = self.start(Kind::Shared)?;
                // Dropped on the way, the child is ended.
                let mut start = Start(Some(Rc::clone(&link)));
                greet(&link, version, &self.options).await?;
                start.0 = None;
                *shared = Some(Rc::clone(&link));
                Ok(link)
            }
        }
    }

    /// The child for requests without sessions.
    pub(crate) async fn modern(&self) -> Result<Rc<Link>, String> {
        let mut modern = self.modern.lock().await;
        if let Some(link) = alive(&modern) {
            return Ok(link);
        }
        self.starts.borrow().check(Instant::now())?;
        let link = self.start(Kind::Modern)?;
        *modern = Some(Rc::clone(&link));
        Ok(link)
    }

    /// The child for requests without sessions, if it runs.
    pub(crate) fn running_modern(&self) -> Option<Rc<Link>> {
        let modern = self.modern.try_lock().ok()?;
        alive(&modern)
    }

    fn start(&self, kind: Kind) -> Result<Rc<Link>, String> {
        let (link, life) = Link::start(&self.options, kind, Rc::clone(&self.starts))?;
        let mut lives = self.lives.borrow_mut();
        while lives.try_join_next().is_some() {}
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.strong_count() > 0);
        links.push(Rc::downgrade(&link));
        lives.spawn_local(life);
        Ok(link)
    }

    /// Ends all children, and waits for it.
    pub(crate) async fn end(&self) {
        self.sessions.borrow_mut().clear();
        for link in self.links.borrow_mut().drain(..) {
            if let Some(link) = link.upgrade() {
                link.end();
            }
        }
        let mut lives = self.lives.take();
        while lives.join_next().await.is_some() {}
    }

    async fn look_through(&self) {
        let ttl = self.options.session_ttl;
        let idle: Vec<Rc<Session>> = {
            let sessions = self.sessions.borrow();
            let idle = sessions.values().filter(|session| session.is_idle(ttl));
            idle.cloned().collect()
        };
        for session in idle {
            tracing::debug!("a session has gone stale");
            self.leave(&session);
        }
        self.has_room();
        for common in [&self.shared, &self.modern] {
            let mut common = common.lock().await;
            if let Some(link) = common.take_if(|link| link.is_idle(ttl)) {
                link.end();
            }
        }
    }
}

/// Ends a child whose start is given up.
struct Start(Option<Rc<Link>>);

impl Drop for Start {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.end();
        }
    }
}

fn alive(link: &Option<Rc<Link>>) -> Option<Rc<Link>> {
    link.as_ref().filter(|link| link.over().is_none()).cloned()
}

/// The handshake with a child that sessions share: made once, by us, with nothing that only one client
/// could do.
async fn greet(link: &Rc<Link>, version: Option<&str>, options: &Serve) -> Result<(), String> {
    let initialize = serde_json::json!({
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": version.unwrap_or(ProtocolVersion::V2025_11_25.as_str()),
            "capabilities": {},
            "clientInfo": { "name": "mcp-firewall", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    let Reading::Message(initialize) = link.read(Bytes::from(initialize.to_string())) else {
        return Err("the revision asked for cannot be passed on".to_owned());
    };
    let (speaker, mut listener) = channel(options.queue);
    let id = initialize.id.as_ref().ok_or("there is no id")?;
    let taken = link.take(&initialize, id, Owner::Nobody, speaker);
    let (_, line) = taken.map_err(|_| "the server is busy".to_owned())?;
    let answered = async {
        let _gone = link.put(line).await;
        loop {
            match listener.next().await {
                Some(Item::Answer { line, .. }) => return Some(line),
                Some(Item::Message(_)) => {}
                None => return None,
            }
        }
    };
    let time = options.timeouts.start;
    let answer = tokio::time::timeout(time, answered).await;
    let answer = answer.map_err(|_| no_start(time))?;
    if let Some(why) = link.over() {
        return Err(why.to_string());
    }
    match answer.map(|answer| link.read(answer)) {
        Some(Reading::Message(answer)) if answer.error_code.is_none() => {
            link.set_welcome(Bytes::copy_from_slice(answer.outcome()));
        }
        Some(Reading::Message(answer)) => {
            let error: Option<serde_json::Value> = serde_json::from_slice(answer.outcome()).ok();
            let message = error.as_ref().and_then(|error| error.get("message"));
            let message = message.and_then(serde_json::Value::as_str);
            let message = message.unwrap_or("it does not say why");
            return Err(format!("the server refuses to begin: {message}"));
        }
        _ => return Err("the server's answer to `initialize` cannot be read".to_owned()),
    }
    link.slip(Bytes::from_static(
        br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    ));
    Ok(())
}

/// What is said of a child that does not answer `initialize`.
pub(crate) fn no_start(time: Duration) -> String {
    format!(
        "the server did not answer `initialize` within {} s; see what it wrote to standard error",
        time.as_secs()
    )
}

/// Ends what nobody uses any more.
pub(crate) async fn sweep(bridge: Weak<Bridge>) {
    loop {
        let Some(period) = bridge
            .upgrade()
            .map(|bridge| bridge.options.session_ttl / 4)
        else {
            return;
        };
        let period = period.clamp(Duration::from_millis(10), Duration::from_secs(60));
        tokio::time::sleep(period).await;
        let Some(bridge) = bridge.upgrade() else {
            return;
        };
        bridge.look_through().await;
    }
}
