//! What was agreed with the server.

use std::rc::Rc;

use hyper::Uri;
use hyper::header::HeaderValue;
use tokio::sync::watch;

/// One handshake's outcome. Another `initialize` begins another session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Counts the sessions of this process, so that late news of an old one is told from the new.
    pub(crate) number: u64,
    /// `Mcp-Session-Id`, if the server made one.
    pub(crate) id: Option<HeaderValue>,
    /// The revision that the server chose.
    pub(crate) version: Option<HeaderValue>,
    /// Where messages go, if the server named a place of its own (2024-11-05).
    pub(crate) endpoint: Option<Uri>,
    /// Whether `initialize` was sent in it.
    pub(crate) has_begun: bool,
    /// Whether what the server has to say of its own accord is listened to.
    pub(crate) is_heard: bool,
    /// Why it cannot be used any more.
    pub(crate) over: Option<Rc<str>>,
    life: watch::Sender<()>,
}

impl Session {
    /// What there is before a handshake.
    pub(crate) fn none() -> Self {
        Self {
            number: 0,
            id: None,
            version: None,
            endpoint: None,
            has_begun: false,
            is_heard: false,
            over: None,
            life: watch::Sender::new(()),
        }
    }

    /// The session that an `initialize` begins after this one.
    pub(crate) fn next(&self) -> Self {
        Self {
            number: self.number.wrapping_add(1),
            has_begun: true,
            ..Self::none()
        }
    }

    /// Lasts as long as the session.
    pub(crate) fn life(&self) -> Life {
        Life(self.life.subscribe())
    }
}

/// Tells a task that its session has been replaced.
#[derive(Debug)]
pub(crate) struct Life(watch::Receiver<()>);

impl Life {
    pub(crate) async fn ended(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}
