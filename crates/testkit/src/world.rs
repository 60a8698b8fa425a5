//! A disposable machine: a network namespace that plays the host, and a mount namespace in which
//! what plugins write by default is private.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::netns::{Netns, enter};
use crate::snapshot::Snapshot;

const WORK: &str = "/run/tenon-test";

/// A private machine. The thread that makes it moves in: from then on its files under `/run` and
/// `/var/lib` are its own, its network is an empty namespace with only `lo`, and everything it
/// spawns (processes and threads) lives there too. Dropping it moves the thread back out.
///
/// The kernel frees all of it when the last process inside ends, so a killed test leaves nothing.
#[derive(Debug)]
pub struct World {
    host: Netns,
    outside: Outside,
    // Entering and leaving are of one thread.
    not_send: PhantomData<*const ()>,
}

#[derive(Debug)]
struct Outside {
    mounts: File,
    net: File,
}

impl World {
    /// Moves the calling thread into a new machine.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "entering a world is not a default value"
    )]
    pub fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make namespaces: run them as root"
        );
        let outside = Outside {
            mounts: File::open("/proc/thread-self/ns/mnt").unwrap(),
            net: File::open("/proc/thread-self/ns/net").unwrap(),
        };
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("unshare");
        mount_private_directories();
        let host = Netns::adopt_current("host");
        Self {
            host,
            outside,
            not_send: PhantomData,
        }
    }

    /// The namespace in which plugins run: the calling thread's own.
    #[must_use]
    pub fn host(&self) -> &Netns {
        &self.host
    }

    /// A new namespace, at `/run/netns/<name>` as runtimes have them, with `lo` up.
    #[must_use]
    pub fn container(&self, name: &str) -> Netns {
        Netns::create(name)
    }

    /// The namespace at a path of another program's making, e.g. `/proc/<pid>/ns/net`, bound to
    /// `/run/netns/<name>` as well.
    #[must_use]
    pub fn adopt(&self, name: &str, namespace: &Path) -> Netns {
        Netns::adopt(name, namespace)
    }

    /// An empty directory of this world's own, in memory.
    #[must_use]
    pub fn dir(&self) -> &'static Path {
        Path::new(WORK)
    }

    /// Where [`crate::conf::host_local`] keeps leases.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir().join("networks")
    }

    /// Writes a file below [`World::dir`].
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// An executable below [`World::dir`]: a script with its `#!` line, usually.
    pub fn executable(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A file system of `bytes` (rounded up to pages), empty, to be filled up.
    #[must_use]
    pub fn small_disk(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.dir().join(name);
        fs::create_dir_all(&path).unwrap();
        mount_tmpfs(&path, &format!("mode=755,size={bytes}"));
        path
    }

    /// Makes `path` and what is below it read-only, e.g. `/proc/sys`.
    pub fn read_only(&self, path: &str) {
        let none = None::<&str>;
        mount(Some(path), path, none, MsFlags::MS_BIND, none).expect("bind mount");
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, path, none, flags, none).expect("remount read-only");
    }

    /// Lets this world write below `path` (say `/etc`) without anyone outside seeing it. Asking again
    /// changes nothing.
    pub fn shadow(&self, path: &str) {
        shadow(path);
    }

    /// Lets this world see nothing below `path`, as on a machine where it is not installed. A path that
    /// is missing stays so.
    pub fn hide(&self, path: &Path) {
        if path.is_dir() {
            mount_tmpfs(path, "mode=755");
        }
    }

    /// What a plugin may have changed: the host namespace and the leases.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.host).tree(&self.data_dir())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // setns(2) moves no thread into a mount namespace that shares its root with another, and one
        // that was joined lets go of it only after who waited for it was woken (kernel/exit.c, do_exit:
        // exit_mm before exit_fs). Worlds would lie in worlds then, until overlays lie too deep.
        let left = unshare(CloneFlags::CLONE_FS)
            .and_then(|()| enter(&self.outside.mounts, CloneFlags::CLONE_NEWNS))
            .and_then(|()| enter(&self.outside.net, CloneFlags::CLONE_NEWNET));
        if !std::thread::panicking() {
            left.expect("leave the world");
        }
    }
}

fn mount_private_directories() {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    mount_tmpfs(Path::new("/run"), "mode=755");
    fs::create_dir_all(WORK).unwrap();
    fs::create_dir_all("/run/netns").unwrap();
    fs::create_dir_all("/run/lock").unwrap();
    shadow("/var/lib");
}

fn mount_tmpfs(path: &Path, options: &str) {
    mount(
        Some("tenon-test"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options),
    )
    .unwrap_or_else(|error| panic!("mount a tmpfs on {}: {error}", path.display()));
}

fn shadow(path: &str) {
    let layers = PathBuf::from(format!("/run/shadow{}", path.replace('/', "-")));
    if layers.exists() {
        return;
    }
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&work).unwrap();
    let options = format!(
        "lowerdir={path},upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount(
        Some("tenon-test"),
        path,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .unwrap_or_else(|error| panic!("mount an overlay on {path}: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_private_and_left_behind() {
        let before = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let world = World::new();
        assert_ne!(fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
        fs::create_dir_all("/var/lib/cni/tenon-test-mark").unwrap();
        let file = world.file("a/b", "text");
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
        drop(world);
        assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
        assert!(!Path::new("/var/lib/cni/tenon-test-mark").exists());
        assert!(!file.exists());
    }

    /// A thread that was joined may hold the file system's root for a moment still: the kernel wakes
    /// who waits for it before it lets go of that. Here it holds it for long.
    #[test]
    fn a_world_is_left_while_a_thread_of_it_goes_on() {
        let mounts = || fs::read_link("/proc/thread-self/ns/mnt").unwrap();
        let before = mounts();
        let world = World::new();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let inside = std::thread::spawn(move || {
            let _ = ended.recv();
            Path::new(WORK).exists()
        });
        drop(world);
        assert_eq!(mounts(), before);
        drop(end);
        assert!(inside.join().unwrap(), "the thread's world is still there");
    }

    #[test]
    fn a_small_disk_fills_up() {
        let world = World::new();
        let disk = world.small_disk("disk", 4096);
        let error = fs::write(disk.join("big"), vec![1; 100_000]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_shadow_is_private_and_stays_when_asked_for_again() {
        let world = World::new();
        let mark = Path::new("/etc/tenon-test-mark");
        world.shadow("/etc");
        fs::write(mark, "").unwrap();
        world.shadow("/etc");
        assert!(mark.exists());
        drop(world);
        assert!(!mark.exists());
    }

    #[test]
    fn what_is_hidden_is_back_afterwards() {
        let world = World::new();
        let path = Path::new("/usr/share");
        world.hide(path);
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
        drop(world);
        assert_ne!(fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn sysctls_can_be_read_only() {
        let world = World::new();
        world.read_only("/proc/sys");
        let error = fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
}
