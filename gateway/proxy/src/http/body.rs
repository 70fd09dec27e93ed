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

/// Reads a body of at most `max` bytes within `time`.
pub(crate) async fn read(body: Incoming, max: usize, time: Duration) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLarge);
    }
    tokio::time::timeout(time, collect(body, max))
        .await
        .map_err(|_| BodyError::TooSlow)?
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, BodyError> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = next(&mut body).await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        if first.as_ref().map_or(0, Bytes::len) + rest.len() + data.len() > max {
            return Err(BodyError::TooLarge);
        }
        match &first {
            None => first = Some(data),
            // A message that came in one piece is not copied.
            Some(first) if rest.is_empty() => {
                let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                rest.reserve(first.len() + data.len() + expected.min(max));
                rest.extend_from_slice(first);
                rest.extend_from_slice(&data);
            }
            Some(_) => rest.extend_from_slice(&data),
        }
    }
    Ok(match first {
        Some(first) if rest.is_empty() => first,
        _ => rest.freeze(),
    })
}

/// The next piece of a body.
pub(crate) async fn next(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}
