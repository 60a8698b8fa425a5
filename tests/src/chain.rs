//! A bridge with the firewall plugin behind it, as a runtime calls the two.

use cni_testkit::{Netns, Outcome, Suite, World, conf};
use serde_json::{Value, json};

use crate::network::{Attached, Network};

/// The version that chains have unless told: the newest that both suites know.
pub const VERSION: &str = "1.0.0";

/// One network of two plugins.
#[derive(Debug, Clone)]
pub struct Chain<'a> {
    bridge: Network<'a>,
    firewall: Network<'a>,
}

/// One container on it.
#[derive(Debug, Clone)]
pub struct Link<'a> {
    /// What the bridge made.
    pub bridge: Attached<'a>,
    /// What the firewall made.
    pub firewall: Attached<'a>,
}

impl<'a> Chain<'a> {
    /// A network on bridge `name` with addresses out of `subnets`; `keys` are the firewall's.
    pub fn new(suite: &'a Suite, world: &World, name: &str, subnets: &[&str], keys: Value) -> Self {
        let ipam = conf::host_local(world, subnets);
        let named = json!({"name": format!("net-{name}")});
        let bridge = conf::bridge(VERSION)
            .ipam(ipam)
            .with(named.clone())
            .with(json!({"bridge": name}));
        let firewall = conf::plugin(VERSION, "firewall").with(named).with(keys);
        Self {
            bridge: Network::new(suite, bridge),
            firewall: Network::new(suite, firewall),
        }
    }

    /// The firewall alone.
    pub fn firewall(&self) -> &Network<'a> {
        &self.firewall
    }

    /// The same network through other plugins, as after an upgrade.
    pub fn through<'b>(&self, suite: &'b Suite) -> Chain<'b> {
        Chain {
            bridge: self.bridge.through(suite),
            firewall: self.firewall.through(suite),
        }
    }

    /// The same with other keys of the firewall's.
    #[must_use]
    pub fn with(&self, keys: &Value) -> Self {
        let mut changed = self.clone();
        changed.firewall = self.firewall.edited(|conf| conf.with(keys.clone()));
        changed
    }

    /// The same in another version.
    #[must_use]
    pub fn of_version(&self, version: &str) -> Self {
        let edit = |network: &Network<'a>| {
            network.edited(|conf| conf.with(json!({"cniVersion": version})))
        };
        Self {
            bridge: edit(&self.bridge),
            firewall: edit(&self.firewall),
        }
    }

    /// Makes the bridge's part only.
    #[track_caller]
    pub fn join(&self, id: &str, netns: &Netns) -> Attached<'a> {
        self.bridge.add(id, netns)
    }

    /// The firewall's ADD behind the bridge's, whatever comes of it.
    pub fn try_open(&self, joined: &Attached<'_>, id: &str, netns: &Netns) -> Outcome {
        let network = self
            .firewall
            .edited(|conf| conf.prev_result(&joined.result));
        network.try_add(id, netns)
    }

    /// The firewall's ADD behind the bridge's.
    #[track_caller]
    pub fn open(&self, joined: &Attached<'_>, id: &str, netns: &Netns) -> Attached<'a> {
        let network = self
            .firewall
            .edited(|conf| conf.prev_result(&joined.result));
        network.add(id, netns).of(&self.firewall)
    }

    /// Both.
    #[track_caller]
    pub fn add(&self, id: &str, netns: &Netns) -> Link<'a> {
        let bridge = self.join(id, netns);
        let firewall = self.open(&bridge, id, netns);
        Link { bridge, firewall }
    }
}

/// A namespace behind the host, with a way back to the containers' subnets.
pub fn outer_world(world: &World, subnets: &[&str]) -> Netns {
    let outer = world.container("outer");
    let host = world.host();
    host.ip("link add up0 type veth peer name eth0 netns outer");
    host.ip("addr add 192.0.2.1/24 dev up0");
    host.ip("addr add 2001:db8::1/64 dev up0 nodad");
    host.ip("link set up0 up");
    outer.ip("addr add 192.0.2.2/24 dev eth0");
    outer.ip("addr add 2001:db8::2/64 dev eth0 nodad");
    outer.ip("link set eth0 up");
    for subnet in subnets {
        let (family, router) = if subnet.contains(':') {
            ("-6", "2001:db8::1")
        } else {
            ("-4", "192.0.2.1")
        };
        outer.ip(&format!("{family} route add {subnet} via {router}"));
    }
    outer
}
