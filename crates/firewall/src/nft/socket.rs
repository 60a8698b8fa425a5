//! The conversation with the kernel.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::attr::{Writer, number};
use super::change::{Message, Table, Transaction, write_element};
use super::frame::{DUMP, Frames, Outbox, Refusal, Reply};
use super::view::{self, BaseChain, Element, Rule};
use crate::error::{Cause, FirewallError, Operation};

/// The kernel cuts a dump into pieces no larger than this (`netlink_recvmsg`).
const INBOX: usize = 32 * 1024;
/// Less than the smallest default of `net.core.wmem_default`.
const SMALL_BATCH: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// One socket pair that speaks nf_tables in the network namespace it was opened in, for ever.
#[derive(Debug)]
pub struct Nft {
    main: Channel,
    /// For dumps that are broken off: a socket can start no second dump before the first one has
    /// been read to its end.
    glance: Option<Channel>,
    next: u32,
    patience: Duration,
}

#[derive(Debug)]
struct Channel {
    socket: Socket,
    inbox: Vec<u8>,
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

    fn left(self) -> Result<Duration, Cause> {
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

/// What [`Nft::look_up`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The generation of the ruleset before anything else was read.
    pub(crate) generation: u32,
    /// One answer for each question, in order.
    pub(crate) elements: Vec<Option<Element>>,
}

/// What [`Nft::glance`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Glance {
    /// The set has these elements and no others.
    All(Vec<Element>),
    /// It has more than fit into one answer.
    Many,
    /// The socket for it is still busy with an earlier large set.
    Spent,
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> Cause {
    move |source| Cause::Socket { call, source }
}

impl Channel {
    fn open() -> Result<Self, Cause> {
        let protocol = isize::try_from(libc::NETLINK_NETFILTER).unwrap_or_default();
        let socket = Socket::new(protocol).map_err(failed("socket"))?;
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
        Ok(Self {
            socket,
            inbox: Vec::new(),
        })
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Cause> {
        if bytes.len() > SMALL_BATCH {
            // Needs CAP_NET_ADMIN, as all we do; where it is refused, send() says EMSGSIZE.
            let _refused = setsockopt(&self.socket, sockopt::SndBufForce, &(bytes.len() * 2));
        }
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_all) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("send")(error)),
            }
        }
    }

    /// Fills the inbox with one datagram.
    fn receive(&mut self, limit: Limit) -> Result<(), Cause> {
        self.inbox.reserve_exact(INBOX);
        loop {
            self.inbox.clear();
            // nfnetlink answers before send() returns, so there is nothing to wait for, mostly.
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            match self.socket.recv(&mut self.inbox, flags) {
                Ok(length) if length > self.inbox.len() => {
                    return Err(Cause::Decode(
                        "a datagram larger than the kernel makes them",
                    ));
                }
                Ok(_length) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(limit)?,
                Err(error) => return Err(failed("recv")(error)),
            }
        }
    }

    fn wait(&self, limit: Limit) -> Result<(), Cause> {
        let left = limit.left()?;
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Err(errno) if errno != Errno::EINTR => Err(failed("poll")(errno.into())),
            _ready_or_interrupted => Ok(()),
        }
    }
}

impl Nft {
    /// Opens nf_tables of the current network namespace.
    ///
    /// # Errors
    /// This kernel has no nfnetlink, or there are no more file descriptors.
    pub fn open() -> Result<Self, FirewallError> {
        let open = || {
            Ok(Self {
                main: Channel::open()?,
                glance: Some(Channel::open()?),
                next: 1,
                patience: PATIENCE,
            })
        };
        open().map_err(|cause: Cause| cause.during(Operation::OpenSocket, "nf_tables"))
    }

