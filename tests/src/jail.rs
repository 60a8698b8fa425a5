//! A process namespace for what forks daemons: it ends as a whole.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use cni_testkit::require;

/// A process namespace with its own `/proc` and mounts, in the calling thread's network. Dropping
/// it kills everything inside; so does the end of the thread that made it.
#[derive(Debug)]
pub struct Jail {
    unshare: Child,
}

/// The namespace's init: it says when it runs, and collects orphans.
const INIT: &str = "echo ready; sleep infinity & wait";

impl Jail {
    /// Makes it, empty but for its init.
    pub fn new() -> Self {
        for tool in ["setpriv", "unshare", "nsenter"] {
            require(tool);
        }
        let mut unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", INIT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(unshare.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n", "no process namespace");
        Self { unshare }
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let [nsenter, words @ ..] = self.words();
        let mut command = Command::new(nsenter);
        command.args(words).arg(program);
        command
    }

    /// What in front of a command makes it run inside.
    pub fn words(&self) -> [String; 4] {
        let namespaces = format!("/proc/{}/ns", self.unshare.id());
        [
            "nsenter".to_owned(),
            format!("--mount={namespaces}/mnt"),
            format!("--pid={namespaces}/pid_for_children"),
            "--".to_owned(),
        ]
    }

    /// The path, outside, of what is at `/proc` inside.
    pub fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/proc", self.unshare.id()))
    }
}

impl Default for Jail {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        // unshare kills its child, the init, and with it the kernel everything else.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
