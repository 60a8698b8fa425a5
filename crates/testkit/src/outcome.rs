//! What a plugin answered.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

/// A finished call of a plugin.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was called, for messages.
    pub call: String,
    /// The exit code, or minus the number of the signal that ended it.
    pub code: i32,
    /// Standard output as it came.
    pub stdout: Vec<u8>,
    /// Standard error as text.
    pub stderr: String,
    /// From before the spawn to the end of the process.
    pub elapsed: Duration,
    /// Whether it had to be killed.
    pub timed_out: bool,
    /// Processes of its group that it left running: pid and name.
    pub orphans: Vec<String>,
}

impl Outcome {
    pub(crate) fn new(
        call: &str,
        status: ExitStatus,
        (stdout, stderr): (Vec<u8>, Vec<u8>),
        elapsed: Duration,
    ) -> Self {
        Self {
            call: call.to_owned(),
            code: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(0)),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            elapsed,
            timed_out: false,
            orphans: Vec::new(),
        }
    }

    pub(crate) fn ended(mut self, timed_out: bool, orphans: Vec<String>) -> Self {
        self.timed_out = timed_out;
        self.orphans = orphans;
        self
    }

    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The one JSON document on stdout; panics when there is none or more.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}\n{self}"))
    }

    /// Exit code 0 in time, and nothing left running.
    #[track_caller]
    pub fn expect_ok(self) -> Self {
        assert!(!self.timed_out, "timed out\n{self}");
        assert_eq!(self.code, 0, "failed\n{self}");
        assert!(self.orphans.is_empty(), "left processes running\n{self}");
        self
    }

    /// As [`Outcome::expect_ok`], and nothing on stdout: what DEL, CHECK, GC and STATUS answer.
    #[track_caller]
    pub fn expect_silent_ok(self) -> Self {
        let outcome = self.expect_ok();
        assert!(outcome.stdout.is_empty(), "stdout is not empty\n{outcome}");
        outcome
    }

    /// A failure with this code, told by exactly one JSON document on stdout. Returns it.
    #[track_caller]
    pub fn expect_error(&self, code: u32) -> Value {
        let error = self.expect_any_error();
        assert_eq!(error["code"], code, "another error code\n{self}");
        error
    }

    /// A failure with any code, told by exactly one JSON document on stdout. Returns it.
    #[track_caller]
    pub fn expect_any_error(&self) -> Value {
        assert!(!self.timed_out, "timed out\n{self}");
        assert!(self.code > 0, "did not fail\n{self}");
        assert!(self.orphans.is_empty(), "left processes running\n{self}");
        let error = self.json();
        assert!(error["code"].is_u64(), "no code\n{self}");
        assert!(
            error["msg"].as_str().is_some_and(|msg| !msg.is_empty()),
            "no msg\n{self}"
        );
        error
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "call: {}\nexit code: {}, after {:?}",
            self.call, self.code, self.elapsed
        )?;
        if !self.orphans.is_empty() {
            writeln!(f, "left running: {}", self.orphans.join(", "))?;
        }
        write!(f, "stdout: {}\nstderr: {}", self.text(), self.stderr)
    }
}

/// The living members of a process group, as `pid (name)`.
pub(crate) fn members_of_group(group: i32) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter_map(|stat| living_member(&stat, group))
        .collect()
}

/// `/proc/<pid>/stat`: `pid (name) state ppid pgrp ...`; the name may hold anything.
fn living_member(stat: &str, group: i32) -> Option<String> {
    let (name, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let pgrp: i32 = fields.nth(1)?.parse().ok()?;
    (pgrp == group && !matches!(state, "Z" | "X")).then(|| format!("{name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_members_are_told_from_others_and_from_zombies() {
        assert_eq!(
            living_member("7 (a b) c) S 1 42 7 0", 42),
            Some("7 (a b) c)".into())
        );
        assert_eq!(living_member("7 (sh) Z 1 42 7 0", 42), None);
        assert_eq!(living_member("7 (sh) S 1 43 7 0", 42), None);
    }
}
