//! Runs one program: bytes in, bytes out, with a deadline.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// More than any result has; who prints more gets a broken pipe.
const OUTPUT_LIMIT: u64 = 16 << 20;

/// What a program has printed is in its pipes when it ends. Only a reader that was not scheduled
/// in between needs this long; a daemon that holds the pipes open is not waited for.
const DRAIN: Duration = Duration::from_millis(200);

/// How long a binary that is being replaced ("text file busy") is tried again.
const BUSY: Duration = Duration::from_secs(5);

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// A program that could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// It cannot be started.
    #[error("start {}", path.display())]
    Start {
        /// The binary.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be waited for.
    #[error("wait for {}", path.display())]
    Wait {
        /// The binary.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not end in time, and was killed with all that it had started.
    #[error("{} did not end within {} s and was killed", path.display(), limit.as_secs_f32())]
    Timeout {
        /// The binary.
        path: PathBuf,
        /// The time it had.
        limit: Duration,
    },
}

/// Runs `path` with `vars` on top of our environment and `input` on stdin.
///
/// It leads a process group of its own, so that what it has started ends with it at the deadline.
pub(crate) fn run(
    path: &Path,
    vars: &[(&str, &OsStr)],
    input: Vec<u8>,
    limit: Duration,
) -> Result<Outcome, ExecError> {
    let start = Instant::now();
    let wait_failed = |source| ExecError::Wait {
        path: path.to_owned(),
        source,
    };
    let mut child = spawn(path, vars).map_err(|source| ExecError::Start {
        path: path.to_owned(),
        source,
    })?;
    let group = group_of(&child).map_err(wait_failed)?;
    let events = listen(&mut child, group, input);
    let mut heard = Heard::default();
    let ended = heard.collect(&events, start + limit);
    if ended == Ended::OutOfTime {
        // Whoever has ended already is not killed; nobody else has this group before our wait.
        let _already_gone = killpg(group, Signal::SIGKILL);
    }
    let status = child.wait().map_err(wait_failed)?;
    match ended {
        Ended::OutOfTime => Err(ExecError::Timeout {
            path: path.to_owned(),
            limit,
        }),
        Ended::Exited => Ok(Outcome {
            status,
            stdout: heard.stdout,
            stderr: heard.stderr,
        }),
    }
}

fn spawn(path: &Path, vars: &[(&str, &OsStr)]) -> io::Result<Child> {
    let mut command = Command::new(path);
    command
        .envs(vars.iter().copied())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let give_up = Instant::now() + BUSY;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < give_up =>
            {
                pause();
            }
            outcome => return outcome,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel announces the end of ETXTBSY to nobody"
)]
fn pause() {
    thread::sleep(Duration::from_millis(50));
}

fn group_of(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Pid::from_raw(pid))
}

#[derive(Debug)]
enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Closed,
    Exited,
}

/// Feeds the child and listens to it, on threads that end with it.
fn listen(child: &mut Child, pid: Pid, input: Vec<u8>) -> mpsc::Receiver<Event> {
    let (sender, events) = mpsc::channel();
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin is free not to read its input.
        thread::spawn(move || stdin.write_all(&input).ok());
    }
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        thread::spawn(move || forward(stdout, &sender, Event::Stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        let sender = sender.clone();
        thread::spawn(move || forward(stderr, &sender, Event::Stderr));
    }
    // WNOWAIT: the pid stays ours, and may be killed, until the caller reaps it.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    thread::spawn(move || {
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        sender.send(Event::Exited).ok()
    });
    events
}

fn forward(pipe: impl Read, sender: &Sender<Event>, wrap: impl Fn(Vec<u8>) -> Event) {
    let mut pipe = pipe.take(OUTPUT_LIMIT);
    let mut buffer = [0; 8192];
    loop {
        let chunk = match pipe.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(count @ 1..) => buffer.get(..count).unwrap_or_default().to_vec(),
            Ok(_) | Err(_) => break,
        };
        if sender.send(wrap(chunk)).is_err() {
            break;
        }
    }
    // The receiver may have lost interest.
    let _unheard = sender.send(Event::Closed);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Exited,
    OutOfTime,
}

/// What a child has said so far.
#[derive(Debug, Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    closed: u8,
    exited: bool,
}

impl Heard {
    /// Until the child has ended and both of its pipes too, or they had the time to.
    fn collect(&mut self, events: &mpsc::Receiver<Event>, mut deadline: Instant) -> Ended {
        while !(self.exited && self.closed == 2) {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(Event::Stdout(chunk)) => self.stdout.extend(chunk),
                Ok(Event::Stderr(chunk)) => self.stderr.extend(chunk),
                Ok(Event::Closed) => self.closed += 1,
                Ok(Event::Exited) => {
                    self.exited = true;
                    deadline = Instant::now() + DRAIN;
                }
                Err(RecvTimeoutError::Timeout) if !self.exited => return Ended::OutOfTime,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Ended::Exited
    }
}

#[cfg(test)]
mod tests;
