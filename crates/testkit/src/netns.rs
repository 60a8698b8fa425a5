//! One network namespace of a test.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::tools::{describe, require};

/// A network namespace with a path that other processes can open. Dropping it unmounts and removes
/// the path; the kernel frees the namespace with its last user.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    file: File,
}

/// What a command said.
#[derive(Debug, Clone)]
pub struct CommandOutput {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Moves the calling thread.
#[expect(
    clippy::disallowed_methods,
    reason = "the kit tests what the product's wrapper is for"
)]
pub(crate) fn enter(namespace: &File, kind: CloneFlags) -> nix::Result<()> {
    nix::sched::setns(namespace, kind)
}

impl Netns {
    /// Binds the calling thread's namespace to `/run/netns/<name>` and brings its `lo` up.
    pub(crate) fn adopt_current(name: &str) -> Self {
        let path = bind_current(name);
        let file = File::open(&path).unwrap();
        let netns = Self { path, file };
        netns.ip("link set lo up");
        netns
    }

    /// Makes a namespace bound to `/run/netns/<name>`, with `lo` up.
    pub(crate) fn create(name: &str) -> Self {
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
                Self::adopt_current(name)
            });
            made.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Binds a namespace that someone else made to `/run/netns/<name>`.
    pub(crate) fn adopt(name: &str, namespace: &Path) -> Self {
        let path = bind(name, namespace);
        let file = File::open(&path).unwrap();
        Self { path, file }
    }

    /// The file that plugins open, `/run/netns/<name>`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as text, for JSON and environments.
    #[must_use]
    pub fn path_str(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Runs `f` inside, on a thread that ends with it.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&self.file, CloneFlags::CLONE_NEWNET).expect("setns");
                f()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a command inside and waits for it.
    pub fn try_command(&self, program: &str, args: &[&str]) -> CommandOutput {
        let output = self
            .run(|| Command::new(program).args(args).output())
            .unwrap_or_else(|error| panic!("run {}: {error}", describe(program, args)));
        CommandOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command inside, which must succeed, and returns what it printed.
    pub fn command(&self, program: &str, args: &[&str]) -> String {
        let output = self.try_command(program, args);
        assert_eq!(
            output.code,
            0,
            "{} said: {}",
            describe(program, args),
            output.stderr
        );
        output.stdout
    }

    /// Runs `ip` with words separated by spaces: `ip("link add br0 type bridge")`.
    pub fn ip(&self, words: &str) -> String {
        require("ip");
        self.command("ip", &words.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `ip -j -d` with one command a line, and returns the documents that it printed.
    pub(crate) fn ip_batch(&self, lines: &str) -> String {
        require("ip");
        let ip = || {
            let mut ip = Command::new("ip")
                .args(["-j", "-d", "-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            ip.stdin.take().unwrap().write_all(lines.as_bytes())?;
            ip.wait_with_output()
        };
        let output = self.run(ip).unwrap();
        assert!(output.status.success(), "ip {lines}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `ip -j -d` with words separated by spaces. Nothing printed is an empty list.
    #[must_use]
    pub fn ip_json(&self, words: &str) -> Value {
        let text = self.ip(&format!("-j -d {words}"));
        if text.trim().is_empty() {
            return Value::Array(Vec::new());
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("ip {words}: {error}: {text}"))
    }

    /// The link of that name as `ip -j -d link` tells it, if there is one.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<Value> {
        let links = self.ip_json("link show");
        links
            .as_array()?
            .iter()
            .find(|link| link["ifname"] == name)
            .cloned()
    }

    /// The names of all links, `lo` included.
    #[must_use]
    pub fn link_names(&self) -> Vec<String> {
        let links = self.ip_json("link show");
        let name = |link: &Value| link["ifname"].as_str().map(str::to_owned);
        links.as_array().unwrap().iter().filter_map(name).collect()
    }

    /// All addresses in CIDR form but those of `lo` and link-local IPv6 ones.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let mut found = Vec::new();
        for link in self.ip_json("addr show").as_array().unwrap() {
            if link["ifname"] == "lo" {
                continue;
            }
            for address in link["addr_info"].as_array().into_iter().flatten() {
                if address["scope"] == "global" {
                    let local = address["local"].as_str().unwrap();
                    found.push(format!("{local}/{}", address["prefixlen"]));
                }
            }
        }
        found
    }

    /// Whether `address` (a prefix length on it is ignored) answers within three seconds.
    #[must_use]
    pub fn ping(&self, address: &str) -> bool {
        self.ping_within(address, 3)
    }

    /// Whether `address` answers within `seconds`; asks five times a second, returns at the first
    /// answer. Use one second where no answer is expected.
    #[must_use]
    pub fn ping_within(&self, address: &str, seconds: u32) -> bool {
        require("ping");
        let address = address.split('/').next().unwrap();
        let limit = seconds.to_string();
        let args = ["-n", "-q", "-c", "1", "-i", "0.2", "-w", &limit, address];
        self.try_command("ping", &args).code == 0
    }

    /// The value of a sysctl, e.g. `net/ipv4/ip_forward`.
    #[must_use]
    pub fn sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/{key}");
        let text = self.run(|| fs::read_to_string(&path));
        text.unwrap_or_else(|error| panic!("read {path}: {error}"))
            .trim()
            .to_owned()
    }

    /// Writes a sysctl.
    pub fn set_sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.run(|| fs::write(&path, value))
            .unwrap_or_else(|error| panic!("write {value} to {path}: {error}"));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // In the end of a world the path is gone already.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
    }
}

fn bind_current(name: &str) -> PathBuf {
    bind(name, Path::new("/proc/thread-self/ns/net"))
}

fn bind(name: &str, namespace: &Path) -> PathBuf {
    let path = Path::new("/run/netns").join(name);
    File::create_new(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let none = None::<&str>;
    mount(Some(namespace), &path, none, MsFlags::MS_BIND, none)
        .unwrap_or_else(|error| panic!("bind mount of {}: {error}", namespace.display()));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;

    #[test]
    fn two_namespaces_ping_each_other() {
        let world = World::new();
        let c1 = world.container("c1");
        world
            .host()
            .ip("link add va type veth peer name vb netns c1");
        world.host().ip("addr add 10.9.0.1/24 dev va");
        world.host().ip("link set va up");
        c1.ip("addr add 10.9.0.2/24 dev vb");
        assert!(!world.host().ping_within("10.9.0.2", 1));
        c1.ip("link set vb up");
        assert!(world.host().ping("10.9.0.2/24"));
        assert_eq!(c1.addresses(), ["10.9.0.2/24"]);
        assert_eq!(c1.link("vb").unwrap()["linkinfo"]["info_kind"], "veth");
        assert!(c1.link("va").is_none());
    }

    #[test]
    fn a_namespace_of_another_is_adopted() {
        let world = World::new();
        let c1 = world.container("c1");
        c1.ip("link add va type veth peer name vb");
        let same = world.adopt("same", c1.path());
        assert_eq!(same.link_names(), c1.link_names());
        assert_eq!(same.path_str(), "/run/netns/same");
    }

    #[test]
    fn a_dropped_namespace_has_no_path() {
        let world = World::new();
        let c1 = world.container("c1");
        let path = c1.path().to_owned();
        assert!(File::open(&path).is_ok());
        drop(c1);
        assert!(!path.exists());
        drop(world.container("c1"));
    }

    #[test]
    fn sysctls_are_of_the_namespace() {
        let world = World::new();
        let c1 = world.container("c1");
        c1.set_sysctl("net/ipv4/ip_forward", "1");
        assert_eq!(c1.sysctl("net/ipv4/ip_forward"), "1");
        assert_eq!(world.host().sysctl("net/ipv4/ip_forward"), "0");
    }
}
