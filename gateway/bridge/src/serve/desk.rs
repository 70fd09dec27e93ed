//! Requests that a child has yet to answer.
//!
//! Enter: requests of clients. Leave: the same under names that the child can tell apart; and what the
//! child says of them, under the clients' own names again.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use mcpf_model::RequestId;

use super::channel::Speaker;
use crate::envelope::{Envelope, Mark};

/// Under what names a child knows requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The client's own: there is only one client.
    Kept,
    /// Numbers of ours: clients choose the same.
    Minted,
}

/// Whose a request is: a session, or nobody's in particular (2026-07-28).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Session(u64),
    Nobody,
}

/// A request that was sent to a child.
#[derive(Debug)]
pub(crate) struct Pending {
    /// What the client calls it.
    pub(crate) id: RequestId,
    /// What the client calls its progress.
    pub(crate) token: Option<RequestId>,
    pub(crate) speaker: Speaker,
    pub(crate) lists_tools: bool,
    owner: Owner,
    serial: u64,
    is_listening: bool,
}

/// A request's place on the desk.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    /// What the child calls it.
    pub(crate) name: RequestId,
    serial: u64,
}

/// Why a request does not get a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The same client awaits an answer under the same id.
    Taken,
    /// Too many await an answer.
    Full,
}

#[derive(Debug)]
pub(crate) struct Desk {
    naming: Naming,
    most: usize,
    count: u64,
    pending: HashMap<RequestId, Pending>,
    tokens: HashMap<RequestId, RequestId>,
    /// Requests that were given up and never answered: the child may still be at work on them. At most
    /// as many as may be pending; one more, and there is no telling any more.
    ghosts: HashSet<RequestId>,
}

impl Desk {
    pub(crate) fn new(naming: Naming, most: usize) -> Self {
        Self {
            naming,
            most,
            count: 0,
            pending: HashMap::new(),
            tokens: HashMap::new(),
            ghosts: HashSet::new(),
        }
    }

    /// Takes a request in; gives the line that the child is sent.
    pub(crate) fn take(
        &mut self,
        request: &Envelope,
        id: &Mark,
        owner: Owner,
        speaker: Speaker,
    ) -> Result<(Ticket, Bytes), NoPlace> {
        if self.pending.len() >= self.most {
            return Err(NoPlace::Full);
        }
        if self.find(owner, &id.id).is_some() && owner != Owner::Nobody {
            return Err(NoPlace::Taken);
        }
        self.count = self.count.wrapping_add(1);
        let name = match self.naming {
            Naming::Kept => id.id.clone(),
            // Within what every reader takes for an integer.
            Naming::Minted => RequestId::Number(i64::try_from(self.count & MAX_INT).unwrap_or(0)),
        };
        let line = match (self.naming, &request.token) {
            (Naming::Kept, _) => request.line.clone(),
            (Naming::Minted, None) => request.respelled([(id, &name)]),
            (Naming::Minted, Some(token)) => request.respelled([(id, &name), (token, &name)]),
        };
        if let Some(token) = &request.token {
            let token = match self.naming {
                Naming::Kept => token.id.clone(),
                Naming::Minted => name.clone(),
            };
            self.tokens.entry(token).or_insert_with(|| name.clone());
        }
        let pending = Pending {
            id: id.id.clone(),
            token: request.token.as_ref().map(|token| token.id.clone()),
            speaker,
            lists_tools: &*request.method == "tools/list",
            owner,
            serial: self.count,
            is_listening: &*request.method == "subscriptions/listen",
        };
        self.pending.insert(name.clone(), pending);
        let serial = self.count;
        Ok((Ticket { name, serial }, line))
    }

    /// The request that the child calls `name` is answered.
    pub(crate) fn settle(&mut self, name: &RequestId) -> Option<Pending> {
        if self.ghosts.len() <= self.most {
            self.ghosts.remove(name);
        }
        let pending = self.pending.remove(name)?;
        let token = match self.naming {
            Naming::Kept => pending.token.as_ref(),
            Naming::Minted => Some(name),
        };
        if let Some(token) = token.filter(|token| self.tokens.get(token) == Some(name)) {
            self.tokens.remove(token);
        }
        Some(pending)
    }

    /// Takes a request off the desk, unless it was answered and its name given to another. `was_sent`
    /// says whether the child knows of it.
    pub(crate) fn withdraw(&mut self, ticket: &Ticket, was_sent: bool) -> Option<Pending> {
        if self.pending.get(&ticket.name)?.serial != ticket.serial {
            return None;
        }
        let pending = self.settle(&ticket.name)?;
        // All that comes of a subscription says so.
        if was_sent && !pending.is_listening && self.ghosts.len() <= self.most {
            self.ghosts.insert(ticket.name.clone());
        }
        Some(pending)
    }

    pub(crate) fn get(&self, name: &RequestId) -> Option<&Pending> {
        self.pending.get(name)
    }

    /// The request whose progress the child reports under `token`.
    pub(crate) fn progressing(&self, token: &RequestId) -> Option<&Pending> {
        self.pending.get(self.tokens.get(token)?)
    }

