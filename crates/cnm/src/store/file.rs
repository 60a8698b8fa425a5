//! Files that are there whole or not at all, whatever happens, a power loss included: what a driver
//! was told outlives this machine's memory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// Only root may know what containers there are.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// No record is larger.
const LIMIT: u64 = 4 << 20;

/// Reads a record; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let bytes = match open(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::io("read", path, source)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| StoreError::Broken {
            path: path.to_owned(),
            why: source.to_string(),
        })
}

fn open(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let file = OpenOptions::new()
        .read(true)
        // Neither a link that leads elsewhere nor a fifo that never ends.
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a record in place of the one that is there, and its directory if there is none.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
    write_as(path, record, Synced::Both)
}

/// The same for a record that may be replaced by the one before it after a power loss, but not by
/// half of itself. It costs half as much.
pub(crate) fn write_whole(path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
    write_as(path, record, Synced::Content)
}

/// The same for a record of what a power loss takes away anyway: it need not be there afterwards,
/// and an empty file may be in its place.
pub(crate) fn write_until_reboot(path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
    write_as(path, record, Synced::Nothing)
}

/// What is on the disk for certain when a record has been written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    Nothing,
    Content,
    /// Its name, too.
    Both,
}

fn write_as(path: &Path, record: &impl Serialize, synced: Synced) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(record).map_err(|source| StoreError::Broken {
        path: path.to_owned(),
        why: source.to_string(),
    })?;
    replace(path, &text, synced).map_err(|source| StoreError::io("write", path, source))
}

fn replace(path: &Path, text: &[u8], synced: Synced) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    make_dir(dir)?;
    let named = (synced == Synced::Both)
        .then(|| File::open(dir))
        .transpose()?;
    let is_new =
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let temporary = temporary_name(path);
    let written = write_new(&temporary, text, synced).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error is the one to tell.
        let _best_effort = fs::remove_file(&temporary);
    }
    written?;
    let kept = named.map_or(Ok(()), |dir| dir.sync_all());
    if kept.is_err() && is_new {
        // Nobody is to find what was told not to have been written.
        let _best_effort = fs::remove_file(path);
    }
    kept
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whoever writes a record holds its lock, so one temporary name is enough; one that is there
/// already is what a crash left.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn write_new(path: &Path, text: &[u8], synced: Synced) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _gone => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(text)?;
    if synced == Synced::Nothing {
        Ok(())
    } else {
        file.sync_data()
    }
}

/// Whether there is a directory, as far as can be seen: what cannot be looked at may be one, and who works
/// with it will be told why not.
pub(crate) fn is_dir(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(found) => found.is_dir(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Makes a directory and those above it.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
}

/// Removes a record; one that is gone is fine. With it goes what a crash left of the next one.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    remove_name(path)?;
    remove_half_written(path)
}

/// Removes what a crash left of a record that was being written, and not the record.
pub(crate) fn remove_half_written(path: &Path) -> Result<(), StoreError> {
    remove_name(&temporary_name(path))
}

fn remove_name(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _gone => Ok(()),
    }
}

/// Removes a record that must not come back after a power loss; one that is gone is fine.
pub(crate) fn remove_for_good(path: &Path) -> Result<(), StoreError> {
    remove(path)?;
    match sync_dir(path.parent().unwrap_or(Path::new("/"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _gone => Ok(()),
    }
}

/// Removes a directory with all that is in it; one that is gone is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _gone => Ok(()),
    }
}

/// Removes a directory if it is empty.
pub(crate) fn remove_empty_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(())
        }
        Err(source) => Err(StoreError::io("remove", path, source)),
    }
}

/// The records in a directory that a crash left half-written, or that are being written just now.
pub(crate) fn half_written(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let record = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_prefix('.')?.strip_suffix(".new")?;
        Some(dir.join(name))
    };
    Ok(entries(dir)?.iter().filter_map(record).collect())
}

/// The names of the records in a directory, sorted, without `.json`.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>, StoreError> {
    let paths = entries(dir)?;
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    let records = names.filter_map(|name| name.strip_suffix(".json"));
    Ok(records
        .filter(|name| !name.starts_with('.'))
        .map(str::to_owned)
        .collect())
}

/// What is in a directory, sorted; nothing in one that is not there.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let fail = |source| StoreError::io("list", dir, source);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(fail(source)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(fail)?;
    paths.sort();
    Ok(paths)
}
