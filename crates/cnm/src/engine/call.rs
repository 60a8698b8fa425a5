//! One call of the API.

use std::fmt::Write as _;
use std::time::Instant;

use cni_types::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Engine;
use super::error::{EngineCause, EngineError, Operation};
use super::wire::Message;
use crate::http::text::{excerpt, plain};
use crate::http::{HttpError, Reply, Request, Verb};
use crate::wire::decode;

/// The host that requests are for, as Docker's own clients say.
const HOST: &str = "api.moby.localhost";

impl Engine {
    /// A list of what has one of several values.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        (key, values): (&str, &[&str]),
        deadline: Instant,
    ) -> Result<Vec<T>, Failure> {
        let filters = serde_json::json!({ key: values }).to_string();
        self.get(&format!("{path}filters={}", encode(&filters)), deadline)
    }

    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        deadline: Instant,
    ) -> Result<T, Failure> {
        let reply = self.call(Verb::Get, path, b"", deadline)?;
        Ok(understand(&reply)?)
    }

    pub(super) fn post(
        &self,
        path: &str,
        request: &impl Serialize,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let body = serde_json::to_vec(request)
            .map_err(|error| EngineCause::Malformed(error.to_string()))?;
        self.call(Verb::Post, path, &body, deadline)
    }

    /// A call of the version that both sides speak, with a reply of success.
    pub(super) fn call(
        &self,
        verb: Verb,
        path: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let version = self.api_version(deadline).map_err(Failure::Whole)?;
        let path = format!("/v{version}{path}");
        Ok(succeeded(self.send(verb, &path, body, deadline)?)?)
    }

    pub(super) fn send(
        &self,
        verb: Verb,
        path: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Reply, EngineCause> {
        let mut headers = vec![("Host", HOST), ("Accept", "application/json")];
        if !body.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        let request = Request {
            verb,
            path,
            headers: &headers,
            body,
        };
        let reply = self.client.send(&request, &self.patience, deadline);
        reply.map_err(EngineCause::Http)
    }
}

/// What fails on the way to a call has its own words; the call's failure is told with its subject.
pub(super) enum Failure {
    Cause(EngineCause),
    Whole(EngineError),
}

impl From<EngineCause> for Failure {
    fn from(cause: EngineCause) -> Self {
        Self::Cause(cause)
    }
}

impl Failure {
    pub(super) fn during(self, operation: Operation, subject: String) -> EngineError {
        match self {
            Self::Cause(cause) => cause.during(operation, subject),
            Self::Whole(error) => error,
        }
    }
}

/// A reply, if it is one of success; else what its message says.
pub(super) fn succeeded(reply: Reply) -> Result<Reply, EngineCause> {
    if (200..300).contains(&reply.status) {
        return Ok(reply);
    }
    let said = decode::<Message>(&reply.body).map(|body| body.message);
    let message = said
        .ok()
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| plain(&reply.body));
    Err(EngineCause::Refused {
        status: reply.status,
        message: if message.is_empty() {
            "nothing".to_owned()
        } else {
            message
        },
    })
}

pub(super) fn understand<T: DeserializeOwned>(reply: &Reply) -> Result<T, EngineCause> {
    Json::parse(&reply.body)
        .and_then(|body| body.decode())
        .map_err(|error| {
            let body = excerpt(&String::from_utf8_lossy(&reply.body));
            EngineCause::Malformed(format!("{error}, in {body}"))
        })
}

/// A name as a part of a path. What a server would take for more than that is no name.
pub(super) fn segment(name: &str) -> Result<String, EngineCause> {
    if ["", ".", ".."].contains(&name) {
        let why = format!("{name:?} is no name");
        return Err(EngineCause::Http(HttpError::Address(why)));
    }
    Ok(encode(name))
}

/// Percent-encodes what is not unreserved (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _infallible = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
