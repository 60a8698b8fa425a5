//! A blocking rtnetlink socket: queries and dumps. What changes something is in `batch.rs`.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::TimeVal;

use crate::error::{Cause, NetlinkError, Op};
use crate::frame::{self, Frame, Frames, Malformed, Outcome, push_request, wire};
use crate::ns::{NetNs, NetNsError};

/// How long a reply may take. The kernel answers at once, except where it waits for the RTNL lock.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The kernel fills dumps into datagrams of at most this many bytes.
const DATAGRAM_BYTES: usize = 32 * 1024;

/// How often a dump is begun anew when the state changed under it.
const DUMP_ATTEMPTS: usize = 16;

pub(crate) const REQUEST: u16 = wire(libc::NLM_F_REQUEST);
pub(crate) const ACK: u16 = wire(libc::NLM_F_ACK);
const ECHO: u16 = wire(libc::NLM_F_ECHO);
const DUMP: u16 = wire(libc::NLM_F_DUMP);
const DUMP_INTR: u16 = 0x10;

/// A socket that speaks rtnetlink with the namespace it was made in.
///
/// Its methods take `&self`, so that one socket can serve a plan and the undoing of its steps; it
/// is not `Sync`, since replies come in the order of the requests.
pub struct Socket {
    inner: netlink_sys::Socket,
    seq: Cell<u32>,
    /// Taken by the request that is under way.
    buffer: Cell<Vec<u8>>,
}

/// What a request for state asks, apart from its bytes.
pub(crate) struct Query<'a> {
    pub(crate) op: Op,
    pub(crate) subject: &'a dyn std::fmt::Display,
    pub(crate) kind: libc::c_ushort,
    pub(crate) body: &'a [u8],
}

impl Query<'_> {
    fn failed(&self, cause: Cause) -> NetlinkError {
        NetlinkError {
            op: self.op,
            subject: self.subject.to_string(),
            cause,
        }
    }
}

