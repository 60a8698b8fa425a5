//! The directory of the state files.
//!
//! A file is there whole or not at all: it gets its content without a name, or under another where there are no
//! such files. What is no regular file is foreign, and symbolic links are not followed.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cni_types::{Attachment, ErrorCode, ToCniError};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc;
use nix::unistd::{AccessFlags, access, linkat};

use super::State;

/// How a file is named until it is whole.
const TEMPORARY: &str = ".tenon-";

/// No file of ours has more bytes.
const LIMIT: u64 = 16 << 20;

/// A state file cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {op} {}", path.display())]
pub(crate) struct StateError {
    op: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl ToCniError for StateError {
    fn code(&self) -> ErrorCode {
        ErrorCode::IO
    }

    fn hint(&self) -> Option<&str> {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space or inodes there")
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory => {
                Some("point \"dataDir\" to a directory that can be written")
            }
            _ => None,
        }
    }
}

/// Where the state files are. Cheap: nothing is opened yet.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

/// What stands at the name of an attachment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing.
    Nothing,
    /// A file, whatever is in it.
    File(Vec<u8>),
    /// Something that is not ours to read or remove.
    Foreign,
}

impl StateDir {
    /// The files below `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The file of an attachment. The names of two attachments can make the same one: what is in it
    /// tells.
    pub(crate) fn file(&self, attachment: &Attachment) -> PathBuf {
        self.0.join(file_name(attachment))
    }

    /// What is kept of an attachment.
    pub(crate) fn read(&self, attachment: &Attachment) -> Result<Kept, StateError> {
        read_file(&self.file(attachment))
    }

    /// Writes the file of an attachment, and the directory if there is none.
    pub(crate) fn write(&self, attachment: &Attachment, text: &[u8]) -> Result<(), StateError> {
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|source| failed("create directory", &self.0, source))?;
        let path = self.file(attachment);
        // One process at a time works for a container: what is there, a crash has left.
        let temporary = self.temporary(attachment);
        remove_file(&temporary)?;
        let written = self
            .write_new(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|source| {
            let _nothing_more_to_do = fs::remove_file(&temporary);
            failed("write", &path, source)
        })
    }

    /// A file that has its content before it has a name: what a crash leaves of it says whose it is, and a
    /// GC finds it.
    fn write_new(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        match write_unnamed(&self.0, path, text) {
            // No such files here (NFS, some overlays, kernels say EISDIR or ENOENT), or no /proc.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT | libc::EINVAL)
                ) =>
            {
                write_named(path, text)
            }
            written => written,
        }
    }

    /// Removes the file of an attachment. That it is gone already is fine.
    pub(crate) fn remove(&self, attachment: &Attachment) -> Result<(), StateError> {
        remove_file(&self.temporary(attachment))?;
        remove_file(&self.file(attachment))
    }

    fn temporary(&self, attachment: &Attachment) -> PathBuf {
        self.0.join(format!("{TEMPORARY}{}", file_name(attachment)))
    }

    /// The attachments whose files say themselves whose they are, with what is kept of each.
    /// `prefix` is how the files' names begin.
    pub(crate) fn owned(&self, prefix: &str) -> Result<Vec<(Attachment, State)>, StateError> {
        let fail = |source| failed("read directory", &self.0, source);
        let entries = match fs::read_dir(&self.0) {
            Err(error) if cannot_be_there(&error) => return Ok(Vec::new()),
            entries => entries.map_err(fail)?,
        };
        let mut owned = Vec::new();
        for entry in entries {
            let name = entry.map_err(fail)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else {
                continue;
            };
            let Kept::File(text) = read_file(&self.0.join(name))? else {
                continue;
            };
            let state = State::parse(&text).unwrap_or_default();
            // A file under another's name is nobody's.
            let name = name.strip_prefix(TEMPORARY).unwrap_or(name);
            if let Some(owner) = state.owner.clone().filter(|owner| file_name(owner) == name) {
                owned.push((owner, state));
            }
        }
        Ok(owned)
    }

    /// Whether a file could be written, judged by the permissions of the directory, or of the
    /// nearest one above it that exists.
    pub(crate) fn check_writable(&self) -> Result<(), StateError> {
        let absolute = std::path::absolute(&self.0);
        let absolute = absolute.map_err(|source| failed("resolve", &self.0, source))?;
        for path in absolute.ancestors() {
            match access(path, AccessFlags::W_OK | AccessFlags::X_OK) {
                Ok(()) => break,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(failed("write to", path, errno.into())),
            }
        }
        Ok(())
    }
}

/// The reference's name.
fn file_name(attachment: &Attachment) -> String {
    let Attachment {
        container_id,
        ifname,
        ..
    } = attachment;
    format!("{container_id}_{ifname}.json")
}

fn failed(op: &'static str, path: &Path, source: io::Error) -> StateError {
    let path = path.to_owned();
    StateError { op, path, source }
}

/// Nothing is there, or nothing can be at such a path: no ADD has written anything there.
fn cannot_be_there(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(
        error.kind(),
        NotFound | NotADirectory | InvalidFilename | InvalidInput
    )
}

fn read_file(path: &Path) -> Result<Kept, StateError> {
    let fail = |source| failed("read", path, source);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if cannot_be_there(&error) => return Ok(Kept::Nothing),
        // A symbolic link, a socket.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            return Ok(Kept::Foreign);
        }
        Err(error) => return Err(fail(error)),
    };
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        return Ok(Kept::Foreign);
    }
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).map_err(fail)?;
    Ok(Kept::File(text))
}

