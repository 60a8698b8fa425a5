//! A node on which containers of several networks run, with connections that stay open, while the plugins
//! beneath them are replaced.

use std::collections::BTreeSet;

use cni_testkit::{Conf, Netns, Suite, World};
use serde_json::{Value, json};

use crate::conflist::Attachment;
use crate::network::{bare, cidrs};
use crate::ports;
use crate::traffic::{Echo, Talk};

/// Where somebody outside answers.
const OUTSIDE: &str = "192.0.2.2:7";

/// The node.
#[derive(Debug)]
pub struct Node<'a> {
    world: &'a World,
    networks: Vec<Value>,
    pods: Vec<Pod<'a>>,
    count: u16,
    _outside: (Netns, Echo),
}

/// A container that runs.
#[derive(Debug)]
pub struct Pod<'a> {
    id: String,
    netns: Netns,
    network: usize,
    port: u16,
    result: Value,
    added_by: &'a Suite,
    talks: Vec<Talk>,
    _echo: Echo,
}

/// A masquerading network of this version, with all the plugins that exist in it.
fn network(world: &World, number: usize, version: &str) -> Value {
    let ipam = json!({"type": "host-local", "dataDir": world.data_dir(),
        "ranges": [[{"subnet": format!("10.6{number}.0.0/24")}]], "routes": [{"dst": "0.0.0.0/0"}]});
    let bridge = json!({"type": "bridge", "bridge": format!("up{number}br"), "isGateway": true,
        "ipMasq": true, "hairpinMode": true, "ipam": ipam});
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let firewall = json!({"type": "firewall"});
    let mut plugins = vec![bridge];
    if version >= "0.3.0" {
        plugins.push(portmap);
    }
    if version >= "0.4.0" {
        plugins.push(firewall);
    }
    json!({"cniVersion": version, "name": format!("net-{version}"), "plugins": plugins})
}

impl<'a> Node<'a> {
    /// With a network for each version. It forwards nothing by itself, as a host with Docker.
    pub fn new(world: &'a World, versions: &[&str]) -> Self {
        let outside = ports::outside(world);
        let echo = Echo::new(&outside, 7);
        let host = world.host();
        host.command("iptables", &["-P", "FORWARD", "DROP"]);
        let networks: Vec<_> = versions
            .iter()
            .enumerate()
            .map(|(number, version)| network(world, number, version))
            .collect();
        for network in &networks {
            if plugins(network).len() < 3 {
                let bridge = network["plugins"][0]["bridge"].as_str().unwrap();
                for side in ["-i", "-o"] {
                    host.command("iptables", &["-A", "FORWARD", side, bridge, "-j", "ACCEPT"]);
                }
            }
        }
        Self {
            world,
            networks,
            pods: Vec::new(),
            count: 0,
            _outside: (outside, echo),
        }
    }

    /// A container on each network that comes and goes, so that what stays of a network is there.
    pub fn warm_up(&mut self, suite: &'a Suite) {
        self.add(suite, 1);
        self.remove(suite, 1);
    }

    /// How many containers run.
    pub fn running(&self) -> usize {
        self.pods.len()
    }

    /// So many more on each network. No address is given that somebody has.
    pub fn add(&mut self, suite: &'a Suite, of_each: usize) {
        for _one in 0..of_each {
            for network in 0..self.networks.len() {
                let pod = self.add_to(suite, network);
                self.pods.push(pod);
            }
        }
        let addresses = self.pods.iter().flat_map(|pod| cidrs(&pod.result));
        let all: Vec<_> = addresses.collect();
        let different: BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }

