//! A blocking rtnetlink socket: requests, batches of requests, and dumps.

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

use crate::change::{BatchError, Change};
use crate::error::{Cause, NetlinkError, Op};
use crate::frame::{self, Frame, Frames, Malformed, Outcome, push_request, wire};
use crate::link::Link;
use crate::ns::NetNs;

/// How long a reply may take. The kernel answers at once, except where it waits for the RTNL lock.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The kernel fills dumps into datagrams of at most this many bytes.
const DATAGRAM_BYTES: usize = 32 * 1024;

/// How many requests one send carries. The acknowledgements must fit the receive buffer (212,992
/// bytes by default, of which each takes less than 1 KiB), or the kernel drops them.
const REQUESTS_PER_SEND: usize = 64;

/// How many bytes one send carries; the send buffer has 212,992 by default.
const BYTES_PER_SEND: usize = 64 * 1024;

/// How often a dump is begun anew when the state changed under it.
const DUMP_ATTEMPTS: usize = 16;

const REQUEST: u16 = wire(libc::NLM_F_REQUEST);
const ACK: u16 = wire(libc::NLM_F_ACK);
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
    /// The namespace it was opened in; `None` where that cannot be known.
    ns: Option<NetNs>,
}

/// What came back for one acknowledged request.
#[derive(Debug, Default)]
pub struct Reply {
    /// The link that the request made, on kernels that echo it (6.2 and later).
    pub echo: Option<Link>,
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
        Self::open_in(NetNs::current().ok())
    }

    /// As [`open`](Self::open), when the namespace that the calling thread is in is open already.
    pub(crate) fn open_in(ns: Option<NetNs>) -> Result<Self, NetlinkError> {
        Self::connect(ns).map_err(|error| NetlinkError {
            op: Op::OpenSocket,
            subject: "rtnetlink socket".to_owned(),
            cause: Cause::io(error),
        })
    }

    fn connect(ns: Option<NetNs>) -> io::Result<Self> {
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
            ns,
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

    /// Runs `body` in the namespace of the socket.
    pub(crate) fn inside<T: Send>(
        &self,
        body: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        match &self.ns {
            Some(ns) if !ns.is_current() => ns.run(body).map_err(io::Error::other).flatten(),
            _ => body(),
        }
    }

    /// A second socket in the same namespace that gets the kernel's announcements to `group`.
    pub(crate) fn subscribe(&self, group: u32) -> Result<Self, Cause> {
        let open = || {
            let mut socket = Self::connect(None)?;
            // Without an address of its own it would count as the kernel, which gets nothing.
            socket.inner.bind_auto()?;
            socket.inner.add_membership(group)?;
            Ok(socket)
        };
        self.inside(open).map_err(Cause::io)
    }

    /// Sends one request and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel refuses it, or does not answer in time.
    pub fn request(&self, change: &Change) -> Result<Reply, NetlinkError> {
        self.send_each(std::slice::from_ref(change))
            .pop()
            .unwrap_or_else(|| Err(change.failed(Cause::Timeout)))
    }

    /// Sends all requests at once and returns what became of each, in order.
    ///
    /// The kernel executes every one of them, in order, **also after one failed**: do not put
    /// requests together where a later one does harm when an earlier one was refused.
    #[must_use = "each request may have failed"]
    pub fn send_each(&self, changes: &[Change]) -> Vec<Result<Reply, NetlinkError>> {
        let mut results = Vec::with_capacity(changes.len());
        let mut rest = changes;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(chunk_len(rest));
            let (acks, broken) = self.exchange(chunk);
            for (change, ack) in chunk.iter().zip(acks) {
                results.push(match (ack, &broken) {
                    (Some(ack), _) => ack.map_err(|cause| change.failed(cause)),
                    (None, Some(cause)) => Err(change.failed(cause.again())),
                    (None, None) => Err(change.failed(Cause::Timeout)),
                });
            }
            rest = behind;
        }
        results
    }

    /// Sends all requests at once; an error tells the first that failed and which were done.
    ///
    /// As with [`send_each`](Self::send_each), requests behind a failed one are executed too.
    ///
    /// # Errors
    /// One of them was refused.
    pub fn send_all(&self, changes: &[Change]) -> Result<(), BatchError> {
        let results = self.send_each(changes);
        let done: Vec<bool> = results.iter().map(Result::is_ok).collect();
        match results
            .into_iter()
            .enumerate()
            .find_map(|(index, result)| Some((index, result.err()?)))
        {
            None => Ok(()),
            Some((index, error)) => Err(BatchError { index, done, error }),
        }
    }

    /// Sends one chunk and collects the acknowledgements, until all are there or the socket fails.
    fn exchange(&self, chunk: &[Change]) -> (Vec<Option<Acked>>, Option<Cause>) {
        let first = self.take_seqs(chunk.len());
        let mut acks: Vec<Option<Acked>> = chunk.iter().map(|_| None).collect();
        let mut bytes =
            Vec::with_capacity(chunk.iter().map(|c| frame::HEADER + c.body.len()).sum());
        for (change, at) in chunk.iter().zip(0..) {
            let flags = REQUEST | ACK | change.flags;
            push_request(
                &mut bytes,
                change.kind,
                flags,
                first.wrapping_add(at),
                &change.body,
            );
        }
        let broken = self
            .send(&bytes)
            .and_then(|()| self.collect_acks(first, &mut acks))
            .err();
        (acks, broken)
    }

    fn collect_acks(&self, first: u32, acks: &mut [Option<Acked>]) -> Result<(), Cause> {
        let mut echoes: Vec<(u32, Link)> = Vec::new();
        let mut missing = acks.len();
        while missing > 0 {
            self.receive(|frame| {
                let at = frame.seq.wrapping_sub(first);
                let Some(slot) = acks.get_mut(at as usize) else {
                    return Ok(()); // the late answer to a request that was given up
                };
                if frame.kind != frame::ERROR {
                    echoes.extend(Link::parse(frame).map(|link| (at, link)));
                    return Ok(());
                }
                let outcome = Outcome::parse(frame).map_err(Cause::Decode)?;
                missing -= usize::from(slot.is_none());
                let echo = echoes.pop_if(|(of, _)| *of == at).map(|(_, link)| link);
                *slot = Some(refusal(outcome).map(|()| Reply { echo }));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Asks for one object; `None` is what `parse` made of the reply, if one came.
    pub(crate) fn get<T>(
        &self,
        query: &Query<'_>,
        parse: impl Fn(Frame<'_>) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        let seq = self.start(query, REQUEST | ACK)?;
        let mut found = None;
        self.until_outcome(seq, |frame| found = parse(frame).or(found.take()))
            .map_err(|cause| query.failed(cause))?;
        Ok(found)
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
                // What follows must be read all the same: until its end no other dump can start.
                Err(cause) if is_overrun(&cause) => consistency = Consistency::Interrupted,
                other => other?,
            }
        }
        Ok(consistency)
    }

    fn take_seqs(&self, count: usize) -> u32 {
        let first = self.seq.get().wrapping_add(1);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.seq.set(self.seq.get().wrapping_add(count));
        first
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Cause> {
        let kernel = SocketAddr::new(0, 0);
        loop {
            match self.inner.send_to(bytes, &kernel, 0) {
                Ok(_all_of_a_datagram) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Cause::io(error)),
            }
        }
    }

    /// Receives one datagram and hands out its messages.
    pub(crate) fn receive(
        &self,
        mut take: impl FnMut(Frame<'_>) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let mut buffer = self.buffer.take();
        buffer.clear();
        buffer.reserve_exact(DATAGRAM_BYTES);
        let result = self.receive_into(&mut buffer).and_then(|from_kernel| {
            Frames::new(if from_kernel { &buffer } else { &[] })
                .try_for_each(|frame| take(frame.map_err(Cause::Decode)?))
        });
        self.buffer.set(buffer);
        result
    }

    /// Whether the datagram came from the kernel: port 0 is nobody else's.
    fn receive_into(&self, buffer: &mut Vec<u8>) -> Result<bool, Cause> {
        loop {
            match self.inner.recv_from(buffer, libc::MSG_TRUNC) {
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

type Acked = Result<Reply, Cause>;

/// Whether a dump is one consistent picture.
enum Consistency {
    Steady,
    Interrupted,
}

fn refusal(outcome: Outcome) -> Result<(), Cause> {
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

/// How many of the requests go into the next send: at least one.
fn chunk_len(changes: &[Change]) -> usize {
    let mut bytes = 0;
    changes
        .iter()
        .take(REQUESTS_PER_SEND)
        .take_while(|change| {
            bytes += frame::HEADER + change.body.len();
            bytes <= BYTES_PER_SEND
        })
        .count()
        .max(1)
}
