//! What plugins leave to processes of their own, which outlive them for a moment.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// How long such a process may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Has this process get the orphans of those that it starts.
pub fn adopt_orphans() {
    set_child_subreaper(true).unwrap();
}

/// Waits until no child is left, adopted ones included; how many there were. Of use while nobody else
/// waits for a child of this process.
///
/// # Panics
/// If one stays, or has not ended well.
#[track_caller]
pub fn wait_for_all() -> usize {
    wait(|status| matches!(status, WaitStatus::Exited(_, 0)))
}

/// The same, where some were ended, or nobody listened to them.
///
/// # Panics
/// If one stays, or has crashed.
#[track_caller]
pub fn wait_for_the_ended() -> usize {
    wait(|status| {
        matches!(
            status,
            WaitStatus::Exited(..) | WaitStatus::Signaled(_, Signal::SIGTERM | Signal::SIGKILL, _)
        )
    })
}

#[track_caller]
fn wait(is_well: impl Fn(&WaitStatus) -> bool) -> usize {
    let start = Instant::now();
    let mut ended = 0;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return ended,
            Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
            Ok(status) if is_well(&status) => ended += 1,
            other => panic!("a process that was left behind: {other:?}"),
        }
        assert!(start.elapsed() < LIMIT, "a process stays");
    }
}
