//! podman on CNI, private to a test: all its files are in the test's memory file system, and what
//! it leaves running is in a process namespace that ends with the test.

use std::fs;
use std::path::{Path, PathBuf};

use cni_testkit::{Netns, World, require};
use serde_json::Value;

use crate::cgroup::Cgroup;
use crate::image;
use crate::jail::Jail;

/// A podman with the busybox image loaded.
#[derive(Debug)]
pub struct Podman {
    dir: PathBuf,
    jail: Jail,
    cgroup: Cgroup,
}

impl Podman {
    /// Prepares it with plugins from `bin_dir` and these network configuration lists.
    pub fn new(world: &World, bin_dir: &Path, conflists: &[Value]) -> Self {
        for tool in ["podman", "conmon", "runc"] {
            require(tool);
        }
        let dir = world.dir().join("podman");
        fs::create_dir_all(dir.join("net.d")).unwrap();
        for conflist in conflists {
            let name = conflist["name"].as_str().unwrap();
            let file = dir.join(format!("net.d/{name}.conflist"));
            fs::write(file, conflist.to_string()).unwrap();
        }
        fs::write(dir.join("containers.conf"), config(&dir, bin_dir)).unwrap();
        let podman = Self {
            dir,
            jail: Jail::new(),
            cgroup: Cgroup::new(),
        };
        let archive = image::archive(world);
        podman.ok(&["load", "--quiet", "--input", archive.to_str().unwrap()]);
        podman
    }

    /// Starts a detached container of the image's own command; returns its id.
    pub fn run(&self, name: &str, args: &[&str]) -> String {
        let parent = self.cgroup.parent();
        let fixed = [
            "run",
            "--detach",
            "--pull",
            "never",
            "--name",
            name,
            "--cgroup-parent",
        ];
        let id = self.ok(&[&fixed[..], &[&parent], args, &[image::NAME]].concat());
        id.trim().to_owned()
    }

    /// Runs a podman command, which must succeed, and returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        self.try_run(args)
            .unwrap_or_else(|error| panic!("podman {}: {error}", args.join(" ")))
    }

    /// Runs a podman command; a failure is its standard error.
    ///
    /// # Errors
    /// When it exits with another code than 0.
    pub fn try_run(&self, args: &[&str]) -> Result<String, String> {
        let output = self
            .jail
            .command("podman")
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .arg("--root")
            .arg(self.dir.join("root"))
            .arg("--runroot")
            .arg(self.dir.join("runroot"))
            .args(["--storage-driver", "vfs"])
            .args(args)
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The network namespace of a running container.
    pub fn netns(&self, world: &World, container: &str) -> Netns {
        let pid = self.ok(&["inspect", "--format", "{{.State.Pid}}", container]);
        let namespace = self.jail.proc().join(pid.trim()).join("ns/net");
        world.adopt(container, &namespace)
    }

    /// The network configuration list that podman has written for one of its networks.
    pub fn conflist(&self, network: &str) -> Value {
        let file = self.dir.join(format!("net.d/{network}.conflist"));
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }

    /// A container's attachment to a network, as `podman inspect` tells it.
    pub fn attachment(&self, container: &str, network: &str) -> Value {
        let inspected: Value = serde_json::from_str(&self.ok(&["inspect", container])).unwrap();
        inspected[0]["NetworkSettings"]["Networks"][network].clone()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Containers end here, so that their control groups are empty when those are removed.
        let _ = self.try_run(&["rm", "--force", "--all", "--time", "0"]);
    }
}

fn config(dir: &Path, bin_dir: &Path) -> String {
    let (dir, bin_dir) = (dir.display(), bin_dir.display());
    format!(
        r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{bin_dir}"]
network_config_dir = "{dir}/net.d"
"#
    )
}