    fn add_to(&mut self, suite: &'a Suite, network: usize) -> Pod<'a> {
        self.count += 1;
        let (id, port) = (format!("pod{}", self.count), 20_000 + self.count);
        let netns = self.world.container(&id);
        let list = &self.networks[network];
        let result = attachment(suite, list, &id, &netns, port).add();
        let echo = Echo::new(&netns, 80);
        let mut talks = vec![Talk::open(&netns, OUTSIDE)];
        if plugins(list).len() > 1 {
            talks.push(Talk::open(self.world.host(), &format!("192.0.2.1:{port}")));
        } else {
            let address = bare(&cidrs(&result)[0]);
            talks.push(Talk::open(self.world.host(), &format!("{address}:80")));
        }
        Pod {
            id,
            netns,
            network,
            port,
            result,
            added_by: suite,
            talks,
            _echo: echo,
        }
    }

    /// Every connection carries something, and new ones can be opened.
    #[track_caller]
    pub fn traffic_goes_on(&mut self) {
        for pod in &mut self.pods {
            for talk in &mut pod.talks {
                assert!(talk.goes_on(), "a connection of {} is lost", pod.id);
            }
        }
        for pod in self.pods.iter_mut().step_by(5) {
            pod.talks[0] = Talk::open(&pod.netns, OUTSIDE);
        }
    }

    /// CHECK of everything, where the version knows it.
    #[track_caller]
    pub fn check(&self, suite: &Suite) {
        for pod in &self.pods {
            let list = &self.networks[pod.network];
            if list["cniVersion"].as_str().unwrap() < "0.4.0" {
                continue;
            }
            let attachment = attachment(suite, list, &pod.id, &pod.netns, pod.port);
            for plugin in plugins(list)
                .iter()
                .filter(|plugin| knows(suite, pod, plugin))
            {
                attachment
                    .call("CHECK", plugin, &pod.result)
                    .expect_silent_ok();
            }
        }
    }

    /// DEL of so many of each network, the oldest first.
    #[track_caller]
    pub fn remove(&mut self, suite: &Suite, of_each: usize) {
        for network in 0..self.networks.len() {
            for _one in 0..of_each {
                let found = self.pods.iter().position(|pod| pod.network == network);
                let pod = self.pods.remove(found.unwrap());
                self.del(suite, &pod);
            }
        }
    }

    /// DEL of all.
    #[track_caller]
    pub fn remove_all(&mut self, suite: &Suite) {
        for pod in std::mem::take(&mut self.pods) {
            self.del(suite, &pod);
        }
    }

    #[track_caller]
    fn del(&self, suite: &Suite, pod: &Pod<'_>) {
        let list = &self.networks[pod.network];
        let attachment = attachment(suite, list, &pod.id, &pod.netns, pod.port);
        for plugin in plugins(list).iter().rev() {
            let mut deleted = attachment.call("DEL", plugin, &pod.result);
            // Row `downgrade` of docs/differences.md: it misses its chain, and the second DEL succeeds.
            if suite.is_reference() && !pod.added_by.is_reference() && plugin["type"] == "bridge" {
                let error = deleted.expect_error(999);
                assert!(error.to_string().contains("does not exist"), "{error}");
                deleted = attachment.call("DEL", plugin, &pod.result);
            }
            deleted.expect_ok();
        }
        assert!(pod.netns.link("eth0").is_none(), "{}", pod.id);
    }

    /// GC of every network by ours: nobody is valid but who runs.
    #[track_caller]
    pub fn collect(&self, suite: &Suite) {
        for (number, list) in self.networks.iter().enumerate() {
            let here = self.pods.iter().filter(|pod| pod.network == number);
            let valid: Vec<_> = here.map(|pod| (pod.id.as_str(), "eth0")).collect();
            for plugin in plugins(list) {
                let named = json!({"cniVersion": "1.1.0", "name": list["name"]});
                let conf = Conf(plugin.clone()).with(named).without("capabilities");
                let conf = conf.valid_attachments(&valid);
                let call = suite.plugin(plugin["type"].as_str().unwrap());
                call.command("GC").conf(&conf).run().expect_silent_ok();
            }
        }
    }
}

/// Whether CHECK can be content. The reference does not know the rules of ours, and its portmap fails on its
/// own too: row `check-ports` of docs/differences.md.
fn knows(suite: &Suite, pod: &Pod<'_>, plugin: &Value) -> bool {
    let theirs = pod.added_by.is_reference();
    match plugin["type"].as_str().unwrap() {
        _ if !suite.is_reference() => true,
        "bridge" => true,
        other => theirs && other != "portmap",
    }
}

fn plugins(list: &Value) -> &[Value] {
    list["plugins"].as_array().unwrap()
}

fn attachment<'p>(
    suite: &'p Suite,
    list: &'p Value,
    id: &'p str,
    netns: &'p Netns,
    port: u16,
) -> Attachment<'p> {
    let port = json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"});
    Attachment::new(suite, list, id, netns).capabilities(json!({"portMappings": [port]}))
}
