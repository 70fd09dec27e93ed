//! Requests to the server, with the fields that their revision wants.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::client::Client;
use super::events::Cursor;
use super::wire::{Line, Parcel, Sent};
use crate::envelope::Envelope;
use crate::fields::{
    self, BOTH, EVENTS, IDENTITY, JSON, LAST_EVENT, METHOD, NAME, SESSION, VERSION,
};

/// An answer's head, and the connection that the rest will come on.
pub(crate) type Reply = (Response<Incoming>, Line);

impl Client {
    /// Sends a message, and waits for the head of the answer.
    pub(crate) async fn post(&self, message: &Envelope, sent: Sent) -> Result<Reply, String> {
        let place = self.session().endpoint.clone();
        let place = place.filter(|_| !message.is_modern);
        self.post_to(place, message, Some(sent)).await
    }

    /// Sends a message to `place`, which is the server's URL if there is none.
    pub(crate) async fn post_to(
        &self,
        place: Option<Uri>,
        message: &Envelope,
        sent: Option<Sent>,
    ) -> Result<Reply, String> {
        let mut request =
            self.request(Method::POST, place, Parcel::new(message.line.clone(), sent));
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, BOTH);
        if message.is_modern {
            self.describe(headers, message);
        } else if !message.is_initialize() {
            self.belong(headers);
        }
        let time = self.options.timeouts.answer;
        within(time, "the server did not answer", self.wire.send(request)).await
    }

    /// Asks for a stream of events: from the start, or from where `cursor` is.
    pub(crate) async fn get(
        &self,
        cursor: Option<&Cursor>,
        time: Duration,
    ) -> Result<Reply, String> {
        let mut request = self.request(Method::GET, None, Parcel::default());
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, EVENTS);
        self.belong(headers);
        if let Some(last) = cursor.and_then(Cursor::last) {
            headers.insert(LAST_EVENT, last.clone());
        }
        within(time, "the server opened no stream", self.wire.send(request)).await
    }

    /// Ends the session.
    pub(crate) async fn delete(&self) -> Result<Reply, String> {
        let mut request = self.request(Method::DELETE, None, Parcel::default());
        self.belong(request.headers_mut());
        let time = self.options.timeouts.end;
        within(time, "the server did not answer", self.wire.send(request)).await
    }

    fn request(&self, method: Method, place: Option<Uri>, body: Parcel) -> Request<Parcel> {
        let target = &self.options.target;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = place.unwrap_or_else(|| target.place.clone());
        let headers = request.headers_mut();
        for field in &self.options.fields {
            headers.append(&field.name, field.value.clone());
        }
        headers.insert(header::HOST, target.authority.clone());
        headers.insert(header::ACCEPT_ENCODING, IDENTITY);
        request
    }

    /// Session and revision, as the handshake settled them.
    fn belong(&self, headers: &mut HeaderMap) {
        let session = self.session();
        if let Some(id) = &session.id {
            headers.insert(SESSION, id.clone());
        }
        if let Some(version) = &session.version {
            headers.insert(VERSION, version.clone());
        }
    }

    /// What a message under 2026-07-28 says of itself.
    fn describe(&self, headers: &mut HeaderMap, message: &Envelope) {
        let version = message.version.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(version)) = version {
            headers.insert(VERSION, version);
        }
        if let Some(method) = fields::encoded(&message.method) {
            headers.insert(METHOD, method);
        }
        if let Some(name) = message.name.as_deref().and_then(fields::encoded) {
            headers.insert(NAME, name);
        }
        self.mirror().reflect(message, headers);
    }
}

async fn within<T, E: std::fmt::Display>(
    time: Duration,
    what: &str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(time, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "{what} within {} s; try again, or ask for less at once",
            time.as_secs()
        )),
    }
}

/// What an unwelcome status means, and what to do about it.
pub(crate) fn meaning(status: StatusCode, headers: &HeaderMap) -> String {
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "it wants credentials, or others than these: give them with `--header \"Authorization: Bearer …\"`"
                .to_owned()
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
            "check the path of the URL".to_owned()
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            match headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()) {
                Some(after) if after.bytes().all(|b| b.is_ascii_digit()) && after.len() < 10 => {
                    format!("try again in {after} s")
                }
                _ => "try again later".to_owned(),
            }
        }
        _ if status.is_redirection() => {
            // Not followed: credentials and messages would go where the operator did not send them.
            let to = headers.get(header::LOCATION).map(HeaderValue::as_bytes);
            let to: String = to
                .unwrap_or_default()
                .iter()
                .take(200)
                .filter(|b| b.is_ascii_graphic())
                .map(|b| char::from(*b))
                .collect();
            format!("it wants to be called elsewhere (`{to}`): give that as the URL if you trust it")
        }
        _ if status.is_server_error() => "it has a fault of its own: see its log".to_owned(),
        _ => "see the server's log".to_owned(),
    };
    format!("the server answered HTTP {status}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_comes_with_advice() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        headers.insert(header::LOCATION, HeaderValue::from_static("http://b/mcp/"));
        let of = |status| meaning(StatusCode::from_u16(status).unwrap(), &headers);
        assert!(of(401).contains("401 Unauthorized") && of(401).contains("--header"));
        assert!(of(429).contains("try again in 7 s"));
        assert!(of(307).contains("`http://b/mcp/`"));
        assert!(of(500).contains("log"));
    }
}
