//! What plugins leave to processes of their own, which outlive them for a moment.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
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
/// If one stays, or has ended badly.
#[track_caller]
pub fn wait_for_all() -> usize {
    let start = Instant::now();
    let mut ended = 0;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return ended,
            Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
            Ok(WaitStatus::Exited(_, 0)) => ended += 1,
            other => panic!("a process that was left behind: {other:?}"),
        }
        assert!(start.elapsed() < LIMIT, "a process stays");
    }
}
