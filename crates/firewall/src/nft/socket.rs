//! The conversation with the kernel.

use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use cni_local::detach;
use cni_local::keeper::{Keeper, hand_over};
use nix::errno::Errno;

use super::change::Transaction;
use crate::error::{Cause, FirewallError, Operation};
use crate::nfnetlink::{Channel, Frames, LARGEST_PIECE, Limit, Outbox, Reply};

const PATIENCE: Duration = Duration::from_secs(10);
/// How many grace periods without a change make a ruleset one that is at rest.
const QUIET_PERIODS: u32 = 3;
/// How long a ruleset that does not come to rest is waited for, with one's own sockets alone.
const LINGERING: Duration = Duration::from_millis(500);
/// The same for who keeps those of others as well.
const KEEPING: Duration = Duration::from_secs(5);
/// Where who keeps sockets of the packet filter is met.
const KEEPER: &str = "tenon nf_tables";

/// Speaks `nf_tables` in the network namespace it was opened in, for ever.
///
/// **Closing it may take long.** Where anything has just been deleted, by whoever it was, the kernel
/// waits for an RCU grace period (16 ms and more) when a socket of netfilter's is closed
/// (`nft_rcv_nl_event` of `nf_tables_api.c` flushes the queue of what is to be freed), and the end
/// of a process closes its sockets. What was deleted is gone all the same. A program that must not
/// wait leaves that to a process that nobody waits for: [`leave_closing`](Self::leave_closing) makes one where
/// there is none, and dropping it hands the sockets to one that is there.
#[derive(Debug)]
pub struct Nft {
    pub(super) main: Channel,
    /// For dumps that are broken off: a socket can start no second dump before the first one has
    /// been read to its end. Made when it is needed.
    pub(super) glance: Option<Channel>,
    /// What dumps were broken off on. Not closed before the rest: closing may wait.
    pub(super) spent: Vec<Channel>,
    pub(super) next: u32,
    patience: Duration,
    has_changed: bool,
    /// Somebody else closes the sockets.
    is_left: bool,
    /// Answers in the kernel's place.
    #[cfg(test)]
    pub(super) fake: Option<super::fake::Fake>,
}

