//! What one operation costs besides time, counted by ptrace(2): the traced run is never a timed one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::iter::Sum;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tenon_tests::ptrace::options;

use crate::run::Call;

/// What an operation took, with everything that it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// The plugin and all processes below it.
    pub(crate) processes: u32,
    /// Further threads of all processes.
    pub(crate) threads: u32,
    /// System calls of all processes.
    pub(crate) syscalls: u32,
    /// Page faults of all processes that needed no disk.
    pub(crate) faults: u64,
    /// The largest resident memory that any process had, in KiB.
    pub(crate) peak_kib: u64,
}

impl Sum for Cost {
    /// Of what runs one after the other.
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |all, one| Self {
            processes: all.processes + one.processes,
            threads: all.threads + one.threads,
            syscalls: all.syscalls + one.syscalls,
            faults: all.faults + one.faults,
            peak_kib: all.peak_kib.max(one.peak_kib),
        })
    }
}

/// Runs `call` to its end, and to the end of all that it leaves behind.
pub(crate) fn traced(call: &Call) -> Result<(Cost, Vec<u8>)> {
    let mut command = call.to_command();
    #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
    // SAFETY: ptrace(PTRACE_TRACEME) is a plain system call: no allocation, no lock.
    unsafe {
        command.pre_exec(|| Ok(ptrace::traceme()?));
    }
    let mut child = call.feed(command.spawn())?;
    let plugin = Pid::from_raw(i32::try_from(child.id()).context("process id")?);
    let (cost, success) = Tracer::new(plugin).follow()?;
    let mut stdout = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut stdout)?;
    }
    call.check(success, &stdout)?;
    Ok((cost, stdout))
}

#[derive(Debug)]
struct Tracer {
    plugin: Pid,
    /// Whose first stop was seen. That stop is the tracer's own doing.
    known: BTreeSet<Pid>,
    /// How many page faults each process had when a thread of it ended.
    faults: BTreeMap<Pid, u64>,
    /// Those that the plugin's process had while it still was ours.
    faults_before: u64,
    cost: Cost,
    success: bool,
}

impl Tracer {
    fn new(plugin: Pid) -> Self {
        let cost = Cost {
            processes: 1,
            ..Cost::default()
        };
        Self {
            plugin,
            known: BTreeSet::new(),
            faults: BTreeMap::new(),
            faults_before: 0,
            cost,
            success: false,
        }
    }

    fn follow(mut self) -> Result<(Cost, bool)> {
        // Only what this thread traces: the other side of a pair has nothing running.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let status = match waitpid(None, Some(flags)) {
                Ok(status) => status,
                Err(Errno::ECHILD) => break,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context("wait for what is traced"),
            };
            if let Some((pid, signal)) = self.note(status)? {
                resume(pid, signal)?;
            }
        }
        let faults: u64 = self.faults.values().sum();
        self.cost.faults = faults.saturating_sub(self.faults_before);
        Ok((self.cost, self.success))
    }

    /// Counts what happened; tells who has to go on, and with which signal.
    fn note(&mut self, status: WaitStatus) -> Result<Option<(Pid, Option<Signal>)>> {
        match status {
            WaitStatus::Exited(pid, code) if pid == self.plugin => {
                self.success = code == 0;
                Ok(None)
            }
            WaitStatus::PtraceSyscall(pid) => {
                // It stops before and after each call; one that ends the process has no end.
                let info = ptrace::syscall_info(pid);
                if info.is_ok_and(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY) {
                    self.cost.syscalls += 1;
                }
                Ok(Some((pid, None)))
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.note_event(pid, event);
                Ok(Some((pid, None)))
            }
            WaitStatus::Stopped(pid, signal) => {
                let first = self.known.insert(pid);
                if first && pid == self.plugin {
                    let options = options() | Options::PTRACE_O_TRACEEXIT;
                    ptrace::setoptions(pid, options).context("trace what the plugin starts")?;
                }
                Ok(Some((pid, (!first).then_some(signal))))
            }
            WaitStatus::Exited(..)
            | WaitStatus::Signaled(..)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => Ok(None),
        }
    }

    /// The last thread that ends tells them all.
    fn note_faults(&mut self, pid: Pid, status: &str) {
        let process = number(status, "Tgid:").and_then(|id| i32::try_from(id).ok());
        let process = process.map_or(pid, Pid::from_raw);
        let faults = self.faults.entry(process).or_insert(0);
        *faults = (*faults).max(faults_of(process).unwrap_or(0));
    }

    fn note_event(&mut self, pid: Pid, event: i32) {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => self.cost.processes += 1,
            libc::PTRACE_EVENT_CLONE => self.cost.threads += 1,
            libc::PTRACE_EVENT_EXEC if pid == self.plugin => {
                self.faults_before = faults_of(pid).unwrap_or(0);
            }
            // It still has its memory here. wait4(2)'s ru_maxrss would not do: it starts with what
            // the process had before exec(2), which is ours.
            libc::PTRACE_EVENT_EXIT => {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let peak = number(&status, "VmHWM:").unwrap_or(0);
                self.cost.peak_kib = self.cost.peak_kib.max(peak);
                self.note_faults(pid, &status);
            }
            _ => {}
        }
    }
}

/// Minor page faults of a process, all of its threads together: `proc_pid_stat(5)`.
fn faults_of(pid: Pid) -> Option<u64> {
    minor_faults(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The tenth field, which is the eighth behind the name.
fn minor_faults(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split(' ').nth(7)?.parse().ok()
}

/// The number in a line of `proc_pid_status(5)`.
fn number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Lets one go on to its next stop, unless it has ended meanwhile.
fn resume(pid: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("resume what is traced"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_behind_any_name() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 345 6 7 8 9 10";
        assert_eq!(minor_faults(stat), Some(345));
        assert_eq!(minor_faults("12 (a"), None);
    }

    #[test]
    fn a_status_has_a_number_behind_its_key() {
        let status = "Name:\tsh\nTgid:\t12\nVmHWM:\t    1536 kB\n";
        assert_eq!(number(status, "VmHWM:"), Some(1536));
        assert_eq!(number(status, "Tgid:"), Some(12));
        assert_eq!(number(status, "Pid:"), None);
    }
}
