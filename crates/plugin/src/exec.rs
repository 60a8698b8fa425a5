//! A child process that is fed, heard and waited for by a deadline: a plugin's delegate, or a
//! runtime's plugin.

mod pipes;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use self::pipes::{Heard, Ready, poll_ready};
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
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote there.
    pub stdout: Vec<u8>,
    /// All it wrote there.
    pub stderr: Vec<u8>,
}

/// Whose process group a child is in, which is what is killed at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Ours, so that whoever kills our group kills the child with us. Only the child is killed.
    Ours,
    /// Its own, so that what the child has started ends with it.
    Own,
}

/// A child that has been started and given its input, as far as the pipe takes it. Dropping it
/// kills it.
#[derive(Debug)]
pub struct Running {
    path: String,
    group: Group,
    child: Child,
    stdin: Option<ChildStdin>,
    input: Arc<[u8]>,
    written: usize,
    heard: Heard,
    /// Readable when the child has ended; an old kernel has none.
    pidfd: Option<OwnedFd>,
    exited: bool,
}

impl Running {
    /// Starts `path` in our environment with `vars` on top.
    ///
    /// # Errors
    /// It cannot be started, or not be talked to.
    pub fn start<V: AsRef<OsStr>>(
        path: &Path,
        vars: &[(&str, V)],
        input: Arc<[u8]>,
        group: Group,
    ) -> Result<Self, ExecError> {
        let name = path.display().to_string();
        let mut child = spawn(path, vars, group).map_err(|source| ExecError::Start {
            path: name.clone(),
            source,
        })?;
        let mut running = Self {
            path: name,
            group,
            stdin: child.stdin.take(),
            heard: Heard::new(&mut child),
            pidfd: pidfd_open(child.id()).ok(),
            child,
            input,
            written: 0,
            exited: false,
        };
        running
            .unblock_stdin()
            .and_then(|()| running.feed())
            .map_err(|source| running.io(source))?;
        Ok(running)
    }

    /// Waits until the child has written `enough`, or has ended, and tells what it has written to
    /// its stdout so far.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn hear(
        &mut self,
        deadline: Deadline,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<&[u8], ExecError> {
        while !self.exited && !enough(&self.heard.stdout.bytes) {
            let ready = self.wait(deadline)?;
            if ready.stdin {
                self.feed().map_err(|source| self.io(source))?;
            }
            self.heard.hear(&ready).map_err(|source| self.io(source))?;
            if self.heard.bytes() > OUTPUT_LIMIT {
                return Err(ExecError::Runaway {
                    path: self.path.clone(),
                });
            }
            self.exited = ready.exited || (self.pidfd.is_none() && self.heard.is_closed());
        }
        Ok(&self.heard.stdout.bytes)
    }

    /// Waits for the end of the child, and kills it at the deadline. What its own children still
    /// hold open is not waited for.
    ///
    /// # Errors
    /// It was not done in time or wrote without end, and is killed; or could not be talked to.
    pub fn finish(mut self, deadline: Deadline) -> Result<Outcome, ExecError> {
        self.hear(deadline, |_stdout| false)?;
        self.heard.drain().map_err(|source| self.io(source))?;
        let status = self.child.wait().map_err(|source| self.io(source))?;
        Ok(Outcome {
            status,
            stdout: mem::take(&mut self.heard.stdout.bytes),
            stderr: mem::take(&mut self.heard.stderr.bytes),
        })
    }

    fn wait(&self, deadline: Deadline) -> Result<Ready, ExecError> {
        let fds = [
            self.stdin.as_ref().map(AsFd::as_fd),
            self.heard.stdout.fd(),
            self.heard.stderr.fd(),
            self.pidfd.as_ref().map(AsFd::as_fd),
        ];
        match poll_ready(fds, deadline) {
            // One that keeps talking is not done either.
            Ok(Some(ready)) if ready.exited || !deadline.has_passed() => Ok(ready),
            Ok(_) => Err(ExecError::Timeout {
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
    /// Nobody waits for this child any more. After `finish` it is gone and there is nothing to kill.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_reaped))) {
            return;
        }
        if let (Group::Own, Ok(pid)) = (self.group, i32::try_from(self.child.id())) {
            let _already_gone = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _already_gone = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

fn spawn<V: AsRef<OsStr>>(path: &Path, vars: &[(&str, V)], group: Group) -> io::Result<Child> {
    let mut command = Command::new(path);
    command.envs(vars.iter().map(|(name, value)| (name, value)));
    if group == Group::Own {
        command.process_group(0);
    }
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
