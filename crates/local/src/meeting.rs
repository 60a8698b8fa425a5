//! Abstract sockets at which processes of ours find each other. They are of the host's namespace,
//! leave no file, and go with their process; but they have no permissions either: whoever is in that
//! namespace can take a name, and must not keep anybody waiting with it.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::geteuid;

/// How often a name is tried: between another's bind(2) and its listen(2) nobody can connect.
const TRIES: usize = 64;

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
    for _again in 0..TRIES {
        match bind(name) {
            Ok(listener) => return Meeting::First(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(_) => return Meeting::Nobody,
        }
        match call(name) {
            Ok(stream) if is_ours(&stream) => return Meeting::Ours(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            // Somebody else's.
            Ok(_) | Err(_) => return Meeting::Nobody,
        }
    }
    Meeting::Nobody
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
pub fn is_ours(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == geteuid().as_raw())
}

/// Connects without waiting: connect(2) to who has enough callers and answers none blocks for ever.
fn call(name: &str) -> io::Result<UnixStream> {
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
