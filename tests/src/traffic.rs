//! Connections that stay open, and can be asked whether they still carry anything.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use cni_testkit::Netns;
use nix::sys::socket;

/// How long a word may take there and back: a link that has just been made loses a few packets.
const LIMIT: Duration = Duration::from_secs(10);

/// Says back what it is told, to everybody.
#[derive(Debug)]
pub struct Echo(TcpListener);

impl Echo {
    /// At one port of all addresses of a namespace.
    pub fn new(netns: &Netns, port: u16) -> Self {
        let listener = netns.run(|| TcpListener::bind(("::", port)).unwrap());
        let heard = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = heard.accept() {
                std::thread::spawn(move || {
                    let _until_its_end = std::io::copy(&mut &stream, &mut &stream);
                });
            }
        });
        Self(listener)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It ends the accept(2) of the thread.
        let _ended = socket::shutdown(self.0.as_raw_fd(), socket::Shutdown::Both);
    }
}

/// A connection to an [`Echo`].
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    words: u64,
}

impl Talk {
    /// From a namespace.
    ///
    /// # Panics
    /// If nobody is reached.
    #[track_caller]
    pub fn open(from: &Netns, to: &str) -> Self {
        let to: SocketAddr = to.parse().unwrap();
        let opened = from.run(|| TcpStream::connect_timeout(&to, LIMIT));
        let stream = opened.unwrap_or_else(|error| panic!("{to} is not reached: {error}"));
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut talk = Self { stream, words: 0 };
        assert!(talk.goes_on(), "{to} does not answer");
        talk
    }

    /// Whether a new word comes back.
    pub fn goes_on(&mut self) -> bool {
        self.words += 1;
        let word = self.words.to_be_bytes();
        let mut answer = [0; 8];
        self.stream.write_all(&word).is_ok()
            && self.stream.read_exact(&mut answer).is_ok()
            && answer == word
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _closed = self.stream.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use cni_testkit::World;

    use super::*;

    #[test]
    fn a_talk_goes_on_until_something_is_in_its_way() {
        let world = World::new();
        let _echo = Echo::new(world.host(), 7);
        let mut talk = Talk::open(world.host(), "127.0.0.1:7");
        talk.stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        assert!(talk.goes_on() && talk.goes_on());
        world.host().ip("link set lo down");
        assert!(!talk.goes_on());
    }
}
