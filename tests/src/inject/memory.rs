//! The memory of a process that is stopped.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use nix::unistd::Pid;

/// Of one process, open for reading and writing.
pub(super) struct Memory(File);

impl Memory {
    pub(super) fn of(pid: Pid) -> Self {
        let path = format!("/proc/{pid}/mem");
        let file = OpenOptions::new().read(true).write(true).open(&path);
        Self(file.unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    pub(super) fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).unwrap();
    }
}
