//! Network namespaces: opened by path, compared, and entered for the time of a closure.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cni_local::netns;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{FsType, NSFS_MAGIC, fstatfs};

use crate::error::{NetlinkError, describe};
use crate::socket::Socket;

/// How often the way back is tried.
const RETURN_TRIES: u32 = 100;

/// An open network namespace. Clones share the descriptor.
#[derive(Debug, Clone)]
pub struct NetNs {
    file: Arc<File>,
    path: Arc<Path>,
}

/// Which namespace a [`NetNs`] is: two are the same if and only if their ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetNsId {
    /// The device of the namespace file system.
    pub dev: u64,
    /// The inode of the namespace.
    pub inode: u64,
}

/// A network namespace could not be opened or entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetNsError {
    /// The path cannot be opened.
    #[error("failed to open netns {path:?}")]
    Open {
        /// The path as it was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: OsError,
    },
    /// The path leads to something that is no namespace.
    #[error("failed to open netns {path:?}: it is not a network namespace")]
    NotNamespace {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path has come to lead to another namespace than the one that was meant.
    #[error("netns {path:?} is another one than a moment ago")]
    Changed {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The namespace cannot be told from others.
    #[error("failed to examine netns {path:?}")]
    Examine {
        /// The path it was opened by.
        path: PathBuf,
        /// Why.
        #[source]
        source: OsError,
    },
    /// The namespace cannot be entered.
    #[error("failed to enter netns {path:?}")]
    Enter {
        /// The path it was opened by.
        path: PathBuf,
        /// Why.
        #[source]
        source: OsError,
    },
    /// The namespace cannot be left.
    #[error("failed to leave netns {path:?}")]
    Return {
        /// The path it was opened by.
        path: PathBuf,
        /// Why.
        #[source]
        source: OsError,
    },
}

/// An error of the operating system. Displays its text, without Rust's `(os error N)`.
#[derive(Debug)]
pub struct OsError(pub io::Error);

impl std::fmt::Display for OsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&describe(&self.0))
    }
}

impl std::error::Error for OsError {}

impl NetNsError {
    /// The namespace does not exist, or not any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Open { source, .. } => matches!(
                source.0.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH)
            ),
            Self::NotNamespace { .. }
            | Self::Changed { .. }
            | Self::Examine { .. }
            | Self::Enter { .. }
            | Self::Return { .. } => false,
        }
    }

    /// The path exists and leads to something else than a network namespace: also to the plain file
    /// that a bind mount covered until it was undone.
    #[must_use]
    pub fn is_not_namespace(&self) -> bool {
        matches!(self, Self::NotNamespace { .. })
    }

    /// What the person who reads the error can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Enter { source, .. } if source.0.raw_os_error() == Some(libc::EPERM) => {
                Some("entering a network namespace needs CAP_SYS_ADMIN")
            }
            _ => None,
        }
    }
}

impl NetNs {
    /// Opens the namespace that `path` leads to, usually a bind mount below `/run/netns` or a
    /// `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// The path cannot be opened, or leads to something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetNsError> {
        let path = path.as_ref();
        let failed = |source| NetNsError::Open {
            path: path.to_owned(),
            source: OsError(source),
        };
        let file = OpenOptions::new()
            .read(true)
            // A fifo would otherwise block until somebody writes to it.
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map_err(failed)?;
        if !is_network_namespace(&file).map_err(failed)? {
            return Err(NetNsError::NotNamespace {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.into(),
        })
    }

