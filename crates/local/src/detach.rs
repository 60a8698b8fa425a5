//! Work that is left to a process that nobody waits for.
//!
//! The kernel answers some requests long after it has done what it was asked for: it waits for the
//! last references first. A plugin whose work is done must not wait with it, but the request blocks
//! whoever sends it, and a process does not end before its threads. So a child sends it.
//!
//! The child is in a session of its own, so that who ends the plugin's process group does not end
//! it, works in the root directory, and keeps no descriptor but those that it was given, so that the
//! plugin's pipes close with the plugin. It tells nothing: whoever started it looks at what has become
//! of the work, and does itself what is not done. It ends without running any of the parent's
//! destructors. The parent usually ends first, and the child goes to the nearest reaper, like every
//! daemon.

mod process;

pub use process::wait_for_grace_period;

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

/// The first descriptor behind stdin, stdout and stderr.
const FIRST_OTHER: RawFd = 3;

/// A child that works on its own. Its descriptor is ready (`POLLHUP`) when the child has ended.
/// Dropping it waits until the child has closed whatever is the runtime's, which it does first of all.
#[derive(Debug)]
pub struct Detached {
    child: Pid,
    /// Nothing is ever written into either.
    end: PipeReader,
    others: PipeReader,
}

/// Runs `work` in a child.
///
/// # Errors
/// There can be no child: this process has threads, or the system no room. Nothing has been done
/// then, and the caller does the work itself.
pub fn detach(work: impl FnOnce()) -> io::Result<Detached> {
    let (end, writer) = io::pipe()?;
    let (others, _closed_with_them) = io::pipe()?;
    match fork()? {
        ForkResult::Parent { child } => Ok(Detached { child, end, others }),
        ForkResult::Child => serve(&mut [writer.as_raw_fd()], work),
    }
}

/// Runs `work` in a child that keeps `keep` of our descriptors open until it is done. Returns when it
/// has closed all others, so that nothing of the runtime's is open when this process ends.
///
/// # Errors
/// As [`detach`].
pub fn leave(keep: &mut [RawFd], work: impl FnOnce()) -> io::Result<()> {
    let (mut others, writer) = io::pipe()?;
    match fork()? {
        ForkResult::Parent { .. } => {
            drop(writer);
            // The child closes its end with the others.
            others.read(&mut [0]).map(drop)
        }
        ForkResult::Child => serve(keep, work),
    }
}

impl AsFd for Detached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl Drop for Detached {
    /// A link may be gone before the child has even begun, since somebody else deleted it. And a child
    /// that has ended already need not be somebody else's to reap.
    fn drop(&mut self) {
        let _closed = self.others.read(&mut [0]);
        let _still_at_work = waitpid(self.child, Some(WaitPidFlag::WNOHANG));
    }
}

/// The child of a process with threads has only one of them, and the locks of the others for ever.
fn fork() -> io::Result<ForkResult> {
    // Not to share memory any more is refused to whoever shares it with a thread, and changes
    // nothing for anybody else (unshare(2)).
    unshare(CloneFlags::CLONE_VM)?;
    process::fork()
}

/// What the child does.
fn serve(keep: &mut [RawFd], work: impl FnOnce()) -> ! {
    let _panicked = catch_unwind(AssertUnwindSafe(|| {
        let _own_session = setsid();
        // Nobody is to wait for it with a file system that is to be unmounted.
        let _stays_there_otherwise = chdir("/");
        if let_go(keep).is_ok() {
            work();
        }
    }));
    process::end()
}

/// Closes all descriptors but these, and turns stdin, stdout and stderr to nothing.
fn let_go(keep: &mut [RawFd]) -> io::Result<()> {
    keep.sort_unstable();
    match open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(nothing) => {
            dup2_stdin(&nothing)?;
            dup2_stdout(&nothing)?;
            dup2_stderr(&nothing)?;
        }
        Err(_) => process::close_range(0, FIRST_OTHER - 1)?,
    }
    let mut first = FIRST_OTHER;
    for &kept in keep.iter().filter(|kept| **kept >= FIRST_OTHER) {
        if first < kept {
            process::close_range(first, kept - 1)?;
        }
        first = kept + 1;
    }
    process::close_range(first, RawFd::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test harness runs each test on a thread; the suites try out the rest.
    #[test]
    fn a_process_with_threads_has_no_child() {
        std::thread::scope(|scope| {
            let (done, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            let refused = detach(|| ()).expect_err("there is a second thread");
            assert_eq!(refused.raw_os_error(), Some(nix::libc::EINVAL));
            drop(done);
        });
    }
}
