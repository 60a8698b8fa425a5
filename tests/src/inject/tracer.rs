//! Follows a plugin and all that it starts from system call to system call, and has one of them fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::fault::{Call, Fault, Kind, Netlink};
use super::memory::Memory;
use super::netlink::{self, Refusal};
use super::sockets::{Family, Sockets};
use crate::ptrace::options;

/// What became of all of them.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Of the plugin, as wait(2) tells it.
    pub(super) status: i32,
    /// When the plugin ended; others may have gone on.
    pub(super) replied: Option<Instant>,
    pub(super) timed_out: bool,
    pub(super) struck: bool,
    /// The list that was interrupted was read to its end.
    pub(super) heard_out: bool,
    pub(super) calls: Vec<Call>,
}

/// One process or thread.
#[derive(Debug)]
struct Traced {
    ordinal: usize,
    /// Another program than the plugins', whose faults are its own.
    is_foreign: bool,
    counts: BTreeMap<i64, usize>,
    under_way: Option<UnderWay>,
}

/// A call that has been entered and not been left.
#[derive(Debug, Clone)]
struct UnderWay {
    number: i64,
    arguments: [u64; 6],
    /// Its place among the recorded calls.
    recorded: usize,
    outcome: Intended,
}

/// What is to come of a call.
#[derive(Debug, Clone)]
enum Intended {
    Its,
    Error(Errno),
    /// These bytes are to be where they were before the send.
    Restored(Vec<u8>),
    Interrupted,
}

type Living = Arc<Mutex<BTreeSet<Pid>>>;

pub(super) struct Tracer<'a> {
    plugin: Pid,
    /// Where the plugins are.
    directory: Option<PathBuf>,
    fault: Option<&'a Fault>,
    traced: BTreeMap<Pid, Traced>,
    /// How many there have been.
    met: usize,
    /// Children that stopped before their parents told of them.
    early: BTreeSet<Pid>,
    living: Living,
    sockets: Sockets,
    /// A request has been refused, and whoever asked has not heard of it.
    refusal: Option<(u64, Refusal)>,
    /// Who was told that a list is interrupted, and where, while its end is to come.
    interrupted: Option<(Pid, u64)>,
    ended: Ended,
}

impl<'a> Tracer<'a> {
    /// Of a child of the calling thread that has asked to be traced.
    pub(super) fn new(plugin: Pid, fault: Option<&'a Fault>) -> Self {
        Self {
            plugin,
            directory: None,
            fault,
            traced: BTreeMap::new(),
            met: 0,
            early: BTreeSet::new(),
            living: Living::default(),
            sockets: Sockets::default(),
            refusal: None,
            interrupted: None,
            ended: Ended::default(),
        }
    }

    /// Returns when all have ended; those that have not after `patience` are killed.
    pub(super) fn follow(mut self, patience: Duration) -> Ended {
        self.meet(self.plugin);
        let living = Arc::clone(&self.living);
        thread::scope(|scope| {
            let (ended, end) = mpsc::channel::<()>();
            let watchdog = scope.spawn(move || {
                let late = end.recv_timeout(patience).is_err();
                while late && end.recv_timeout(Duration::from_millis(10)).is_err() {
                    for pid in living.lock().unwrap().iter() {
                        let _ended_meanwhile = kill(*pid, Signal::SIGKILL);
                    }
                }
                late
            });
            self.follow_all();
            ended.send(()).unwrap();
            self.ended.timed_out = watchdog.join().unwrap();
        });
        self.ended
    }

