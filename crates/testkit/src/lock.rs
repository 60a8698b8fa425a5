//! A lock held by someone else.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

/// An exclusive flock(2) on a file, as another plugin would hold it, until dropped.
#[derive(Debug)]
pub struct HeldLock {
    _file: File,
}

impl HeldLock {
    /// Takes the lock, making the file and its directory where missing. Panics if it is taken.
    #[must_use]
    pub fn take(path: &Path) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .unwrap();
        file.try_lock()
            .unwrap_or_else(|error| panic!("lock {}: {error}", path.display()));
        Self { _file: file }
    }
}
