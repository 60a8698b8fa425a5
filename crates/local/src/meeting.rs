//! Abstract sockets at which processes of ours find each other. They are of the host's namespace,
//! leave no file, and go with their process; but they have no permissions either: whoever is in that
//! namespace can take a name, and must not keep anybody waiting with it.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::geteuid;

/// The first wait for somebody who has a name and is not to be called: between bind(2) and listen(2) a process
/// is off its processor now and then, for some milliseconds where others want it.
const FIRST_WAIT: Duration = Duration::from_micros(1);

/// The waits grow to this.
const LONGEST_WAIT: Duration = Duration::from_millis(4);

/// How often a name is tried: some 50 ms, which is all that a stranger gains who never listens.
const TRIES: u32 = 24;

/// How many callers are heard at a time, so that nobody keeps who listens by calling again and again.
const CALLERS: usize = 1024;

/// Who is at a name.
#[derive(Debug)]
pub enum Meeting {
    /// Nobody was: now we are.
    First(UnixListener),
    /// Another process of the same user.
    Ours(UnixStream),
    /// Somebody else, or there are no such sockets.
    Nobody,
}

/// Takes a name, or finds who has it.
#[must_use]
pub fn meet(name: &str) -> Meeting {
    for time in 0..TRIES {
        match bind(name) {
            Ok(listener) => return Meeting::First(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(_) => return Meeting::Nobody,
        }
        match call(name) {
            Ok(stream) if is_ours(&stream) => return Meeting::Ours(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => wait(time),
            // Somebody else's.
            Ok(_) | Err(_) => return Meeting::Nobody,
        }
    }
    Meeting::Nobody
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no event to wait for: nobody is told of another's listen(2)"
)]
fn wait(time: u32) {
    std::thread::sleep(LONGEST_WAIT.min(FIRST_WAIT * (1 << time)));
}

/// Takes a name.
///
/// # Errors
/// Somebody has it.
pub fn bind(name: &str) -> io::Result<UnixListener> {
    SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name))
}

/// Whether the other side is of the same user.
#[must_use]
pub(crate) fn is_ours(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == geteuid().as_raw())
}

/// Those of the same user who have called by now. The listener must not block.
pub fn callers(listener: &UnixListener) -> impl Iterator<Item = UnixStream> {
    std::iter::from_fn(|| listener.accept().ok())
        .take(CALLERS)
        .map(|(stream, _)| stream)
        .filter(is_ours)
}

/// Connects without waiting: connect(2) to who has enough callers and answers none blocks for ever.
pub(crate) fn call(name: &str) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(
        socket.as_raw_fd(),
        &UnixAddr::new_abstract(name.as_bytes())?,
    )?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Instant;

    use nix::sys::socket::{Backlog, bind, listen};

    use super::*;

    fn name(of: &str) -> String {
        format!("tenon meeting test {of} {}", std::process::id())
    }

    /// Who has called bind(2), and not yet listen(2).
    fn bound(name: &str) -> OwnedFd {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
        bind(socket.as_raw_fd(), &address).unwrap();
        socket
    }

    #[test]
    fn the_second_meets_the_first() {
        let name = name("second");
        let Meeting::First(_listener) = meet(&name) else {
            panic!("nobody else has that name");
        };
        assert!(matches!(meet(&name), Meeting::Ours(_)));
    }

    #[test]
    fn one_that_does_not_listen_yet_is_waited_for() {
        let name = name("late");
        let socket = bound(&name);
        thread::scope(|scope| {
            let (begins, begun) = mpsc::channel();
            let met = scope.spawn({
                let name = &name;
                move || {
                    begins.send(()).unwrap();
                    let met = meet(name);
                    drop(begins);
                    met
                }
            });
            begun.recv().unwrap();
            let still_tries = begun.recv_timeout(Duration::from_millis(10));
            assert_eq!(still_tries, Err(mpsc::RecvTimeoutError::Timeout));
            listen(&socket, Backlog::MAXCONN).unwrap();
            assert!(matches!(met.join().unwrap(), Meeting::Ours(_)));
        });
    }

    #[test]
    fn one_that_never_listens_is_not_waited_for_long() {
        let name = name("never");
        let _socket = bound(&name);
        let begin = Instant::now();
        assert!(matches!(meet(&name), Meeting::Nobody));
        assert!(begin.elapsed() >= Duration::from_millis(40));
    }
}
