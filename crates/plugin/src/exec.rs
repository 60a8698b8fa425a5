//! A child process that is fed, heard and waited for by a deadline.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Deadline;

/// More than this on stdout or stderr is not a reply but a runaway.
const OUTPUT_LIMIT: usize = 16 << 20;

/// How often a binary that is just being replaced ("text file busy") is tried again, and the
/// pause between two tries. The kernel announces the end of ETXTBSY to nobody.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Why a child has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It could not be started.
    #[error("start {path}")]
    Start {
        /// The binary.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// It was not done by the deadline, and has been killed.
    #[error("{path} did not finish in time and was killed")]
    Timeout {
        /// The binary.
        path: String,
    },
    /// Talking to it failed.
    #[error("talk to {path}")]
    Io {
        /// The binary.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// It wrote more than anybody would read.
    #[error("{path} wrote more than {} MiB and was killed", OUTPUT_LIMIT >> 20)]
    Runaway {
        /// The binary.
        path: String,
    },
}

/// What a finished child left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// A child that has been started and given its input, as far as the pipe takes it.
#[derive(Debug)]
pub(crate) struct Running {
    path: String,
    child: Child,
    stdin: Option<ChildStdin>,
    input: std::sync::Arc<[u8]>,
    written: usize,
}

impl Running {
    /// Starts `path` in our environment with `vars` on top.
    pub(crate) fn start(
        path: &Path,
        vars: &[(&str, &str)],
        input: std::sync::Arc<[u8]>,
    ) -> Result<Self, ExecError> {
        let name = path.display().to_string();
        let mut child = spawn(path, vars).map_err(|source| ExecError::Start {
            path: name.clone(),
            source,
        })?;
        let stdin = child.stdin.take();
        let mut running = Self {
            path: name,
            child,
            stdin,
            input,
            written: 0,
        };
        running
            .unblock_stdin()
            .and_then(|()| running.feed())
            .map_err(|source| running.io(source))?;
        Ok(running)
    }

    /// Waits for the end of the child, and kills it at the deadline. What its own children still
    /// hold open is not waited for.
    pub(crate) fn finish(mut self, deadline: Deadline) -> Result<Outcome, ExecError> {
        let mut heard = Heard::new(&mut self.child);
        let pidfd = pidfd_open(self.child.id()).ok();
        loop {
            let ready = self.wait(&heard, pidfd.as_ref(), deadline)?;
            if ready.stdin {
                self.feed().map_err(|source| self.io(source))?;
            }
            heard.hear(&ready).map_err(|source| self.io(source))?;
            if heard.bytes() > OUTPUT_LIMIT {
                return Err(ExecError::Runaway {
                    path: self.path.clone(),
                });
            }
            if ready.exited || (pidfd.is_none() && heard.is_closed()) {
                break;
            }
        }
        heard.drain().map_err(|source| self.io(source))?;
        let status = self.child.wait().map_err(|source| self.io(source))?;
        Ok(Outcome {
            status,
            stdout: heard.stdout.bytes,
            stderr: heard.stderr.bytes,
        })
    }

    fn wait(
        &self,
        heard: &Heard,
        pidfd: Option<&OwnedFd>,
        deadline: Deadline,
    ) -> Result<Ready, ExecError> {
        let stdin = self.stdin.as_ref().map(AsFd::as_fd);
        let fds = [
            stdin,
            heard.stdout.fd(),
            heard.stderr.fd(),
            pidfd.map(AsFd::as_fd),
        ];
        match poll_ready(fds, deadline) {
            Ok(Some(ready)) => Ok(ready),
            Ok(None) => Err(ExecError::Timeout {
                path: self.path.clone(),
            }),
            Err(source) => Err(self.io(source)),
        }
    }

    fn unblock_stdin(&self) -> io::Result<()> {
        if let Some(stdin) = &self.stdin {
            fcntl(stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(())
    }

    /// Writes what the pipe takes, and closes it after the last byte. A child that does not want
    /// to read its input is free not to.
    fn feed(&mut self) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else {
            return Ok(());
        };
        while let Some(rest) = self
            .input
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match stdin.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
        self.stdin = None;
        Ok(())
    }

    fn io(&self, source: io::Error) -> ExecError {
        ExecError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for Running {
    /// Nobody waits for this child any more. After `finish` it is gone and `kill` does nothing.
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

fn spawn(path: &Path, vars: &[(&str, &str)]) -> io::Result<Child> {
    let mut command = Command::new(path);
    command.envs(vars.iter().copied());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => pause(),
            outcome => return outcome,
        }
    }
    command.spawn()
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no event for the end of ETXTBSY"
)]
fn pause() {
    std::thread::sleep(BUSY_PAUSE);
}

/// Which ends have something to do.
#[derive(Debug, Default)]
struct Ready {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    exited: bool,
}

/// Waits for any of stdin, stdout, stderr and the child's end; `None` at the deadline.
fn poll_ready(fds: [Option<BorrowedFd<'_>>; 4], deadline: Deadline) -> io::Result<Option<Ready>> {
    let wanted = [
        PollFlags::POLLOUT,
        PollFlags::POLLIN,
        PollFlags::POLLIN,
        PollFlags::POLLIN,
    ];
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .zip(wanted)
        .filter_map(|(fd, flags)| fd.map(|fd| PollFd::new(fd, flags)))
        .collect();
    let count = loop {
        // Rounded up, so that the last wait does not spin.
        let left = deadline.remaining().as_millis().saturating_add(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    if count == 0 && deadline.has_passed() {
        return Ok(None);
    }
    let mut answers = polled.iter().map(|fd| fd.any().unwrap_or(false));
    let mut is_ready = |fd: &Option<BorrowedFd<'_>>| fd.is_some() && answers.next() == Some(true);
    let [stdin, stdout, stderr, exited] = &fds;
    Ok(Some(Ready {
        stdin: is_ready(stdin),
        stdout: is_ready(stdout),
        stderr: is_ready(stderr),
        exited: is_ready(exited),
    }))
}

/// One pipe and what came through it.
#[derive(Debug)]
struct Pipe<R> {
    end: Option<R>,
    bytes: Vec<u8>,
}

impl<R: Read + AsFd> Pipe<R> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.end.as_ref().map(AsFd::as_fd)
    }

    /// Reads once; a pipe at its end is closed.
    fn read(&mut self) -> io::Result<usize> {
        let Some(end) = &mut self.end else {
            return Ok(0);
        };
        let mut buffer = [0; 8192];
        let count = match end.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(1),
            other => other?,
        };
        if count == 0 {
            self.end = None;
        }
        self.bytes.extend(buffer.iter().take(count));
        Ok(count)
    }
}

/// Both pipes.
#[derive(Debug)]
struct Heard {
    stdout: Pipe<std::process::ChildStdout>,
    stderr: Pipe<std::process::ChildStderr>,
}

impl Heard {
    fn new(child: &mut Child) -> Self {
        Self {
            stdout: Pipe {
                end: child.stdout.take(),
                bytes: Vec::new(),
            },
            stderr: Pipe {
                end: child.stderr.take(),
                bytes: Vec::new(),
            },
        }
    }

    fn bytes(&self) -> usize {
        self.stdout.bytes.len().max(self.stderr.bytes.len())
    }

    fn is_closed(&self) -> bool {
        self.stdout.end.is_none() && self.stderr.end.is_none()
    }

    fn hear(&mut self, ready: &Ready) -> io::Result<()> {
        if ready.stdout {
            self.stdout.read()?;
        }
        if ready.stderr {
            self.stderr.read()?;
        }
        Ok(())
    }

    /// Reads what an exited child has left in the pipes, and not what its children still write.
    fn drain(&mut self) -> io::Result<()> {
        while self.bytes() <= OUTPUT_LIMIT && !self.is_closed() {
            let now = Deadline::after(Duration::ZERO);
            let fds = [None, self.stdout.fd(), self.stderr.fd(), None];
            match poll_ready(fds, now)? {
                Some(ready) if ready.stdout || ready.stderr => self.hear(&ready)?,
                _ => break,
            }
        }
        Ok(())
    }
}

/// A descriptor that becomes readable when the process ends: `pidfd_open(2)`, Linux 5.3.
fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: the call takes two integers and returns a new descriptor or -1.
    #[expect(unsafe_code, reason = "neither std nor nix has pidfd_open(2) yet")]
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    #[expect(
        unsafe_code,
        reason = "the only way to own a descriptor that is a number"
    )]
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert!(fd.as_raw_fd() >= 0);
    Ok(fd)
}

#[cfg(test)]
mod tests;
