//! Bodies that are read.

use std::pin::Pin;

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming};

/// The next piece of a body.
pub(crate) async fn next(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    #[error("broken off: {0}")]
    Broken(hyper::Error),
}

/// Reads a body of at most `max` bytes.
pub(crate) async fn read(mut body: Incoming, max: usize) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > max as u64 {
        return Err(Unread::TooLarge(max));
    }
    let mut whole = Vec::new();
    while let Some(frame) = next(&mut body).await {
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else {
            continue;
        };
        if whole.len().saturating_add(data.len()) > max {
            return Err(Unread::TooLarge(max));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}
