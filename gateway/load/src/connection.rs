//! One connection of the generator.
//!
//! Enter: a request's bytes. Leave: the whole answer. Never: a second request before the first is answered.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::{HttpError, Reader, Response};
use crate::tally::{Failure, Flaw};

/// A connection that is kept alive.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    reader: Reader,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Flaw> {
        let connect = |error: io::Error| {
            Flaw::new(
                Failure::Connect,
                &format!("cannot connect to {address}: {error}"),
            )
        };
        let stream = TcpStream::connect(address).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        Ok(Self {
            stream,
            reader: Reader::default(),
        })
    }

    /// Sends a request and reads its answer. After a failure the connection is of no more use.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Response, Flaw> {
        self.reader.next();
        self.stream.write_all(request).await.map_err(lost)?;
        loop {
            let space = self.reader.space().map_err(unreadable)?;
            let count = self.stream.read(space).await.map_err(lost)?;
            if count == 0 {
                return self.reader.end().map_err(unreadable);
            }
            self.reader.filled(count);
            if let Some(response) = self.reader.poll().map_err(unreadable)? {
                return Ok(response);
            }
        }
    }

    /// The body of the answer that came last.
    pub(crate) fn body(&self, response: &Response) -> &[u8] {
        self.reader.body(response)
    }
}

fn lost(error: io::Error) -> Flaw {
    Flaw::new(Failure::Closed, &error.to_string())
}

fn unreadable(error: HttpError) -> Flaw {
    let failure = match error {
        HttpError::Ended | HttpError::Cut => Failure::Closed,
        _ => Failure::Http,
    };
    Flaw::new(failure, &error.to_string())
}
