//! A small blocking HTTP client, for what the tests themselves ask of real servers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// A server. Each request is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    server: Server,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Server {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// The body, put together.
    pub body: Vec<u8>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Client {
    /// Of a server at a unix socket.
    pub fn unix(socket: &Path) -> Self {
        Self::new(Server::Unix(socket.to_owned()))
    }

    /// Of a server at a TCP port.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::new(Server::Tcp(address))
    }

    fn new(server: Server) -> Self {
        Self {
            server,
            timeout: Duration::from_secs(60),
        }
    }

    /// Waits less or longer for each part of an answer than the 60 s of a new one.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a request as Docker does: no `Content-Type` unless there is one in `headers`.
    ///
    /// # Errors
    /// When nobody listens, nobody answers, or the answer is cut short.
    pub fn send(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!("{verb} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        for (key, value) in headers {
            head += &[key, ": ", value, "\r\n"].concat();
        }
        if verb != "GET" {
            head += &["Content-Length: ", &body.len().to_string(), "\r\n"].concat();
        }
        let mut stream = self.connect()?;
        stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
        stream.flush()?;
        read(&mut BufReader::new(stream))
    }

    /// GET without headers.
    ///
    /// # Errors
    /// Like [`Client::send`].
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, &[], b"")
    }

    /// POST of a JSON document.
    ///
    /// # Errors
    /// Like [`Client::send`].
    pub fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        let json = [("Content-Type", "application/json")];
        self.send("POST", path, &json, body.to_string().as_bytes())
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let timeout = Some(self.timeout);
        match &self.server {
            Server::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(timeout)?;
                Ok(Box::new(stream))
            }
            Server::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(timeout)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl Answer {
    /// The body as JSON; `null` when it is empty. Panics when it is something else.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, whose name may be in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

fn read(stream: &mut impl BufRead) -> io::Result<Answer> {
    let line = read_line(stream)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        match line.split_once(':') {
            Some((key, value)) => headers.push((key.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    answer.body = read_body(stream, &answer)?;
    Ok(answer)
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_body(stream: &mut impl BufRead, head: &Answer) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if head
        .header("transfer-encoding")
        .is_some_and(|value| value.contains("chunked"))
    {
        read_chunks(stream, &mut body)?;
    } else if let Some(length) = head.header("content-length") {
        body.resize(length.parse().map_err(io::Error::other)?, 0);
        stream.read_exact(&mut body)?;
    } else {
        stream.read_to_end(&mut body)?;
    }
    Ok(body)
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(stream)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        stream.read_exact(&mut chunk)?;
        body.extend(chunk);
        read_line(stream)?;
        if size == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_framing() {
        for (text, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rest", "{}"),
            ("HTTP/1.0 200 OK\r\n\r\n{\"a\":1}", "{\"a\":1}"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
                "{}",
            ),
        ] {
            let answer = read(&mut text.as_bytes()).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, body));
        }
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}";
        let error = read(&mut cut.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
