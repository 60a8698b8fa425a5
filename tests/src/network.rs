//! A network as a runtime drives it: one configuration, attachments that are added, checked and
//! deleted with what the specification wants passed along.

use std::time::Duration;

use cni_testkit::{Conf, Netns, Outcome, Runner, Suite};
use serde_json::{Value, json};

/// The interface that attachments get unless told.
pub const IFNAME: &str = "eth0";

/// One configuration of one plugin out of a suite.
#[derive(Debug, Clone)]
pub struct Network<'a> {
    suite: &'a Suite,
    conf: Conf,
    args: Option<String>,
    timeout: Duration,
}

/// What an ADD made.
#[derive(Debug, Clone)]
pub struct Attached<'a> {
    network: Network<'a>,
    id: String,
    netns: String,
    ifname: String,
    /// The ADD's result.
    pub result: Value,
}

impl<'a> Network<'a> {
    /// The network of `conf`, run by the plugin that its `type` names.
    pub fn new(suite: &'a Suite, conf: Conf) -> Self {
        Self {
            suite,
            conf,
            args: None,
            timeout: Duration::from_secs(30),
        }
    }

    /// The same with another configuration, as after an operator's edit.
    #[must_use]
    pub fn edited(&self, edit: impl FnOnce(Conf) -> Conf) -> Self {
        let mut edited = self.clone();
        edited.conf = edit(edited.conf);
        edited
    }

    /// The same through another directory of plugins, as after an upgrade.
    pub fn through<'b>(&self, suite: &'b Suite) -> Network<'b> {
        Network {
            suite,
            conf: self.conf.clone(),
            args: self.args.clone(),
            timeout: self.timeout,
        }
    }

    /// The same with `CNI_ARGS`.
    #[must_use]
    pub fn args(mut self, args: &str) -> Self {
        self.args = Some(args.to_owned());
        self
    }

    /// The configuration.
    pub fn conf(&self) -> &Conf {
        &self.conf
    }

    /// A call with this configuration on stdin and no attachment.
    pub fn call(&self, command: &str) -> Runner {
        let plugin = self.suite.plugin(self.conf.0["type"].as_str().unwrap());
        let call = plugin.command(command).conf(&self.conf);
        let call = call.timeout(self.timeout);
        match &self.args {
            Some(args) => call.args(args),
            None => call,
        }
    }

    /// A call for the attachment of `id` at `eth0`.
    pub fn call_for(&self, command: &str, id: &str, netns: &Netns) -> Runner {
        self.call(command).attachment(id, netns, IFNAME)
    }

    /// ADD at `eth0`, whatever comes of it.
    pub fn try_add(&self, id: &str, netns: &Netns) -> Outcome {
        self.call_for("ADD", id, netns).run()
    }

    /// ADD at `eth0`, which has to succeed.
    #[track_caller]
    pub fn add(&self, id: &str, netns: &Netns) -> Attached<'a> {
        self.add_at(id, netns, IFNAME)
    }

    /// ADD at any interface, which has to succeed.
    #[track_caller]
    pub fn add_at(&self, id: &str, netns: &Netns, ifname: &str) -> Attached<'a> {
        let added = self.call("ADD").attachment(id, netns, ifname).run();
        Attached {
            network: self.clone(),
            id: id.to_owned(),
            netns: netns.path_str().to_owned(),
            ifname: ifname.to_owned(),
            result: added.expect_ok().json(),
        }
    }
}

