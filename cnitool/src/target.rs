//! What an operation is about: an interface of a container.

use std::path::{Component, Path, PathBuf};

use cni_types::{Attachment, ContainerId, IfName, Json, NetworkName};
use sha2::{Digest, Sha512};

/// An interface of a container, and what the runtime has to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Names the container. Unique among all containers of the machine.
    pub container_id: ContainerId,
    /// The path of the container's network namespace. Only DEL does without.
    pub netns: Option<PathBuf>,
    /// The interface's name inside the container.
    pub ifname: IfName,
    /// `CNI_ARGS`, in order. Empty on DEL and CHECK: those of the ADD.
    pub args: Vec<(String, String)>,
    /// Capability arguments, by capability. Empty on DEL and CHECK: those of the ADD.
    pub capability_args: Vec<(String, Json)>,
}

impl Target {
    /// A target whose container is known by nothing but its namespace: the id is derived from the
    /// path, as the CNI project's cnitool does.
    #[must_use]
    pub fn for_netns(netns: impl AsRef<Path>, ifname: IfName) -> Self {
        Self {
            container_id: container_id_of(netns.as_ref()),
            netns: Some(netns.as_ref().to_owned()),
            ifname,
            args: Vec::new(),
            capability_args: Vec::new(),
        }
    }

    /// The attachment to `network` that this is.
    #[must_use]
    pub fn attachment(&self, network: &NetworkName) -> Attachment {
        Attachment {
            network: network.clone(),
            container_id: self.container_id.clone(),
            ifname: self.ifname.clone(),
        }
    }
}

/// `cnitool-` and the first ten bytes of the path's SHA-512, in hexadecimal.
#[expect(
    clippy::expect_used,
    reason = "invariant: hexadecimal digits behind letters are a valid id"
)]
fn container_id_of(netns: &Path) -> ContainerId {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;

    let digest = Sha512::digest(netns.as_os_str().as_bytes());
    let mut id = String::from("cnitool-");
    for byte in digest.iter().take(10) {
        // Writing to a String does not fail.
        let _infallible = write!(id, "{byte:02x}");
    }
    id.parse().expect("hexadecimal digits")
}

/// The absolute path without `.`, `..` and doubled slashes, without asking the file system: what
/// Go's `filepath.Abs` returns. Container ids are derived from it.
#[must_use]
pub fn absolute(path: &Path, working_dir: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in working_dir.join(path).components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_id_is_the_original_tools() {
        // printf /var/run/netns/testing | sha512sum
        let target = Target::for_netns("/var/run/netns/testing", "eth0".parse().unwrap());
        assert_eq!(target.container_id.as_str(), "cnitool-77383ca0a0715733ca6f");
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, clean) in [
            ("/run/netns/x", "/run/netns/x"),
            ("/run//netns/./x/", "/run/netns/x"),
            ("/run/../var/x", "/var/x"),
            ("/../x", "/x"),
            ("x", "/home/me/x"),
            ("./a/../x", "/home/me/x"),
            ("../x", "/home/x"),
        ] {
            let cleaned = absolute(Path::new(path), Path::new("/home/me"));
            assert_eq!(cleaned, Path::new(clean), "{path}");
        }
    }
}