    /// How long any one operation waits for the kernel or for other programs. Ten seconds at first.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(crate) fn limit(&self) -> Limit {
        Limit::within(self.patience)
    }

    fn outbox(&self) -> Outbox {
        Outbox::new(self.next)
    }

    /// Carries out all changes at once, or none.
    ///
    /// # Errors
    /// The kernel refused a change; the first one it refused is reported.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<(), Cause> {
        if transaction.changes.is_empty() {
            return Ok(());
        }
        let mut outbox = self.outbox();
        transaction.write(&mut outbox);
        let begin = self.next;
        self.next = outbox.next;
        self.main.send(&outbox.bytes)?;
        self.read_batch_replies(transaction, begin)
    }

    /// Errors of single changes come in their order and before the acknowledgement of the last one;
    /// an error of the batch as a whole answers its begin message, and then nothing need follow.
    fn read_batch_replies(&mut self, transaction: &Transaction, begin: u32) -> Result<(), Cause> {
        let limit = self.limit();
        let mut refused: Option<Cause> = None;
        loop {
            self.main.receive(limit)?;
            for frame in Frames(&self.main.inbox) {
                let frame = frame?;
                let Some(at) = position(frame.seq, begin, transaction.changes.len() + 1) else {
                    continue;
                };
                match frame.reply()? {
                    Reply::Refused(refusal) if at == 0 => {
                        return Err(refusal.of("commit a transaction".to_owned()));
                    }
                    Reply::Refused(refusal) if refused.is_none() => {
                        let change = transaction.changes.get(at - 1);
                        let request = change.map_or_else(String::new, ToString::to_string);
                        refused = Some(refusal.of(request));
                    }
                    Reply::Refused(_) | Reply::Done | Reply::Object(_) => {}
                }
                if at == transaction.changes.len() {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Reads the generation and then some elements, all in one exchange.
    pub(crate) fn look_up(&mut self, keys: &[(Table, &str, &[u8])]) -> Result<Found, Cause> {
        let mut outbox = self.outbox();
        outbox.message(Message::GetGeneration.kind(), 0, (0, 0), |_nothing| {});
        for (table, set, key) in keys {
            let family = (table.family.number(), 0);
            outbox.message(Message::GetElement.kind(), 0, family, |body| {
                write_element(table.name, set, key, None, body);
            });
        }
        let mut found = Found {
            generation: 0,
            elements: vec![None; keys.len()],
        };
        self.exchange(&outbox, |at, object| {
            match at.checked_sub(1) {
                None => found.generation = view::generation(object)?,
                Some(key) => {
                    if let Some(slot) = found.elements.get_mut(key) {
                        *slot = view::elements(object)?.pop();
                    }
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Sends single questions and reads one answer for each. What does not exist is skipped.
    fn exchange(
        &mut self,
        outbox: &Outbox,
        mut each: impl FnMut(usize, &[u8]) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let limit = self.limit();
        let first = self.next;
        let count = usize::try_from(outbox.next.wrapping_sub(first)).unwrap_or_default();
        self.next = outbox.next;
        self.main.send(&outbox.bytes)?;
        let mut answered = 0;
        while answered < count {
            self.main.receive(limit)?;
            for frame in Frames(&self.main.inbox) {
                let frame = frame?;
                let Some(at) = position(frame.seq, first, count) else {
                    continue;
                };
                answered += 1;
                match frame.reply()? {
                    Reply::Object(object) => each(at, object)?,
                    Reply::Done => {}
                    Reply::Refused(refusal) if refusal.errno == Errno::ENOENT => {}
                    Reply::Refused(refusal) => return Err(refusal.of(question(at))),
                }
            }
        }
        Ok(())
    }

    /// The generation of the ruleset, for [`Transaction::generation`].
    pub(crate) fn generation(&mut self) -> Result<u32, Cause> {
        self.look_up(&[]).map(|found| found.generation)
    }

    /// All rules of a chain, in order; none if there is no such chain.
    pub(crate) fn rules(&mut self, table: Table, chain: &str) -> Result<Vec<Rule>, Cause> {
        self.dump(Message::GetRule, table, view::rule, |body| {
            body.text(number::RULE_TABLE, table.name)
                .text(number::RULE_CHAIN, chain);
        })
    }

    /// The names of all sets of a table; none if there is no such table.
    pub(crate) fn sets(&mut self, table: Table) -> Result<Vec<String>, Cause> {
        self.dump(Message::GetSet, table, view::set_name, |body| {
            body.text(number::SET_TABLE, table.name);
        })
    }

    /// All elements of a set; none if there is no such set.
    pub(crate) fn elements(&mut self, table: Table, set: &str) -> Result<Vec<Element>, Cause> {
        let pieces = self.dump(Message::GetElement, table, view::elements, |body| {
            write_set_name(table, set, body);
        })?;
        Ok(pieces.into_iter().flatten().collect())
    }

    /// A chain's hook; `None` if there is no such chain, or nothing calls it.
    pub(crate) fn base_chain(
        &mut self,
        table: Table,
        chain: &str,
    ) -> Result<Option<BaseChain>, Cause> {
        let found = self.find_chain(table, chain, view::base_chain)?;
        Ok(found.flatten())
    }

    /// Whether there is such a chain.
    pub(crate) fn has_chain(&mut self, table: Table, chain: &str) -> Result<bool, Cause> {
        Ok(self.find_chain(table, chain, |_object| ())?.is_some())
    }

    fn find_chain<T>(
        &mut self,
        table: Table,
        chain: &str,
        read: impl Fn(&[u8]) -> T,
    ) -> Result<Option<T>, Cause> {
        let mut outbox = self.outbox();
        let family = (table.family.number(), 0);
        outbox.message(Message::GetChain.kind(), 0, family, |body| {
            body.text(number::CHAIN_TABLE, table.name)
                .text(number::CHAIN_NAME, chain);
        });
        let mut found = None;
        self.exchange(&outbox, |_only, object| {
            found = Some(read(object));
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads a whole list, again and again while it changes underneath (`NLM_F_DUMP_INTR`).
    fn dump<T>(
        &mut self,
        message: Message,
        table: Table,
        read: impl Fn(&[u8]) -> Result<T, Cause>,
        filter: impl Fn(&mut Writer<'_>),
    ) -> Result<Vec<T>, Cause> {
        let limit = self.limit();
        loop {
            let mut outbox = self.outbox();
            let family = (table.family.number(), 0);
            outbox.message(message.kind(), DUMP, family, &filter);
            let seq = self.next;
            self.next = outbox.next;
            self.main.send(&outbox.bytes)?;
            let mut objects = Vec::new();
            let whole = self.main.read_dump(seq, limit, |object| {
                objects.push(read(object)?);
                Ok(())
            })?;
            if whole {
                return Ok(objects);
            }
            limit.retry()?;
        }
    }

    /// Begins to read a set. Costs the same however large the set is.
    pub(crate) fn glance(&mut self, table: Table, set: &str) -> Result<Glance, Cause> {
        // Two datagrams: the kernel ends even the shortest list in a datagram of its own.
        const DATAGRAMS: usize = 2;
        let limit = self.limit();
        let Some(mut channel) = self.glance.take() else {
            return Ok(Glance::Spent);
        };
        let mut outbox = self.outbox();
        let family = (table.family.number(), 0);
        outbox.message(Message::GetElement.kind(), DUMP, family, |body| {
            write_set_name(table, set, body);
        });
        let seq = self.next;
        self.next = outbox.next;
        channel.send(&outbox.bytes)?;
        let mut elements = Vec::new();
        let mut whole = true;
        for _datagram in 0..DATAGRAMS {
            let end = channel.read_piece(seq, limit, &mut whole, &mut |object| {
                elements.extend(view::elements(object)?);
                Ok(())
            })?;
            if end {
                self.glance = Some(channel);
                return Ok(if whole {
                    Glance::All(elements)
                } else {
                    Glance::Spent
                });
            }
        }
        Ok(Glance::Many)
    }
}

impl Channel {
    /// Reads a list to its end. `false`: it changed meanwhile and must be read again.
    fn read_dump(
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
    fn read_piece(
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

impl Refusal {
    fn of(self, request: String) -> Cause {
        Cause::Kernel {
            request,
            errno: self.errno,
            message: self.message,
        }
    }
}

fn write_set_name(table: Table, set: &str, body: &mut Writer<'_>) {
    body.text(number::ELEMENTS_TABLE, table.name)
        .text(number::ELEMENTS_SET, set);
}

fn question(at: usize) -> String {
    match at {
        0 => "tell the ruleset's generation".to_owned(),
        _ => "find an object".to_owned(),
    }
}

/// Where in a run of `count` sequence numbers from `first` on this one is.
fn position(seq: u32, first: u32, count: usize) -> Option<usize> {
    let at = usize::try_from(seq.wrapping_sub(first)).ok()?;
    (at < count).then_some(at)
}
