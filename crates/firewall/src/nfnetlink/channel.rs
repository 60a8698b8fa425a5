//! One netlink socket: bytes out, datagrams in, and a limit to the waiting.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::frame::{Frames, Reply};
use crate::error::Cause;

/// The kernel makes the pieces of a dump as large as the largest buffer that it has seen, between
/// these bounds (`netlink_recvmsg`, `netlink_dump`).
pub(crate) const LARGEST_PIECE: usize = 32 * 1024;
/// `NLMSG_GOODSIZE`
pub(crate) const SMALLEST_PIECE: usize = 8 * 1024;
/// Less than the smallest default of `net.core.wmem_default`.
const SMALL_BATCH: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Channel {
    /// `None`: this kernel has no nfnetlink.
    socket: Option<Socket>,
    connected: bool,
    piece: usize,
    /// What the last datagram held.
    pub(crate) inbox: Vec<u8>,
}

/// A point in time after which nothing is waited for, and what was granted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    at: Instant,
    granted: Duration,
}

impl Limit {
    pub(crate) fn within(granted: Duration) -> Self {
        Self {
            at: Instant::now() + granted,
            granted,
        }
    }

    /// How much of it is left.
    pub(crate) fn left(self) -> Result<Duration, Cause> {
        self.at
            .checked_duration_since(Instant::now())
            .ok_or(Cause::Timeout(self.granted))
    }

    /// Whether to try once more what another program's change got in the way of.
    pub(crate) fn retry(self) -> Result<(), Cause> {
        self.left()
            .map(drop)
            .map_err(|_over| Cause::Contended(self.granted))
    }
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> Cause {
    move |source| Cause::Socket { call, source }
}

impl Channel {
    /// Opens a socket whose dumps come in pieces of at most `piece` bytes. A kernel without
    /// nfnetlink refuses whatever is sent.
    pub(crate) fn open(piece: usize) -> Result<Self, Cause> {
        let protocol = isize::try_from(libc::NETLINK_NETFILTER).unwrap_or_default();
        let socket = match Socket::new(protocol) {
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => None,
            other => Some(other.map_err(failed("socket"))?),
        };
        Ok(Self {
            socket,
            connected: false,
            piece,
            inbox: Vec::new(),
        })
    }

    /// What a kernel without nfnetlink has.
    #[cfg(test)]
    pub(crate) fn absent() -> Self {
        Self {
            socket: None,
            connected: false,
            piece: SMALLEST_PIECE,
            inbox: Vec::new(),
        }
    }

    /// The socket, if it has spoken: then closing it can take long.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        let socket = self.socket.as_ref().filter(|_socket| self.connected);
        socket.map(Socket::as_fd)
    }

    fn socket(&self) -> Result<&Socket, Cause> {
        let unsupported = || failed("socket")(Errno::EPROTONOSUPPORT.into());
        self.socket.as_ref().ok_or_else(unsupported)
    }

    /// A socket that never spoke costs the kernel nothing to close; see [`Nft`](crate::Nft).
    fn connect(&mut self) -> Result<(), Cause> {
        let socket = self.socket()?;
        // Connected to the kernel: nobody else can send to this socket.
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(failed("connect"))?;
        socket
            .set_ext_ack(true)
            .map_err(failed("setsockopt NETLINK_EXT_ACK"))?;
        // A refusal quotes the request's header, not the whole request.
        socket
            .set_cap_ack(true)
            .map_err(failed("setsockopt NETLINK_CAP_ACK"))?;
        self.connected = true;
        Ok(())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        if !self.connected {
            self.connect()?;
        }
        if bytes.len() > SMALL_BATCH {
            // Needs CAP_NET_ADMIN, as all we do; where it is refused, send() says EMSGSIZE.
            let _refused = setsockopt(self.socket()?, sockopt::SndBufForce, &(bytes.len() * 2));
        }
        let socket = self.socket()?;
        loop {
            match socket.send(bytes, 0) {
                Ok(_all) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("send")(error)),
            }
        }
    }

    /// Fills the inbox with one datagram.
    pub(crate) fn receive(&mut self, limit: Limit) -> Result<(), Cause> {
        // nfnetlink answers before send() returns, so there is nothing to wait for, mostly.
        while !self.receive_at_once()? {
            self.wait(limit)?;
        }
        Ok(())
    }

    /// Fills the inbox with one datagram if there is one.
    pub(crate) fn receive_at_once(&mut self) -> Result<bool, Cause> {
        self.inbox.reserve_exact(self.piece);
        loop {
            self.inbox.clear();
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            let Some(socket) = &self.socket else {
                return Ok(false);
            };
            match socket.recv(&mut self.inbox, flags) {
                Ok(length) if length > self.inbox.len() => {
                    return Err(Cause::Decode(
                        "a datagram larger than the kernel makes them",
                    ));
                }
                Ok(_length) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(failed("recv")(error)),
            }
        }
    }

    fn wait(&self, limit: Limit) -> Result<(), Cause> {
        let left = limit.left()?;
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.socket()?.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Err(errno) if errno != Errno::EINTR => Err(failed("poll")(errno.into())),
            _ready_or_interrupted => Ok(()),
        }
    }

    /// Reads a list to its end. `false`: it changed meanwhile and must be read again.
    pub(crate) fn read_dump(
        &mut self,
        seq: u32,
        limit: Limit,
        mut each: impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        let mut whole = true;
        while !self.read_piece(seq, limit, &mut whole, &mut each)? {}
        Ok(whole)
    }

    /// Reads one datagram of a list. `true` at its end. `whole` becomes false where the list turns
    /// out to have changed while it was read.
    pub(crate) fn read_piece(
        &mut self,
        seq: u32,
        limit: Limit,
        whole: &mut bool,
        each: &mut impl FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        self.receive(limit)?;
        for frame in Frames(&self.inbox) {
            let frame = frame?;
            if frame.seq != seq {
                continue;
            }
            *whole &= !frame.interrupted();
            match frame.reply()? {
                Reply::Object(object) => each(object)?,
                Reply::Done => return Ok(true),
                Reply::Refused(refusal) if refusal.errno == Errno::ENOENT => return Ok(true),
                Reply::Refused(refusal) if refusal.errno == Errno::EINTR => {
                    *whole = false;
                    return Ok(true);
                }
                Reply::Refused(refusal) => return Err(refusal.of("list objects".to_owned())),
            }
        }
        Ok(false)
    }
}
