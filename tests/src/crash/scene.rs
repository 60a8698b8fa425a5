//! The machine on which plugins are killed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cni_testkit::{Conf, Netns, Outcome, Snapshot, Suite, World};
use serde_json::{Value, json};

use super::case::Case;
use crate::conflist::Attachment;

/// A host on which a network is at home, and the container that is attached to it and detached again.
pub(super) struct Scene<'a> {
    pub(super) case: &'a Case,
    suite: Suite,
    pub(super) world: World,
    pod: Netns,
    settled: Look,
}

/// The host, its files and the container.
#[derive(Debug, Clone)]
struct Look {
    host: Snapshot,
    indices: Vec<String>,
    pod: Snapshot,
}

/// The container that is attached and detached.
pub const POD: &str = "pod";
/// One that stays.
pub const NEIGHBOUR: &str = "neighbour";

/// Where the search for the next free address begins changes with each attachment.
const ROTATION: &str = "last_reserved_ip";

/// The file of a lock stays when its holder is killed, until the next who takes it.
const LOCKS: &str = "/cnm-shim/locks/";

/// Named after inodes, and with the kernel's time in them.
const INDICES: &str = "/run/tenon/host-local";

/// What is the test's own of where plugins keep files.
const OURS: &[&str] = &["lock", "netns", "shadow-var-lib", "tenon-test"];

impl<'a> Scene<'a> {
    /// A host on which the network has been used, and is not any more.
    pub(super) fn new(case: &'a Case) -> Self {
        let world = World::new();
        let pod = world.container(POD);
        let suite = Suite::ours();
        suite.alone_in(&world);
        let nothing = Look {
            host: Snapshot::empty(),
            indices: Vec::new(),
            pod: Snapshot::empty(),
        };
        let scene = Self {
            case,
            suite,
            world,
            pod,
            settled: nothing,
        };
        scene.come_and_go();
        scene
    }

    /// The machine is from now on to be as it is.
    pub(super) fn settle(&mut self) {
        self.settled = self.look();
    }

    /// Nothing has ever been here.
    pub(super) fn wipe(&self) {
        let host = self.world.host();
        for link in host.link_names().iter().filter(|name| *name != "lo") {
            // One end of a pair takes the other along.
            let _gone = host.try_command("ip", &["link", "del", link]);
        }
        host.command("nft", &["flush", "ruleset"]);
        for key in [
            "net/ipv4/ip_forward",
            "net/ipv6/conf/all/forwarding",
            "net/ipv4/conf/all/route_localnet",
        ] {
            host.set_sysctl(key, "0");
        }
        for path in homes() {
            remove(&path);
        }
    }

    /// A container with a namespace of its own at hand.
    pub(super) fn attachment<'b>(&'b self, id: &'b str, netns: &'b Netns) -> Attachment<'b> {
        Attachment::new(&self.suite, &self.case.list, id, netns)
            .capabilities((self.case.wishes)(id))
            .fast_paths(self.case.fast_paths)
    }

    /// The container.
    pub(super) fn pod(&self) -> Attachment<'_> {
        self.attachment(POD, &self.pod)
    }

    /// Another namespace for the container, as after a restart.
    pub(super) fn renew_pod(&mut self) {
        // The name has to be free first.
        let spare = self.world.container("spare");
        drop(std::mem::replace(&mut self.pod, spare));
        let fresh = self.world.container(POD);
        drop(std::mem::replace(&mut self.pod, fresh));
    }

    /// An attachment that nobody disturbs.
    pub(super) fn come_and_go(&self) {
        let pod = self.pod();
        let result = pod.add();
        pod.del(&result);
    }

    /// GC of every plugin, with nothing valid.
    pub(super) fn collect_garbage(&self) {
        for plugin in self.pod().plugins() {
            self.gc(plugin).expect_silent_ok();
        }
    }

    fn gc(&self, plugin: &Value) -> Outcome {
        // GC is of this version.
        let keys = json!({"cniVersion": "1.1.0", "name": self.case.list["name"]});
        let conf = Conf(plugin.clone()).with(keys).without("capabilities");
        let call = self.suite.plugin(plugin["type"].as_str().unwrap());
        let call = call.command("GC").conf(&conf.valid_attachments(&[]));
        match self.case.fast_paths {
            Some(value) => call.env("TENON_FAST_PATHS", value).run(),
            None => call.run(),
        }
    }

    fn look(&self) -> Look {
        let host = Snapshot::quick(self.world.host());
        let host = homes()
            .iter()
            .fold(host, |snapshot, path| snapshot.tree(path));
        Look {
            host: [ROTATION, INDICES, LOCKS]
                .into_iter()
                .fold(host, Snapshot::without),
            indices: indices(),
            pod: Snapshot::quick(&self.pod),
        }
    }

    /// The host and the container are as they were when it settled.
    #[track_caller]
    pub(super) fn assert_settled(&self) {
        let now = self.look();
        self.settled.pod.assert_unchanged(&now.pod);
        self.settled.assert_same_host(&now);
    }

    /// The same on a host that was [wiped](Self::wipe): what is made anew has another MAC address. A
    /// bridge that lacks the mark of those that have been given one is given one each time: nobody sees a
    /// difference. A pool whose request nobody heard the answer of counts one more, until its network goes
    /// and a GC finds that nobody has it.
    #[track_caller]
    pub(super) fn assert_settled_anew(&self) {
        const ANEW: [&str; 4] = [
            " address = \"",
            " ifalias = \"tenon: the MAC",
            "/builtin/bridge/",
            "\\\"references\\\"",
        ];
        let [before, now] = [self.settled.clone(), self.look()].map(|look| Look {
            host: ANEW.into_iter().fold(look.host, Snapshot::without),
            ..look
        });
        before.assert_same_host(&now);
        before.pod.assert_unchanged(&now.pod);
    }

    /// The host is.
    #[track_caller]
    pub(super) fn assert_host_settled(&self) {
        self.settled.assert_same_host(&self.look());
    }
}

impl Look {
    #[track_caller]
    fn assert_same_host(&self, after: &Self) {
        self.host.assert_unchanged(&after.host);
        assert_eq!(self.indices, after.indices, "indices of leases");
    }
}

/// The files and directories that plugins may have made.
fn homes() -> Vec<PathBuf> {
    let of_run = entries("/run")
        .into_iter()
        .filter(|path| !OURS.iter().any(|ours| path.ends_with(ours)));
    let theirs = ["/var/lib/cni", "/run/lock"].into_iter().flat_map(entries);
    theirs.chain(of_run).collect()
}

/// The indices of leases, by what they have in common.
fn indices() -> Vec<String> {
    let mode = |path: &PathBuf| path.metadata().unwrap().permissions().mode();
    entries(INDICES)
        .iter()
        .map(|path| format!("{:o}", mode(path)))
        .collect()
}

fn entries(dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}
