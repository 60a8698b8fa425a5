//! Docker Engine, private to a test: Debian's dockerd in the test's host namespace, with all its
//! files in the test's memory file system, no image from outside, no firewall rules and no bridge of
//! its own. It runs in a process namespace, so that ending it ends its containers as well.
//!
//! `State.Pid` is a number of that process namespace. What looks at `/proc/<pid>` has to run inside,
//! as on a machine it runs beside dockerd: [`Dockerd::beside`] puts a plugin there, and
//! [`Dockerd::words`] any command. Mounts that the test makes after the start are not seen inside.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use cni_testkit::{Netns, Runner, World, require, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::engine::Engine;
use crate::image;
use crate::jail::Jail;

/// Where it listens: Docker's own default, in the test's private `/run`.
pub const SOCKET: &str = "/var/run/docker.sock";

/// Its process id in its process namespace.
const PID_FILE: &str = "/var/run/docker.pid";

/// A running dockerd with the busybox image.
#[derive(Debug)]
pub struct Dockerd<'world> {
    world: &'world World,
    engine: Engine,
    arguments: Vec<String>,
    child: RefCell<Child>,
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
        for tool in ["dockerd", "containerd", "runc"] {
            require(tool);
        }
        let dir = world.dir().join("docker");
        fs::create_dir_all(&dir).unwrap();
        // dockerd keeps a key in /etc/docker, wherever its other files are.
        world.shadow("/etc");
        let (jail, cgroup, log) = (Jail::new(), Cgroup::new(), Log(dir.join("log")));
        File::create(&log.0).unwrap();
        let arguments = arguments(&dir, &cgroup);
        let child = run(&jail, &arguments, &log);
        let engine = Engine::at(Path::new(SOCKET));
        let dockerd = Self {
            world,
            engine,
            arguments,
            child: RefCell::new(child),
            jail: Some(jail),
            log,
            _cgroup: cgroup,
        };
        dockerd.wait();
        dockerd.engine.load_image(&image::archive(world));
        dockerd
    }

    fn wait(&self) {
        wait_for("dockerd's socket", Duration::from_secs(30), || {
            self.engine.answers()
        });
    }

    /// Kills it, as a crash does. Its containers run on.
    pub fn kill(&self) {
        self.signal("KILL");
        self.child.borrow_mut().wait().unwrap();
    }

    /// Starts it again after [`Dockerd::kill`], which ends the containers that it finds.
    pub fn start_again(&self) {
        let child = run(self.jail(), &self.arguments, &self.log);
        *self.child.borrow_mut() = child;
        self.wait();
    }

    /// Sends it a signal: after `STOP` it is there and does not answer, until `CONT`.
    pub fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(PID_FILE).unwrap();
        let mut command = self.jail().command("kill");
        let sent = command.args(["-s", signal, pid.trim()]).status().unwrap();
        assert!(sent.success(), "kill -s {signal} {pid}");
        if signal == "CONT" {
            // nsenter stops and ends with its child, and does not go on with it.
            let nsenter = Pid::from_raw(self.child.borrow().id().cast_signed());
            kill(nsenter, Signal::SIGCONT).unwrap();
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

fn run(jail: &Jail, arguments: &[String], log: &Log) -> Child {
    let mut command = jail.command("dockerd");
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(OpenOptions::new().append(true).open(&log.0).unwrap());
    command.spawn().unwrap()
}

fn arguments(dir: &Path, cgroup: &Cgroup) -> Vec<String> {
    let fixed = [
        "--debug",
        "--storage-driver=vfs",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
        // Names of sandboxes are then as everywhere: /var/run/docker/netns/...
        "--exec-root=/var/run/docker",
    ];
    let mut all: Vec<String> = fixed.map(str::to_owned).into();
    all.push(format!("--pidfile={PID_FILE}"));
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
        let mut child = self.child.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}
