//! What can fail, and how.

use std::fmt;

use nix::errno::Errno;
use nix::libc;

use super::calls;
use super::netlink::Request;

/// A system call of a run in which nothing failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which process or thread made it: 0 is the plugin, the others follow as they were started.
    pub(super) process: usize,
    pub(super) number: i64,
    pub(super) arguments: [u64; 6],
    /// How many calls of that number the process had made before.
    pub(super) nth: usize,
    pub(super) netlink: Netlink,
    /// Of what goes to the runtime: where it fails, there is no reply.
    pub(super) is_reply: bool,
}

/// What a call has to do with netlink.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Netlink {
    #[default]
    Nothing,
    Sends {
        netfilter: bool,
        requests: Vec<Request>,
    },
    Receives {
        netfilter: bool,
        is_dump: bool,
    },
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is not made, and gives an error.
    Fails(Errno),
    /// It is made, and what came of it is lost.
    IsLost(Errno),
    /// The kernel refuses one request of a send.
    Refused {
        /// Which message of the send.
        index: usize,
        /// With what.
        errno: Errno,
    },
    /// The list that is being read has changed (`NLM_F_DUMP_INTR`).
    Interrupted,
}

/// One call that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which call.
    pub call: Call,
    /// How.
    pub kind: Kind,
}

impl Call {
    /// The name of the system call.
    pub fn name(&self) -> &'static str {
        calls::name(self.number)
    }
}

impl Fault {
    /// The error that the plugin gets to see; an interruption has none.
    pub fn errno(&self) -> Option<Errno> {
        match self.kind {
            Kind::Fails(errno) | Kind::IsLost(errno) | Kind::Refused { errno, .. } => Some(errno),
            Kind::Interrupted => None,
        }
    }

    /// Whether there is nothing to tell: what was interrupted is begun anew, a list as well as a call that a
    /// process can find interrupted that has been stopped and goes on (`signal(7)`).
    pub fn is_to_be_overcome(&self) -> bool {
        match self.kind {
            Kind::Interrupted => true,
            Kind::Refused { errno, .. } => errno == Errno::EINTR,
            Kind::Fails(errno) | Kind::IsLost(errno) => {
                errno == Errno::EINTR && calls::waits(self.call.number)
            }
        }
    }

    /// Whether it is memory that is not given: a process may end by that, as by a signal.
    pub fn is_of_memory(&self) -> bool {
        calls::is_of_memory(self.call.number)
    }

    /// Whether something is not seen that is there.
    pub fn hides_what_is_there(&self) -> bool {
        self.call.name().contains("stat")
    }

    /// Whether it keeps the reply from the runtime.
    pub fn is_of_reply(&self) -> bool {
        self.call.is_reply
    }

    /// Of what kind it is, for counting.
    pub fn class(&self) -> &'static str {
        match self.kind {
            Kind::Fails(_) => "syscall",
            Kind::IsLost(_) => "lost",
            Kind::Refused { .. } => "refused",
            Kind::Interrupted => self.call.netlink.interrupted(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { process, nth, .. } = &self.call;
        write!(f, "process {process}: {} {nth} ", self.call.name())?;
        match self.kind {
            Kind::Fails(errno) => write!(f, "fails with {errno:?}"),
            Kind::IsLost(errno) => write!(f, "is lost with {errno:?}"),
            Kind::Refused { index, errno } => {
                let kind = self.call.netlink.kind_of(index);
                write!(
                    f,
                    "has message {index} (type {kind:#x}) refused with {errno:?}"
                )
            }
            Kind::Interrupted => write!(f, "is told of an interrupted list"),
        }
    }
}

impl Netlink {
    fn interrupted(&self) -> &'static str {
        match self {
            Self::Receives {
                netfilter: true, ..
            } => "interrupted netfilter",
            _ => "interrupted rtnetlink",
        }
    }

    /// How many lists a send asks for.
    pub(super) fn lists(&self) -> usize {
        let Self::Sends { requests, .. } = self else {
            return 0;
        };
        requests.iter().filter(|request| request.is_dump).count()
    }

    fn kind_of(&self, index: usize) -> u16 {
        let Self::Sends { requests, .. } = self else {
            return 0;
        };
        let found = requests.iter().find(|one| one.index == index);
        found.map_or(0, |one| one.kind)
    }
}

/// Every way in which a call can fail.
pub fn faults_of(call: &Call) -> Vec<Fault> {
    let plain = calls::errnos(call.number, &call.arguments)
        .iter()
        .map(|errno| {
            // What is closed is closed, whatever close(2) says.
            if call.number == libc::SYS_close {
                Kind::IsLost(*errno)
            } else {
                Kind::Fails(*errno)
            }
        });
    let kinds = plain.chain(netlink_kinds(&call.netlink));
    kinds
        .map(|kind| Fault {
            call: call.clone(),
            kind,
        })
        .collect()
}

fn netlink_kinds(netlink: &Netlink) -> Vec<Kind> {
    match netlink {
        Netlink::Nothing => Vec::new(),
        Netlink::Sends {
            netfilter,
            requests,
        } => requests
            .iter()
            .flat_map(|request| {
                let index = request.index;
                refusals(*netfilter, request).map(move |errno| Kind::Refused { index, errno })
            })
            .collect(),
        Netlink::Receives { is_dump, .. } => {
            let interrupted = is_dump.then_some(Kind::Interrupted);
            let lost = [Kind::IsLost(Errno::ENOBUFS)].into_iter();
            lost.chain(interrupted).collect()
        }
    }
}

/// What the kernel says to a request. A list can be given up for a change; the packet filter's sets can be
/// full.
fn refusals(netfilter: bool, request: &Request) -> impl Iterator<Item = Errno> {
    let own = match (netfilter, request.is_dump) {
        (_, true) => Errno::EINTR,
        (true, false) => Errno::ENOSPC,
        (false, false) => Errno::EBUSY,
    };
    [Errno::EPERM, Errno::ENOMEM, Errno::ENOBUFS, own].into_iter()
}
