//! What can go wrong between us and the kernel.

use std::fmt;
use std::io;

use nix::errno::Errno;

use crate::frame::Malformed;

/// What was being done. Its Display is a verb phrase that the subject completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the Display text says it")]
pub enum Op {
    OpenSocket,
    CreateBridge,
    CreateVeth,
    CreateLink,
    DeleteLink,
    SetUp,
    SetDown,
    SetPromiscuous,
    SetAllMulticast,
    SetMac,
    SetMtu,
    SetTxQueueLen,
    SetMaster,
    SetAlias,
    SetGroup,
    MoveLink,
    RenameLink,
    AddAltName,
    DeleteAltName,
    SetPort,
    GetConf,
    SetConf,
    AddVlan,
    DeleteVlan,
    ListVlans,
    FindLink,
    ListLinks,
    AddAddress,
    DeleteAddress,
    ListAddresses,
    GetForwarding,
    AddRoute,
    DeleteRoute,
    ListRoutes,
    AddQdisc,
    DeleteQdisc,
    FindQdisc,
    AddFilter,
    DeleteFilter,
    ListFilters,
    Probe,
    FindRoute,
    Subscribe,
    WaitForLink,
    WaitForAddress,
    Announce,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSocket => "open",
            Self::CreateBridge => "create bridge",
            Self::CreateVeth => "create veth pair",
            Self::CreateLink => "create link",
            Self::DeleteLink => "delete link",
            Self::SetUp => "set up link",
            Self::SetDown => "set down link",
            Self::SetPromiscuous => "set promiscuous mode of",
            Self::SetAllMulticast => "set all-multicast mode of",
            Self::SetMac => "set MAC address of",
            Self::SetMtu => "set MTU of",
            Self::SetTxQueueLen => "set transmit queue length of",
            Self::SetMaster => "set master of",
            Self::SetAlias => "set alias of",
            Self::SetGroup => "set group of",
            Self::MoveLink => "move link",
            Self::RenameLink => "rename link",
            Self::AddAltName => "add alternative name",
            Self::DeleteAltName => "delete alternative name",
            Self::SetPort => "set bridge port flags of",
            Self::GetConf => "look at IPv4 settings of",
            Self::SetConf => "set IPv4 settings of",
            Self::AddVlan => "add VLAN",
            Self::DeleteVlan => "delete VLAN",
            Self::ListVlans => "list VLANs of",
            Self::FindLink => "find link",
            Self::ListLinks => "list links",
            Self::AddAddress => "add address",
            Self::DeleteAddress => "delete address",
            Self::ListAddresses => "list addresses",
            Self::GetForwarding => "look at forwarding",
            Self::AddRoute => "add route",
            Self::DeleteRoute => "delete route",
            Self::ListRoutes => "list routes",
            Self::AddQdisc => "create qdisc",
            Self::DeleteQdisc => "delete qdisc",
            Self::FindQdisc => "find qdisc",
            Self::AddFilter => "create filter",
            Self::DeleteFilter => "delete filter",
            Self::ListFilters => "list filters of",
            Self::Probe => "ask the kernel for",
            Self::FindRoute => "find the route to",
            Self::Subscribe => "subscribe to",
            Self::WaitForLink => "wait for link",
            Self::WaitForAddress => "wait for address",
            Self::Announce => "announce",
        })
    }
}

/// Something that rtnetlink was asked for and did not happen.
///
/// Displays as the operation and its subject; [`source`](std::error::Error::source) has the
/// kernel's words.
#[derive(Debug, thiserror::Error)]
#[error("failed to {op} {subject}")]
pub struct NetlinkError {
    /// What was being done.
    pub op: Op,
    /// To what: `cni0`, `10.1.0.5/24 dev eth0`.
    pub subject: String,
    /// Why it did not happen.
    #[source]
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The kernel refused it.
    Kernel {
        /// The positive error number.
        errno: i32,
        /// The kernel's own words, out of the extended acknowledgement.
        message: Option<String>,
    },
    /// The socket failed.
    Io(io::Error),
    /// The request went out, and the answer to it is lost: it may have been done all the same.
    Unheard(io::Error),
    /// The reply makes no sense.
    Decode(Malformed),
    /// No reply, or no event, before the deadline.
    Timeout,
    /// The state changed under each of several attempts to read it.
    Interrupted,
    /// Duplicate address detection found another owner of the IPv6 address.
    Duplicate,
}

impl Cause {
    /// A refusal that the kernel did not put into words.
    pub(crate) fn refused(errno: i32) -> Self {
        Self::Kernel {
            errno,
            message: None,
        }
    }

    /// The same, of a request that the kernel has got.
    pub(crate) fn unheard(self) -> Self {
        match self {
            Self::Io(error) => Self::Unheard(error),
            other => other,
        }
    }

    /// The cause behind an error of a file.
    pub(crate) fn of_file(error: &io::Error) -> Self {
        Self::Io(copy(error))
    }

