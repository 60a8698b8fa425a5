//! The system calls behind [`detach`](super::detach) that nobody else may make.

use std::io;
use std::os::fd::RawFd;

use nix::libc;
use nix::unistd::ForkResult;

/// A copy of this process. The caller has made sure that it has one thread, and ends the child with
/// [`end`].
pub(super) fn fork() -> io::Result<ForkResult> {
    // SAFETY: what a child may not do is to use what other threads of the parent had under way. There
    // are none, and the C library's own locks are in order after its fork(3).
    #[expect(unsafe_code, reason = "there is no safe fork(2)")]
    let side = unsafe { nix::unistd::fork() };
    Ok(side?)
}

/// Ends the process at once: no destructor, no buffer and no handler of the parent's runs again.
pub(super) fn end() -> ! {
    // SAFETY: the call takes a number and does not come back.
    #[expect(unsafe_code, reason = "std::process::exit runs the parent's handlers")]
    unsafe {
        libc::_exit(0)
    }
}

/// Closes the descriptors from `first` to `last` (Linux 5.9).
///
/// For the child alone: what it closes still belongs to values of the parent's, which are never
/// dropped in the child.
pub(super) fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: the call takes three numbers. Nothing in this process uses the descriptors any more.
    #[expect(unsafe_code, reason = "neither std nor nix has close_range(2)")]
    let outcome = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    succeeded(outcome)
}

/// Returns true after an RCU grace period, after which the kernel has nothing in use that was taken
/// away before; false at once where it has no way to wait for one (as with `nohz_full`).
#[must_use]
pub fn wait_for_grace_period() -> bool {
    // SAFETY: the call takes three numbers and touches no memory of ours.
    #[expect(unsafe_code, reason = "neither std nor nix has membarrier(2)")]
    let outcome = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    succeeded(outcome).is_ok()
}

fn succeeded(outcome: libc::c_long) -> io::Result<()> {
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