impl<'a> Attached<'a> {
    /// The same attachment, looked after by another suite or with another configuration.
    pub fn of<'b>(&self, network: &Network<'b>) -> Attached<'b> {
        Attached {
            network: network.clone(),
            id: self.id.clone(),
            netns: self.netns.clone(),
            ifname: self.ifname.clone(),
            result: self.result.clone(),
        }
    }

    /// The same attachment with another result, or with none (`null`).
    #[must_use]
    pub fn with_result(&self, result: Value) -> Self {
        let mut changed = self.clone();
        changed.result = result;
        changed
    }

    /// The same attachment with another `CNI_NETNS`; empty leaves the variable empty.
    #[must_use]
    pub fn with_netns(&self, netns: &str) -> Self {
        let mut changed = self.clone();
        netns.clone_into(&mut changed.netns);
        changed
    }

    /// The network that it was added to.
    pub fn network(&self) -> &Network<'a> {
        &self.network
    }

    /// A call with the result as `prevResult`.
    pub fn call(&self, command: &str) -> Runner {
        let conf = match &self.result {
            Value::Null => self.network.conf.clone(),
            result => self.network.conf.clone().prev_result(result),
        };
        let call = self.network.call(command).conf(&conf);
        call.container_id(&self.id)
            .netns(&self.netns)
            .ifname(&self.ifname)
    }

    /// CHECK, whatever comes of it.
    pub fn check(&self) -> Outcome {
        self.call("CHECK").run()
    }

    /// CHECK, which has to find everything as it was made.
    #[track_caller]
    pub fn check_ok(&self) {
        self.check().expect_silent_ok();
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

    /// Its addresses with their prefix lengths, in the result's order.
    pub fn cidrs(&self) -> Vec<String> {
        cidrs(&self.result)
    }

    /// Its first address, without the prefix length.
    pub fn address(&self) -> String {
        bare(&self.cidrs()[0])
    }

    /// The name of the interface at `index` of the result.
    pub fn interface(&self, index: usize) -> &Value {
        &self.result["interfaces"][index]
    }

    /// The name of the host's end: the second interface of the bridge plugin's result.
    pub fn host_end(&self) -> &str {
        self.interface(1)["name"].as_str().unwrap()
    }

    /// The MAC address of the container's end.
    pub fn mac(&self) -> &str {
        self.interface(2)["mac"].as_str().unwrap()
    }
}

/// The addresses of a result of any version, with prefix lengths.
pub fn cidrs(result: &Value) -> Vec<String> {
    let of_family = |key: &str| result[key]["ip"].as_str().map(str::to_owned);
    let listed = result["ips"].as_array().into_iter().flatten();
    let listed = listed.map(|ip| ip["address"].as_str().unwrap().to_owned());
    ["ip4", "ip6"]
        .into_iter()
        .filter_map(of_family)
        .chain(listed)
        .collect()
}

/// An address without its prefix length.
pub fn bare(cidr: &str) -> String {
    cidr.split('/').next().unwrap().to_owned()
}

/// The bridge's `ipam` section for one pool of each subnet, with keys of its own.
pub fn pools(world: &cni_testkit::World, subnets: &[&str], keys: Value) -> Value {
    let ipam = cni_testkit::conf::host_local(world, subnets);
    Conf(ipam).with(keys).0
}

/// The routes of a namespace's main table (or as `selector` says), link-local IPv6 ones left out.
pub fn routes(netns: &Netns, selector: &str) -> Vec<Value> {
    ["-4", "-6"]
        .iter()
        .flat_map(|family| routes_of(netns, family, selector))
        .collect()
}

fn routes_of(netns: &Netns, family: &str, selector: &str) -> Vec<Value> {
    let shown = netns.ip_json(&format!("{family} route show {selector}"));
    let by_itself = |route: &&Value| {
        let dst = route["dst"].as_str().unwrap_or_default();
        !dst.starts_with("fe80:")
            && !matches!(route["type"].as_str(), Some("multicast" | "anycast"))
    };
    shown
        .as_array()
        .unwrap()
        .iter()
        .filter(by_itself)
        .cloned()
        .collect()
}

/// The one route to `dst`; panics when there is none or more.
#[track_caller]
pub fn route_to(netns: &Netns, dst: &str, selector: &str) -> Value {
    // A table exists for a family only when it has a route of it.
    let family = if dst.contains(':') { "-6" } else { "-4" };
    let mut found = routes_of(netns, family, selector);
    found.retain(|route| route["dst"] == dst);
    assert_eq!(found.len(), 1, "routes to {dst}: {found:#?}");
    found.remove(0)
}

/// The addresses of one link in CIDR form, link-local ones left out.
pub fn addresses_of(netns: &Netns, link: &str) -> Vec<String> {
    let shown = netns.ip_json(&format!("addr show dev {link}"));
    let infos = shown[0]["addr_info"].as_array().into_iter().flatten();
    let global = infos.filter(|info| info["scope"] == "global");
    global
        .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
        .collect()
}

/// Whether a link has a flag as `ip` prints it, e.g. `UP`.
pub fn has_flag(netns: &Netns, link: &str, flag: &str) -> bool {
    let link = netns.link(link).unwrap_or_else(|| panic!("no link {link}"));
    link["flags"].as_array().unwrap().contains(&json!(flag))
}
