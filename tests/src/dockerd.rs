//! Docker Engine, private to a test: Debian's dockerd in the test's host namespace, with all its
//! files in the test's memory file system, no image from outside, no firewall rules and no bridge of
//! its own. It runs in a process namespace, so that ending it ends its containers as well.
//!
//! `State.Pid` is a number of that process namespace. What looks at `/proc/<pid>` has to run inside,
//! as on a machine it runs beside dockerd: [`Dockerd::beside`] puts a plugin there, and
//! [`Dockerd::words`] any command. Mounts that the test makes after the start are not seen inside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use cni_testkit::{Netns, Runner, World, require, wait_for};

use crate::cgroup::Cgroup;
use crate::engine::Engine;
use crate::image;
use crate::jail::Jail;

/// Where it listens: Docker's own default, in the test's private `/run`.
pub const SOCKET: &str = "/var/run/docker.sock";

/// A running dockerd with the busybox image.
#[derive(Debug)]
pub struct Dockerd<'world> {
    world: &'world World,
    engine: Engine,
    child: Child,
    jail: Option<Jail>,
    log: Log,
    // Dropped after what is in it has ended.
    _cgroup: Cgroup,
}

/// Shows the log when a test ends in a panic.
#[derive(Debug)]
struct Log(PathBuf);

impl<'world> Dockerd<'world> {
    /// Starts it. Plugins are found as on a machine: by sockets in `/run/docker/plugins`.
    pub fn start(world: &'world World) -> Self {
        Self::start_below(world, &world.dir().join("docker"), &["--debug"])
    }

    /// The same with its files below another directory, on a disk for example, and without a word
    /// for each thing that it does.
    pub fn start_quietly(world: &'world World, dir: &Path) -> Self {
        Self::start_below(world, dir, &[])
    }

    fn start_below(world: &'world World, dir: &Path, more: &[&str]) -> Self {
        for tool in ["dockerd", "containerd", "runc"] {
            require(tool);
        }
        fs::create_dir_all(dir).unwrap();
        // dockerd keeps a key in /etc/docker, wherever its other files are.
        world.shadow("/etc");
        let (jail, cgroup, log) = (Jail::new(), Cgroup::new(), Log(dir.join("log")));
        let child = jail
            .command("dockerd")
            .args(arguments(dir, &cgroup))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log.0).unwrap())
            .spawn()
            .unwrap();
        let engine = Engine::at(Path::new(SOCKET));
        wait_for("dockerd's socket", Duration::from_secs(30), || {
            engine.answers()
        });
        engine.load_image(&image::archive(world));
        Self {
            world,
            engine,
            child,
            jail: Some(jail),
            log,
            _cgroup: cgroup,
        }
    }

    /// Its API.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What in front of a command makes it run beside dockerd.
    pub fn words(&self) -> [String; 4] {
        self.jail().words()
    }

    /// A call of a plugin, run beside dockerd.
    #[must_use]
    pub fn beside(&self, call: Runner) -> Runner {
        call.through(&self.words().each_ref().map(String::as_str))
    }

    /// A container's network namespace, also at `/run/netns/<container>`.
    pub fn netns(&self, container: &str) -> Netns {
        let pid = self.engine.pid(container);
        let path = self.jail().proc().join(format!("{pid}/ns/net"));
        self.world.adopt(container, &path)
    }

    /// The path of a container's network namespace for what runs beside dockerd.
    pub fn netns_path(&self, container: &str) -> String {
        format!("/proc/{}/ns/net", self.engine.pid(container))
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    fn jail(&self) -> &Jail {
        self.jail.as_ref().unwrap()
    }
}

fn arguments(dir: &Path, cgroup: &Cgroup) -> Vec<String> {
    let fixed = [
        "--storage-driver=vfs",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
        // Names of sandboxes are then as everywhere: /var/run/docker/netns/...
        "--exec-root=/var/run/docker",
        "--pidfile=/var/run/docker.pid",
    ];
    let mut all: Vec<String> = fixed.map(str::to_owned).into();
    all.push(format!("--host=unix://{SOCKET}"));
    all.push(format!("--data-root={}", dir.join("data").display()));
    all.push(format!("--cgroup-parent={}", cgroup.parent()));
    all
}

impl Log {
    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.text();
            let noise = ["Registering ", "skip loading plugin", "loading plugin \\\""];
            let lines = text
                .lines()
                .filter(|line| !noise.iter().any(|word| line.contains(word)));
            eprintln!("dockerd's log:\n{}", lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

impl Drop for Dockerd<'_> {
    fn drop(&mut self) {
        // The jail ends it all, containers too; this only collects our own child.
        drop(self.jail.take());
        let _ = self.child.wait();
    }
}
