//! The sandbox's path as Docker makes them, for drivers that take no other.
//!
//! Docker's is a bind mount; a symbolic link leads to the same namespace, needs no mount namespace to
//! be shared, and does not keep a namespace alive that its runtime has removed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cni_types::ContainerId;
use sha2::{Digest, Sha256};

use super::SandboxError;
use crate::ids::hex;

/// Where Docker has them.
const DIR: &str = "/var/run/docker/netns";

/// The path of a container's sandbox in Docker's form: 12 hexadecimal digits.
#[must_use]
pub fn path(container: &ContainerId) -> PathBuf {
    let digits = hex(&Sha256::digest(container.as_str()));
    Path::new(DIR).join(digits.get(..12).unwrap_or(&digits))
}

/// Makes the path lead to the namespace. It may do so already, for another of the container's
/// networks.
pub(super) fn make(path: &Path, netns: &Path) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Io {
        verb: "make",
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(dir)
            .map_err(failed)?;
    }
    match std::os::unix::fs::symlink(netns, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read_link(path).is_ok_and(|target| target == netns) {
                return Ok(());
            }
            replace_stale(path, netns).map_err(failed)
        }
        Err(source) => Err(failed(source)),
    }
}

/// A link of ours that leads nowhere any more was left by a container of the same id.
fn replace_stale(path: &Path, netns: &Path) -> io::Result<()> {
    let is_link = path.symlink_metadata()?.file_type().is_symlink();
    if !is_link || path.exists() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it leads somewhere else",
        ));
    }
    fs::remove_file(path)?;
    std::os::unix::fs::symlink(netns, path)
}

/// Removes the path, if it is a link. Docker's own are none.
pub(super) fn remove(path: &Path) -> Result<(), SandboxError> {
    let is_link = path
        .symlink_metadata()
        .is_ok_and(|meta| meta.file_type().is_symlink());
    if !is_link {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SandboxError::Io {
            verb: "remove",
            path: path.to_owned(),
            source,
        }),
        _gone => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_of_the_form_that_kuryr_insists_on() {
        let path = path(&"c1".parse().unwrap());
        let text = path.to_str().unwrap();
        let digits = text.strip_prefix("/var/run/docker/netns/").unwrap();
        assert_eq!(digits.len(), 12);
        assert!(digits.chars().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    fn links_are_made_shared_replaced_when_stale_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (netns, other) = (dir.path().join("c1"), dir.path().join("c2"));
        fs::write(&netns, "").unwrap();
        let path = dir.path().join("netns/0123456789ab");
        for _shared in 0..2 {
            make(&path, &netns).unwrap();
        }
        fs::write(&other, "").unwrap();
        let error = make(&path, &other).unwrap_err();
        assert!(error.to_string().contains("0123456789ab"), "{error}");
        fs::remove_file(&netns).unwrap();
        // The old one leads nowhere now.
        make(&path, &other).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), other);
        for _twice in 0..2 {
            remove(&path).unwrap();
        }
        fs::write(&path, "Docker's").unwrap();
        remove(&path).unwrap();
        assert!(path.exists(), "what is no link is not ours");
    }
}
