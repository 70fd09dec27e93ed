//! What a child says, brought to where it belongs.
//!
//! Enter: a line. Leave: an answer to the one who waits for it, under the name that it has there; a
//! notification to the response that it is about; the rest to a session, if it can only be that one's.

use std::rc::{Rc, Weak};

use bytes::Bytes;
use mcpf_model::MessageKind;
use mcpf_wire::Shape;

use super::{Kind, Link};
use crate::answer::{self, METHOD_NOT_FOUND};
use crate::envelope::{Envelope, Odd, Reading};
use crate::serve::channel::{Item, Speaker};
use crate::serve::session::{NoRoom, Session};

impl Link {
    /// Brings one line of the child to where it belongs.
    pub(super) async fn route(&self, line: Bytes) {
        let reading = self.read(line);
        match reading {
            Reading::Message(message) => match message.kind {
                MessageKind::Response | MessageKind::Error => self.answered(message).await,
                MessageKind::Request => self.asked(message).await,
                MessageKind::Notification => self.told(message).await,
            },
            Reading::Odd(odd) => self.odd(odd).await,
        }
    }

    async fn answered(&self, message: Envelope) {
        self.is_proven.set(true);
        let Some(id) = &message.id else {
            tracing::warn!("the server sent an error that answers no request");
            return;
        };
        let pending = self.desk.borrow_mut().settle(&id.id);
        let Some(pending) = pending else {
            tracing::debug!("the server answered a request that awaits no answer");
            return;
        };
        if pending.lists_tools && self.kind == Kind::Modern {
            self.mirror.borrow_mut().learn(message.outcome());
        }
        let own = std::iter::once((id, &pending.id));
        let subscription = message.subscription.as_ref();
        let subscription = subscription
            .filter(|mark| mark.id == id.id)
            .map(|mark| (mark, &pending.id));
        let item = Item::Answer {
            line: message.respelled(own.chain(subscription)),
            code: message.error_code,
        };
        self.pass(&pending.speaker, item).await;
    }

    /// The child asks something of a client.
    async fn asked(&self, message: Envelope) {
        let Some(id) = &message.id else { return };
        if self.kind == Kind::Own {
            if self.hear(message.line.clone()).await.is_err() {
                let why = "no stream of the client is open, and too much waits for one";
                self.inbox.slip(answer::failure(Some(&id.id), why));
            }
            return;
        }
        self.inbox.slip(if &*message.method == "ping" {
            let id = answer::spelled(&id.id);
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}").into()
        } else {
            tracing::warn!(
                method = &*message.method,
                "a shared server asked something of no client in particular"
            );
            let why = "Refused by mcp-firewall: a server that is shared has no client to ask.";
            answer::error(Some(&id.id), METHOD_NOT_FOUND, why)
        });
    }

    /// The child tells something.
    async fn told(&self, message: Envelope) {
        let about = self.about(&message);
        if let Some((speaker, line)) = about {
            self.pass(&speaker, Item::Message(line)).await;
            return;
        }
        let is_about_one = &*message.method == "notifications/progress"
            || message.subscription.is_some()
            || message.cancels.is_some();
        match self.kind {
            // Of somebody else, who is gone.
            Kind::Shared | Kind::Modern if is_about_one => {}
            Kind::Own => {
                if self.hear(message.line).await.is_err() {
                    tracing::warn!("a notification was dropped: too much waits for a stream");
                }
            }
            Kind::Shared => self.announce(message).await,
            Kind::Modern => {
                let only = self.desk.borrow().only().map(|p| p.speaker.clone());
                match only {
                    Some(speaker) => self.pass(&speaker, Item::Message(message.line)).await,
                    None => tracing::debug!(
                        method = &*message.method,
                        "a notification that names no request was dropped"
                    ),
                }
            }
        }
    }

    /// The request that a notification is about, and how its client would spell it.
    fn about(&self, message: &Envelope) -> Option<(Speaker, Bytes)> {
        let desk = self.desk.borrow();
        let (pending, line) = if &*message.method == "notifications/progress" {
            let token = message.token.as_ref()?;
            let pending = desk.progressing(&token.id)?;
            (
                pending,
                message.respelled([(token, pending.token.as_ref()?)]),
            )
        } else if let Some(mark) = message.subscription.as_ref() {
            let pending = desk.get(&mark.id)?;
            (pending, message.respelled([(mark, &pending.id)]))
        } else {
            // What the child of one session cancels is a request of its own.
            let mark = message
                .cancels
                .as_ref()
                .filter(|_| self.kind != Kind::Own)?;
            let pending = desk.get(&mark.id)?;
            (pending, message.respelled([(mark, &pending.id)]))
        };
        (!pending.speaker.is_gone()).then(|| (pending.speaker.clone(), line))
    }

    /// What a shared child tells everybody: what is meant for one of several is nobody's.
    async fn announce(&self, message: Envelope) {
        let sessions: Vec<Rc<Session>> = {
            let sessions = self.sessions.borrow();
            sessions.iter().filter_map(Weak::upgrade).collect()
        };
        let is_for_all = message.method.ends_with("/list_changed")
            || &*message.method == "notifications/resources/updated";
        if !is_for_all && self.joined.get() > 1 {
            tracing::debug!(
                method = &*message.method,
                "a notification of a shared server was dropped: it names no session"
            );
            return;
        }
        for session in sessions {
            if self.say(&session, message.line.clone()).await.is_err() {
                tracing::warn!("a notification was dropped: too much waits for a stream");
            }
        }
    }

    /// Brings a message to the only session.
    async fn hear(&self, line: Bytes) -> Result<(), NoRoom> {
        let session = self.sessions.borrow().first().and_then(Weak::upgrade);
        match session {
            Some(session) => self.say(&session, line).await,
            None => Err(NoRoom),
        }
    }

    async fn say(&self, session: &Session, line: Bytes) -> Result<(), NoRoom> {
        match session.speaker() {
            Some(speaker) => {
                self.pass(&speaker, Item::Message(line)).await;
                Ok(())
            }
            None => session.keep(line),
        }
    }

    /// Says `item` to one client. The child of one session waits for it; one that is shared does not
    /// wait for one to the harm of the others.
    async fn pass(&self, speaker: &Speaker, item: Item) {
        if matches!(item, Item::Answer { .. }) {
            // The last one, and so one more than there is room for at most.
            speaker.push(item);
            return;
        }
        let Err(item) = speaker.try_say(item) else {
            return;
        };
        if self.kind == Kind::Own {
            let stall = self.options.timeouts.stall;
            if tokio::time::timeout(stall, speaker.say(item)).await.is_ok() {
                return;
            }
        }
        tracing::warn!("a stream was cut: the client reads too slowly");
        speaker.close();
    }

    /// A line that is no message as all readers understand it.
    pub(super) async fn odd(&self, odd: Odd) {
        tracing::warn!(why = %odd.code, "a line of the server is no message as all read it");
        if odd.shape == Shape::Response {
            let name = odd.id.as_ref();
            let pending = name.and_then(|name| self.desk.borrow_mut().settle(name));
            let Some(pending) = pending else { return };
            // Under the client's own id the firewall can judge it.
            let line = odd.line.filter(|_| self.kind == Kind::Own);
            let line = line.unwrap_or_else(|| {
                let why = odd.code.sentence();
                let why = format!("the server's answer cannot be read: {why}");
                answer::failure(Some(&pending.id), &why)
            });
            let item = Item::Answer { line, code: None };
            self.pass(&pending.speaker, item).await;
        } else if self.kind == Kind::Own
            && let Some(line) = odd.line
        {
            let _dropped = self.hear(line).await;
        }
    }
}
