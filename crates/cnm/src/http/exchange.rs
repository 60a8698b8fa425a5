//! One request and its reply.

use std::future::{Future as _, poll_fn};
use std::pin::pin;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, USER_AGENT};
use hyper::{Method, Response};

use super::error::HttpError;
use super::io::{Io, Stream};
use super::{MAX_BODY, Reply, Request, Verb};

/// Who we say we are.
const AGENT: &str = concat!("Tenon/", env!("CARGO_PKG_VERSION"));

type Prepared = hyper::Request<Full<Bytes>>;

/// Makes of a request what hyper sends.
pub(super) fn prepare(request: &Request<'_>) -> Result<Prepared, HttpError> {
    let method = match request.verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Delete => Method::DELETE,
    };
    let mut builder = hyper::Request::builder()
        .method(method)
        .uri(request.path)
        .header(USER_AGENT, AGENT);
    for (name, value) in request.headers {
        builder = builder.header(*name, *value);
    }
    if request.verb == Verb::Post {
        // hyper leaves it out when there is no body, and servers then wait for one.
        builder = builder.header(CONTENT_LENGTH, request.body.len());
    }
    builder
        .body(Full::new(Bytes::copy_from_slice(request.body)))
        .map_err(|error| HttpError::Address(format!("request for {:?}: {error}", request.path)))
}

/// Sends a request on a fresh connection, which is closed when the reply is there.
pub(super) async fn exchange(
    stream: Box<dyn Stream>,
    request: Prepared,
) -> Result<Reply, HttpError> {
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake(Io(stream))
        .await
        .map_err(|error| HttpError::of(&error))?;
    let mut connection = pin!(connection);
    let mut conversation = pin!(async {
        let response = sender.send_request(request).await;
        read(response.map_err(|error| HttpError::of(&error))?).await
    });
    let mut open = true;
    poll_fn(|context| {
        // The connection moves bytes for the conversation; what fails there is told to it.
        open = open && connection.as_mut().poll(context).is_pending();
        conversation.as_mut().poll(context)
    })
    .await
}

/// Reads a reply to its end.
async fn read(response: Response<Incoming>) -> Result<Reply, HttpError> {
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| HttpError::of(&error))?;
        let data = frame.data_ref().map_or(&[] as &[u8], |data| data);
        if body.len() + data.len() > MAX_BODY {
            return Err(HttpError::Malformed(format!(
                "it is longer than {MAX_BODY} bytes"
            )));
        }
        body.extend_from_slice(data);
    }
    Ok(Reply {
        status: head.status.as_u16(),
        body,
        headers: head.headers,
    })
}
