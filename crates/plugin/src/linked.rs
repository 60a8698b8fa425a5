//! Plugins that another plugin's binary has in itself.
//!
//! Executing a delegate costs half a millisecond, most of it for the start of a process; what host-local
//! does then takes a tenth. So a binary may link a plugin that it often delegates to, and run it in its
//! own process. It must be the one that would have been executed: the binary that is found along
//! `CNI_PATH` carries, in an ELF note, a digest of the sources it was built from, and only if that is the
//! digest of the plugin linked here is it not executed. A wrapper, another implementation, another
//! version: all of these are executed as ever.

mod note;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use cni_types::Command;

pub use self::note::Note;
use crate::exec::Outcome;
use crate::skeleton::{Host, getenv};
use crate::{Deadline, Plugin};

/// A digest of the sources that a plugin was built from.
pub type Build = [u8; 32];

/// How much of a binary is read in search of its note; linkers put notes behind the headers.
const HEAD: usize = 4096;

/// A plugin that is linked into the running binary.
#[derive(Clone, Copy)]
pub struct Linked {
    /// Its CNI type.
    pub name: &'static str,
    build: &'static Build,
    serve: fn(&mut Host<'_>) -> ExitCode,
}

impl Linked {
    /// The plugin of which `serve` is `cni_plugin::run`, and `build` the digest that its own binary's
    /// [`Note`] holds.
    #[must_use]
    pub const fn new<P: Plugin>(
        build: &'static Build,
        serve: fn(&mut Host<'_>) -> ExitCode,
    ) -> Self {
        Self {
            name: P::INFO.name,
            build,
            serve,
        }
    }

    /// Whether executing `path` would run just this. Also when it could not be executed, or not be
    /// read, the answer is no.
    #[must_use]
    pub fn is_binary(&self, path: &Path) -> bool {
        let Ok(mut file) = File::open(path) else {
            return false;
        };
        let executable = file
            .metadata()
            .is_ok_and(|file| file.permissions().mode() & 0o111 != 0);
        let mut head = [0; HEAD];
        executable
            && file.read(&mut head).is_ok_and(|length| {
                note::find(head.get(..length).unwrap_or(&[])) == Some(self.build)
            })
    }

    /// Serves `command` as the executed binary would: with our environment, `stdin` on its stdin, and
    /// what it writes to stdout in the outcome.
    pub(crate) fn run(&self, command: Command, stdin: &[u8], deadline: Deadline) -> Outcome {
        let (mut stdin, mut stdout, mut stderr) = (stdin, Vec::new(), Vec::new());
        let code = (self.serve)(&mut Host {
            getenv: &|name| match name {
                "CNI_COMMAND" => Some(command.as_str().to_owned()),
                name => getenv(name),
            },
            stdin: &mut stdin,
            stdout: &mut stdout,
            stderr: &mut stderr,
            deadline: Some(deadline),
        });
        // As wait(2) tells it: the exit code is in the second byte.
        let status = i32::from(code != ExitCode::SUCCESS) << 8;
        Outcome {
            status: ExitStatus::from_raw(status),
            stdout,
            stderr,
        }
    }
}

impl fmt::Debug for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Linked").field(&self.name).finish()
    }
}
