//! Runs of plugins, as a runtime does them: variables, stdin, and stdout read to its end.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::iter::Sum;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cni_testkit::Suite;

use crate::orphans::Orphans;

/// Says whether our plugins take their fast paths: on, off, or where it pays.
const FAST_PATHS: &str = "TENON_FAST_PATHS";

/// Lets the kernel finish what it does about rules that are gone after their transaction has ended,
/// so that none pays for the run before, which is the other's.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel does not tell when it has finished"
)]
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

/// How long a run took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// Until there was an answer and the process had ended: what a runtime waits for.
    pub(crate) answer: Duration,
    /// Until all that was left running had ended as well.
    pub(crate) all: Duration,
}

impl Took {
    /// With nothing left running.
    pub(crate) fn just(answer: Duration) -> Self {
        Self {
            answer,
            all: answer,
        }
    }

    /// The share of each of so many that ran at once.
    pub(crate) fn each(self, count: u32) -> Result<Self> {
        let share = |time: Duration| time.checked_div(count).context("nothing has run");
        Ok(Self {
            answer: share(self.answer)?,
            all: share(self.all)?,
        })
    }
}

impl Sum for Took {
    /// Of what ran one after the other.
    fn sum<I: Iterator<Item = Self>>(runs: I) -> Self {
        runs.fold(Self::default(), |all, one| Self {
            answer: all.answer + one.answer,
            all: all.all + one.all,
        })
    }
}

/// What a plugin is called with.
#[derive(Debug)]
pub(crate) struct Call {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    stdin: Vec<u8>,
}

impl Call {
    /// `command` of a plugin of `suite`, which finds its delegates there.
    pub(crate) fn new(suite: &Suite, plugin: &str, command: &'static str, stdin: Vec<u8>) -> Self {
        let mut call = Self::of_program(&suite.bin_dir().join(plugin));
        call.stdin = stdin;
        call.variables = vec![
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("CNI_PATH", suite.bin_dir().into()),
            ("CNI_COMMAND", command.into()),
        ];
        // So that the plain ways can be measured as well.
        let fast_paths = std::env::var_os(FAST_PATHS);
        call.variables
            .extend(fast_paths.map(|value| (FAST_PATHS, value)));
        call
    }

    /// Any program, with the same pipes.
    pub(crate) fn of_program(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            stdin: Vec::new(),
        }
    }

    /// Another variable.
    pub(crate) fn variable(mut self, key: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((key, value.into()));
        self
    }

    /// Another argument.
    pub(crate) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// From before the process is made until it has ended and its whole output is here.
    ///
    /// # Errors
    /// When it cannot be run, or fails.
    pub(crate) fn timed(&self) -> Result<(Took, Vec<u8>)> {
        let (took, outputs) = together(std::slice::from_ref(self))?;
        Ok((took, outputs.concat()))
    }

    /// The process, about to be made.
    pub(crate) fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    /// Gives a process its stdin, which is smaller than a pipe's buffer.
    pub(crate) fn feed(&self, spawned: std::io::Result<Child>) -> Result<Child> {
        let mut child = spawned.with_context(|| format!("run {}", self.program.display()))?;
        if let Some(mut pipe) = child.stdin.take() {
            // VERSION may well answer without reading.
            let _ = pipe.write_all(&self.stdin);
        }
        Ok(child)
    }

    /// A failure is no measurement.
    pub(crate) fn check(&self, success: bool, stdout: &[u8]) -> Result<()> {
        let command = self.variables.iter().find(|(key, _)| *key == "CNI_COMMAND");
        let command = command.map(|(_, value)| value.to_string_lossy());
        ensure!(
            success,
            "{} {} said: {}",
            self.program.display(),
            command.unwrap_or_default(),
            String::from_utf8_lossy(stdout)
        );
        Ok(())
    }
}

/// All at once: from before the first process is made until each has ended and its whole output is
/// here. Returns when what they left running has ended too.
///
/// # Errors
/// When one cannot be run, or fails.
pub(crate) fn together(calls: &[Call]) -> Result<(Took, Vec<Vec<u8>>)> {
    let mut commands: Vec<Command> = calls.iter().map(Call::to_command).collect();
    let orphans = Orphans::adopt()?;
    let mut children = Vec::with_capacity(calls.len());
    let mut ended = Vec::with_capacity(calls.len());
    let start = Instant::now();
    for (call, command) in calls.iter().zip(&mut commands) {
        children.push(call.feed(command.spawn())?);
    }
    for mut child in children {
        ended.push(end(&mut child)?);
    }
    let answer = start.elapsed();
    let mut took = Took::just(answer);
    if orphans.wait()? {
        took.all = start.elapsed();
    }
    let outputs = calls.iter().zip(ended).map(|(call, (success, stdout))| {
        call.check(success, &stdout)?;
        Ok(stdout)
    });
    Ok((took, outputs.collect::<Result<_>>()?))
}

/// Whether it succeeded, and what it said, which is smaller than a pipe's buffer.
fn end(child: &mut Child) -> Result<(bool, Vec<u8>)> {
    let mut stdout = Vec::with_capacity(4096);
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut stdout)?;
    }
    Ok((child.wait()?.success(), stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Call {
        Call::of_program(Path::new("/bin/sh"))
            .argument("-c")
            .argument(script)
            .variable("PATH", "/usr/bin:/bin")
    }

    #[test]
    fn what_is_left_running_is_not_the_answers_time() {
        let (took, stdout) = shell("echo yes; sleep 0.3 >&- 2>&- <&- & exit 0")
            .timed()
            .unwrap();
        assert_eq!(stdout, b"yes\n");
        assert!(took.all >= Duration::from_millis(300), "{took:?}");
        assert!(took.answer + Duration::from_millis(100) < took.all);
    }

    #[test]
    fn one_failure_of_many_is_no_measurement() {
        assert!(together(&[shell("exit 0"), shell("exit 1")]).is_err());
        let (took, outputs) = together(&[shell("echo 1"), shell("echo 2")]).unwrap();
        assert_eq!(outputs, [b"1\n", b"2\n"]);
        assert_eq!(took.each(2).unwrap().answer, took.answer / 2);
        assert!(took.each(0).is_err());
    }
}
