//! Ends: of a session, and of everything.

use std::rc::Rc;

use super::client::Client;
use super::session::Session;
use crate::answer;

impl Client {
    /// The session called `number` cannot be used any more: all that await an answer are told.
    pub(crate) fn over(&self, number: u64, why: &'static str) {
        {
            let mut session = self.session_mut();
            if session.number != number || session.over.is_some() {
                return;
            }
            session.over = Some(Rc::from(why));
            session.id = None;
        }
        tracing::warn!(why, "the session is over");
        let why = format!("{why}; begin a new session: restart the client");
        self.give_up(|is_modern| !is_modern, why);
    }

    /// Answers all requests that `which` picks by whether they are modern, and forgets them.
    fn give_up(&self, which: impl Fn(bool) -> bool, why: String) {
        let mut waiting = self.waiting();
        let told: Vec<_> = waiting
            .extract_if(|_, asked| which(asked.is_modern))
            .inspect(|(_, asked)| asked.abort())
            .collect();
        let outlet = self.outlet().clone();
        // In a task of its own: the one that noticed may be among those that end here.
        tokio::task::spawn_local(async move {
            for (id, asked) in told {
                if !asked.is_cancelled {
                    outlet.say(answer::failure(Some(&id), &why)).await;
                }
            }
        });
    }

    /// Ends the conversation: in time for answers under way if `is_patient`.
    pub(crate) async fn leave(&self, is_patient: bool) {
        let most = self.options.in_flight();
        if is_patient {
            let all = self.room.acquire_many(most);
            let _not_in_time = tokio::time::timeout(self.options.timeouts.drain, all).await;
        }
        let why = "the conversation ended before the server answered";
        self.give_up(|_| true, why.to_owned());
        let all = self.room.acquire_many(most);
        let _not_in_time = tokio::time::timeout(self.options.timeouts.end, all).await;
        let has_session = self.session().id.is_some();
        if has_session && let Err(why) = self.delete().await {
            tracing::debug!(why, "the server was not told of the end of the session");
        }
        // What still listens hears of it.
        *self.session_mut() = Session::none();
    }
}
