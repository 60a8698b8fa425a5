//! As much of HTTP/1.1 as a driver speaks: requests with a length or in chunks, replies in every
//! form that real drivers use.

use std::io::{self, BufRead, Read, Write};

/// Longer bodies than this are no requests of ours.
const LONGEST_BODY: u64 = 8 << 20;

/// How replies are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// HTTP/1.1 with `Content-Length`; the connection stays open.
    #[default]
    KeepAlive,
    /// HTTP/1.1 with `Content-Length` and `Connection: close`, as Contiv.
    Close,
    /// HTTP/1.1 with `Transfer-Encoding: chunked`.
    Chunked,
    /// HTTP/1.0, without a length: the end of the connection ends the body, as Flask's server.
    Http10,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) verb: String,
    pub(super) path: String,
    pub(super) version: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What is sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Empty leaves the header out.
    pub(super) content_type: String,
    /// The `Location` of a redirection.
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Reads one request; `None` at the end of the connection.
pub(super) fn read(stream: &mut impl BufRead) -> io::Result<Option<Received>> {
    let Some(line) = read_line(stream)? else {
        return Ok(None);
    };
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(verb), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(invalid("no request line"));
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?.ok_or_else(|| invalid("end in the headers"))?;
        if line.is_empty() {
            break;
        }
        let (key, value) = line.split_once(':').ok_or_else(|| invalid("no header"))?;
        headers.push((key.to_owned(), value.trim().to_owned()));
    }
    let body = read_body(stream, &headers)?;
    Ok(Some(Received {
        verb,
        path,
        version,
        headers,
        body,
    }))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if stream.take(65_536).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn read_body(stream: &mut impl BufRead, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
    if header(headers, "transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        return read_chunks(stream);
    }
    let Some(length) = header(headers, "content-length") else {
        return Ok(Vec::new());
    };
    let length = length.parse().map_err(io::Error::other)?;
    read_exactly(stream, length)
}

fn read_chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?.ok_or_else(|| invalid("end in the chunks"))?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        if size == 0 {
            while read_line(stream)?.is_some_and(|trailer| !trailer.is_empty()) {}
            return Ok(body);
        }
        body.extend(read_exactly(stream, size)?);
        read_line(stream)?;
    }
}

fn read_exactly(stream: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    if length > LONGEST_BODY {
        return Err(invalid("length of the body"));
    }
    let mut body = Vec::new();
    stream.take(length).read_to_end(&mut body)?;
    if body.len() as u64 == length {
        Ok(body)
    } else {
        Err(invalid("end in the body"))
    }
}

/// The value of the first header of that name, in any case.
pub(super) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// The bytes of a reply.
pub(super) fn encode(reply: &Reply, framing: Framing) -> Vec<u8> {
    let mut bytes = head(reply, framing).into_bytes();
    if framing == Framing::Chunked {
        push_chunks(&mut bytes, &reply.body);
    } else {
        bytes.extend(&reply.body);
    }
    bytes
}

fn head(reply: &Reply, framing: Framing) -> String {
    let version = match framing {
        Framing::Http10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let mut lines = vec![format!(
        "{version} {} {}",
        reply.status,
        reason(reply.status)
    )];
    if !reply.content_type.is_empty() {
        lines.push(format!("Content-Type: {}", reply.content_type));
    }
    let location = reply.location.iter();
    lines.extend(location.map(|location| format!("Location: {location}")));
    if matches!(framing, Framing::KeepAlive | Framing::Close) {
        lines.push(format!("Content-Length: {}", reply.body.len()));
    }
    match framing {
        Framing::Close => lines.push("Connection: close".to_owned()),
        Framing::Chunked => lines.push("Transfer-Encoding: chunked".to_owned()),
        Framing::KeepAlive | Framing::Http10 => {}
    }
    lines.join("\r\n") + "\r\n\r\n"
}

/// In two chunks where it can be, so that a client has to put them together.
fn push_chunks(bytes: &mut Vec<u8>, body: &[u8]) {
    let (first, second) = body.split_at(body.len() / 2);
    for chunk in [first, second]
        .into_iter()
        .filter(|chunk| !chunk.is_empty())
    {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
}

/// Writes what `encode` made.
pub(super) fn write(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        404 => "Not Found",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(text: &str) -> Received {
        read(&mut text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn requests_with_a_length_or_in_chunks_or_empty() {
        let sized = received("POST /a HTTP/1.1\r\nContent-Length: 2\r\nX: y\r\n\r\n{}rest");
        assert_eq!((sized.verb.as_str(), sized.path.as_str()), ("POST", "/a"));
        assert_eq!(sized.body, b"{}");
        assert_eq!(header(&sized.headers, "x"), Some("y"));
        let chunked = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{\"\r\n1;x=y\r\n}\r\n0\r\n\r\n";
        assert_eq!(received(chunked).body, b"{\"}");
        assert_eq!(received("POST /a HTTP/1.1\r\n\r\n").body, b"");
        assert_eq!(read(&mut "".as_bytes()).unwrap(), None);
    }

    #[test]
    fn broken_requests_are_errors() {
        for text in [
            "POST\r\n\r\n",
            "POST /a HTTP/1.1\r\nX\r\n\r\n",
            "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n{}",
            "POST /a HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n{}",
        ] {
            assert!(read(&mut text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn replies_of_every_framing() {
        let reply = Reply {
            status: 200,
            content_type: "text/plain".to_owned(),
            location: None,
            body: b"{\"a\":1}".to_vec(),
        };
        let text = |framing| String::from_utf8(encode(&reply, framing)).unwrap();
        assert_eq!(
            text(Framing::KeepAlive),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n{\"a\":1}"
        );
        assert!(text(Framing::Close).contains("\r\nConnection: close\r\n"));
        assert!(text(Framing::Chunked).ends_with("\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n"));
        assert_eq!(
            text(Framing::Http10),
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{\"a\":1}"
        );
    }
}
