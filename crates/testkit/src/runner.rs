//! Runs one plugin as a runtime does.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::conf::Conf;
use crate::netns::Netns;
use crate::outcome::Outcome;

/// Says whether the plugins take their fast paths: see `cni_types::FastPaths`.
const FAST_PATHS: &str = "TENON_FAST_PATHS";

/// One call of a plugin, being put together. Cloning keeps what was said so far, so that ADD, CHECK
/// and DEL of one attachment share their first half.
///
/// The plugin's environment holds `PATH` and what is set here, nothing else. It runs in the calling
/// thread's namespace, which in a [`crate::World`] is the host's.
#[derive(Debug, Clone)]
pub struct Runner {
    program: PathBuf,
    wrapper: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    pub(crate) stdin: Vec<u8>,
    cwd: PathBuf,
    timeout: Duration,
}

impl Runner {
    /// A call of `bin_dir/plugin_type` with `CNI_PATH` set to `bin_dir`, an empty stdin and ten
    /// seconds to answer.
    #[must_use]
    pub fn new(bin_dir: &Path, plugin_type: &str) -> Self {
        let runner = Self {
            program: bin_dir.join(plugin_type),
            wrapper: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            cwd: PathBuf::from("/"),
            timeout: Duration::from_secs(10),
        };
        let runner = runner
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_PATH", bin_dir);
        // So that a whole suite can be run with all fast paths, or with none.
        match std::env::var_os(FAST_PATHS) {
            Some(value) => runner.env(FAST_PATHS, value),
            None => runner,
        }
    }

    /// The same call of another plugin.
    #[must_use]
    pub fn of(mut self, bin_dir: &Path, plugin_type: &str) -> Self {
        self.program = bin_dir.join(plugin_type);
        self.env("CNI_PATH", bin_dir)
    }

    /// `CNI_COMMAND`.
    #[must_use]
    pub fn command(self, command: &str) -> Self {
        self.env("CNI_COMMAND", command)
    }

    /// `CNI_CONTAINERID`, `CNI_NETNS` and `CNI_IFNAME` at once.
    #[must_use]
    pub fn attachment(self, container_id: &str, netns: &Netns, ifname: &str) -> Self {
        self.container_id(container_id)
            .netns(netns.path())
            .ifname(ifname)
    }

    /// `CNI_CONTAINERID`.
    #[must_use]
    pub fn container_id(self, id: &str) -> Self {
        self.env("CNI_CONTAINERID", id)
    }

    /// `CNI_NETNS`.
    #[must_use]
    pub fn netns(self, path: impl AsRef<OsStr>) -> Self {
        self.env("CNI_NETNS", path)
    }

    /// `CNI_IFNAME`.
    #[must_use]
    pub fn ifname(self, ifname: &str) -> Self {
        self.env("CNI_IFNAME", ifname)
    }

    /// `CNI_ARGS`.
    #[must_use]
    pub fn args(self, args: &str) -> Self {
        self.env("CNI_ARGS", args)
    }

    /// `CNI_PATH`, where delegates are looked for.
    #[must_use]
    pub fn path(self, path: impl AsRef<OsStr>) -> Self {
        self.env("CNI_PATH", path)
    }

    /// `CNI_PATH` with a directory in front, e.g. of fakes.
    #[must_use]
    pub fn path_first(self, dir: &Path) -> Self {
        let mut path = dir.as_os_str().to_owned();
        if let Some((_, rest)) = self.env.iter().find(|(key, _)| key == "CNI_PATH") {
            path.push(":");
            path.push(rest);
        }
        self.env("CNI_PATH", path)
    }

    /// Any environment variable; setting it again replaces it.
    #[must_use]
    pub fn env(self, key: &str, value: impl AsRef<OsStr>) -> Self {
        let mut runner = self.env_remove(key);
        runner.env.push((key.into(), value.as_ref().to_owned()));
        runner
    }

    /// Takes a variable out of the environment.
    #[must_use]
    pub fn env_remove(mut self, key: &str) -> Self {
        self.env.retain(|(existing, _)| existing != key);
        self
    }

