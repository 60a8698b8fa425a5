//! A program that is run to its end, or to a deadline.

use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

use crate::error::Cause;

/// Where the programs are if `PATH` does not lead there, as it does not for some runtimes.
const FOLDERS: [&str; 4] = ["", "/usr/sbin/", "/sbin/", "/usr/local/sbin/"];

/// Whether there is such a program.
pub(super) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = FOLDERS.iter().filter(|folder| !folder.is_empty());
    std::env::split_paths(&path)
        .chain(folders.map(PathBuf::from))
        .any(|folder| folder.join(program).is_file())
}

/// Runs a program, feeds it `input`, and answers what it printed.
///
/// There is no waiting for its exit: it has exited, or is about to, once it has closed both of its
/// outputs, and those can be waited for with a deadline.
pub(super) fn run(
    program: &'static str,
    args: &[&str],
    input: &str,
    patience: Duration,
) -> Result<String, Cause> {
    let mut child = spawn(program, args)?;
    let heard = match converse(&mut child, input, patience) {
        Ok(outputs) => outputs,
        Err(unfinished) => {
            // It may have ended this very moment: then there is nothing to kill.
            let _gone = child.kill();
            let _status = child.wait();
            return Err(match unfinished {
                Unfinished::Late(stderr) => Cause::ProgramTimeout {
                    program,
                    waited: patience,
                    stderr: tidy(&stderr),
                },
                Unfinished::Broken(source) => Cause::Spawn { program, source },
            });
        }
    };
    let failed = |source| Cause::Spawn { program, source };
    let status = child.wait().map_err(failed)?;
    if status.success() {
        // It has read half of it, and was content with that.
        heard.fed.map_or(Ok(()), Feeding::outcome).map_err(failed)?;
        return Ok(String::from_utf8_lossy(&heard.stdout).into_owned());
    }
    Err(Cause::Program {
        program,
        status,
        stderr: tidy(&heard.stderr),
    })
}

/// What a program said, in one line.
fn tidy(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("; ")
}

fn spawn(program: &'static str, args: &[&str]) -> Result<Child, Cause> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for folder in FOLDERS {
        let mut command = Command::new(format!("{folder}{program}"));
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end_with_us(&mut command);
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => failure = error,
            Err(source) => return Err(Cause::Spawn { program, source }),
        }
    }
    Err(Cause::Spawn {
        program,
        source: failure,
    })
}

/// A runtime that loses patience kills the plugin, and calls DEL. A program that goes on, as soon as it gets its
/// lock, would make rules for which there is no DEL any more.
#[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
fn end_with_us(command: &mut Command) {
    let parent = getpid();
    let end_with_parent = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // It may have died just before.
        let has_parent = getppid() == parent;
        has_parent.then_some(()).ok_or_else(|| Errno::ESRCH.into())
    };
    // SAFETY: these are plain system calls: no allocation, no lock.
    unsafe {
        command.pre_exec(end_with_parent);
    }
}

/// A thread that writes what a program reads.
struct Feeding(thread::JoinHandle<io::Result<()>>);

impl Feeding {
    /// Of a program that has ended: then the thread has, too.
    fn outcome(self) -> io::Result<()> {
        self.0.join().unwrap_or(Ok(()))
    }
}

/// What a program said until it had closed both outputs.
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Where it may not have read all of its input yet.
    fed: Option<Feeding>,
}

/// Why there is no waiting for a program any more.
enum Unfinished {
    /// Time is up. What it complained about so far.
    Late(Vec<u8>),
    /// It did not get its input, or was not understood: what it did then is not what was wanted.
    Broken(io::Error),
}

/// What does not fit into a pipe is written by a thread, so that nobody waits longer than told for a
/// program that hangs.
fn feed(stdin: ChildStdin, input: &str) -> io::Result<Option<Feeding>> {
    /// `PIPE_DEF_BUFFERS` of the smallest pages.
    const FITS: usize = 16 * 4096;
    if input.len() <= FITS {
        return write_to(stdin, input).map(|()| None);
    }
    let input = input.to_owned();
    let thread = thread::Builder::new().spawn(move || write_to(stdin, &input));
    thread.map(|thread| Some(Feeding(thread)))
}

