//! What a plugin leaves running when it has ended, e.g. until the kernel has let go of a link. It is
//! no part of what a runtime waits for; but the next run is not to share the machine with it.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// While it lives, processes whose parent has ended become this process's children.
#[derive(Debug)]
pub(crate) struct Orphans {
    /// Children for other reasons.
    before: BTreeSet<Pid>,
}

impl Orphans {
    /// Adopts what is left behind from now on.
    pub(crate) fn adopt() -> Result<Self> {
        set_child_subreaper(true).context("adopt what plugins leave running")?;
        Ok(Self {
            before: children()?,
        })
    }

    /// Waits until all have ended, and what these have left too; tells whether there were any.
    pub(crate) fn wait(&self) -> Result<bool> {
        let mut any = false;
        loop {
            let left: Vec<Pid> = children()?.difference(&self.before).copied().collect();
            if left.is_empty() {
                return Ok(any);
            }
            any = true;
            for pid in left {
                match waitpid(pid, None) {
                    Ok(_) | Err(Errno::ECHILD) => {}
                    Err(error) => return Err(error).context("wait for what a plugin has left"),
                }
            }
        }
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        // Daemons that other cases start look after their own.
        let _ = set_child_subreaper(false);
    }
}

/// The children of all threads: an orphan may be given to any of them.
fn children() -> Result<BTreeSet<Pid>> {
    let mut found = BTreeSet::new();
    for thread in fs::read_dir("/proc/self/task").context("list threads")? {
        // A thread that has ended meanwhile has given its children to the others.
        let list = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        found.extend(pids(&list));
    }
    Ok(found)
}

/// `12 345 `
fn pids(list: &str) -> impl Iterator<Item = Pid> {
    list.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn pids_are_separated_by_spaces() {
        let found: Vec<_> = pids("12 345 ").map(Pid::as_raw).collect();
        assert_eq!(found, [12, 345]);
    }

    #[test]
    fn what_outlives_its_parent_is_waited_for() {
        let orphans = Orphans::adopt().unwrap();
        let start = Instant::now();
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 0.3 & exit 0"]);
        assert!(shell.stdout(Stdio::null()).status().unwrap().success());
        assert!(orphans.wait().unwrap());
        assert!(start.elapsed() >= Duration::from_millis(250));
        assert!(!orphans.wait().unwrap());
    }
}
