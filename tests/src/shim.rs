//! cnm-shim's `engine` backend as a runtime drives it beside dockerd: a Docker network, and
//! attachments of Docker's containers to it.

use std::time::Duration;

use cni_testkit::{Conf, Outcome, Runner, Suite, conf};
use serde_json::{Value, json};

use crate::dockerd::Dockerd;

/// Where records are kept unless the configuration says otherwise.
pub const DATA_DIR: &str = "/var/lib/cni/cnm-shim";

/// One configuration of the backend.
#[derive(Debug)]
pub struct Shim<'a> {
    dockerd: &'a Dockerd<'a>,
    suite: Suite,
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
            conf: conf::plugin("1.0.0", "cnm-shim").with(keys),
        }
    }

    /// The same with more keys in the configuration.
    #[must_use]
    pub fn with(mut self, keys: Value) -> Self {
        self.conf = self.conf.with(keys);
        self
    }

    /// A call without an attachment, beside dockerd.
    pub fn call(&self, command: &str) -> Runner {
        let call = self.suite.plugin("cnm-shim").command(command);
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
        let conf = self.conf.clone().valid_attachments(&valid);
        self.call("GC").conf(&conf).run()
    }
}

impl Joined<'_> {
    /// A call for it, with the result as `prevResult`.
    pub fn call(&self, command: &str) -> Runner {
        let conf = self.shim.conf.clone().prev_result(&self.result);
        let call = self.shim.call(command).conf(&conf);
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
