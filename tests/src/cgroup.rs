//! Control groups of a test. They cannot be private, so they are named after the test's process
//! and counted within it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "tenon-test-";

/// A parent for a runtime's control groups, taken away when dropped. What earlier tests left that
/// were killed is taken away as well.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
}

impl Cgroup {
    /// Names the parent; the runtime makes it, in whatever hierarchies there are.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        Self { name }
    }

    /// The path as in `linux.cgroup_parent`, with a leading slash.
    pub fn parent(&self) -> String {
        format!("/{}", self.name)
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Version 2, or one hierarchy for each controller of version 1.
        sweep(Path::new(ROOT), &self.name);
        for hierarchy in fs::read_dir(ROOT).into_iter().flatten().flatten() {
            sweep(&hierarchy.path(), &self.name);
        }
    }
}

fn sweep(hierarchy: &Path, own: &str) {
    for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
        else {
            continue;
        };
        if name == own || !Path::new("/proc").join(pid).exists() {
            remove_tree(&entry.path());
        }
    }
}

/// A control group is removed with rmdir, when it has no children and no processes left; its files
/// are not files.
fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}