    /// The cause behind an error of the socket.
    pub(crate) fn io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }

    /// The same cause for another request of the same batch.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Kernel { errno, message } => Self::Kernel {
                errno: *errno,
                message: message.clone(),
            },
            Self::Io(error) => Self::Io(copy(error)),
            Self::Unheard(error) => Self::Unheard(copy(error)),
            Self::Decode(malformed) => Self::Decode(*malformed),
            Self::Timeout => Self::Timeout,
            Self::Interrupted => Self::Interrupted,
            Self::Duplicate => Self::Duplicate,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { errno, message } => {
                f.write_str(&strerror(*errno))?;
                match message {
                    Some(words) => write!(f, ": {words}"),
                    None => Ok(()),
                }
            }
            Self::Io(error) => f.write_str(&describe(error)),
            Self::Unheard(error) => write!(f, "{}: the answer is lost", describe(error)),
            Self::Decode(malformed) => malformed.fmt(f),
            Self::Timeout => f.write_str("no answer before the deadline"),
            Self::Interrupted => f.write_str("the state kept changing while it was read"),
            Self::Duplicate => f.write_str("the address is already in use on the link"),
        }
    }
}

impl std::error::Error for Cause {}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The C library's text for an error number.
pub(crate) fn strerror(errno: i32) -> String {
    describe(&io::Error::from_raw_os_error(errno))
}

/// An I/O error without Rust's `(os error N)`.
pub(crate) fn describe(error: &io::Error) -> String {
    let mut text = error.to_string();
    if error.raw_os_error().is_some()
        && let Some(at) = text.rfind(" (os error ")
    {
        text.truncate(at);
    }
    text
}

