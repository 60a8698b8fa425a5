//! One plugin on a machine of its own, the state that its calls change, and the way back to before.

use std::fs;
use std::path::{Path, PathBuf};

use cni_testkit::{Conf, Netns, Runner, Snapshot, Suite, World};
use serde_json::Value;

use crate::network::IFNAME;

/// The interface's sysctls, which are the namespace's own. Those that the kernel keeps from readers tell
/// nothing.
const SYSCTLS: [&str; 2] = ["/proc/sys/net/ipv4", "/proc/sys/net/ipv6"];

/// Where plugins keep files.
const PLACES: [&str; 3] = ["/var/lib/cni", "/run/cni", "/run/tenon"];

/// A plugin, an attachment of its, and the machine.
#[derive(Debug)]
pub struct Scene {
    suite: Suite,
    conf: Conf,
    fast_paths: &'static str,
    ifname: &'static str,
    /// What an ADD makes and a DEL leaves, since others may use it.
    lasting: Vec<Lasting>,
    /// What a failed ADD leaves as well, since others may use it.
    left_by_failures: Vec<Lasting>,
    /// What a DEL says on stderr of what it leaves in the container to those who take it away.
    pub(super) excuse: Option<&'static str>,
    /// Whether a GC has to find what a crash left and no DEL can know of.
    pub(super) needs_collecting: bool,
    /// The container.
    pub c1: Netns,
    /// Another one, of which the plugin has made an attachment already that has to stay as it is.
    pub c2: Option<Netns>,
    /// The machine.
    pub world: World,
}

