//! containerd, private to a test: in the test's host namespace, with all its files in the test's
//! memory file system, and in a process namespace of its own, so that ending it ends its shims and
//! pods as well.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cni_testkit::{Netns, World, require, wait_for};
use serde_json::Value;

use crate::cgroup::Cgroup;
use crate::cri::{Cri, Pod};
use crate::image;
use crate::jail::Jail;

/// A running containerd with the busybox image, ready for pods.
#[derive(Debug)]
pub struct Containerd {
    cri: Cri,
    child: Child,
    jail: Option<Jail>,
    log: Log,
    cgroup: Cgroup,
    conf_dir: PathBuf,
}

/// Shows the log when a test ends in a panic.
#[derive(Debug)]
struct Log(PathBuf);

impl Containerd {
    /// Starts it with plugins from `bin_dir` and one network configuration list.
    pub fn start(world: &World, bin_dir: &Path, conflist: &Value) -> Self {
        for tool in ["containerd", "ctr", "runc"] {
            require(tool);
        }
        let dir = world.dir().join("containerd");
        let conf_dir = dir.join("net.d");
        fs::create_dir_all(&conf_dir).unwrap();
        fs::write(conf_dir.join("10-tenon.conflist"), conflist.to_string()).unwrap();
        fs::write(dir.join("config.toml"), config(&dir, bin_dir)).unwrap();
        let jail = Jail::new();
        let (child, log) = spawn(&jail, &dir);
        let socket = dir.join("containerd.sock");
        let mut connected = None;
        wait_for("containerd's socket", Duration::from_secs(30), || {
            connected = Cri::connect(&socket)
                .ok()
                .filter(|cri| cri.version().is_ok());
            connected.is_some()
        });
        import(&socket, &image::archive(world));
        let cri = connected.unwrap();
        Self {
            cri,
            child,
            jail: Some(jail),
            log,
            cgroup: Cgroup::new(),
            conf_dir,
        }
    }

    /// Its CRI service.
    pub fn cri(&self) -> &Cri {
        &self.cri
    }

    /// A pod in the test's own control group.
    pub fn pod(&self, name: &str, attempt: u32) -> Pod {
        Pod {
            name: name.into(),
            attempt,
            cgroup_parent: self.cgroup.parent(),
            ports: Vec::new(),
            annotations: Vec::new(),
        }
    }

    /// The network namespace of a running pod, at `/run/netns/<name>` outside as well.
    pub fn netns(&self, world: &World, name: &str, id: &str) -> Netns {
        let pid = self.cri.pod_pid(id).unwrap().to_string();
        let proc = self.jail.as_ref().unwrap().proc();
        world.adopt(name, &proc.join(pid).join("ns/net"))
    }

    /// Where its network configurations are.
    pub fn conf_dir(&self) -> &Path {
        &self.conf_dir
    }

    /// Takes every pod's network namespace away, as far as its path goes.
    pub fn lose_namespaces(&self) {
        let script = "umount -l /run/netns/cni-* && rm /run/netns/cni-*";
        let jail = self.jail.as_ref().unwrap();
        assert!(
            jail.command("sh")
                .args(["-c", script])
                .status()
                .unwrap()
                .success()
        );
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }
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
            let noise = ["Start cri plugin with config", "skip loading plugin"];
            let lines = text
                .lines()
                .filter(|line| !noise.iter().any(|word| line.contains(word)));
            eprintln!(
                "containerd's log:\n{}",
                lines.collect::<Vec<_>>().join("\n")
            );
        }
    }
}

fn spawn(jail: &Jail, dir: &Path) -> (Child, Log) {
    let log = dir.join("log");
    let child = jail
        .command("containerd")
        .arg("-c")
        .arg(dir.join("config.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    (child, Log(log))
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // The jail ends it all, shims and pods too; this only collects our own child.
        drop(self.jail.take());
        let _ = self.child.wait();
    }
}

fn config(dir: &Path, bin_dir: &Path) -> String {
    let (dir, bin_dir, image) = (dir.display(), bin_dir.display(), image::NAME);
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{bin_dir}"
conf_dir = "{dir}/net.d"
"#
    )
}

fn import(socket: &Path, archive: &Path) {
    let output = Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args([
            "--namespace",
            "k8s.io",
            "images",
            "import",
            "--snapshotter",
            "native",
        ])
        .arg(archive)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "import the image: {stderr}");
}
