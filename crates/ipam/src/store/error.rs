//! What can go wrong with lease files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_types::{ErrorCode, ToCniError};

/// A process that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its command name; empty if it has ended meanwhile.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = if self.command.is_empty() {
            "?"
        } else {
            &self.command
        };
        write!(f, "{} ({command})", self.pid)
    }
}

/// Why leases cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The kernel refused.
    #[error("{op} {}", path.display())]
    Io {
        /// What was to be done, as "remove lease".
        op: &'static str,
        /// To which file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Somebody else held the lock until the deadline.
    #[error("lock {} is held by {}; gave up after {} s", path.display(), Holders(holders), waited.as_secs())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as `/proc/locks` tells.
        holders: Vec<Holder>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Container id and interface name are more than a lease file may hold.
    #[error("container id has {length} bytes, more than a lease can hold")]
    TooLong {
        /// The length of the container id, in bytes.
        length: usize,
    },
}

struct Holders<'a>(&'a [Holder]);

impl fmt::Display for Holders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("an unknown process");
        }
        f.write_str("process ")?;
        for (index, holder) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{holder}")?;
        }
        Ok(())
    }
}

impl StoreError {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { op, path, source }
    }

    /// Whether the file is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl ToCniError for StoreError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. } => ErrorCode::IO,
            Self::Locked { .. } => ErrorCode::TRY_AGAIN,
            Self::TooLong { .. } => ErrorCode::INVALID_ENVIRONMENT,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space or inodes there; nothing was left half written")
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    Some("point ipam.dataDir to a filesystem that can be written")
                }
                io::ErrorKind::PermissionDenied => Some("IPAM plugins run as root"),
                _ => None,
            },
            Self::Locked { .. } => {
                Some("the lock is freed when that process ends; a stuck one can be killed")
            }
            Self::TooLong { .. } => None,
        }
    }
}
