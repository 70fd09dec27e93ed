//! Responses, and those of our own making.

use bytes::Bytes;
use hyper::header;
use hyper::{Response, StatusCode};
use mcpf_model::RequestId;

use crate::answer::{self, FAILED, INVALID_REQUEST};
use crate::fields::{EVENTS, JSON, NO_STORE};
use crate::serve::out::{Events, Out};

/// Marks a response that is an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct IsError;

/// A request that the transport does not take.
pub(super) fn refuse(status: StatusCode, id: Option<&RequestId>, why: &str) -> Response<Out> {
    let message = format!("Refused by mcp-firewall: {why}.");
    whole(status, answer::error(id, INVALID_REQUEST, &message))
}

/// A request that was taken and came to nothing.
pub(super) fn failed(id: Option<&RequestId>, why: &str) -> Response<Out> {
    tracing::warn!(why, code = FAILED, "a request has failed");
    let mut response = whole(StatusCode::OK, answer::failure(id, why));
    response.extensions_mut().insert(IsError);
    response
}

pub(super) fn bare(status: StatusCode) -> Response<Out> {
    let mut response = Response::new(Out::Whole(None));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, NO_STORE);
    response
}

pub(super) fn whole(status: StatusCode, frame: Bytes) -> Response<Out> {
    let mut response = bare(status);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    *response.body_mut() = Out::Whole(Some(frame));
    response
}

pub(super) fn events(events: Events) -> Response<Out> {
    let mut response = bare(StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, EVENTS);
    *response.body_mut() = Out::Events(Box::new(events));
    response
}