impl NetlinkError {
    /// The error number, if the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match &self.cause {
            Cause::Kernel { errno, .. } => Some(Errno::from_raw(*errno)),
            Cause::Io(error) | Cause::Unheard(error) => error.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }

    /// Nobody has heard whether it was done: whoever takes it back must reckon with it.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        matches!(
            self.cause,
            Cause::Unheard(_) | Cause::Timeout | Cause::Decode(_)
        )
    }

    /// The thing to be made is already there.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// The thing to be changed or deleted is not there: for a deletion, success.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self.errno() {
            // Handle or kind are not those of what is there now.
            Some(Errno::EINVAL) => self.op == Op::DeleteQdisc,
            Some(Errno::ENOENT) => !self.is_unsupported(),
            Some(Errno::ENODEV | Errno::ESRCH | Errno::EADDRNOTAVAIL | Errno::ENXIO) => true,
            _ => false,
        }
    }

    /// The kernel was built without what was asked for, or cannot load the module that has it.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self.errno() {
            Some(Errno::EOPNOTSUPP) => true,
            // Traffic control's way to say so of a kind.
            Some(Errno::ENOENT) => matches!(self.op, Op::AddQdisc | Op::AddFilter),
            _ => false,
        }
    }

    /// No packet gets there: there is no route, or one that refuses.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL)
        )
    }

    /// The same may work later (CNI error code 11).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.cause, Cause::Timeout | Cause::Interrupted)
            || matches!(
                self.errno(),
                Some(Errno::EBUSY | Errno::ENOBUFS | Errno::EAGAIN | Errno::ENOMEM)
            )
    }

    /// What the person who reads the error can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match (self.errno()?, self.op) {
            // The only request that goes out of a raw socket; the others have been granted by then.
            (Errno::EPERM, Op::Announce) => "announcing IPv6 addresses needs CAP_NET_RAW",
            (Errno::EPERM, _) => "the plugin needs CAP_NET_ADMIN in the network namespace",
            (Errno::EOPNOTSUPP, Op::CreateBridge) => {
                "this kernel has no support for bridges, or none for VLAN filtering on them \
                 (CONFIG_BRIDGE, CONFIG_BRIDGE_VLAN_FILTERING)"
            }
            (Errno::EOPNOTSUPP, Op::AddVlan | Op::DeleteVlan) => {
                "this kernel has no support for VLAN filtering on bridges \
                 (CONFIG_BRIDGE_VLAN_FILTERING), or the link is not a bridge port"
            }
            (Errno::EOPNOTSUPP, Op::CreateVeth | Op::CreateLink) => {
                "this kernel has no support for this kind of link, or its module is not loaded"
            }
            (Errno::ENOENT, Op::AddQdisc | Op::AddFilter) => {
                "this kernel has no support for this kind of qdisc or filter, or its module is not \
                 loaded (CONFIG_NET_SCH_TBF, CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32, \
                 CONFIG_NET_ACT_MIRRED)"
            }
            (Errno::EINVAL, Op::AddQdisc) => {
                "is the burst worth at least one byte at this rate, and not too much for 32 bits?"
            }
            (Errno::EBUSY, Op::SetMac) => {
                "this driver changes the MAC address of an interface only while it is down"
            }
            (Errno::EACCES, Op::AddAddress) => {
                "IPv6 is disabled on the interface by the sysctl disable_ipv6"
            }
            (Errno::EEXIST, Op::CreateVeth) => {
                "one of the two interface names is taken in its namespace"
            }
            (Errno::EEXIST, Op::AddRoute) => "the same route is already there",
            (Errno::ENETUNREACH | Errno::EHOSTUNREACH, Op::AddRoute) => {
                "the gateway is not reachable through an address of the interface"
            }
            (Errno::ENETDOWN, Op::AddRoute) => "the interface is down",
            (Errno::ENFILE | Errno::EMFILE, _) => "too many open files",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use nix::libc;

    use super::*;

    fn refused(op: Op, errno: i32, message: Option<&str>) -> NetlinkError {
        NetlinkError {
            op,
            subject: "x".to_owned(),
            cause: Cause::Kernel {
                errno,
                message: message.map(str::to_owned),
            },
        }
    }

    #[test]
    fn display_has_the_operation_and_source_the_kernels_words() {
        let error = refused(Op::AddRoute, libc::EINVAL, Some("Invalid gateway"));
        assert_eq!(error.to_string(), "failed to add route x");
        let source = error.source().unwrap();
        assert_eq!(source.to_string(), "Invalid argument: Invalid gateway");
        assert!(source.source().is_none());
        assert_eq!(
            refused(Op::SetUp, libc::EPERM, None).cause.to_string(),
            "Operation not permitted"
        );
        let io = Cause::io(io::Error::from_raw_os_error(libc::ENFILE));
        assert_eq!(io.to_string(), "Too many open files in system");
        assert_eq!(io.again().to_string(), io.to_string());
    }

    #[test]
    fn questions_about_an_error() {
        let of = |errno| refused(Op::SetUp, errno, None);
        assert!(of(libc::EEXIST).is_exists());
        for errno in [libc::ENODEV, libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL] {
            assert!(of(errno).is_gone(), "{errno}");
        }
        for errno in [libc::EBUSY, libc::ENOBUFS, libc::EAGAIN] {
            assert!(of(errno).is_busy(), "{errno}");
        }
        assert!(!of(libc::EPERM).is_gone() && !of(libc::EPERM).is_busy());
        assert!(of(libc::EOPNOTSUPP).is_unsupported() && !of(libc::ENOENT).is_unsupported());
        let unknown_kind = refused(Op::AddQdisc, libc::ENOENT, None);
        assert!(unknown_kind.is_unsupported() && !unknown_kind.is_gone());
        assert!(
            refused(Op::DeleteQdisc, libc::EINVAL, None).is_gone() && !of(libc::EINVAL).is_gone()
        );
        let late = NetlinkError {
            cause: Cause::io(io::ErrorKind::WouldBlock.into()),
            ..of(0)
        };
        assert!(matches!(late.cause, Cause::Timeout) && late.is_busy());
    }

    #[test]
    fn what_nobody_has_heard_of_may_be_done() {
        let of = |cause| NetlinkError {
            op: Op::SetUp,
            subject: "x".to_owned(),
            cause,
        };
        let lost = io::Error::from_raw_os_error(libc::ENOBUFS);
        let lost = of(Cause::Io(lost).unheard());
        assert!(lost.is_unheard() && lost.is_busy());
        let words = lost.cause.to_string();
        assert_eq!(words, "No buffer space available: the answer is lost");
        assert_eq!(lost.cause.again().to_string(), words);
        assert!(of(Cause::Timeout.unheard()).is_unheard());
        assert!(!of(Cause::refused(libc::ENOBUFS).unheard()).is_unheard());
        assert!(!of(Cause::Io(io::ErrorKind::WouldBlock.into())).is_unheard());
    }

    #[test]
    fn hints_fit_the_operation() {
        for (op, errno, part) in [
            (Op::SetUp, libc::EPERM, "CAP_NET_ADMIN"),
            (Op::Announce, libc::EPERM, "CAP_NET_RAW"),
            (Op::CreateBridge, libc::EOPNOTSUPP, "CONFIG_BRIDGE"),
            (Op::AddVlan, libc::EOPNOTSUPP, "VLAN filtering"),
            (Op::CreateLink, libc::EOPNOTSUPP, "kind of link"),
            (Op::AddQdisc, libc::ENOENT, "CONFIG_NET_SCH_TBF"),
            (Op::SetMac, libc::EBUSY, "while it is down"),
            (Op::AddAddress, libc::EACCES, "disable_ipv6"),
            (Op::CreateVeth, libc::EEXIST, "names is taken"),
        ] {
            let hint = refused(op, errno, None).hint().unwrap();
            assert!(hint.contains(part), "{op}: {hint}");
        }
        assert_eq!(refused(Op::AddAddress, libc::EEXIST, None).hint(), None);
    }
}
