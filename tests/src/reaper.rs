//! What plugins leave to processes of their own, which outlive them for a moment.

use std::time::{Duration, Instant};

use cni_testkit::Suite;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

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

/// A process of the suite's that leads a session, in this thread's network namespace.
///
/// # Panics
/// Without `/proc`.
pub fn left_behind(suite: &Suite) -> Option<Pid> {
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let ids = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|id: &i32| {
            let of = |what: &str| std::fs::read_link(format!("/proc/{id}/{what}")).ok();
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let session = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.split(' ').nth(3)?.parse().ok());
            session == Some(*id)
                && of("exe").is_some_and(|exe| exe.parent() == Some(suite.bin_dir()))
                && of("ns/net").as_ref() == Some(&own)
        })
        .map(Pid::from_raw)
}
