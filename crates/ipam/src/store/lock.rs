//! flock(2) with a deadline, and who is in the way.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, major, minor};

use super::dir::LeaseDir;
use super::error::{Holder, StoreError};

/// The reference's lock file.
const LOCK: &str = "lock";

/// Waits for the lock of a directory. It is held until the file is closed.
pub(super) fn acquire(dir: &LeaseDir, deadline: Instant) -> Result<File, StoreError> {
    let path = dir.path().join(LOCK);
    let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let file = dir
        .open_file(LOCK, flags, Mode::from_bits_truncate(0o600))
        .map_err(|errno| StoreError::io("lock", &path, errno.into()))?;
    wait(File::from(file), path, deadline)
}

/// Waits for flock(2) on any file, which is made if there is none. It is held until the returned
/// file is closed.
///
/// # Errors
/// The file cannot be opened; the lock was not free by `deadline`, and the error names who holds it.
pub fn lock_file(path: &Path, deadline: Instant) -> Result<File, StoreError> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let opened = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path);
    let file = opened.map_err(|source| StoreError::io("lock", path, source))?;
    wait(file, path.to_owned(), deadline)
}

fn wait(file: File, path: PathBuf, deadline: Instant) -> Result<File, StoreError> {
    let fail = |source| StoreError::io("lock", &path, source);
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(fail(source)),
    }
    let identity = Identity::of(&file).map_err(fail)?;
    let start = Instant::now();
    match lock_by(file, deadline) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(StoreError::Locked {
            holders: holders(&identity),
            waited: start.elapsed(),
            path,
        }),
        Err(source) => Err(fail(source)),
    }
}

/// flock(2) has no deadline, so a thread waits in it. After the deadline nobody listens to that
/// thread any more: should it get the lock after all, it closes the file, which frees the lock;
/// should the process end before, the thread ends with it.
fn lock_by(file: File, deadline: Instant) -> io::Result<Option<File>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("lock".to_owned())
        .stack_size(64 << 10)
        .spawn(move || {
            let locked = loop {
                match file.lock() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
            // If nobody listens, the file is dropped here, and with it the lock.
            let _nobody = sender.send(locked.map(|()| file));
        })?;
    let remaining = deadline.saturating_duration_since(Instant::now());
    match receiver.recv_timeout(remaining) {
        Ok(result) => result.map(Some),
        Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("the waiter is gone")),
    }
}

/// A file as `/proc/locks` names it.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    major: u64,
    minor: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            major: major(metadata.dev()),
            minor: minor(metadata.dev()),
            inode: metadata.ino(),
        })
    }

    /// `fe:00:1234`: hexadecimal device, decimal inode (Linux, fs/locks.c, `lock_get_status`).
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        Some(Self {
            major: u64::from_str_radix(parts.next()?, 16).ok()?,
            minor: u64::from_str_radix(parts.next()?, 16).ok()?,
            inode: parts.next()?.parse().ok()?,
        })
    }
}

fn holders(identity: &Identity) -> Vec<Holder> {
    let table = fs::read_to_string("/proc/locks").unwrap_or_default();
    // A list that changes while it is read has some twice.
    let pids: BTreeSet<u32> = parse_holders(&table, identity).collect();
    let named = pids.into_iter().map(|pid| {
        let path: PathBuf = ["/proc", &pid.to_string(), "comm"].iter().collect();
        let command = fs::read_to_string(path).unwrap_or_default();
        let command = command.trim_end().to_owned();
        Holder { pid, command }
    });
    named.collect()
}

/// The processes that hold a flock on the file, without those that wait for it (`->`).
///
/// `1: FLOCK  ADVISORY  WRITE 4242 fe:00:1234 0 EOF`
fn parse_holders<'a>(table: &'a str, identity: &'a Identity) -> impl Iterator<Item = u32> + 'a {
    table.lines().filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        if fields.next()? != "FLOCK" {
            return None;
        }
        let pid = fields.nth(2)?.parse().ok()?;
        (Identity::parse(fields.next()?)? == *identity).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_told_from_waiters_and_other_files() {
        let table = "\
1: FLOCK  ADVISORY  WRITE 812 fe:00:1234 0 EOF
1: -> FLOCK  ADVISORY  WRITE 999 fe:00:1234 0 EOF
2: POSIX  ADVISORY  WRITE 813 fe:00:1234 0 EOF
3: FLOCK  ADVISORY  WRITE 814 fe:00:1235 0 EOF
4: FLOCK  ADVISORY  WRITE 815 103:10:1234 0 EOF
rubbish
";
        let identity = |text: &str| Identity::parse(text).unwrap();
        let of = |id: Identity| parse_holders(table, &id).collect::<Vec<_>>();
        assert_eq!(of(identity("fe:00:1234")), [812]);
        assert_eq!(of(identity("103:10:1234")), [815]);
        assert_eq!(of(identity("fe:00:1")), [0_u32; 0]);
    }
}
