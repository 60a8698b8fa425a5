//! Where indexes are kept: in directories and files that nobody but us can have made.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::unistd::{Uid, UnlinkatFlags, geteuid, unlinkat};

use crate::index::{Unusable, fnv};

/// All that is ours and need not outlive a reboot.
pub(super) const ROOT: &str = "/run/tenon";
/// Whose indexes they are.
const NAME: &str = "host-local";
/// Another text for each run of a kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl From<Errno> for Unusable {
    fn from(_why: Errno) -> Self {
        Self
    }
}

/// The directory with the indexes of all networks.
#[derive(Debug)]
pub(super) struct Home {
    root: PathBuf,
    root_fd: OwnedFd,
    dir: OwnedFd,
    us: Uid,
    boot: u64,
}

impl Home {
    /// The directory, if there is one.
    pub(super) fn open(root: &Path) -> Result<Self, Unusable> {
        let us = geteuid();
        let root_fd = open_dir(AT_FDCWD, root, us)?;
        let dir = open_dir(&root_fd, NAME, us)?;
        Ok(Self {
            root: root.to_owned(),
            boot: boot(&dir)?,
            dir,
            root_fd,
            us,
        })
    }

    /// Makes the directory if there is none.
    pub(super) fn create(root: &Path) -> Result<Self, Unusable> {
        make_dir(AT_FDCWD, root)?;
        make_dir(open_dir(AT_FDCWD, root, geteuid())?, NAME)?;
        Self::open(root)
    }

    /// The run of the kernel whose indexes are to be believed.
    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    /// Opens an index.
    pub(super) fn file(&self, name: &str, if_missing: OFlag) -> Result<File, Unusable> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let file = openat(&self.dir, name, flags | if_missing, mode)?;
        let stat = fstat(&file)?;
        let is_ours = is_owned(&stat, self.us, SFlag::S_IFREG, 0o077) && stat.st_nlink == 1;
        is_ours.then(|| File::from(file)).ok_or(Unusable)
    }

    /// Removes an index that [`Self::file`] has opened, and the directories if it was the last.
    pub(super) fn remove(&self, name: &str) {
        let _gone = unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir);
        remove_dirs(&self.root, &self.root_fd);
    }

    /// Removes the directories if nothing is in them.
    pub(super) fn remove_if_empty(root: &Path) {
        if let Ok(root_fd) = open_dir(AT_FDCWD, root, geteuid()) {
            remove_dirs(root, &root_fd);
        }
    }
}

/// Whoever makes a directory just now makes an index in it, or does without: both are fine.
fn remove_dirs(root: &Path, root_fd: &OwnedFd) {
    let _others_there = match unlinkat(root_fd, NAME, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => unlinkat(AT_FDCWD, root, UnlinkatFlags::RemoveDir),
        others_there => others_there,
    };
}

/// Nothing in memory outlives its kernel; of what is on a disk, one has to know.
fn boot(home: &OwnedFd) -> Result<u64, Unusable> {
    if fstatfs(home)?.filesystem_type() == TMPFS_MAGIC {
        return Ok(0);
    }
    fs::read(BOOT_ID)
        .map(|id| fnv(&id))
        .map_err(|_unknown| Unusable)
}

fn open_dir<P: ?Sized + NixPath>(at: impl AsFd, name: &P, us: Uid) -> Result<OwnedFd, Unusable> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = openat(at, name, flags, Mode::empty())?;
    let is_ours = is_owned(&fstat(&dir)?, us, SFlag::S_IFDIR, 0o022);
    is_ours.then_some(dir).ok_or(Unusable)
}

fn make_dir<P: ?Sized + NixPath>(at: impl AsFd, name: &P) -> nix::Result<()> {
    match mkdirat(at, name, Mode::from_bits_truncate(0o700)) {
        Err(Errno::EEXIST) => Ok(()),
        result => result,
    }
}

/// Whether something is of this kind, of this user's making, and without these permissions.
fn is_owned(stat: &FileStat, user: Uid, kind: SFlag, forbidden: u32) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
        && stat.st_uid == user.as_raw()
        && stat.st_mode & forbidden == 0
}