/// A program that does not read its input tells why at its end.
fn write_to(mut stdin: ChildStdin, input: &str) -> io::Result<()> {
    match stdin.write_all(input.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Reads both outputs to their ends.
fn converse(child: &mut Child, input: &str, patience: Duration) -> Result<Heard, Unfinished> {
    let deadline = Instant::now() + patience;
    let stdin = child.stdin.take();
    let fed = stdin.map_or(Ok(None), |stdin| feed(stdin, input));
    let fed = fed.map_err(Unfinished::Broken)?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    while stdout.is_some() || stderr.is_some() {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Err(Unfinished::Late(complaint));
        };
        let ready = readable(
            [
                stdout.as_ref().map(AsFd::as_fd),
                stderr.as_ref().map(AsFd::as_fd),
            ],
            left,
        );
        if ready[0] {
            take(&mut stdout, &mut output).map_err(Unfinished::Broken)?;
        }
        if ready[1] {
            take(&mut stderr, &mut complaint).map_err(Unfinished::Broken)?;
        }
    }
    Ok(Heard {
        stdout: output,
        stderr: complaint,
        fed,
    })
}

fn readable(fds: [Option<BorrowedFd<'_>>; 2], left: Duration) -> [bool; 2] {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .flatten()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, timeout) {
        Ok(_some) => {}
        Err(Errno::EINTR) => return [false; 2],
        // Reading will tell what is wrong.
        Err(_errno) => return fds.map(|fd| fd.is_some()),
    }
    let mut answers = polled.iter().map(|fd| fd.any().unwrap_or_default());
    fds.map(|fd| fd.is_some() && answers.next().unwrap_or_default())
}

/// Reads what there is; the end closes the pipe.
fn take(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let Some(reader) = pipe else { return Ok(()) };
    match reader.read(&mut buffer) {
        Ok(0) => *pipe = None,
        Ok(length) => into.extend(buffer.iter().take(length)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn input_goes_in_and_output_comes_out() {
        assert_eq!(run("cat", &[], "abc\n", PATIENCE).unwrap(), "abc\n");
    }

    #[test]
    fn more_than_a_pipe_holds_comes_out_whole() {
        let text = run("seq", &["200000"], "", PATIENCE).unwrap();
        assert_eq!(text.lines().count(), 200_000);
    }

    #[test]
    fn more_than_a_pipe_holds_goes_in_whole() {
        let input = "x".repeat(1 << 20);
        assert_eq!(
            run("wc", &["-c"], &input, PATIENCE).unwrap().trim(),
            "1048576"
        );
        // It never reads, and ends all the same.
        assert_eq!(run("true", &[], &input, PATIENCE).unwrap(), "");
        let error = run("sleep", &["100"], &input, Duration::from_millis(300));
        assert!(matches!(error, Err(Cause::ProgramTimeout { .. })));
    }

    #[test]
    fn a_failure_is_told_in_the_programs_words() {
        let error = run(
            "sh",
            &["-c", "echo no >&2; echo way >&2; exit 3"],
            "",
            PATIENCE,
        )
        .expect_err("exit 3 is a failure");
        assert_eq!(error.to_string(), "sh failed (exit status: 3): no; way");
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_reaped() {
        let begin = Instant::now();
        let error = run(
            "sh",
            &["-c", "echo waiting for the lock >&2; exec sleep 100"],
            "",
            Duration::from_millis(300),
        )
        .expect_err("it cannot end in time");
        assert!(begin.elapsed() < Duration::from_secs(50));
        assert!(
            matches!(&error, Cause::ProgramTimeout { stderr, .. } if stderr == "waiting for the lock"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = run("cni-firewall-no-such-program", &[], "", PATIENCE)
            .expect_err("there is no such program");
        assert_eq!(error.to_string(), "cannot run cni-firewall-no-such-program");
    }
}