    /// The configuration on stdin.
    #[must_use]
    pub fn conf(self, conf: &Conf) -> Self {
        self.stdin(conf.to_string())
    }

    /// Any bytes on stdin.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The directory the plugin starts in; `/` unless told.
    #[must_use]
    pub fn cwd(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.cwd);
        self
    }

    /// When to kill the plugin and everything it started.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the plugin through another program, e.g. `["strace", "-f", "-o", "file"]`.
    #[must_use]
    pub fn through(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(OsString::from).collect();
        self
    }

    /// Runs the plugin as root without one capability, e.g. `net_admin`.
    #[must_use]
    pub fn without_capability(self, name: &str) -> Self {
        crate::require("setpriv");
        self.through(&["setpriv", &format!("--bounding-set=-{name}")])
    }

    /// Runs it and waits for the end. A hung plugin is killed at the timeout, and so is, in any
    /// case, what it leaves running in its process group.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let start = Instant::now();
        let mut child = self.spawn();
        let group = group_of(&child);
        let (mut stdin, mut stdout, mut stderr) = pipes(&mut child);
        thread::scope(|scope| {
            // A plugin may well answer without reading; then the pipe breaks.
            scope.spawn(move || drop(stdin.write_all(&self.stdin)));
            let stdout = scope.spawn(move || read_all(&mut stdout));
            let stderr = scope.spawn(move || read_all(&mut stderr));
            let (ended, end) = mpsc::channel::<()>();
            let watchdog = scope.spawn(move || {
                let timed_out = end.recv_timeout(self.timeout).is_err();
                if timed_out {
                    let _ = killpg(group, Signal::SIGKILL);
                }
                timed_out
            });
            let status = child.wait().unwrap();
            let elapsed = start.elapsed();
            let _ = ended.send(());
            let timed_out = watchdog.join().unwrap();
            let orphans = end_orphans(group);
            Outcome::new(
                &self.describe(),
                status,
                (stdout.join().unwrap(), stderr.join().unwrap()),
                elapsed,
            )
            .ended(timed_out, orphans)
        })
    }

    /// The process, not yet started, for a test that holds it itself. Its stdin gets [`Runner::input`].
    #[must_use]
    pub fn prepare(&self) -> Command {
        let mut words = self.wrapper.clone();
        words.push(self.program.clone().into_os_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&self.cwd)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end_with_thread(&mut command);
        command
    }

    /// What it reads.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.stdin
    }

    pub(crate) fn spawn(&self) -> Child {
        self.prepare()
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()))
    }

    /// Starts it as `adapt` wants it, with its configuration on its stdin, for a test that leads and
    /// reaps it by itself, as a tracer does.
    #[must_use]
    pub fn spawn_with(&self, adapt: impl FnOnce(&mut Command)) -> Child {
        let mut command = self.prepare();
        adapt(&mut command);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        // A pipe takes a configuration whole: this does not wait.
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        child
    }

    /// What is called, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let command = self.env.iter().find(|(key, _)| key == "CNI_COMMAND");
        let command = command.map_or_else(|| "?".into(), |(_, value)| value.to_string_lossy());
        format!("{} {command}", self.program.display())
    }
}

/// Has the kernel kill the process when the thread that spawned it ends, however it ends.
#[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
pub(crate) fn end_with_thread(command: &mut Command) {
    // SAFETY: prctl(2) is a plain system call: no allocation, no lock.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
}

pub(crate) fn group_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

fn pipes(child: &mut Child) -> (ChildStdin, ChildStdout, ChildStderr) {
    (
        child.stdin.take().unwrap(),
        child.stdout.take().unwrap(),
        child.stderr.take().unwrap(),
    )
}

fn read_all(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    bytes
}

/// Kills what a plugin left running in its group, and names it.
fn end_orphans(group: Pid) -> Vec<String> {
    if killpg(group, None).is_err() {
        return Vec::new();
    }
    let left = crate::outcome::members_of_group(group.as_raw());
    let _ = killpg(group, Signal::SIGKILL);
    left
}
