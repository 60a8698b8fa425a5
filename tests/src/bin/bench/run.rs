//! One run of a plugin, as a runtime does it: variables, stdin, and stdout read to its end.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cni_testkit::Suite;

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

/// What a plugin is called with.
#[derive(Debug)]
pub(crate) struct Call {
    program: PathBuf,
    command: &'static str,
    variables: Vec<(&'static str, OsString)>,
    stdin: Vec<u8>,
}

impl Call {
    /// `command` of a plugin of `suite`, which finds its delegates there.
    pub(crate) fn new(suite: &Suite, plugin: &str, command: &'static str, stdin: Vec<u8>) -> Self {
        let mut variables: Vec<(_, OsString)> = vec![
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("CNI_PATH", suite.bin_dir().into()),
            ("CNI_COMMAND", command.into()),
        ];
        // So that the plain ways can be measured as well.
        variables.extend(std::env::var_os(FAST_PATHS).map(|value| (FAST_PATHS, value)));
        let program = suite.bin_dir().join(plugin);
        Self {
            program,
            command,
            variables,
            stdin,
        }
    }

    /// Another variable.
    pub(crate) fn variable(mut self, key: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((key, value.into()));
        self
    }

    /// From before the process is made until it has ended and its whole output is here.
    ///
    /// # Errors
    /// When it cannot be run, or fails.
    pub(crate) fn timed(&self) -> Result<(Duration, Vec<u8>)> {
        let mut command = self.to_command();
        let start = Instant::now();
        let mut child = self.feed(command.spawn())?;
        let mut stdout = Vec::with_capacity(4096);
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut stdout)?;
        }
        let status = child.wait()?;
        let elapsed = start.elapsed();
        self.check(status.success(), &stdout)?;
        Ok((elapsed, stdout))
    }

    /// The process, about to be made.
    pub(crate) fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
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
        ensure!(
            success,
            "{} {} said: {}",
            self.program.display(),
            self.command,
            String::from_utf8_lossy(stdout)
        );
        Ok(())
    }
}