    /// What the child calls the request that `owner` calls `id`, if that names exactly one.
    pub(crate) fn find(&self, owner: Owner, id: &RequestId) -> Option<RequestId> {
        if self.naming == Naming::Kept {
            return self.pending.contains_key(id).then(|| id.clone());
        }
        let mut found = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.owner == owner && pending.id == *id);
        let (name, _) = found.next()?;
        found.next().is_none().then(|| name.clone())
    }

    /// The response that is open longest for a request of `owner`.
    pub(crate) fn oldest(&self, owner: Owner) -> Option<Speaker> {
        let heard = |pending: &&Pending| pending.owner == owner && !pending.speaker.is_gone();
        let oldest = self.pending.values().filter(heard);
        let oldest = oldest.min_by_key(|pending| pending.serial);
        oldest.map(|pending| pending.speaker.clone())
    }

    /// The only request that the child can be at work on, if there is exactly one.
    pub(crate) fn only(&self) -> Option<&Pending> {
        if !self.ghosts.is_empty() {
            return None;
        }
        let mut all = self.pending.values().filter(|p| !p.is_listening);
        let only = all.next()?;
        all.next().is_none().then_some(only)
    }

    /// Takes all requests of `owner` off the desk, or all there are.
    pub(crate) fn clear(&mut self, owner: Option<Owner>) -> Vec<(RequestId, Pending)> {
        let names: Vec<RequestId> = self
            .pending
            .iter()
            .filter(|(_, pending)| owner.is_none_or(|owner| pending.owner == owner))
            .map(|(name, _)| name.clone())
            .collect();
        names
            .into_iter()
            .filter_map(|name| self.settle(&name).map(|pending| (name, pending)))
            .collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

/// 2^53 - 1.
const MAX_INT: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests {
    use mcpf_model::{ByteSize, Limits};

    use super::*;
    use crate::envelope::{Reader, Reading};
    use crate::serve::channel::channel;

    fn request(text: &'static str) -> Envelope {
        match Reader::new(&Limits::default()).read(Bytes::from_static(text.as_bytes())) {
            Reading::Message(envelope) => envelope,
            Reading::Odd(odd) => panic!("{odd:?}"),
        }
    }

    fn take(desk: &mut Desk, text: &'static str, owner: Owner) -> Result<(Ticket, Bytes), NoPlace> {
        let request = request(text);
        let (speaker, listener) = channel(ByteSize(1));
        std::mem::forget(listener);
        desk.take(&request, request.id.as_ref().unwrap(), owner, speaker)
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":1}}}"#;

    #[test]
    fn clients_that_choose_the_same_ids_are_told_apart() {
        let mut desk = Desk::new(Naming::Minted, 10);
        let (a, line) = take(&mut desk, CALL, Owner::Session(1)).unwrap();
        assert_eq!(line, CALL);
        let (b, line) = take(&mut desk, CALL, Owner::Session(2)).unwrap();
        assert_eq!(
            line,
            r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":2}}}"#
        );
        assert_eq!(
            take(&mut desk, CALL, Owner::Session(2)).unwrap_err(),
            NoPlace::Taken
        );
        let one = RequestId::Number(1);
        assert_eq!(desk.find(Owner::Session(2), &one), Some(b.name.clone()));
        assert_eq!(desk.progressing(&b.name).unwrap().token, Some(one.clone()));
        assert_eq!(desk.settle(&b.name).unwrap().id, one);
        assert!(desk.progressing(&b.name).is_none());
        assert!(desk.withdraw(&b, true).is_none());
        assert!(desk.withdraw(&a, true).is_some());
        assert!(desk.is_empty() && desk.tokens.is_empty());
    }

    #[test]
    fn a_place_is_given_up_only_by_who_holds_it() {
        let mut desk = Desk::new(Naming::Kept, 1);
        let (first, _) = take(&mut desk, CALL, Owner::Session(1)).unwrap();
        assert_eq!(
            take(&mut desk, CALL, Owner::Session(1)).unwrap_err(),
            NoPlace::Full
        );
        desk.settle(&first.name).unwrap();
        let (second, _) = take(&mut desk, CALL, Owner::Session(1)).unwrap();
        assert!(desk.withdraw(&first, false).is_none());
        assert!(desk.withdraw(&second, false).is_some());
    }

    #[test]
    fn the_same_id_twice_is_cancelled_by_neither() {
        let mut desk = Desk::new(Naming::Minted, 10);
        let one = RequestId::Number(1);
        take(&mut desk, CALL, Owner::Nobody).unwrap();
        assert!(desk.find(Owner::Nobody, &one).is_some());
        assert!(desk.only().is_some());
        take(&mut desk, CALL, Owner::Nobody).unwrap();
        assert!(desk.find(Owner::Nobody, &one).is_none());
        assert!(desk.only().is_none());
        assert_eq!(desk.clear(Some(Owner::Session(1))).len(), 0);
        assert_eq!(desk.clear(None).len(), 2);
    }

    #[test]
    fn what_was_given_up_may_still_be_at_work() {
        let mut desk = Desk::new(Naming::Minted, 10);
        let (gone, _) = take(&mut desk, CALL, Owner::Nobody).unwrap();
        take(&mut desk, CALL, Owner::Nobody).unwrap();
        desk.withdraw(&gone, true).unwrap();
        assert!(desk.only().is_none());
        assert!(desk.settle(&gone.name).is_none());
        assert!(desk.only().is_some());
        for _ in 0..20 {
            let (gone, _) = take(&mut desk, CALL, Owner::Nobody).unwrap();
            desk.withdraw(&gone, true).unwrap();
        }
        assert_eq!(desk.ghosts.len(), 11);
    }
}