/// Something that the last DEL leaves.
#[derive(Debug, Clone)]
pub enum Lasting {
    /// A link of the host.
    Link(String),
    /// A sysctl of the host that was 0.
    Sysctl(&'static str),
    /// Files below a directory.
    Files(PathBuf),
    /// A link of the container that is down before.
    UpInContainer(&'static str),
}

impl Scene {
    /// The plugin that `conf` names.
    pub fn new(world: World, c1: Netns, conf: Conf) -> Self {
        Self {
            suite: Suite::ours(),
            conf,
            fast_paths: "",
            ifname: IFNAME,
            lasting: Vec::new(),
            left_by_failures: Vec::new(),
            excuse: None,
            needs_collecting: false,
            c1,
            c2: None,
            world,
        }
    }

    /// With `TENON_FAST_PATHS`.
    #[must_use]
    pub fn fast_paths(mut self, value: &'static str) -> Self {
        self.fast_paths = value;
        self
    }

    /// At another interface than `eth0`.
    #[must_use]
    pub fn at(mut self, ifname: &'static str) -> Self {
        self.ifname = ifname;
        self
    }

    /// With what has to be taken away between two ADDs to have them begin alike.
    #[must_use]
    pub fn leaving(mut self, lasting: impl IntoIterator<Item = Lasting>) -> Self {
        self.lasting.extend(lasting);
        self
    }

    /// With what stays also where an ADD failed after it had made it.
    #[must_use]
    pub fn leaving_in_failures(mut self, lasting: impl IntoIterator<Item = Lasting>) -> Self {
        self.left_by_failures.extend(lasting);
        self
    }

    /// A DEL that says this on stderr has left things in the container, which goes with it.
    #[must_use]
    pub fn excused_by(mut self, words: &'static str) -> Self {
        self.excuse = Some(words);
        self
    }

    /// A crash leaves what only a GC finds: a pool whose name nobody has heard.
    #[must_use]
    pub fn collected_after_a_crash(mut self) -> Self {
        self.needs_collecting = true;
        self
    }

    /// Beside another attachment of the plugin's, on what is there already.
    #[must_use]
    pub fn beside_another(self) -> Self {
        let c2 = self.world.container("c2");
        let conf = self.conf.clone();
        self.beside(c2, &conf)
    }

    /// The same, with a config of its own.
    #[must_use]
    pub fn beside(mut self, c2: Netns, conf: &Conf) -> Self {
        let add = self.call("ADD", conf);
        let add = add.attachment("c2", &c2, self.ifname);
        let _added = add.run().expect_ok();
        self.c2 = Some(c2);
        self.lasting.clear();
        self
    }

    fn call(&self, command: &str, conf: &Conf) -> Runner {
        let plugin = self.suite.plugin(conf.0["type"].as_str().unwrap());
        let call = plugin.env("TENON_FAST_PATHS", self.fast_paths);
        call.command(command)
            .attachment("c1", &self.c1, self.ifname)
            .conf(conf)
    }

    /// The ADD.
    pub fn add(&self) -> Runner {
        self.call("ADD", &self.conf)
    }

    /// CHECK or DEL of what an ADD has answered.
    pub fn after(&self, command: &str, result: &Value) -> Runner {
        self.call(command, &self.conf.clone().prev_result(result))
    }

    /// A GC to which all but `c1` is valid.
    pub fn collect(&self) -> Runner {
        let conf = self.conf.clone().without("prevResult");
        self.call("GC", &conf.valid_attachments(&[("c2", self.ifname)]))
    }

    /// Takes away what a DEL has left.
    pub fn reset(&self) {
        self.take_away(&self.lasting);
    }

    /// Takes away what a failed ADD has left.
    pub fn reset_after_failure(&self) {
        self.take_away(&self.left_by_failures);
    }

    fn take_away(&self, all: &[Lasting]) {
        let host = self.world.host();
        for lasting in all {
            match lasting {
                Lasting::Link(name) => drop(host.try_command("ip", &["link", "del", name])),
                Lasting::Sysctl(key) => host.set_sysctl(key, "0"),
                Lasting::Files(path) => drop(fs::remove_dir_all(path)),
                Lasting::UpInContainer(name) => drop(self.c1.ip(&format!("link set {name} down"))),
            }
        }
    }

    /// Everything that the plugin may have changed, on the host and in both containers.
    pub fn state(&self) -> Snapshot {
        let mut all = Snapshot::empty();
        let namespaces = [Some(self.world.host()), Some(&self.c1), self.c2.as_ref()];
        for (netns, name) in namespaces.into_iter().zip(["host", "c1", "c2"]) {
            if let Some(netns) = netns {
                all = all.and(name, &Snapshot::of(netns));
                all = all.and(name, &traffic_control(netns));
                all = all.and(name, &netns.run(sysctls));
            }
        }
        let places = PLACES.iter().map(PathBuf::from);
        let all = places
            .chain([self.world.data_dir()])
            .fold(all, |all, place| all.tree(&place));
        let of_attempt = |line: &str| is_trace_of_attempt(line);
        all.without_those(of_attempt)
    }
}

/// What tells of an attempt and holds nothing: directories, locks and which address was given last, as
/// with the reference's plugins, whose directories these are; and the index of leases, which is written anew.
fn is_trace_of_attempt(line: &str) -> bool {
    let Some((path, rest)) = line.split_once(' ') else {
        return false;
    };
    path.starts_with('/')
        && (path.ends_with('/')
            || path.starts_with("/run/tenon/")
            || path.contains("/last_reserved_ip.")
            || (rest.ends_with("\"\"") && is_lock(path)))
}

fn is_lock(path: &str) -> bool {
    path.ends_with("/lock") || path.contains("/locks/")
}

/// The qdiscs and the filters at them, whose numbers are the kernel's.
fn traffic_control(netns: &Netns) -> Snapshot {
    let shown = netns.command("tc", &["qdisc", "show"]);
    let lines = shown.lines().filter(|line| !line.contains(" noqueue "));
    lines.fold(Snapshot::empty(), |all, line| {
        all.fact(&format!("qdisc {line}"))
    })
}

/// Of the calling thread's namespace.
fn sysctls() -> Snapshot {
    let mut all = Snapshot::empty();
    for family in SYSCTLS {
        for of_links in fs::read_dir(Path::new(family).join("conf")).unwrap() {
            let dir = of_links.unwrap().path();
            for setting in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = setting.path();
                if let Ok(value) = fs::read_to_string(&path) {
                    all = all.fact(&format!("sysctl {} = {}", path.display(), value.trim()));
                }
            }
        }
    }
    all
}
