//! One system call of a plugin, or one request to the kernel, fails; all others are as ever.
//!
//! A plugin runs under ptrace(2) with everything that it starts. [`record`] tells what it does when nothing
//! fails; [`run_with`] does the same with one [`Fault`]. A fault is exact: what fails is not done, and a
//! netlink request that is refused is not executed, while its neighbours in the same send are.

mod calls;
mod fault;
mod memory;
mod netlink;
mod sockets;
mod tracer;

pub use fault::{Call, Fault, Kind, faults_of};

use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use cni_testkit::{Outcome, Runner};
use nix::sys::ptrace;
use nix::unistd::Pid;

use self::tracer::{Ended, Tracer};

/// What a call is given until it counts as hanging: the longest that a plugin waits for an answer that
/// does not come is ten seconds, and an ADD that fails undoes what it did.
const PATIENCE: Duration = Duration::from_secs(40);

/// A call of a plugin that was followed to the end of all that it started.
#[derive(Debug)]
pub struct Traced {
    /// What the plugin answered.
    pub outcome: Outcome,
    /// Every system call, in the order of each process.
    pub calls: Vec<Call>,
    /// Whether the fault met its call.
    pub struck: bool,
    /// Whether the list that was interrupted was read to its end. What looks for one thing in a list may
    /// leave off when it has it, and need not look again.
    pub heard_out: bool,
}

impl Traced {
    /// How many lists the kernel was asked for.
    pub fn lists(&self) -> usize {
        self.calls.iter().map(|call| call.netlink.lists()).sum()
    }
}

/// Runs it, and nothing fails.
pub fn record(call: &Runner) -> Traced {
    trace(call, None)
}

/// Runs it with one fault.
pub fn run_with(call: &Runner, fault: &Fault) -> Traced {
    trace(call, Some(fault))
}

fn trace(call: &Runner, fault: Option<&Fault>) -> Traced {
    let begin = Instant::now();
    let mut child = start(call);
    let plugin = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let ended = Tracer::new(plugin, fault).follow(PATIENCE);
    let elapsed = ended
        .replied
        .map_or_else(|| begin.elapsed(), |at| at.saturating_duration_since(begin));
    Traced {
        outcome: outcome(call, &mut child, &ended, elapsed),
        struck: ended.struck,
        heard_out: ended.heard_out,
        calls: ended.calls,
    }
}

/// Starts it stopped, waiting for its tracer: the calling thread.
fn start(call: &Runner) -> Child {
    let mut command = call.prepare();
    #[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
    // SAFETY: ptrace(PTRACE_TRACEME) is a plain system call: no allocation, no lock.
    unsafe {
        command.pre_exec(|| Ok(ptrace::traceme()?));
    }
    let mut child = command.spawn().unwrap();
    // A pipe takes a configuration whole: this does not wait.
    child.stdin.take().unwrap().write_all(call.input()).unwrap();
    child
}

fn outcome(call: &Runner, child: &mut Child, ended: &Ended, elapsed: Duration) -> Outcome {
    // All that had the other ends have ended.
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut stdout)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    let status = ExitStatus::from_raw(ended.status);
    Outcome {
        call: call.describe(),
        code: status
            .code()
            .unwrap_or_else(|| -status.signal().unwrap_or(0)),
        stdout,
        stderr,
        elapsed,
        timed_out: ended.timed_out,
        orphans: Vec::new(),
    }
}
