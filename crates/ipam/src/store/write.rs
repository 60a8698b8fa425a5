//! Writing files that are there whole or not at all.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat, write};

use super::dir::{Content, LEASE_LIMIT, LeaseDir};
use super::error::StoreError;

/// A lease is its owner's secret as much as the reference's current releases make it one.
fn mode() -> Mode {
    Mode::from_bits_truncate(0o600)
}

/// Makes `name` with `content`. `false` if there is such a name already.
pub(super) fn create(
    dir: &LeaseDir,
    data_dir: &Path,
    name: &str,
    content: &[u8],
) -> Result<bool, StoreError> {
    match create_unnamed(dir, name, content) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        // No O_TMPFILE on this filesystem (NFS, some overlays, kernels say EISDIR or ENOENT), or
        // no /proc.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL) => {
            create_elsewhere(dir, data_dir, name, content)
        }
        Err(errno) => Err(dir.error("write", name, errno)),
    }
}

/// A file without a name gets its content first.
fn create_unnamed(dir: &LeaseDir, name: &str, content: &[u8]) -> nix::Result<()> {
    let file = dir.open_file(c".", OFlag::O_WRONLY | OFlag::O_TMPFILE, mode())?;
    write_all(&file, content)?;
    let magic_link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let follow = AtFlags::AT_SYMLINK_FOLLOW;
    linkat(AT_FDCWD, magic_link.as_str(), dir.fd(), name, follow)
}

/// A file with a name of its own, outside the network's directory, since the reference walks
/// that one. Under the network's lock nobody else uses that name: one that is there already is
/// what a crash left.
pub(super) fn create_elsewhere(
    dir: &LeaseDir,
    data_dir: &Path,
    name: &str,
    content: &[u8],
) -> Result<bool, StoreError> {
    let network = dir.path().file_name().unwrap_or_default();
    let mut temporary = std::ffi::OsString::from(".tenon-");
    temporary.push(network);
    let temporary = data_dir.join(temporary);
    remove_path(&temporary)?;
    let linked = write_new(&temporary, content)
        .and_then(|()| linkat(AT_FDCWD, &temporary, dir.fd(), name, AtFlags::empty()));
    remove_path(&temporary)?;
    match linked {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(dir.error("write", name, errno)),
    }
}

fn write_new(path: &Path, content: &[u8]) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    write_all(&openat(AT_FDCWD, path, flags, mode())?, content)
}

fn remove_path(path: &Path) -> Result<(), StoreError> {
    match unlinkat(AT_FDCWD, path, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(StoreError::io("remove", path, errno.into())),
    }
}

/// These few bytes go in one piece or, on a full disk, not at all.
fn write_all(file: &OwnedFd, content: &[u8]) -> nix::Result<()> {
    if write(file, content)? == content.len() {
        Ok(())
    } else {
        Err(Errno::ENOSPC)
    }
}

/// The file that tells where the rotation of a range set stands.
fn last_reserved_name(set: usize) -> String {
    format!("last_reserved_ip.{set}")
}

/// The address that a set gave last. What cannot be read costs the rotation, as with the
/// reference, and nothing else.
pub(super) fn read_last_reserved(dir: &LeaseDir, set: usize) -> Option<IpAddr> {
    let mut buffer = [0; LEASE_LIMIT];
    match dir.read(last_reserved_name(set).as_str(), &mut buffer) {
        Ok(Content::File(bytes)) => parse_last_reserved(bytes),
        _ => None,
    }
}

fn parse_last_reserved(bytes: &[u8]) -> Option<IpAddr> {
    let addr: IpAddr = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(addr.to_canonical())
}

/// Remembers the address that a set gave last.
///
/// Where the new text is not shorter than the old, one write replaces it: the kernel does that
/// whole or not at all for all who can be killed. Otherwise the old file is removed and a new one
/// linked: a crash in between costs the rotation, not an address. A rename over the old file
/// would be neater and cost four times as much, since ext4 then flushes it to the disk.
pub(super) fn write_last_reserved(
    dir: &LeaseDir,
    data_dir: &Path,
    set: usize,
    addr: impl fmt::Display,
) -> Result<(), StoreError> {
    let name = last_reserved_name(set);
    let text = addr.to_string();
    if overwrite(dir, &name, text.as_bytes()) {
        return Ok(());
    }
    remove(dir, name.as_str()).map_err(|errno| dir.error("remove", &name, errno))?;
    if create(dir, data_dir, &name, text.as_bytes())? {
        return Ok(());
    }
    Err(dir.error("write", &name, Errno::EEXIST))
}

fn overwrite(dir: &LeaseDir, name: &str, text: &[u8]) -> bool {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let Ok(file) = dir.open_file(name, flags, Mode::empty()) else {
        return false;
    };
    // A file with a second name could be anybody's.
    let fits = fstat(&file).is_ok_and(|old| {
        let kind = SFlag::from_bits_truncate(old.st_mode) & SFlag::S_IFMT;
        let size = usize::try_from(old.st_size);
        kind == SFlag::S_IFREG && old.st_nlink == 1 && size.is_ok_and(|size| size <= text.len())
    });
    fits && write(&file, text).is_ok_and(|written| written == text.len())
}

/// Removes a name. That it is gone already is fine, and told by `false`.
pub(super) fn remove<P: ?Sized + nix::NixPath>(dir: &LeaseDir, name: &P) -> nix::Result<bool> {
    match unlinkat(dir.fd(), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
