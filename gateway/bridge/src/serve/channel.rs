//! Messages on their way to one HTTP response.
//!
//! Enter: what a child said. Leave: the same, as fast as the other side reads it. Bounded in bytes; one
//! message always fits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mcpf_model::ByteSize;
use tokio::sync::Notify;

/// What a response carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Message(Bytes),
    /// The last one.
    Answer {
        line: Bytes,
        /// The code, if it is an error.
        code: Option<i64>,
    },
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Message(line) | Self::Answer { line, .. } => line.len(),
        }
    }
}

#[derive(Debug)]
struct Channel {
    queue: VecDeque<Item>,
    bytes: usize,
    most: usize,
    is_closed: bool,
    is_gone: bool,
    reader: Option<Waker>,
}

/// The end that is spoken into.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    channel: Rc<RefCell<Channel>>,
    room: Rc<Notify>,
}

/// The end that is heard.
#[derive(Debug)]
pub(crate) struct Listener {
    channel: Rc<RefCell<Channel>>,
    room: Rc<Notify>,
}

pub(crate) fn channel(most: ByteSize) -> (Speaker, Listener) {
    let channel = Rc::new(RefCell::new(Channel {
        queue: VecDeque::new(),
        bytes: 0,
        most: most.bytes(),
        is_closed: false,
        is_gone: false,
        reader: None,
    }));
    let room = Rc::new(Notify::new());
    let speaker = Speaker {
        channel: Rc::clone(&channel),
        room: Rc::clone(&room),
    };
    (speaker, Listener { channel, room })
}

impl Speaker {
    /// Says `item` if there is room; gives it back if not. To nobody everything can be said.
    pub(crate) fn try_say(&self, item: Item) -> Result<(), Item> {
        let is_full = {
            let channel = self.channel.borrow();
            let after = channel.bytes.saturating_add(item.len());
            !channel.queue.is_empty() && after > channel.most
        };
        if is_full {
            return Err(item);
        }
        self.push(item);
        Ok(())
    }

    /// Says `item` when there is room.
    pub(crate) async fn say(&self, mut item: Item) {
        loop {
            let room = self.room.notified();
            match self.try_say(item) {
                Ok(()) => return,
                Err(back) => item = back,
            }
            room.await;
        }
    }

    /// Says `item` whether there is room or not.
    pub(crate) fn push(&self, item: Item) {
        let mut channel = self.channel.borrow_mut();
        if channel.is_gone || channel.is_closed {
            return;
        }
        channel.bytes = channel.bytes.saturating_add(item.len());
        channel.queue.push_back(item);
        if let Some(reader) = channel.reader.take() {
            reader.wake();
        }
    }

    /// Says no more.
    pub(crate) fn close(&self) {
        let mut channel = self.channel.borrow_mut();
        channel.is_closed = true;
        if let Some(reader) = channel.reader.take() {
            reader.wake();
        }
    }

    /// Whether nobody hears any more.
    pub(crate) fn is_gone(&self) -> bool {
        let channel = self.channel.borrow();
        channel.is_gone || channel.is_closed
    }
}

impl Listener {
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let mut channel = self.channel.borrow_mut();
        if let Some(item) = channel.queue.pop_front() {
            channel.bytes = channel.bytes.saturating_sub(item.len());
            self.room.notify_waiters();
            return Poll::Ready(Some(item));
        }
        if channel.is_closed {
            return Poll::Ready(None);
        }
        channel.reader = Some(context.waker().clone());
        Poll::Pending
    }

    pub(crate) async fn next(&mut self) -> Option<Item> {
        poll_fn(|context| self.poll_next(context)).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut channel = self.channel.borrow_mut();
        channel.is_gone = true;
        channel.queue.clear();
        channel.bytes = 0;
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Item {
        Item::Message(vec![b'x'; len].into())
    }

    #[test]
    fn bytes_are_bounded_and_one_message_always_fits() {
        let (speaker, mut listener) = channel(ByteSize(10));
        assert!(speaker.try_say(message(100)).is_ok());
        assert_eq!(speaker.try_say(message(1)), Err(message(1)));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(
            listener.poll_next(&mut context),
            Poll::Ready(Some(message(100)))
        );
        assert!(speaker.try_say(message(6)).is_ok());
        assert!(speaker.try_say(message(4)).is_ok());
        assert!(speaker.try_say(message(1)).is_err());
        drop(listener);
        assert!(speaker.is_gone());
        assert!(speaker.try_say(message(1)).is_ok());
    }

    #[tokio::test]
    async fn a_speaker_waits_until_there_is_room_or_nobody() {
        let (speaker, mut listener) = channel(ByteSize(1));
        speaker.say(message(1)).await;
        tokio::join!(speaker.say(message(1)), async {
            tokio::task::yield_now().await;
            assert_eq!(listener.next().await, Some(message(1)));
        });
        tokio::join!(speaker.say(message(1)), async move {
            tokio::task::yield_now().await;
            drop(listener);
        });
    }
}
