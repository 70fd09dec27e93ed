//! What operators ask, on a listener of its own.
//!
//! Enter: requests for `/healthz`, `/readyz`, `/health` and `/metrics`. Leave: their answers. Never:
//! anything about a message.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use super::server::Gateway;

/// For the head of a request, and between two.
const IDLE: Duration = Duration::from_secs(30);

/// Serves operators on `address` until the program ends. Call it within a `LocalSet`.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn manage(
    gateway: Arc<Gateway>,
    address: SocketAddr,
    version: &'static str,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let desk = Rc::new(Desk {
        metrics: Metrics::of(&gateway),
        gateway,
        version,
    });
    tokio::task::spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let desk = Rc::clone(&desk);
                    tokio::task::spawn_local(async move {
                        let service = service_fn(|request| {
                            let response = desk.answer(&request);
                            async move { Ok::<_, Infallible>(response) }
                        });
                        let served = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(IDLE)
                            .serve_connection(TokioIo::new(stream), service);
                        if let Err(error) = served.await {
                            tracing::debug!(%error, "a management connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a management connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(address)
}

struct Desk {
    gateway: Arc<Gateway>,
    metrics: Metrics,
    version: &'static str,
}

impl Desk {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        match request.uri().path() {
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => match self.gateway.unready() {
                None => plain(StatusCode::OK, "ready\n"),
                Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            "/health" => self.health(),
            "/metrics" => match self.metrics.text() {
                Ok(text) => typed(
                    StatusCode::OK,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    text,
                ),
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "no metrics\n"),
            },
            _ => plain(
                StatusCode::NOT_FOUND,
                "here are /healthz, /readyz, /health and /metrics\n",
            ),
        }
    }

    fn health(&self) -> Response<Full<Bytes>> {
        let why = self.gateway.unready();
        let body = json!({
            "status": if why.is_none() { "ok" } else { "unavailable" },
            "reason": why.map(str::trim_end),
            "timestamp": mcpf_audit::timestamp(SystemTime::now()),
            "version": self.version,
        });
        let status = match why {
            None => StatusCode::OK,
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        typed(status, "application/json", format!("{body}\n"))
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
