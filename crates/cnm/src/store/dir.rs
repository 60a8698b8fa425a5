//! A directory of records of one kind, for what is no endpoint of the controller's.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Outcome, file};

/// Records by their names, each in a file `<name>.json` that is there whole or not at all, and
/// synced. Who changes one sees to it that nobody else does.
#[derive(Debug, Clone)]
pub struct RecordDir {
    dir: PathBuf,
}

impl RecordDir {
    /// The records in `dir`. It need not be there.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Whether there has ever been a record.
    #[must_use]
    pub fn is_there(&self) -> bool {
        file::is_dir(&self.dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// The names of all records, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Outcome<Vec<String>> {
        file::list(&self.dir)
    }

    /// A record; `None` if there is none of that name.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense ([`Broken`](super::StoreError::Broken)).
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Outcome<Option<T>> {
        file::read(&self.file(name))
    }

    /// Writes a record, in place of the one that is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, record: &impl Serialize) -> Outcome<()> {
        file::write(&self.file(name), record)
    }

    /// Removes a record, so that it does not come back after a power loss; one that is gone is fine.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> Outcome<()> {
        file::remove_for_good(&self.file(name))
    }
}