impl Socket {
    /// A socket of the calling thread's namespace. It serves it for ever, from any thread.
    ///
    /// # Errors
    /// The kernel has no rtnetlink, or no descriptor is left.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::connect().map_err(|error| NetlinkError {
            op: Op::OpenSocket,
            subject: "rtnetlink socket".to_owned(),
            cause: Cause::io(error),
        })
    }

    fn connect() -> io::Result<Self> {
        let inner = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        // Kernels before 4.12 have no words to give, those before 4.20 do not filter dumps: both
        // are worth having and not worth failing for, since replies are filtered here as well.
        let _no_words = inner.set_ext_ack(true);
        let _no_filter = inner.set_netlink_get_strict_chk(true);
        // A refusal need not repeat the request.
        let _long_acks = inner.set_cap_ack(true);
        let socket = Self {
            inner,
            seq: Cell::new(0),
            buffer: Cell::default(),
        };
        socket.set_timeout(DEFAULT_TIMEOUT)?;
        Ok(socket)
    }

    /// How long each reply may take from now on. Zero is rounded up to a microsecond, since the
    /// kernel takes it for ever.
    ///
    /// # Errors
    /// The kernel refuses the value.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let micros = i64::from(timeout.subsec_micros());
        let value = TimeVal::new(seconds, micros.max(i64::from(seconds == 0)));
        setsockopt(&self.inner, ReceiveTimeout, &value).map_err(Into::into)
    }

    /// The namespace it was opened in. One request, where [`NetNs::current`] takes a socket of its own.
    ///
    /// # Errors
    /// No descriptor is left, or the kernel is older than 4.10.
    pub fn netns(&self) -> Result<NetNs, NetNsError> {
        NetNs::of_socket(&self.inner)
    }

    /// Runs `body` in the namespace of the socket.
    pub(crate) fn inside<T: Send>(
        &self,
        body: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let own = self.netns().map_err(io::Error::other)?;
        if own.is_current() {
            return body();
        }
        own.run(body).map_err(io::Error::other).flatten()
    }

    /// A second socket in the same namespace that gets the kernel's announcements to `group`.
    pub(crate) fn subscribe(&self, group: u32) -> Result<Self, Cause> {
        self.inside(|| Self::listen(group)).map_err(Cause::io)
    }

    /// A socket of the calling thread's namespace that gets the kernel's announcements to `group`.
    pub(crate) fn listen(group: u32) -> io::Result<Self> {
        let mut socket = Self::connect()?;
        // Without an address of its own it would count as the kernel, which gets nothing.
        socket.inner.bind_auto()?;
        socket.inner.add_membership(group)?;
        Ok(socket)
    }

    /// Asks for one object; `None` is what `parse` made of the reply, if one came.
    pub(crate) fn get<T>(
        &self,
        query: &Query<'_>,
        parse: impl Fn(Frame<'_>) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        self.get_with(query, REQUEST | ACK, parse)
    }

    /// The same of traffic control, which tells it to those who listen, and to whoever asked only if
    /// that one wants an echo.
    pub(crate) fn get_echoed<T>(
        &self,
        query: &Query<'_>,
        parse: impl Fn(Frame<'_>) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        self.get_with(query, REQUEST | ACK | ECHO, parse)
    }

    fn get_with<T>(
        &self,
        query: &Query<'_>,
        flags: u16,
        parse: impl Fn(Frame<'_>) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        for _attempt in 0..DUMP_ATTEMPTS {
            let seq = self.start(query, flags)?;
            let mut found = None;
            match self.until_outcome(seq, |frame| found = parse(frame).or(found.take())) {
                Ok(Consistency::Steady) => return Ok(found),
                // What is lost may have been the object: that is not to say that there is none.
                Ok(Consistency::Interrupted) => {}
                Err(cause) => return Err(query.failed(cause)),
            }
        }
        Err(query.failed(Cause::Interrupted))
    }

    /// Asks for all objects of a kind, anew if they changed meanwhile.
    pub(crate) fn dump<T>(
        &self,
        query: &Query<'_>,
        mut parse: impl FnMut(Frame<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, NetlinkError> {
        for _attempt in 0..DUMP_ATTEMPTS {
            let seq = self.start(query, REQUEST | DUMP)?;
            let mut all = Vec::new();
            match self.until_outcome(seq, |frame| parse(frame, &mut all)) {
                Ok(Consistency::Steady) => return Ok(all),
                Ok(Consistency::Interrupted) => {}
                Err(cause) if is_interruption(&cause) => {}
                Err(cause) => return Err(query.failed(cause)),
            }
        }
        Err(query.failed(Cause::Interrupted))
    }

    fn start(&self, query: &Query<'_>, flags: u16) -> Result<u32, NetlinkError> {
        let seq = self.take_seqs(1);
        let mut bytes = Vec::with_capacity(frame::HEADER + query.body.len());
        push_request(&mut bytes, query.kind, flags, seq, query.body);
        self.send(&bytes).map_err(|cause| query.failed(cause))?;
        Ok(seq)
    }

    /// Hands every object of the reply to `take`, until the acknowledgement or the end of the dump.
    fn until_outcome(
        &self,
        seq: u32,
        mut take: impl FnMut(Frame<'_>),
    ) -> Result<Consistency, Cause> {
        let mut consistency = Consistency::Steady;
        let mut ended = false;
        while !ended {
            let received = self.receive(|frame| {
                if frame.seq != seq || ended {
                    return Ok(());
                }
                if frame.flags & DUMP_INTR != 0 {
                    consistency = Consistency::Interrupted;
                }
                if matches!(frame.kind, frame::ERROR | frame::DONE) {
                    ended = true;
                    return refusal(Outcome::parse(frame).map_err(Cause::Decode)?);
                }
                take(frame);
                Ok(())
            });
            match received {
                Err(cause) if is_overrun(&cause) => {
                    self.read_to_the_end();
                    return Ok(Consistency::Interrupted);
                }
                other => other?,
            }
        }
        Ok(consistency)
    }

    /// Reads what there still is: until its end no other dump can start. There is nothing to wait for, since
    /// the kernel answers while it is asked, and what is lost does not come.
    fn read_to_the_end(&self) {
        while self.receive_with(libc::MSG_DONTWAIT, |_| Ok(())).is_ok() {}
    }

    pub(crate) fn take_seqs(&self, count: usize) -> u32 {
        let first = self.seq.get().wrapping_add(1);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.seq.set(self.seq.get().wrapping_add(count));
        first
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), Cause> {
        let kernel = SocketAddr::new(0, 0);
        loop {
            match self.inner.send_to(bytes, &kernel, 0) {
                Ok(_all_of_a_datagram) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Never a timeout: nobody has got anything.
                Err(error) => return Err(Cause::Io(error)),
            }
        }
    }

    /// Receives one datagram and hands out its messages.
    pub(crate) fn receive(
        &self,
        take: impl FnMut(Frame<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        self.receive_with(0, take)
    }

    /// The same with flags of `recv(2)`.
    pub(crate) fn receive_with(
        &self,
        flags: libc::c_int,
        mut take: impl FnMut(Frame<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let mut buffer = self.buffer.take();
        buffer.clear();
        buffer.reserve_exact(DATAGRAM_BYTES);
        let result = self
            .receive_into(&mut buffer, flags)
            .and_then(|from_kernel| {
                Frames::new(if from_kernel { &buffer } else { &[] })
                    .try_for_each(|frame| take(frame.map_err(Cause::Decode)?))
            });
        self.buffer.set(buffer);
        result
    }

    /// Whether the datagram came from the kernel: port 0 is nobody else's.
    fn receive_into(&self, buffer: &mut Vec<u8>, flags: libc::c_int) -> Result<bool, Cause> {
        loop {
            match self.inner.recv_from(buffer, libc::MSG_TRUNC | flags) {
                Ok((len, _)) if len > buffer.len() => {
                    return Err(Cause::Decode(Malformed("longer than the receive buffer")));
                }
                Ok((_, from)) => return Ok(from.port_number() == 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Cause::io(error)),
            }
        }
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.inner).finish()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// Whether a dump is one consistent picture.
enum Consistency {
    Steady,
    Interrupted,
}

pub(crate) fn refusal(outcome: Outcome) -> Result<(), Cause> {
    match outcome.errno {
        0 => Ok(()),
        errno => Err(Cause::Kernel {
            errno,
            message: outcome.message,
        }),
    }
}

/// The kernel gave a dump up because the state changed under it.
fn is_interruption(cause: &Cause) -> bool {
    matches!(cause, Cause::Kernel { errno, .. } if *errno == libc::EINTR)
}

/// Replies were lost because the receive buffer was full.
pub(crate) fn is_overrun(cause: &Cause) -> bool {
    matches!(cause, Cause::Io(error) if error.raw_os_error() == Some(libc::ENOBUFS))
}
