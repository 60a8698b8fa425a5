//! Calls that a test does something to while they are under way.

use std::fs;
use std::io::Write;
use std::process::Child;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::runner::{Runner, group_of};

/// A call that is under way. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Runner {
    /// Starts it and does not wait, for a test that ends it in the middle.
    #[must_use]
    pub fn start(&self) -> Running {
        let mut child = self.spawn();
        let mut stdin = child.stdin.take().unwrap();
        // A pipe takes a configuration whole: this does not wait.
        let _ = stdin.write_all(&self.stdin);
        Running { child }
    }

    /// Runs it, and returns how much memory it has had at most, in KiB, without what it has started.
    /// It has to wait for its standard input, and to succeed.
    #[must_use]
    pub fn weigh(&self) -> Weighed {
        let mut child = self.spawn();
        let id = group_of(&child);
        ptrace::seize(id, ptrace::Options::PTRACE_O_TRACEEXIT).unwrap();
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        let peak = loop {
            match waitpid(id, None).unwrap() {
                WaitStatus::PtraceEvent(..) => {
                    let peak = peak_of(id);
                    ptrace::cont(id, None).unwrap();
                    break peak;
                }
                WaitStatus::Stopped(_, signal) => ptrace::cont(id, signal).unwrap(),
                other => panic!("not stopped at its end: {other:?}"),
            }
        };
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        Weighed { peak, said }
    }
}

/// What [`Runner::weigh`] has found.
#[derive(Debug)]
pub struct Weighed {
    /// The most memory it has had, in KiB.
    pub peak: u64,
    /// Its standard output.
    pub said: String,
}

/// `VmHWM:      1234 kB`
fn peak_of(id: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words: Vec<_> = line.unwrap().split_whitespace().collect();
    words[1].parse().unwrap()
}

impl Running {
    /// Kills it and all it has started, at once and without a word, as the kernel does that has no
    /// memory left. Panics if it has ended by itself.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended before: {ended:?}");
        self.end();
    }

    /// Ends it by a signal as a runtime does that has lost patience: itself alone, and then as ever
    /// what it has started may live on, or its whole group. Says whether that ended it; it may have
    /// been done.
    pub fn stop(mut self, signal: Signal, whole_group: bool) -> bool {
        let id = group_of(&self.child);
        let _ = if whole_group {
            killpg(id, signal)
        } else {
            kill(id, signal)
        };
        let status = self.child.wait().unwrap();
        std::os::unix::process::ExitStatusExt::signal(&status).is_some()
    }

    fn end(&mut self) {
        let _ = killpg(group_of(&self.child), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn memory_is_what_the_program_has_had() {
        let weigh = |script: &str| Runner::new(Path::new("/bin"), "sh").stdin(script).weigh();
        let small = weigh("exit");
        let big = weigh("a=$(head -c 50000000 /dev/zero | tr '\\0' x); echo ${#a}");
        assert_eq!(big.said, "50000000\n");
        assert!(
            small.peak < 20_000 && big.peak > 50_000,
            "{small:?} {big:?}"
        );
    }

    #[test]
    fn what_waits_can_be_stopped() {
        let sleeps = || {
            Runner::new(Path::new("/bin"), "sh")
                .stdin("exec sleep 100")
                .start()
        };
        assert!(sleeps().stop(Signal::SIGTERM, true));
        assert!(sleeps().stop(Signal::SIGKILL, false));
    }
}