    fn follow_all(&mut self) {
        // Only what this thread traces: others' children are theirs.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(status) => self.note(status),
                Err(Errno::ECHILD) => return,
                Err(Errno::EINTR) => {}
                Err(error) => panic!("wait for what is traced: {error}"),
            }
        }
    }

    fn note(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::PtraceSyscall(pid) => {
                self.stop_of_call(pid);
                resume(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.event(pid, event);
                resume(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => self.stopped(pid, signal),
            WaitStatus::Exited(pid, code) => self.ended(pid, code << 8),
            WaitStatus::Signaled(pid, signal, _) => self.ended(pid, signal as i32),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    }

    fn ended(&mut self, pid: Pid, status: i32) {
        self.living.lock().unwrap().remove(&pid);
        self.traced.remove(&pid);
        if pid == self.plugin {
            self.ended.status = status;
            self.ended.replied = Some(Instant::now());
        }
    }

    /// The first stop of each is the tracer's own doing.
    fn stopped(&mut self, pid: Pid, signal: Signal) {
        if pid == self.plugin && signal == Signal::SIGTRAP {
            ptrace::setoptions(pid, options()).unwrap();
            self.directory = directory_of(pid);
            return resume(pid, None);
        }
        if !self.traced.contains_key(&pid) {
            self.early.insert(pid);
        } else if signal == Signal::SIGSTOP {
            resume(pid, None);
        } else {
            resume(pid, Some(signal));
        }
    }

    fn event(&mut self, pid: Pid, event: i32) {
        if event == libc::PTRACE_EVENT_EXEC {
            return self.executed(pid);
        }
        let starts = [
            libc::PTRACE_EVENT_FORK,
            libc::PTRACE_EVENT_VFORK,
            libc::PTRACE_EVENT_CLONE,
        ];
        if !starts.contains(&event) {
            return;
        }
        let Ok(child) = ptrace::getevent(pid) else {
            return;
        };
        let child = Pid::from_raw(i32::try_from(child).unwrap());
        self.sockets.inherited(pid, child);
        self.meet(child);
        if self.early.remove(&child) {
            resume(child, None);
        }
    }

    /// Descriptors are closed with it.
    fn executed(&mut self, pid: Pid) {
        let is_foreign = directory_of(pid) != self.directory;
        if let Some(traced) = self.traced.get_mut(&pid) {
            traced.is_foreign = is_foreign;
        }
        self.sockets.forget(pid);
    }

    fn meet(&mut self, pid: Pid) {
        self.living.lock().unwrap().insert(pid);
        let traced = Traced {
            ordinal: self.met,
            is_foreign: false,
            counts: BTreeMap::new(),
            under_way: None,
        };
        self.traced.insert(pid, traced);
        self.met += 1;
    }

    fn stop_of_call(&mut self, pid: Pid) {
        let Ok(info) = ptrace::syscall_info(pid) else {
            return; // killed meanwhile
        };
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                #[expect(unsafe_code, reason = "a union of the kernel's")]
                // SAFETY: this is what the kernel fills at an entry.
                let entry = unsafe { info.u.entry };
                self.entered(pid, entry.nr.cast_signed(), entry.args);
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                #[expect(unsafe_code, reason = "a union of the kernel's")]
                // SAFETY: this is what the kernel fills at an exit.
                let value = unsafe { info.u.exit.sval };
                self.left(pid, value);
            }
            _ => {}
        }
    }

    fn entered(&mut self, pid: Pid, number: i64, arguments: [u64; 6]) {
        let traced = self.traced.get_mut(&pid).unwrap();
        if traced.is_foreign {
            return;
        }
        let count = traced.counts.entry(number).or_insert(0);
        let (process, nth) = (traced.ordinal, *count);
        *count += 1;
        let recorded = self.ended.calls.len();
        let call = Call {
            process,
            number,
            arguments,
            nth,
            netlink: self.sent(pid, number, &arguments),
            is_reply: process == 0 && number == libc::SYS_write && arguments[0] == 1,
        };
        let is_it = |fault: &&Fault| {
            fault.call.process == process && fault.call.number == number && fault.call.nth == nth
        };
        let mut outcome = Intended::Its;
        if let Some(fault) = self.fault.filter(is_it) {
            outcome = self.strike(pid, &call, fault.kind, &arguments);
        }
        self.ended.calls.push(call);
        self.traced.get_mut(&pid).unwrap().under_way = Some(UnderWay {
            number,
            arguments,
            recorded,
            outcome,
        });
    }

    /// Has the call fail that is being entered.
    fn strike(&mut self, pid: Pid, call: &Call, kind: Kind, arguments: &[u64; 6]) -> Intended {
        self.ended.struck = true;
        match kind {
            Kind::Fails(errno) => {
                let mut registers = ptrace::getregs(pid).unwrap();
                registers.orig_rax = u64::MAX; // no call
                ptrace::setregs(pid, registers).unwrap();
                Intended::Error(errno)
            }
            Kind::IsLost(errno) => Intended::Error(errno),
            Kind::Interrupted => Intended::Interrupted,
            Kind::Refused { index, errno } => {
                // Otherwise it is another conversation than the recorded one.
                self.ended.struck = matches!(&call.netlink,
                    Netlink::Sends { requests, .. } if requests.iter().any(|one| one.index == index));
                if !self.ended.struck {
                    return Intended::Its;
                }
                let memory = Memory::of(pid);
                let before = memory.read(arguments[1], length(arguments[2]));
                let mut bytes = before.clone();
                self.refusal = Some((arguments[0], netlink::refuse(&mut bytes, index, errno)));
                memory.write(arguments[1], &bytes);
                Intended::Restored(before)
            }
        }
    }

    fn sent(&self, pid: Pid, number: i64, arguments: &[u64; 6]) -> Netlink {
        let Some(family) = self.sockets.find(pid, arguments[0]) else {
            return Netlink::Nothing;
        };
        assert!(
            ![libc::SYS_sendmsg, libc::SYS_recvmsg].contains(&number),
            "requests are looked for in sendto(2) alone"
        );
        if number != libc::SYS_sendto {
            return Netlink::Nothing;
        }
        let bytes = Memory::of(pid).read(arguments[1], length(arguments[2]));
        let netfilter = family == Family::Netfilter;
        Netlink::Sends {
            netfilter,
            requests: netlink::requests(&bytes, netfilter),
        }
    }

    fn left(&mut self, pid: Pid, value: i64) {
        let Some(call) = self
            .traced
            .get_mut(&pid)
            .and_then(|one| one.under_way.take())
        else {
            return; // the execve(2) with which it began
        };
        match call.number {
            libc::SYS_recvfrom if value > 0 => self.received(pid, &call, length_of(value)),
            number => self.sockets.follow(pid, number, &call.arguments, value),
        }
        match call.outcome {
            Intended::Its | Intended::Interrupted => {}
            Intended::Error(errno) => {
                let mut registers = ptrace::getregs(pid).unwrap();
                registers.rax = (-i64::from(errno as i32)).cast_unsigned();
                ptrace::setregs(pid, registers).unwrap();
            }
            Intended::Restored(before) => Memory::of(pid).write(call.arguments[1], &before),
        }
    }

    fn received(&mut self, pid: Pid, call: &UnderWay, length: usize) {
        let [descriptor, buffer, size, ..] = call.arguments;
        let Some(family) = self.sockets.find(pid, descriptor) else {
            return;
        };
        let memory = Memory::of(pid);
        let mut bytes = memory.read(buffer, length.min(self::length(size)));
        let is_dump = netlink::is_of_dump(&bytes);
        self.ended.calls[call.recorded].netlink = Netlink::Receives {
            netfilter: family == Family::Netfilter,
            is_dump,
        };
        if matches!(call.outcome, Intended::Interrupted) {
            self.ended.struck = is_dump;
            self.interrupted = is_dump.then_some((pid, descriptor));
            netlink::interrupt(&mut bytes);
        }
        if self.interrupted == Some((pid, descriptor)) && netlink::is_end(&bytes) {
            self.ended.heard_out = true;
            self.interrupted = None;
        }
        let refusal = self.refusal.filter(|(of, _)| *of == descriptor);
        if refusal.is_some_and(|(_, refusal)| netlink::answer(&mut bytes, refusal)) {
            self.refusal = None;
        }
        memory.write(buffer, &bytes);
    }
}

/// Where the program lies that a process executes.
fn directory_of(pid: Pid) -> Option<PathBuf> {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(program.parent()?.to_owned())
}

fn length(argument: u64) -> usize {
    usize::try_from(argument).unwrap()
}

fn length_of(value: i64) -> usize {
    usize::try_from(value).unwrap()
}

/// Lets one go on to its next stop, unless it has ended meanwhile.
fn resume(pid: Pid, signal: Option<Signal>) {
    match ptrace::syscall(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("resume {pid}: {error}"),
    }
}
