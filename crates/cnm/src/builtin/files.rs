//! Small JSON files that are there whole or not at all.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cni_types::{ErrorCode, ToCniError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file of ours could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("failed to {op} {}", path.display())]
pub(crate) struct FileError {
    op: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl ToCniError for FileError {
    fn code(&self) -> ErrorCode {
        ErrorCode::IO
    }

    fn hint(&self) -> Option<&str> {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space or inodes there; nothing was left half written")
            }
            io::ErrorKind::InvalidData => {
                Some("the file was written by something else, or its disk is broken: remove it")
            }
            _ => None,
        }
    }
}

fn failed(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError {
        op,
        path: path.to_owned(),
        source,
    }
}

/// What has to be true of a file after a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It is there, with its new content.
    Always,
    /// Nothing: what it tells of is gone then too. An empty file may be left of it.
    UntilReboot,
}

/// Makes a directory, and those above it, for root alone.
pub(crate) fn create_dir(path: &Path) -> Result<(), FileError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(failed("create directory", path))
}

/// Reads a file; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("read", path))?,
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| failed("read", path)(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Writes a file beside the old one and puts it in its place.
///
/// Writers of one file must keep each other away: what a crash left of an earlier attempt is
/// written over.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T, keep: Keep) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let temporary = dir.join(name);
    let put = || {
        let text = serde_json::to_vec(value)?;
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(&text)?;
        if keep == Keep::Always {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if keep == Keep::Always {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    put().map_err(|error| {
        // The first error tells more than that of tidying up.
        let _second = fs::remove_file(&temporary);
        failed("write", path)(error)
    })
}

/// Removes a file for good. That it is gone already is fine.
pub(crate) fn remove(path: &Path, keep: Keep) -> Result<(), FileError> {
    let gone = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other,
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    gone.and_then(|()| match keep {
        Keep::Always => File::open(dir)?.sync_all(),
        Keep::UntilReboot => Ok(()),
    })
    .map_err(failed("remove", path))
}

/// Removes a directory with all that is in it. That it is gone already is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed("remove directory", path)),
    }
}

/// The names without `.json` of the files in a directory; none if there is no directory.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("read directory", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("read directory", dir))?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
        names.extend(
            name.filter(|name| !name.starts_with('.'))
                .map(str::to_owned),
        );
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_for_root_alone() {
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().join("a/b");
        create_dir(&dir).unwrap();
        let path = dir.join("one.json");
        assert_eq!(read::<String>(&path).unwrap(), None);
        // What a crash left behind.
        fs::write(dir.join(".one.json"), "x".repeat(100)).unwrap();
        for (text, keep) in [("a", Keep::Always), ("bc", Keep::UntilReboot)] {
            write(&path, &text, keep).unwrap();
            assert_eq!(read::<String>(&path).unwrap().unwrap(), text);
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(list(&dir).unwrap(), ["one"]);
        for _twice in 0..2 {
            remove(&path, Keep::Always).unwrap();
            remove_tree(&dir).unwrap();
        }
        assert!(list(&dir).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_json_is_told_with_its_path() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("one.json");
        fs::write(&path, "").unwrap();
        let error = read::<String>(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("failed to read {}", path.display())
        );
        assert!(error.hint().unwrap().contains("remove it"));
    }
}
