//! A blocking HTTP/1.1 client for programs that make a handful of calls and end.
//!
//! One connection for each request. Connecting again costs 40 microseconds on a unix socket, in calls
//! that take a driver milliseconds; in return there is no kept connection that the server may have
//! closed meanwhile, so that nobody has to wonder whether a request was carried out and may be sent
//! again, and a server with a single thread is free for the next client. A request is sent at most
//! once. What is tried again, for as long as a [`Patience`] lasts, is connecting to a server that is
//! not there (yet): then nothing was sent.
//!
//! Nothing is followed (redirects), nothing is kept (cookies, connections), nothing is read without
//! end ([`MAX_BODY`]), nothing waits beyond the deadline.

mod address;
mod dial;
mod error;
mod exchange;
mod hosts;
mod io;
mod patience;
pub(crate) mod text;
mod tls;
mod verify;

use std::sync::Arc;
use std::time::Instant;

use hyper::HeaderMap;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

pub use address::{Address, HostPort};
pub use error::HttpError;
pub use patience::{Attempt, Patience};
pub use tls::{Identity, TlsConfig, Trust};

use dial::Socket;
use io::Stream;

/// How much of a reply's body is read, in bytes: an answer that is longer is none.
pub const MAX_BODY: usize = 1 << 20;

/// What is wanted of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Tell.
    Get,
    /// Do.
    Post,
    /// Remove.
    Delete,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is wanted.
    pub verb: Verb,
    /// Path and query, percent-encoded.
    pub path: &'a str,
    /// Headers. `Host` is among them; `User-Agent` and `Content-Length` are added.
    pub headers: &'a [(&'static str, &'a str)],
    /// The body, or nothing.
    pub body: &'a [u8],
}

/// A reply that came whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Reply {
    /// A header's value, if there is such a header and its value is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Who talks to one server.
#[derive(Debug)]
pub struct Client {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    runtime: Runtime,
}

impl Client {
    /// Reads the certificates that the address names, if any; does not connect.
    ///
    /// # Errors
    /// [`HttpError::Address`]: a certificate or a key cannot be read.
    pub fn new(address: Address) -> Result<Self, HttpError> {
        let tls = match &address {
            Address::Tls(_, config) => Some(tls::client_config(config)?),
            Address::Unix(_) | Address::Tcp(_) => None,
        };
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| HttpError::NoConnection(format!("no event loop: {error}")))?;
        Ok(Self {
            address,
            tls,
            runtime,
        })
    }

    /// The server.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request, once, and waits for the whole reply, whatever its status. Not to be called
    /// inside another tokio runtime: this one is waited for.
    ///
    /// # Errors
    /// The server cannot be connected to, breaks off, answers with something that is not HTTP or is
    /// longer than [`MAX_BODY`], or is not done by the deadline.
    pub fn send(
        &self,
        request: &Request<'_>,
        patience: &Patience,
        deadline: Instant,
    ) -> Result<Reply, HttpError> {
        let request = exchange::prepare(request)?;
        let socket = patience.spend(deadline, || dial::dial(&self.address, deadline))?;
        self.runtime.block_on(async {
            let conversation = async {
                let stream = self.open(socket).await?;
                exchange::exchange(stream, request).await
            };
            tokio::time::timeout_at(deadline.into(), conversation)
                .await
                .unwrap_or(Err(HttpError::Timeout))
        })
    }

    /// Makes of a connected socket what requests go over.
    async fn open(&self, socket: Socket) -> Result<Box<dyn Stream>, HttpError> {
        let socket = socket.register().map_err(|error| self.broken(&error))?;
        let (Address::Tls(server, _), Some(config)) = (&self.address, &self.tls) else {
            return Ok(socket);
        };
        let name = tls::server_name(server)?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector
            .connect(name, socket)
            .await
            .map_err(|error| self.broken(&error))?;
        Ok(Box::new(stream))
    }

    fn broken(&self, error: &std::io::Error) -> HttpError {
        HttpError::NoConnection(format!("{}: {error}", self.address))
    }
}

#[cfg(test)]
pub(crate) mod tests;
