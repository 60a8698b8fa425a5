//! A server that does what a test tells it, and remembers what it was asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::http::{Address, HostPort, TlsConfig};

/// What bytes come and go over.
pub(crate) trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A connection as the server sees it.
pub(crate) struct Talk {
    stream: Box<dyn Stream>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Talk {
    /// Reads one request; nothing when the client has closed the connection.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1) => text.extend(byte),
                _ended => return None,
            }
        }
        let head = String::from_utf8(text).unwrap();
        let length = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        let request = head + &String::from_utf8(body).unwrap();
        self.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// Sends bytes, and tells whether the client is still there to get them.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let said = self.stream.write_all(bytes.as_ref());
        said.and_then(|()| self.stream.flush()).is_ok()
    }

    /// Says nothing until the client has closed the connection.
    pub(crate) fn hang(&mut self) {
        let mut rest = Vec::new();
        let _gone = self.stream.read_to_end(&mut rest);
    }
}

/// The server. It handles one connection after the other, and ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: Address,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Server {
    /// On a unix socket.
    pub(crate) fn unix(handle: impl FnMut(&mut Talk) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugin.sock");
        Self::unix_at(path, dir, handle)
    }

    fn unix_at(
        path: PathBuf,
        dir: tempfile::TempDir,
        handle: impl FnMut(&mut Talk) + Send + 'static,
    ) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let accept = move || Some(Box::new(listener.accept().unwrap().0) as Box<dyn Stream>);
        Self::start(Address::Unix(path), dir, accept, handle)
    }

    /// On a TCP port of the loopback.
    pub(crate) fn tcp(handle: impl FnMut(&mut Talk) + Send + 'static) -> Self {
        let (listener, server) = listen();
        let accept = move || Some(Box::new(listener.accept().unwrap().0) as Box<dyn Stream>);
        let dir = tempfile::tempdir().unwrap();
        Self::start(Address::Tcp(server), dir, accept, handle)
    }

    /// Over TLS, on a TCP port of the loopback. The client is to be configured by the test.
    pub(crate) fn tls(
        config: ServerConfig,
        handle: impl FnMut(&mut Talk) + Send + 'static,
    ) -> Self {
        let (listener, server) = listen();
        let config = Arc::new(config);
        let accept = move || {
            let socket = listener.accept().unwrap().0;
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            Some(Box::new(StreamOwned::new(session, socket)) as Box<dyn Stream>)
        };
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Tls(server, TlsConfig::unverified());
        Self::start(address, dir, accept, handle)
    }

    /// Answers every request with what `answer` makes of it, and closes the connection.
    pub(crate) fn answering(mut answer: impl FnMut(&str) -> String + Send + 'static) -> Self {
        Self::unix(move |talk| {
            if let Some(request) = talk.hear() {
                talk.say(answer(&request));
            }
        })
    }

    fn start(
        address: Address,
        dir: tempfile::TempDir,
        mut accept: impl FnMut() -> Option<Box<dyn Stream>> + Send + 'static,
        mut handle: impl FnMut(&mut Talk) + Send + 'static,
    ) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let (log, count, stop) = (
            Arc::clone(&requests),
            Arc::clone(&connections),
            Arc::clone(&stopping),
        );
        let thread = std::thread::spawn(move || {
            while let Some(stream) = accept() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                count.fetch_add(1, Ordering::SeqCst);
                handle(&mut Talk {
                    stream,
                    requests: Arc::clone(&log),
                });
            }
        });
        Self {
            address,
            requests,
            connections,
            stopping,
            thread: Some(thread),
            _dir: dir,
        }
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The request lines of what it was asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let first = |request: &String| request.lines().next().unwrap_or_default().to_owned();
        self.requests().iter().map(first).collect()
    }

    /// How many connections it has had.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // A last connection wakes it up.
        let woken = match &self.address {
            Address::Unix(path) => UnixStream::connect(path).map(drop),
            Address::Tcp(server) | Address::Tls(server, _) => {
                TcpStream::connect((server.host.as_str(), server.port)).map(drop)
            }
        };
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            assert!(woken.is_ok() && ended.is_ok(), "the server has failed");
        }
    }
}

fn listen() -> (TcpListener, HostPort) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = HostPort {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    (listener, server)
}

/// A reply of HTTP/1.1.
pub(crate) fn reply(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Waits for so long, by waiting for what does not come.
pub(crate) fn pass(time: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    assert!(receiver.recv_timeout(time).is_err());
}
