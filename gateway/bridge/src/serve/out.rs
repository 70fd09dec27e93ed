//! Bodies of responses.
//!
//! Enter: one message, or a channel of them. Leave: JSON, or events, each as soon as there is one.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use mcpf_wire::{write_comment, write_event};
use tokio::time::{Instant, Sleep};

use super::channel::{Item, Listener};
use super::exchange::Held;

#[derive(Debug)]
pub(crate) enum Out {
    /// One message, or nothing.
    Whole(Option<Bytes>),
    /// Messages, as they come.
    Events(Box<Events>),
}

#[derive(Debug)]
pub(crate) struct Events {
    first: Option<Item>,
    listener: Listener,
    /// What is to be given up when the response is.
    _held: Held,
    tick: Pin<Box<Sleep>>,
    period: Duration,
    is_over: bool,
}

impl Events {
    pub(crate) fn new(
        first: Option<Item>,
        listener: Listener,
        held: Held,
        period: Duration,
    ) -> Self {
        Self {
            first,
            listener,
            _held: held,
            tick: Box::pin(tokio::time::sleep(period)),
            period,
            is_over: false,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let mut out = Vec::new();
        let next = match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.listener.poll_next(context),
        };
        match next {
            Poll::Ready(Some(item)) => {
                self.is_over = matches!(item, Item::Answer { .. });
                let (Item::Message(line) | Item::Answer { line, .. }) = item;
                write_event(&mut out, None, None, None, Some(&line));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                if self.tick.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                write_comment(&mut out);
            }
        }
        self.tick.as_mut().reset(Instant::now() + self.period);
        Poll::Ready(Some(out.into()))
    }
}

impl Body for Out {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => events
                .poll(context)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Events(_) => SizeHint::default(),
        }
    }
}