fn write_unnamed(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o600)
        .open(dir)?;
    file.write_all(text)?;
    let magic_link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let follow = AtFlags::AT_SYMLINK_FOLLOW;
    linkat(AT_FDCWD, magic_link.as_str(), AT_FDCWD, path, follow)?;
    Ok(())
}

fn write_named(path: &Path, text: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text)
}

fn remove_file(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        // A read-only file system says so also of what is not there.
        Err(error) if path.symlink_metadata().is_ok() => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SavedSysctl;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn attachment(network: &str, id: &str, ifname: &str) -> Attachment {
        Attachment {
            network: network.parse().unwrap(),
            container_id: id.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    fn text_of(owner: &Attachment) -> String {
        let state = State {
            owner: Some(owner.clone()),
            sysctls: Vec::<SavedSysctl>::new(),
            ..State::default()
        };
        state.to_text().unwrap()
    }

    #[test]
    fn files_come_whole_and_go() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temporary.path().join("a/b"));
        let c1 = attachment("n", "c1", "eth0");
        assert_eq!(dir.read(&c1).unwrap(), Kept::Nothing);
        dir.remove(&c1).unwrap();
        assert!(dir.owned("").unwrap().is_empty());
        // What a crash has left under the other name.
        fs::create_dir_all(&dir.0).unwrap();
        fs::write(dir.0.join(".tenon-c1_eth0.json"), "{\"mtu\"").unwrap();
        let written = dir.0.join("by-name");
        write_named(&written, b"{}").unwrap();
        assert_eq!(read_file(&written).unwrap(), Kept::File("{}".into()));
        fs::remove_file(written).unwrap();
        for text in ["{}", "{\"mtu\": 1}", ""] {
            dir.write(&c1, text.as_bytes()).unwrap();
            assert_eq!(dir.read(&c1).unwrap(), Kept::File(text.into()));
        }
        let file = temporary.path().join("a/b/c1_eth0.json");
        assert_eq!(dir.file(&c1), file);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::write(dir.0.join(".tenon-c1_eth0.json"), "{").unwrap();
        dir.remove(&c1).unwrap();
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_regular_file_is_foreign() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temporary.path().to_owned());
        let c1 = attachment("n", "c1", "eth0");
        let secret = temporary.path().join("secret");
        fs::write(&secret, text_of(&c1)).unwrap();
        symlink(&secret, dir.file(&c1)).unwrap();
        assert_eq!(dir.read(&c1).unwrap(), Kept::Foreign);
        assert!(dir.owned("").unwrap().is_empty());
        fs::remove_file(dir.file(&c1)).unwrap();
        fs::create_dir(dir.file(&c1)).unwrap();
        assert_eq!(dir.read(&c1).unwrap(), Kept::Foreign);
        assert!(dir.owned("").unwrap().is_empty());
    }

    #[test]
    fn nothing_can_be_in_what_is_no_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        for dir in [file, "/x\0y".into(), format!("/{}", "x".repeat(300)).into()] {
            let dir = StateDir::new(dir);
            let c1 = attachment("n", "c1", "eth0");
            assert_eq!(dir.read(&c1).unwrap(), Kept::Nothing, "{dir:?}");
            assert!(dir.write(&c1, b"").is_err(), "{dir:?}");
            assert!(dir.owned("").unwrap().is_empty(), "{dir:?}");
        }
    }

    #[test]
    fn only_files_that_say_whose_they_are_are_owned() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temporary.path().to_owned());
        let ours = [
            attachment("n", "c1", "eth0"),
            attachment("m", "c1", "eth1"),
            attachment("n", "c12", "eth0"),
        ];
        let crashed = attachment("n", "c9", "eth0");
        for owner in &ours {
            dir.write(owner, text_of(owner).as_bytes()).unwrap();
        }
        for (name, text) in [
            (".tenon-c9_eth0.json", text_of(&crashed)),
            ("c2_eth0.json", "{\"mtu\": 1500}".to_owned()),
            ("c3_eth0.json", text_of(&ours[0])),
            ("c4_eth0.json", "{".to_owned()),
            ("c5_eth0.json", String::new()),
            ("notes", text_of(&ours[0])),
        ] {
            fs::write(temporary.path().join(name), text).unwrap();
        }
        let owned = |prefix: &str| {
            let mut owners: Vec<Attachment> = dir
                .owned(prefix)
                .unwrap()
                .into_iter()
                .map(|(owner, _)| owner)
                .collect();
            owners.sort_by_key(|owner| (owner.container_id.clone(), owner.ifname.clone()));
            owners
        };
        assert_eq!(owned(""), [ours.as_slice(), &[crashed]].concat());
        assert_eq!(owned("c1_"), ours[..2]);
    }

    #[test]
    fn a_read_only_file_system_is_noticed() {
        let dir = StateDir::new("/proc/sys/net/tuning".into());
        let error = dir.check_writable().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("failed to write to /proc/sys"),
            "{error}"
        );
        let temporary = tempfile::tempdir().unwrap();
        StateDir::new(temporary.path().join("x/y"))
            .check_writable()
            .unwrap();
    }
}