impl Nft {
    /// Opens `nf_tables` of the current network namespace.
    ///
    /// Where there are none, because the kernel was built without, there is nothing to remove, and
    /// every other operation fails.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub fn open() -> Result<Self, FirewallError> {
        let open = || {
            Ok(Self {
                main: Channel::open(LARGEST_PIECE)?,
                glance: None,
                spent: Vec::new(),
                next: 1,
                patience: PATIENCE,
                has_changed: false,
                is_left: false,
                #[cfg(test)]
                fake: None,
            })
        };
        open().map_err(|cause: Cause| cause.during(Operation::OpenSocket, "nf_tables"))
    }

    /// Whether the kernel has `nf_tables` and answers.
    ///
    /// # Errors
    /// It does not.
    pub fn probe(&mut self) -> Result<(), FirewallError> {
        self.generation()
            .map(drop)
            .map_err(|cause| cause.during(Operation::Probe, "nf_tables"))
    }

    /// A kernel without nfnetlink.
    #[cfg(test)]
    pub(crate) fn absent() -> Self {
        Self {
            main: Channel::absent(),
            glance: None,
            spent: Vec::new(),
            next: 1,
            patience: PATIENCE,
            has_changed: false,
            is_left: false,
            fake: None,
        }
    }

    /// A ruleset in memory.
    #[cfg(test)]
    pub(crate) fn faked(fake: &super::fake::Fake) -> Self {
        let mut nft = Self::absent();
        nft.fake = Some(fake.clone());
        nft
    }

    /// The sockets that have spoken: closing those can take long.
    fn sockets(&self) -> Vec<RawFd> {
        let broken_off = self.glance.iter().chain(&self.spent);
        let all = std::iter::once(&self.main).chain(broken_off);
        let open = all.filter_map(Channel::descriptor);
        open.map(|socket| socket.as_raw_fd()).collect()
    }

    /// Leaves the closing to another process where this one has changed the ruleset: to the one that keeps
    /// such sockets, or to a new one that does from now on. `false` where nobody does, and closing may wait.
    pub fn leave_closing(&mut self) -> bool {
        if !self.has_changed {
            return false;
        }
        let mut sockets = self.sockets();
        self.is_left = hand_over(KEEPER, &sockets) || {
            let mut keeper = Keeper::begin(KEEPER);
            sockets.extend(keeper.as_ref().map(Keeper::descriptor));
            detach::leave(&mut sockets, || self.linger(keeper.as_mut())).is_ok()
        };
        self.is_left
    }

    /// Waits until closing costs nothing: until nobody has changed the ruleset for some grace periods,
    /// but not for ever. Closing earlier would wait all the same, with the lock held that others'
    /// transactions need; and while that is held, all is quiet for a grace period.
    fn linger(&mut self, mut keeper: Option<&mut Keeper>) {
        let patience = keeper.as_ref().map_or(LINGERING, |_keeper| KEEPING);
        let limit = Limit::within(patience);
        let mut seen = None;
        let mut quiet = 0;
        while quiet < QUIET_PERIODS && limit.retry().is_ok() {
            if let Some(keeper) = &mut keeper {
                keeper.take();
            }
            let Ok(generation) = self.read_generation() else {
                return;
            };
            quiet = if seen == Some(generation) {
                quiet + 1
            } else {
                0
            };
            seen = Some(generation);
            if !detach::wait_for_grace_period() {
                return;
            }
        }
    }

    /// How long any one operation waits for the kernel or for other programs. Ten seconds at first.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn limit(&self) -> Limit {
        Limit::within(self.patience)
    }

    pub(crate) fn outbox(&self) -> Outbox {
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
        #[cfg(test)]
        if let Some(fake) = &self.fake {
            return fake.commit(transaction);
        }
        let mut outbox = self.outbox();
        transaction.write(&mut outbox);
        let begin = self.next;
        self.next = outbox.next;
        self.main.send(&outbox.bytes)?;
        self.has_changed = true;
        self.read_batch_replies(transaction, begin)
    }

    /// Returns when no commit is in progress any more. There is no reply.
    pub(super) fn wait_for_commit(&mut self) -> Result<(), Cause> {
        let nothing = Transaction {
            generation: None,
            changes: Vec::new(),
        };
        let mut outbox = self.outbox();
        nothing.write(&mut outbox);
        self.next = outbox.next;
        self.main.send(&outbox.bytes)
    }

    /// Errors of single changes come in their order and before the acknowledgement of the last one;
    /// an error of the batch as a whole answers its begin message, and then nothing need follow.
    fn read_batch_replies(&mut self, transaction: &Transaction, begin: u32) -> Result<(), Cause> {
        let limit = self.limit();
        let mut replies = BatchReplies {
            transaction,
            begin,
            refused: None,
        };
        loop {
            match self.main.receive(limit) {
                Err(cause) if cause.errno() == Some(Errno::ENOBUFS) => {
                    return Err(self.read_lost_replies(replies, cause));
                }
                other => other?,
            }
            if replies.read(&self.main.inbox)? {
                return replies.refused.map_or(Ok(()), Err);
            }
        }
    }

    /// There were more replies than the socket holds. Only errors come in such numbers; the first
    /// ones are there.
    fn read_lost_replies(&mut self, mut replies: BatchReplies<'_>, overrun: Cause) -> Cause {
        while let Ok(true) = self.main.receive_at_once() {
            if let Err(cause) = replies.read(&self.main.inbox) {
                replies.refused.get_or_insert(cause);
            }
        }
        replies.refused.unwrap_or(overrun)
    }
}

/// Closing may wait for what others have deleted, too.
impl Drop for Nft {
    fn drop(&mut self) {
        let sockets = self.sockets();
        if !self.is_left && !sockets.is_empty() {
            let _closed_here_otherwise = hand_over(KEEPER, &sockets);
        }
    }
}

/// What has been heard of a batch.
struct BatchReplies<'a> {
    transaction: &'a Transaction,
    begin: u32,
    /// The first change that was refused.
    refused: Option<Cause>,
}

impl BatchReplies<'_> {
    /// Reads one datagram; answers whether it was the last one.
    fn read(&mut self, datagram: &[u8]) -> Result<bool, Cause> {
        let changes = &self.transaction.changes;
        for frame in Frames(datagram) {
            let frame = frame?;
            let Some(at) = position(frame.seq, self.begin, changes.len() + 1) else {
                continue;
            };
            match frame.reply()? {
                Reply::Refused(refusal) if at == 0 => {
                    return Err(refusal.of("commit a transaction".to_owned()));
                }
                Reply::Refused(refusal) if self.refused.is_none() => {
                    let change = changes.get(at - 1).map(ToString::to_string);
                    self.refused = Some(refusal.of(change.unwrap_or_default()));
                }
                Reply::Refused(_) | Reply::Done | Reply::Object(_) => {}
            }
            if at == changes.len() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where in a run of `count` sequence numbers from `first` on this one is.
pub(super) fn position(seq: u32, first: u32, count: usize) -> Option<usize> {
    let at = usize::try_from(seq.wrapping_sub(first)).ok()?;
    (at < count).then_some(at)
}
