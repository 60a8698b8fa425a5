//! Programs that are measured, each in a file of its own.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Copies a program as `scripts/install` does: in one write. How a file is written decides in what pieces the
/// page cache holds it, and that is most of what a start costs; all that are compared are written alike.
/// A copy that is there already gets a new file: the old one may be running.
///
/// # Errors
/// One of the files cannot be read or written.
pub(crate) fn place(program: &Path, copy: &Path) -> Result<()> {
    let content = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let make = || format!("make {}", copy.display());
    let new = copy.with_extension("new");
    fs::write(&new, content).with_context(make)?;
    let permissions = fs::metadata(program).with_context(make)?.permissions();
    fs::set_permissions(&new, permissions).with_context(make)?;
    fs::rename(&new, copy).with_context(make)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_runs_can_be_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        place(Path::new("/bin/sleep"), &copy).unwrap();
        let mut running = std::process::Command::new(&copy).arg("60").spawn().unwrap();
        place(Path::new("/bin/true"), &copy).unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
        assert_eq!(fs::read("/bin/true").unwrap(), fs::read(&copy).unwrap());
    }

    #[test]
    fn a_copy_can_be_run() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        place(Path::new("/bin/true"), &copy).unwrap();
        assert_eq!(fs::read("/bin/true").unwrap(), fs::read(&copy).unwrap());
        assert!(std::process::Command::new(copy).status().unwrap().success());
    }
}
