//! Control groups of a test. They cannot be private, so they are named after the test's process.

use std::fs;
use std::path::Path;

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
        Self {
            name: format!("{PREFIX}{}", std::process::id()),
        }
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
        let Some(pid) = name.strip_prefix(PREFIX) else {
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
