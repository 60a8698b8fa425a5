//! Leases as files, in the directory of the reference's `host-local` and under its lock.
//!
//! ```text
//! <data dir>/<network>/            0755
//!     10.1.0.2                     0600  container CR LF interface
//!     last_reserved_ip.0           0600  the address that range set 0 gave last
//!     lock                         whoever changes anything holds flock(2) on it
//! ```
//!
//! What is not named like an address, and all that is not a regular file, is foreign: it is
//! neither read nor removed. Symbolic links are not followed.
//!
//! Nothing is ever half there: a file gets its content while it has no name yet, and its name by
//! `link(2)`, which fails if the address is taken. docs/decisions/004 tells why nothing is synced
//! to the disk. Files that the reference, or a power loss, left empty belong to nobody and are
//! removed by the next ADD that meets them; under the lock nobody can be about to fill them.

mod dir;
mod error;
mod index;
mod lock;
mod locked;
mod write;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cni_types::{FastPaths, NetworkName};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

pub use dir::LeaseDir;
pub use error::{Holder, StoreError};
pub use lock::lock_file;
pub use locked::{LockedStore, Removed};

/// Where the leases of one network are. Cheap: nothing is opened yet.
#[derive(Debug, Clone)]
pub struct LeaseStore {
    data_dir: PathBuf,
    dir: PathBuf,
    index: Option<index::Policy>,
}

impl LeaseStore {
    /// The leases of `network` below `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path, network: &NetworkName) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            dir: data_dir.join(network.as_str()),
            index: None,
        }
    }

    /// The same leases, with an index below `/run/tenon` where `fast_paths` says so, so that
    /// operations on many take as long as on few. Without it all leases are read each time.
    #[must_use]
    pub fn with_fast_paths(mut self, fast_paths: FastPaths) -> Self {
        self.index = index::Policy::of(fast_paths);
        self
    }

    /// The network's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Opens the leases to read them, without the lock: a lease appears and disappears whole, so
    /// that readers never have to wait. `None` if there is no directory, and so no lease.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open(&self) -> Result<Option<LeaseDir>, StoreError> {
        match LeaseDir::open(&self.dir) {
            Err(error) if error.is_not_found() => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Whether leases could be written, judged by the permissions of the directory, or of the
    /// nearest one above it that exists.
    ///
    /// # Errors
    /// They could not: the filesystem is read-only, say, or something on the way is no directory.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        let writable = AccessFlags::W_OK | AccessFlags::X_OK;
        let absolute = std::path::absolute(&self.dir);
        let absolute = absolute.map_err(|source| StoreError::io("resolve", &self.dir, source))?;
        for path in absolute.ancestors() {
            match access(path, writable) {
                Ok(()) => break,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(StoreError::io("write to", path, errno.into())),
            }
        }
        Ok(())
    }

    /// Locks the leases to change them, and makes the directory if there is none.
    ///
    /// # Errors
    /// The directory cannot be made or opened; the lock was not free by `deadline`.
    pub fn lock_or_create(&self, deadline: Instant) -> Result<LockedStore, StoreError> {
        if let Some(locked) = self.lock(deadline)? {
            return Ok(locked);
        }
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o755)
            .create(&self.dir)
            .map_err(|source| StoreError::io("create directory", &self.dir, source))?;
        self.lock(deadline)?.ok_or_else(|| {
            StoreError::io("open directory", &self.dir, io::ErrorKind::NotFound.into())
        })
    }

    /// Locks the leases to change them. `None` if there is no directory, and so nothing to change.
    ///
    /// # Errors
    /// The directory cannot be opened; the lock was not free by `deadline`.
    pub fn lock(&self, deadline: Instant) -> Result<Option<LockedStore>, StoreError> {
        let Some(dir) = self.open()? else {
            return Ok(None);
        };
        let lock = lock::acquire(&dir, deadline)?;
        let index = index::Keeper::new(self.index.clone());
        let data_dir = self.data_dir.clone();
        Ok(Some(LockedStore::new(dir, data_dir, index, lock)))
    }
}

#[cfg(test)]
mod tests;
