//! Connecting, with a deadline.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cni_netlink::OsError;
use nix::errno::Errno;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::address::Address;
use super::error::HttpError;
use super::hosts;
use super::io::Stream;
use super::patience::Attempt;

/// A connection that nothing has been sent on.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Puts it under the event loop that this is called in.
    pub(super) fn register(self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Box::new(tokio::net::UnixStream::from_std(socket)?)
            }
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Box::new(tokio::net::TcpStream::from_std(socket)?)
            }
        })
    }
}

/// Connects.
pub(super) fn dial(address: &Address, deadline: Instant) -> Result<Socket, Attempt<HttpError>> {
    let dialed = match address {
        Address::Unix(path) => dial_unix(path, deadline).map(Socket::Unix),
        Address::Tcp(server) | Address::Tls(server, _) => {
            let addresses = hosts::resolve(&server.host).map_err(Attempt::Failed)?;
            let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, server.port));
            dial_any(addresses, deadline).map(Socket::Tcp)
        }
    };
    dialed.map_err(|error| failure(address, error))
}

/// Sorts the kernel's answers: who refuses now may be about to start.
fn failure(address: &Address, error: io::Error) -> Attempt<HttpError> {
    let kind = error.kind();
    let told = HttpError::NoConnection(format!("{address}: {}", OsError(error)));
    match kind {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => Attempt::NotThere(told),
        ErrorKind::TimedOut => Attempt::Failed(HttpError::NoConnection(format!(
            "{address}: it takes no connection"
        ))),
        _ => Attempt::Failed(told),
    }
}

/// What is left until the deadline.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Connects to the first of a host's addresses that takes the connection.
fn dial_any(
    addresses: impl Iterator<Item = SocketAddr>,
    deadline: Instant,
) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(&address, remaining(deadline)?) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Connects to a unix socket. A server that does not accept has a full queue at some point:
/// then connect(2) waits for as long as the socket's send timeout says, and only if it blocks.
fn dial_unix(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let address = UnixAddr::new(path)?;
    loop {
        // A timeout of zero would be none.
        let left = remaining(deadline)?.max(Duration::from_micros(1));
        let left = i64::try_from(left.as_micros()).unwrap_or(i64::MAX);
        setsockopt(&socket, SendTimeout, &TimeVal::microseconds(left))?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
