//! What can go wrong between us and netfilter.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;

/// What was being done. Its Display is a verb phrase that the subject completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the Display text says it")]
pub enum Operation {
    OpenSocket,
    Probe,
    AddMasquerade,
    RemoveMasquerade,
    CheckMasquerade,
    CollectMasquerade,
    AddSpoofCheck,
    RemoveSpoofCheck,
    CheckSpoofCheck,
    CollectSpoofCheck,
    PublishPorts,
    WithdrawPorts,
    CheckPorts,
    CollectPorts,
    CheckLoopback,
    RemoveReference,
    AddIsolation,
    RemoveIsolation,
    CheckIsolation,
    AddForwarding,
    RemoveForwarding,
    CheckForwarding,
    CollectForwarding,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSocket => "open",
            Self::Probe => "use",
            Self::AddMasquerade => "add masquerade rules for",
            Self::RemoveMasquerade => "remove masquerade rules of",
            Self::CheckMasquerade => "check masquerade rules of",
            Self::CollectMasquerade => "collect stale masquerade rules of network",
            Self::AddSpoofCheck => "add MAC spoof check for",
            Self::RemoveSpoofCheck => "remove MAC spoof check of",
            Self::CheckSpoofCheck => "check MAC spoof check of",
            Self::CollectSpoofCheck => "collect stale MAC spoof checks of network",
            Self::AddIsolation => "isolate the network behind bridge",
            Self::RemoveIsolation => "remove the isolation of bridge",
            Self::CheckIsolation => "check the isolation of bridge",
            Self::AddForwarding => "let the host forward for",
            Self::RemoveForwarding => "remove the forwarding rules of",
            Self::CheckForwarding => "check the forwarding rules of",
            Self::CollectForwarding => "collect stale forwarding rules of network",
            Self::PublishPorts => "publish ports of",
            Self::WithdrawPorts => "withdraw ports of",
            Self::CheckPorts => "check ports of",
            Self::CollectPorts => "collect stale ports of network",
            Self::CheckLoopback => "find out who is reached over loopback and",
            Self::RemoveReference => "remove rules that the reference plugins left for",
        })
    }
}

/// Something that netfilter was asked for and did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{op} {subject}")]
pub struct FirewallError {
    /// What was being done.
    pub op: Operation,
    /// To what: an attachment, a network.
    pub subject: String,
    /// Why it did not happen. Boxed, so that the `Ok` of a result stays small.
    #[source]
    pub cause: Box<Cause>,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The kernel refused a request, in its own words where it has any.
    #[error("kernel refused to {request}: {}{}", .errno.desc(), suffix(.message.as_deref()))]
    Kernel {
        /// The request in the words of `nft`.
        request: String,
        /// The error number.
        errno: Errno,
        /// The extended acknowledgement.
        message: Option<String>,
    },
    /// A call on the socket failed.
    #[error("netfilter socket: {call}")]
    Socket {
        /// The system call.
        call: &'static str,
        /// What it returned.
        #[source]
        source: io::Error,
    },
    /// The kernel sent what we cannot read.
    #[error("unreadable answer from the kernel: {0}")]
    Decode(&'static str),
    /// The kernel did not answer in time.
    #[error("no answer from the kernel within {0:?}")]
    Timeout(Duration),
    /// Other programs changed the ruleset between our look and our change until time was up.
    #[error("the ruleset kept changing for {0:?}")]
    Contended(Duration),
    /// Another attachment publishes the port.
    #[error("port {port} is taken by {owner}")]
    PortTaken {
        /// The port, with the host's address or addresses.
        port: String,
        /// The attachment's network, interface and container.
        owner: String,
    },
    /// An attachment publishes one port twice, and it would lead to two places.
    #[error("port {0} is mapped to two places")]
    PortTwice(String),
    /// A program could not be started.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed ({status}): {stderr}")]
    Program {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A program was killed since it did not end in time.
    #[error("{program} did not end within {waited:?} and was killed{}", suffix(Some(.stderr)))]
    ProgramTimeout {
        /// The program.
        program: &'static str,
        /// How long it was given.
        waited: Duration,
        /// What it said until then.
        stderr: String,
    },
}

fn suffix(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .map_or_else(String::new, |text| format!(": {text}"))
}

impl Cause {
    /// The kernel's error number, if it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            Self::Socket { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }

    /// Whether this kernel has no `nf_tables`, or not for this family.
    ///
    /// `socket(2)` answers EPROTONOSUPPORT without nfnetlink; nfnetlink answers EINVAL or
    /// EOPNOTSUPP while there is no `nf_tables` (`net/netfilter/nfnetlink.c`), and `nf_tables`
    /// EAFNOSUPPORT for a family it was built without.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EINVAL)
        )
    }

    /// Whether a request went out and nobody heard what became of it: it may have been done.
    pub(crate) fn is_unheard(&self) -> bool {
        match self {
            Self::Socket { call, .. } => matches!(*call, "recv" | "poll"),
            Self::Timeout(_) | Self::Decode(_) => true,
            _ => false,
        }
    }

    pub(crate) fn during(self, op: Operation, subject: impl fmt::Display) -> FirewallError {
        FirewallError {
            op,
            subject: subject.to_string(),
            cause: Box::new(self),
        }
    }
}

const XTABLES_LOCK: &str =
    "another program may be holding the xtables lock: look for who has /run/xtables.lock open";

impl FirewallError {
    /// The kernel's error number, if it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.cause.errno()
    }

    /// Whether this kernel has no `nf_tables`, or not for this family: then there is nothing of
    /// ours to remove.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.cause.is_unsupported()
    }

    /// What the administrator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match &*self.cause {
            Cause::Spawn { .. } => Some(
                "the iptables backend needs iptables and ip6tables; install them or ask for the \
                 nftables backend",
            ),
            Cause::Program { stderr, .. } if stderr.contains("xtables lock") => Some(XTABLES_LOCK),
            Cause::ProgramTimeout { .. } => Some(XTABLES_LOCK),
            Cause::PortTaken { .. } => Some(
                "choose another host port; if that attachment is long gone, a DEL of it or a GC of its \
                 network frees the port",
            ),
            Cause::Contended(_) => {
                Some("some program rewrites the nf_tables ruleset without a pause")
            }
            cause => match cause.errno()? {
                Errno::EPERM | Errno::EACCES => Some("needs CAP_NET_ADMIN"),
                Errno::EPROTONOSUPPORT
                | Errno::EAFNOSUPPORT
                | Errno::EOPNOTSUPP
                | Errno::EINVAL => Some("does this kernel have nf_tables, NAT and bridge filters?"),
                Errno::ENOMEM | Errno::ENOBUFS => Some("the kernel is out of memory"),
                _ => None,
            },
        }
    }
}
