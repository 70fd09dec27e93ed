//! Bodies: those that are read whole, those that are sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

/// What a client is sent.
#[derive(Debug)]
pub(crate) enum Out {
    /// One message, or nothing.
    Whole(Option<Bytes>),
    /// Events, as they come.
    Events(mpsc::Receiver<Bytes>),
}

impl Out {
    pub(crate) const fn empty() -> Self {
        Self::Whole(None)
    }

    pub(crate) fn of(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
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
                .poll_recv(context)
                .map(|event| event.map(|bytes| Ok(Frame::data(bytes)))),
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

/// Bytes beyond the limit that are still read, and forgotten. 32 MiB.
const MAX_REST: usize = 32 * 1024 * 1024;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body did not come in time")]
    TooSlow,
    #[error("the body broke off: {0}")]
    Broken(hyper::Error),
}

/// Reads a body of at most `max` bytes within `time`. What stands behind the limit is still taken, and
/// forgotten, while the answer is on its way: who is still sending does not read what is wrong.
pub(crate) async fn read(
    mut body: Incoming,
    max: usize,
    time: Duration,
) -> Result<Bytes, BodyError> {
    let is_short = body.size_hint().lower() <= max as u64;
    let outcome = if is_short {
        tokio::time::timeout(time, collect(&mut body, max))
            .await
            .map_err(|_| BodyError::TooSlow)?
    } else {
        Err(BodyError::TooLarge)
    };
    if matches!(outcome, Err(BodyError::TooLarge)) {
        tokio::task::spawn_local(async move {
            let _late = tokio::time::timeout(time, forget(body)).await;
        });
    }
    outcome
}

async fn forget(mut body: Incoming) {
    let mut left = MAX_REST;
    while let Some(Ok(frame)) = next(&mut body).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return,
        }
    }
}

async fn collect(body: &mut Incoming, max: usize) -> Result<Bytes, BodyError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(max);
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    let mut length = 0_usize;
    while let Some(frame) = next(body).await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length > max {
            return Err(BodyError::TooLarge);
        }
        match first.take() {
            // A message that comes in one piece is not copied.
            None if all.is_empty() => first = Some(data),
            None => all.extend_from_slice(&data),
            Some(one) => {
                all.reserve(expected.min(max).max(one.len() + data.len()));
                all.extend_from_slice(&one);
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// The next piece of a body.
pub(crate) async fn next(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}
