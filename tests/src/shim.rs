//! cnm-shim's `engine` backend as a runtime drives it beside dockerd: a Docker network, and
//! attachments of Docker's containers to it.

use std::path::Path;
use std::time::Duration;

use cni_testkit::{Conf, Netns, Outcome, Runner, Snapshot, Suite, World, conf};
use serde_json::{Value, json};

use crate::dockerd::Dockerd;

/// Where records are kept unless the configuration says otherwise.
pub const DATA_DIR: &str = "/var/lib/cni/cnm-shim";

/// One configuration of the backend.
#[derive(Debug)]
pub struct Shim<'a> {
    dockerd: &'a Dockerd<'a>,
    suite: Suite,
    plugin: &'static str,
    /// What plugins get on stdin.
    pub conf: Conf,
}

/// An attachment of a container.
#[derive(Debug, Clone)]
pub struct Joined<'a> {
    shim: &'a Shim<'a>,
    id: String,
    /// `CNI_NETNS` of the calls to come.
    pub netns: String,
    ifname: String,
    /// The ADD's result.
    pub result: Value,
}

impl<'a> Shim<'a> {
    /// Of Docker's network of that name.
    pub fn new(dockerd: &'a Dockerd<'a>, network: &str) -> Self {
        let keys = json!({"backend": "engine", "network": network});
        Self {
            dockerd,
            suite: Suite::ours(),
            plugin: "cnm-shim",
            conf: conf::plugin("1.0.0", "cnm-shim").with(keys),
        }
    }

    /// Called as kubernetes/contrib's `to_docker` was, in a directory of plugins.
    pub fn c2d(dockerd: &'a Dockerd<'a>, bin_dir: &Path) -> Self {
        let conf = json!({"cniVersion": "0.1", "name": "mynet", "type": "c2d", "debug": true});
        Self {
            dockerd,
            suite: Suite::of("c2d", bin_dir),
            plugin: "c2d",
            conf: Conf(conf),
        }
    }

    /// The same for a CNI network of that name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.with(json!({"name": name}))
    }

    /// The configuration in the version that has STATUS and GC.
    pub fn newest(&self) -> Conf {
        self.conf.clone().with(json!({"cniVersion": "1.1.0"}))
    }

    /// The same with more keys in the configuration.
    #[must_use]
    pub fn with(mut self, keys: Value) -> Self {
        self.conf = self.conf.with(keys);
        self
    }

    /// A call without an attachment, beside dockerd.
    pub fn call(&self, command: &str) -> Runner {
        let call = self.suite.plugin(self.plugin).command(command);
        let call = call.conf(&self.conf).timeout(Duration::from_secs(60));
        self.dockerd.beside(call)
    }

    /// A call for one of Docker's containers, by its name.
    pub fn call_for(&self, command: &str, container: &str, ifname: &str) -> Runner {
        let id = self.dockerd.engine().inspect(container)["Id"].clone();
        self.call(command)
            .container_id(id.as_str().unwrap())
            .netns(self.dockerd.netns_path(container))
            .ifname(ifname)
    }

    /// ADD, whatever comes of it.
    pub fn try_add(&self, container: &str, ifname: &str) -> Outcome {
        self.call_for("ADD", container, ifname).run()
    }

    /// ADD, which has to succeed.
    #[track_caller]
    pub fn add(&'a self, container: &str, ifname: &str) -> Joined<'a> {
        let result = self.try_add(container, ifname).expect_ok().json();
        let id = self.dockerd.engine().inspect(container)["Id"].clone();
        Joined {
            shim: self,
            id: id.as_str().unwrap().to_owned(),
            netns: self.dockerd.netns_path(container),
            ifname: ifname.to_owned(),
            result,
        }
    }

    /// GC of all but these.
    pub fn gc(&self, valid: &[&Joined<'_>]) -> Outcome {
        let valid: Vec<_> = valid
            .iter()
            .map(|joined| (joined.id.as_str(), joined.ifname.as_str()))
            .collect();
        let conf = self.newest().valid_attachments(&valid);
        self.call("GC").conf(&conf).run()
    }
}

impl Joined<'_> {
    /// The configuration with the result as `prevResult`.
    pub fn conf(&self) -> Conf {
        self.shim.conf.clone().prev_result(&self.result)
    }

    /// A call for it, with the result as `prevResult`.
    pub fn call(&self, command: &str) -> Runner {
        let call = self.shim.call(command).conf(&self.conf());
        call.container_id(&self.id)
            .netns(&self.netns)
            .ifname(&self.ifname)
    }

    /// CHECK, whatever comes of it.
    pub fn check(&self) -> Outcome {
        self.call("CHECK").run()
    }

    /// DEL, whatever comes of it.
    pub fn del(&self) -> Outcome {
        self.call("DEL").run()
    }

    /// DEL, which has to succeed.
    #[track_caller]
    pub fn del_ok(&self) {
        self.del().expect_silent_ok();
    }

    /// Its first address, without the prefix length.
    pub fn address(&self) -> String {
        let cidrs = crate::network::cidrs(&self.result);
        crate::network::bare(&cidrs[0])
    }
}

/// The host and a container before something. What Docker does for its resolver does not count: it
/// stays for as long as the container runs.
#[derive(Debug)]
pub struct Before([Snapshot; 2]);

impl Before {
    /// What is there now.
    pub fn of(world: &World, netns: &Netns) -> Self {
        Self([world.snapshot(), Snapshot::of(netns).without("nft")])
    }

    /// It is as it was.
    #[track_caller]
    pub fn assert_unchanged(&self, world: &World, netns: &Netns) {
        let [host, inside] = &self.0;
        host.assert_unchanged(&world.snapshot());
        inside.assert_unchanged(&Snapshot::of(netns).without("nft"));
    }
}

/// The names of a container's links, sorted.
pub fn sorted_links(netns: &Netns) -> Vec<String> {
    let mut names = netns.link_names();
    names.sort();
    names
}

/// The names of the files in which connections are remembered.
pub fn records() -> Vec<String> {
    let dir = std::fs::read_dir(format!("{DATA_DIR}/engine"));
    let names = dir.into_iter().flatten().flatten();
    let mut names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
