//! A child's pipes: which are ready, and what came through them.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Child;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::OUTPUT_LIMIT;
use crate::Deadline;

/// Which ends have something to do.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) stdin: bool,
    stdout: bool,
    stderr: bool,
    pub(super) exited: bool,
}

/// Waits for any of stdin, stdout, stderr and the child's end; `None` at the deadline.
pub(super) fn poll_ready(
    fds: [Option<BorrowedFd<'_>>; 4],
    deadline: Deadline,
) -> io::Result<Option<Ready>> {
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
pub(super) struct Pipe<R> {
    end: Option<R>,
    pub(super) bytes: Vec<u8>,
}

impl<R: Read + AsFd> Pipe<R> {
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.end.as_ref().map(AsFd::as_fd)
    }

    /// Reads once; a pipe at its end is closed.
    pub(super) fn read(&mut self) -> io::Result<usize> {
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
pub(super) struct Heard {
    pub(super) stdout: Pipe<std::process::ChildStdout>,
    pub(super) stderr: Pipe<std::process::ChildStderr>,
}

impl Heard {
    pub(super) fn new(child: &mut Child) -> Self {
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

    pub(super) fn bytes(&self) -> usize {
        self.stdout.bytes.len().max(self.stderr.bytes.len())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stdout.end.is_none() && self.stderr.end.is_none()
    }

    pub(super) fn hear(&mut self, ready: &Ready) -> io::Result<()> {
        if ready.stdout {
            self.stdout.read()?;
        }
        if ready.stderr {
            self.stderr.read()?;
        }
        Ok(())
    }

    /// Reads what an exited child has left in the pipes, and not what its children still write.
    pub(super) fn drain(&mut self) -> io::Result<()> {
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
