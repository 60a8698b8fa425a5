//! Runs a plugin up to one of its system calls, counted by ptrace(2), and kills it there.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::Child;

use cni_testkit::Runner;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::ptrace::options;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// The plugin and all that it has started, as when a machine's memory ends. A system call of any of
    /// them counts.
    Everybody,
    /// The plugin alone: what it has started goes on to its end. Only its own system calls count.
    Plugin,
}

/// How a traced run ended.
#[derive(Debug)]
pub(super) struct Traced {
    /// The system calls that were begun, by whoever counts.
    pub syscalls: u32,
    /// The number, in the kernel's table, of the call that it was killed at the beginning of.
    pub killed_at: Option<u64>,
    /// The plugin's exit code, if it came to that.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
}

/// What is told at each system call: who makes it, and the call.
pub(super) type Watch<'a> = &'a mut dyn FnMut(Pid, &libc::ptrace_syscall_info);

/// Runs `call` to its end, and to the end of all that it starts, with a look at the beginning and the end of
/// each system call.
pub(super) fn watch(call: &Runner, watch: Watch<'_>) -> Traced {
    Tracer::start(call, Victim::Everybody, u32::MAX).follow(watch)
}

/// Runs `call` until its `nth` system call begins, the first being 1, and kills it there: the call is not
/// made. Returns when everybody has ended.
pub(super) fn kill_at(call: &Runner, nth: u32, victim: Victim) -> Traced {
    Tracer::start(call, victim, nth).follow(&mut |_, _| {})
}

#[derive(Debug)]
struct Tracer {
    child: Child,
    plugin: Pid,
    victim: Victim,
    nth: u32,
    /// Threads that have not ended, as far as they are known.
    alive: BTreeSet<Pid>,
    /// Whose first stop was seen. That stop is the tracer's own doing.
    stopped: BTreeSet<Pid>,
    traced: Traced,
}

impl Tracer {
    fn start(call: &Runner, victim: Victim, nth: u32) -> Self {
        #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
        let child = call.spawn_with(|command| {
            // SAFETY: ptrace(PTRACE_TRACEME) is a plain system call: no allocation, no lock.
            unsafe {
                command.pre_exec(|| Ok(ptrace::traceme()?));
            }
        });
        let plugin = Pid::from_raw(i32::try_from(child.id()).unwrap());
        Self {
            child,
            plugin,
            victim,
            nth,
            alive: BTreeSet::from([plugin]),
            stopped: BTreeSet::new(),
            traced: Traced {
                syscalls: 0,
                killed_at: None,
                code: None,
                stdout: String::new(),
            },
        }
    }

    fn follow(mut self, watch: Watch<'_>) -> Traced {
        // Only what this thread traces: tests have other threads with children of their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        while !self.alive.is_empty() {
            match waitpid(None, Some(flags)) {
                Ok(status) => self.note(status, watch),
                Err(Errno::EINTR) => {}
                Err(error) => panic!("wait for what is traced: {error}"),
            }
        }
        let mut stdout = String::new();
        let mut pipe = self.child.stdout.take().unwrap();
        pipe.read_to_string(&mut stdout).unwrap();
        self.traced.stdout = stdout;
        self.traced
    }

    fn note(&mut self, status: WaitStatus, watch: Watch<'_>) {
        match status {
            WaitStatus::Exited(pid, code) => {
                self.alive.remove(&pid);
                if pid == self.plugin {
                    self.traced.code = Some(code);
                }
            }
            WaitStatus::Signaled(pid, ..) => {
                self.alive.remove(&pid);
            }
            WaitStatus::PtraceSyscall(pid) => self.note_call(pid, watch),
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event != libc::PTRACE_EVENT_EXEC {
                    self.note_new(pid);
                }
                self.resume(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => self.note_signal(pid, signal),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    }

    fn note_new(&mut self, parent: Pid) {
        if let Ok(child) = ptrace::getevent(parent) {
            self.alive
                .insert(Pid::from_raw(i32::try_from(child).unwrap()));
        }
    }

    fn note_signal(&mut self, pid: Pid, signal: Signal) {
        let first = self.stopped.insert(pid);
        if first && pid == self.plugin {
            // It may be dead already only if somebody else has killed it.
            ptrace::setoptions(pid, options()).unwrap();
        }
        self.resume(pid, (!first).then_some(signal));
    }

    /// A thread stops before and after each call.
    fn note_call(&mut self, pid: Pid, watch: Watch<'_>) {
        if let Ok(info) = ptrace::syscall_info(pid) {
            watch(pid, &info);
            if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY && self.counts(pid) {
                self.traced.syscalls += 1;
                if self.traced.syscalls == self.nth {
                    self.traced.killed_at = Some(nr(&info));
                    self.kill();
                }
            }
        }
        self.resume(pid, None);
    }

    fn counts(&self, pid: Pid) -> bool {
        self.traced.killed_at.is_none() && (self.victim == Victim::Everybody || pid == self.plugin)
    }

    fn kill(&self) {
        let all = match self.victim {
            Victim::Everybody => self.alive.clone(),
            Victim::Plugin => BTreeSet::from([self.plugin]),
        };
        for pid in all {
            // One that has ended is as good.
            let _gone = kill(pid, Signal::SIGKILL);
        }
    }

    fn resume(&self, pid: Pid, signal: Option<Signal>) {
        let resumed = if self.traced.killed_at.is_some() {
            ptrace::cont(pid, signal)
        } else {
            ptrace::syscall(pid, signal)
        };
        match resumed {
            // Killed meanwhile: wait(2) will tell.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("resume {pid}: {error}"),
        }
    }
}

/// The number of the system call that begins.
pub(super) fn nr(info: &libc::ptrace_syscall_info) -> u64 {
    // SAFETY: the union's member is the entry's when `op` says so, which callers have looked at.
    #[expect(unsafe_code, reason = "the kernel's answer is a union")]
    unsafe {
        info.u.entry.nr
    }
}

/// Its arguments.
pub(super) fn args(info: &libc::ptrace_syscall_info) -> [u64; 6] {
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "the kernel's answer is a union")]
    unsafe {
        info.u.entry.args
    }
}