    /// The same for whoever takes something down, to whom a namespace that is gone is no error. A
    /// plain file at the path counts as gone: an undone bind mount leaves the file it covered.
    ///
    /// # Errors
    /// The path cannot be opened for another reason.
    pub fn open_if_there(path: impl AsRef<Path>) -> Result<Option<Self>, NetNsError> {
        match Self::open(path) {
            Err(error) if error.is_gone() || error.is_not_namespace() => Ok(None),
            other => other.map(Some),
        }
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// No descriptor is left, say.
    pub fn current() -> Result<Self, NetNsError> {
        Self::here(netns::current())
    }

    /// The namespace of a socket.
    pub(crate) fn of_socket(socket: &impl AsRawFd) -> Result<Self, NetNsError> {
        Self::here(netns::of_socket(socket))
    }

    fn here(opened: io::Result<File>) -> Result<Self, NetNsError> {
        let file = opened.map_err(|source| NetNsError::Open {
            path: netns::PATH.into(),
            source: OsError(source),
        })?;
        Ok(Self {
            file: Arc::new(file),
            path: Path::new(netns::PATH).into(),
        })
    }

    /// What tells this namespace from every other.
    ///
    /// # Errors
    /// The descriptor cannot be examined.
    pub fn id(&self) -> io::Result<NetNsId> {
        let meta = self.file.metadata()?;
        Ok(NetNsId {
            dev: meta.dev(),
            inode: meta.ino(),
        })
    }

    /// Itself, if it is the one that was meant: the path may have come to lead elsewhere since
    /// somebody looked there. `meant` is a device and an inode; any will do without.
    ///
    /// # Errors
    /// It is another one, or cannot be examined.
    pub fn only(self, meant: Option<(u64, u64)>) -> Result<Self, NetNsError> {
        let Some(meant) = meant else {
            return Ok(self);
        };
        let path = || self.path.to_path_buf();
        // What cannot be examined may well be the one.
        let id = self.id().map_err(|source| NetNsError::Examine {
            path: path(),
            source: OsError(source),
        })?;
        if (id.dev, id.inode) != meant {
            return Err(NetNsError::Changed { path: path() });
        }
        Ok(self)
    }

    /// Whether both are the same namespace, by whatever paths.
    ///
    /// # Errors
    /// A descriptor cannot be examined.
    pub fn same_as(&self, other: &Self) -> io::Result<bool> {
        Ok(self.id()? == other.id()?)
    }

    /// Whether the calling thread is in it.
    pub(crate) fn is_current(&self) -> bool {
        Self::current().is_ok_and(|current| self.same_as(&current).unwrap_or(false))
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `body` inside the namespace, on the calling thread, which comes back before this
    /// returns, also when `body` panics. docs/decisions/006-entering-namespaces.md tells why it is
    /// no thread of its own.
    ///
    /// # Errors
    /// The namespace cannot be entered, or in the worst case not be left
    /// ([`NetNsError::Return`]): then the thread is in the wrong one and must not go on.
    ///
    /// # Panics
    /// If `body` does.
    pub fn run<T>(&self, body: impl FnOnce() -> T) -> Result<T, NetNsError> {
        let home = netns::current().map_err(|source| self.not_entered(source))?;
        self.run_away_from(home.as_fd(), body)
    }

    /// The same for who has the calling thread's own namespace open already.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// If `body` does.
    pub fn run_from<T>(&self, home: &Self, body: impl FnOnce() -> T) -> Result<T, NetNsError> {
        self.run_away_from(home.as_fd(), body)
    }

    fn run_away_from<T>(
        &self,
        home: BorrowedFd<'_>,
        body: impl FnOnce() -> T,
    ) -> Result<T, NetNsError> {
        enter(self.as_fd()).map_err(|source| self.not_entered(source))?;
        let outcome = catch_unwind(AssertUnwindSafe(body));
        come_back(home).map_err(|source| NetNsError::Return {
            path: self.path.to_path_buf(),
            source: OsError(source),
        })?;
        outcome.map_err(|panic| resume_unwind(panic))
    }

    fn not_entered(&self, source: io::Error) -> NetNsError {
        NetNsError::Enter {
            path: self.path.to_path_buf(),
            source: OsError(source),
        }
    }

    /// A netlink socket of this namespace. It serves it for ever, from any thread.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the socket not be made.
    pub fn socket(&self) -> Result<Socket, NetNsSocketError> {
        Ok(self.run(Socket::open)??)
    }

    /// The same for who has the calling thread's own namespace open already.
    ///
    /// # Errors
    /// As [`socket`](Self::socket).
    pub fn socket_from(&self, home: &Self) -> Result<Socket, NetNsSocketError> {
        Ok(self.run_from(home, Socket::open)??)
    }
}

/// A namespace gave no netlink socket.
#[derive(Debug, thiserror::Error)]
pub enum NetNsSocketError {
    /// It cannot be entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The socket cannot be made.
    #[error(transparent)]
    Socket(#[from] NetlinkError),
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Tried again, since what can be missing is memory.
fn come_back(home: BorrowedFd<'_>) -> io::Result<()> {
    let mut outcome = enter(home);
    for _again in 1..RETURN_TRIES {
        if outcome.is_ok() {
            break;
        }
        outcome = enter(home);
    }
    outcome
}

fn enter(ns: BorrowedFd<'_>) -> io::Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place: run() comes back"
    )]
    setns(ns, CloneFlags::CLONE_NEWNET).map_err(Into::into)
}

/// Whether the file is a namespace of the network kind: `nsfs` has all kinds, and `NS_GET_NSTYPE`
/// (`ioctl_nsfs(2)`, Linux 4.11) tells them apart. An older kernel will tell at setns.
fn is_network_namespace(file: &File) -> io::Result<bool> {
    /// `_IO(0xb7, 0x3)`, `linux/nsfs.h`.
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    let fs: FsType = fstatfs(file)?.filesystem_type();
    if fs != NSFS_MAGIC {
        return Ok(false);
    }
    // SAFETY: the request takes no argument and answers with a number.
    #[expect(unsafe_code, reason = "nix has no wrapper of this request")]
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    Ok(kind == libc::CLONE_NEWNET || kind < 0)
}
