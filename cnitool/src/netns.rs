//! Named network namespaces, as `ip netns` has them: bind mounts below `/run/netns`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use cni_netlink::{NetNs, set_up};
use cni_types::IfName;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Where named namespaces are.
pub const DIR: &str = "/run/netns";

/// A namespace could not be made, examined or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The name cannot be a file's.
    #[error("{name:?} cannot be the name of a network namespace: it names a file in {DIR}")]
    Name {
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("network namespace {} exists already", path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("{operation} {}", path.display())]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its loopback interface could not be brought up.
    #[error("bring up lo in {}", path.display())]
    Loopback {
        /// The namespace.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The path of the namespace called `name`.
///
/// # Errors
/// No file can have that name.
pub fn path_of(name: &str) -> Result<PathBuf, NamespaceError> {
    let is_file_name = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    if is_file_name && name.len() <= 255 {
        Ok(Path::new(DIR).join(name))
    } else {
        Err(NamespaceError::Name {
            name: name.to_owned(),
        })
    }
}

/// Whether the path leads to a network namespace. A plain file is what a bind mount leaves when
/// the machine was restarted, or its namespace unmounted.
#[must_use]
pub fn is_namespace(path: &Path) -> bool {
    NetNs::open(path).is_ok()
}

/// Whether the namespace has an interface of that name. What cannot be examined has none.
#[must_use]
pub fn has_interface(path: &Path, ifname: &IfName) -> bool {
    let socket = NetNs::open(path).ok().and_then(|netns| netns.socket().ok());
    let found = socket.and_then(|socket| socket.find_link(ifname).ok());
    found.flatten().is_some()
}

/// Makes a namespace, with `lo` up, and returns its path. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// The name is taken, or the kernel refuses; then nothing is left.
pub fn create(name: &str) -> Result<PathBuf, NamespaceError> {
    let path = path_of(name)?;
    ensure_shared_dir()?;
    let mut options = OpenOptions::new();
    // No permissions: the file is only a place to mount on.
    options.write(true).create_new(true).mode(0o000);
    match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(NamespaceError::Exists { path });
        }
        other => drop(other.map_err(refused("create", &path))?),
    }
    let made = mount_new(&path).and_then(|()| bring_up_loopback(&path));
    if let Err(error) = made {
        let _told_already = remove(name);
        return Err(error);
    }
    Ok(path)
}

/// Removes a namespace's name, and with it the namespace unless somebody is still inside. What is
/// gone already, or was only half made, is fine. Returns whether there was anything.
///
/// # Errors
/// The kernel refuses.
pub fn remove(name: &str) -> Result<bool, NamespaceError> {
    let path = path_of(name)?;
    // Each turn removes one mount of a stack; EINVAL: nothing is mounted there any more.
    loop {
        match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(refused("unmount", &path)(errno.into())),
        }
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true).map_err(refused("remove", &path)),
    }
}

fn refused(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NamespaceError {
    let path = path.to_owned();
    move |source| NamespaceError::Refused {
        operation,
        path,
        source,
    }
}

/// Makes the directory a shared mount, so that a namespace mounted or unmounted here is so for
/// every process: a private copy in some other mount namespace would keep it alive for ever.
fn ensure_shared_dir() -> Result<(), NamespaceError> {
    let dir = Path::new(DIR);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder.create(dir).map_err(refused("create", dir))?;
    // `ip netns add` takes the same lock, so that the directory is not mounted on itself twice.
    let lock = File::open(dir).map_err(refused("open", dir))?;
    lock.lock().map_err(refused("lock", dir))?;
    let none = None::<&str>;
    let share = || mount(none, dir, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match share() {
        // Not a mount point yet.
        Err(Errno::EINVAL) => {
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(dir), dir, none, bind, none)
                .map_err(|errno| refused("bind mount", dir)(errno.into()))?;
            share()
        }
        other => other,
    }
    .map_err(|errno| refused("share the mount", dir)(errno.into()))
}

/// A new namespace needs a thread to be born in; the mount then keeps it.
fn mount_new(path: &Path) -> Result<(), NamespaceError> {
    let on_thread = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| refused("create a network namespace for", path)(errno.into()))?;
        let none = None::<&str>;
        mount(
            Some("/proc/thread-self/ns/net"),
            path,
            none,
            MsFlags::MS_BIND,
            none,
        )
        .map_err(|errno| refused("mount the network namespace on", path)(errno.into()))
    };
    thread::scope(|scope| {
        let thread = scope.spawn(on_thread);
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn bring_up_loopback(path: &Path) -> Result<(), NamespaceError> {
    let failed = |source| NamespaceError::Loopback {
        path: path.to_owned(),
        source,
    };
    let inside = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let socket = NetNs::open(path)?.socket()?;
        let Some(lo) = socket.find_link(&"lo".parse()?)? else {
            return Ok(());
        };
        socket.request(&set_up(&lo.id()))?;
        Ok(())
    };
    inside().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names() {
        assert_eq!(path_of("c1").unwrap(), Path::new("/run/netns/c1"));
        let long = "x".repeat(256);
        for bad in ["", ".", "..", "a/b", "/x", "a\0b", &long] {
            let refused = path_of(bad).unwrap_err();
            assert!(matches!(refused, NamespaceError::Name { .. }), "{bad:?}");
        }
    }

    #[test]
    fn plain_files_and_nothing_are_no_namespaces() {
        assert!(!is_namespace(Path::new("/nonexistent")));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_namespace(file.path()));
        assert!(is_namespace(Path::new("/proc/self/ns/net")));
        assert!(!is_namespace(Path::new("/proc/self/ns")));
    }
}
