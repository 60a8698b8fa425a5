//! What the driver was asked.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{self, Received};
use super::method::Method;

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST` of a right client.
    pub verb: String,
    /// The path, e.g. `/NetworkDriver.Join`.
    pub path: String,
    /// The protocol's version, e.g. `HTTP/1.1`.
    pub version: String,
    /// All headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// When it had come whole.
    pub at: Instant,
    /// Counts the driver's connections, from 1.
    pub connection: usize,
    /// The reply's status; `None` while (or because) there is none.
    pub status: Option<u16>,
    /// The reply's body, empty where there is none.
    pub reply: Vec<u8>,
    /// How long the reply took; nothing while there is none.
    pub took: Duration,
}

impl Request {
    pub(super) fn new(received: Received, connection: usize) -> Self {
        Self {
            verb: received.verb,
            path: received.path,
            version: received.version,
            headers: received.headers,
            body: received.body,
            at: Instant::now(),
            connection,
            status: None,
            reply: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// The name of the call, whether there is one of that name or not.
    pub fn name(&self) -> &str {
        self.path.trim_start_matches('/')
    }

    /// The call, if the protocol has it.
    pub fn method(&self) -> Option<Method> {
        Method::named(self.name())
    }

    /// The value of a header, whose name may be in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }

    /// The body; `null` when it is empty.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            let text = String::from_utf8_lossy(&self.body);
            panic!("{}: {error}: {text}", self.path)
        })
    }

    /// `name body` in one line, as golden files have it.
    pub fn line(&self) -> String {
        match self.body.as_slice() {
            [] => self.name().to_owned(),
            body => format!("{} {}", self.name(), String::from_utf8_lossy(body)),
        }
    }
}
