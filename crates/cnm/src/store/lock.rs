//! Locks that leave no file behind.
//!
//! The file is removed by its holder, while it holds the lock. Whoever waited for it meanwhile
//! finds that its file is not the one at the path any more, and starts again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{StoreError, file};

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for the lock at `path`.
    pub(super) fn acquire(path: &Path, deadline: Instant) -> Result<Self, StoreError> {
        let fail = |source| StoreError::io("lock", path, source);
        file::make_dir(path.parent().unwrap_or(Path::new("/"))).map_err(fail)?;
        loop {
            let file = open(path).map_err(fail)?;
            let locked = cni_ipam::lock_by(file, deadline).map_err(fail)?;
            let Some(file) = locked else {
                return Err(StoreError::Locked {
                    path: path.to_owned(),
                });
            };
            if is_at(&file, path).map_err(fail)? {
                return Ok(Self {
                    path: path.to_owned(),
                    _file: file,
                });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Left behind, it would still be a lock.
        let _best_effort = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
