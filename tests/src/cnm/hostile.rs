//! A server that answers every request in the worst way it can.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malice {
    /// A body without end, in chunks.
    EndlessBody,
    /// A head of more and more headers.
    EndlessHeaders,
    /// A head of one header that goes on.
    EndlessHeader,
    /// A status line that goes on.
    EndlessStatus,
    /// One `103 Early Hints` after the other.
    EndlessHints,
    /// More bytes announced than there are, and none sent.
    HugeLength,
    /// A byte now and then, all of which would be right.
    Drip,
    /// Half a million brackets.
    DeepJson,
    /// Almost as much as is read, all of it keys.
    ManyKeys,
    /// Numbers that no number can be.
    HugeNumber,
    /// Random bytes, on and on.
    Noise,
    /// Nothing, and the connection stays.
    Silence,
}

impl Malice {
    /// All of it.
    pub const ALL: [Self; 12] = [
        Self::EndlessBody,
        Self::EndlessHeaders,
        Self::EndlessHeader,
        Self::EndlessStatus,
        Self::EndlessHints,
        Self::HugeLength,
        Self::Drip,
        Self::DeepJson,
        Self::ManyKeys,
        Self::HugeNumber,
        Self::Noise,
        Self::Silence,
    ];

    fn begin(self) -> Vec<u8> {
        let document = |body: String| {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let text = match self {
            Self::EndlessBody => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            Self::EndlessHeaders | Self::Drip => "HTTP/1.1 200 OK\r\n".to_owned(),
            Self::EndlessHeader => "HTTP/1.1 200 OK\r\nX-Long: ".to_owned(),
            Self::EndlessStatus => "HTTP/1.1 200 ".to_owned(),
            Self::HugeLength => {
                "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n{".to_owned()
            }
            Self::DeepJson => document("[".repeat(500_000)),
            Self::ManyKeys => {
                let keys: Vec<String> = (0..60_000).map(|n| format!("\"k{n}\":{n}")).collect();
                document(format!("{{{}}}", keys.join(",")))
            }
            Self::HugeNumber => document(format!("{{\"Scope\": 1e{}}}", "9".repeat(1000))),
            Self::EndlessHints | Self::Noise | Self::Silence => String::new(),
        };
        text.into_bytes()
    }

    /// What is sent again and again, and the pause before it.
    fn go_on(self) -> Option<(Vec<u8>, Duration)> {
        let at_once = Duration::ZERO;
        Some(match self {
            Self::EndlessBody => (
                [b"4000\r\n", [b' '; 0x4000].as_slice(), b"\r\n"].concat(),
                at_once,
            ),
            Self::EndlessHeaders => (b"X-More: and more\r\n".repeat(100), at_once),
            Self::EndlessHeader | Self::EndlessStatus => (b"x".repeat(0x4000), at_once),
            Self::EndlessHints => (b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100), at_once),
            Self::Drip => (b"X-More: and more\r\n".to_vec(), Duration::from_millis(100)),
            Self::Noise => ((0..=255).rev().cycle().take(0x4000).collect(), at_once),
            _ => return None,
        })
    }
}

/// It, at a socket. Dropping it ends it.
#[derive(Debug)]
pub struct Hostile {
    socket: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hostile {
    /// Starts it; it can be connected to afterwards.
    pub fn at(socket: &Path, malice: Malice) -> Self {
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let over = Arc::clone(&over);
            move || serve(&listener, malice, &over)
        });
        Self {
            socket: socket.to_owned(),
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes who waits for a connection.
        let _ = UnixStream::connect(&self.socket);
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(listener: &UnixListener, malice: Malice, over: &AtomicBool) {
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            if let Ok(stream) = stream {
                scope.spawn(move || answer(stream, malice, over));
            }
        }
    });
}

/// Until the other side hangs up, or it is over.
fn answer(mut stream: UnixStream, malice: Malice, over: &AtomicBool) {
    let moment = Some(Duration::from_millis(100));
    stream.set_read_timeout(moment).unwrap();
    stream.set_write_timeout(moment).unwrap();
    let _ = stream.read(&mut [0; 4096]);
    if stream.write_all(&malice.begin()).is_err() {
        return;
    }
    while !over.load(Ordering::Relaxed) {
        let Some((more, pause)) = malice.go_on() else {
            // Waits for the other side to hang up.
            match stream.read(&mut [0; 4096]) {
                Ok(0) => return,
                _ => continue,
            }
        };
        stream
            .set_read_timeout(Some(pause.max(Duration::from_micros(1))))
            .unwrap();
        let _ = stream.read(&mut [0]);
        match stream.write_all(&more) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
