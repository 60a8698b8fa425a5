//! What one operation costs besides time, counted by ptrace(2): the traced run is never a timed one.

use std::collections::BTreeSet;
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
                Err(Errno::ECHILD) => return Ok((self.cost, self.success)),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context("wait for what is traced"),
            };
            if let Some((pid, signal)) = self.note(status)? {
                resume(pid, signal)?;
            }
        }
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
                    ptrace::setoptions(pid, options()).context("trace what the plugin starts")?;
                }
                Ok(Some((pid, (!first).then_some(signal))))
            }
            WaitStatus::Exited(..)
            | WaitStatus::Signaled(..)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => Ok(None),
        }
    }

    fn note_event(&mut self, pid: Pid, event: i32) {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => self.cost.processes += 1,
            libc::PTRACE_EVENT_CLONE => self.cost.threads += 1,
            // It still has its memory here. wait4(2)'s ru_maxrss would not do: it starts with what
            // the process had before exec(2), which is ours.
            libc::PTRACE_EVENT_EXIT => {
                self.cost.peak_kib = self.cost.peak_kib.max(peak_of(pid).unwrap_or(0));
            }
            _ => {}
        }
    }
}

fn options() -> Options {
    Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACEEXIT
        | Options::PTRACE_O_EXITKILL
}

/// Lets one go on to its next stop, unless it has ended meanwhile.
fn resume(pid: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("resume what is traced"),
    }
}

/// `VmHWM` of a process, in KiB.
fn peak_of(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
