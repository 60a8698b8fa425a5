//! Locks that leave no file behind.
//!
//! The file is removed by its holder, while it holds the lock. Whoever waited for it meanwhile
//! finds that its file is not the one at the path any more, and starts again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
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
    pub(crate) fn acquire(path: &Path, deadline: Instant) -> Result<Self, StoreError> {
        let fail = |source| StoreError::io("lock", path, source);
        file::make_dir(path.parent().unwrap_or(Path::new("/"))).map_err(fail)?;
        loop {
            let file = cni_ipam::lock_file(path, deadline)?;
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

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
