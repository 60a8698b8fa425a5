//! A container on a veth pair, and what limits its traffic.

use cni_testkit::{Netns, Snapshot, Suite, World, conf, require};
use serde_json::{Value, json};

use crate::network::{IFNAME, Network};

/// A world in which a main plugin has made a veth pair for a container.
#[derive(Debug)]
pub struct Wired {
    /// What plays the host.
    pub world: World,
    /// The container.
    pub c1: Netns,
    /// Its pair.
    pub pair: Pair,
}

/// A veth pair between the host and a container, up and with an address at each end.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The name of the host's end.
    pub host_end: String,
    /// The name of the container's end.
    pub ifname: String,
    /// The address of the host's end.
    pub host_address: String,
    /// The address of the container's end.
    pub container_address: String,
    netns: String,
}

impl Pair {
    /// Makes one; `subnet` is the third number of its addresses.
    pub fn new(world: &World, container: &Netns, ifname: &str, subnet: u8) -> Self {
        let name = container.path().file_name().unwrap().to_str().unwrap();
        let pair = Self {
            host_end: format!("veth{subnet:08x}"),
            ifname: ifname.to_owned(),
            host_address: format!("10.9.{subnet}.1"),
            container_address: format!("10.9.{subnet}.2"),
            netns: container.path_str().to_owned(),
        };
        let (host, end) = (world.host(), &pair.host_end);
        host.ip(&format!(
            "link add {end} type veth peer name {ifname} netns {name}"
        ));
        for (netns, link, address) in [
            (host, end.as_str(), &pair.host_address),
            (container, ifname, &pair.container_address),
        ] {
            netns.ip(&format!("addr add {address}/24 dev {link}"));
            netns.ip(&format!("link set {link} up"));
        }
        pair
    }

    /// What the main plugin told of it.
    pub fn result(&self, version: &str) -> Value {
        let address = format!("{}/24", self.container_address);
        let mut ip = json!({"address": address, "interface": 2});
        if version < "1.0.0" {
            ip["version"] = json!("4");
        }
        json!({
            "cniVersion": version,
            "interfaces": [
                {"name": "br7"},
                {"name": self.host_end},
                {"name": self.ifname, "sandbox": self.netns},
            ],
            "ips": [ip],
        })
    }

    /// The bandwidth plugin behind the main plugin, with these keys.
    pub fn limited<'a>(&self, suite: &'a Suite, version: &str, keys: &Value) -> Network<'a> {
        let conf = conf::plugin(version, "bandwidth").with(keys.clone());
        Network::new(suite, conf.prev_result(&self.result(version)))
    }
}

impl Wired {
    /// With container `c1` and its `eth0`.
    #[expect(
        clippy::new_without_default,
        reason = "entering a world is not a default value"
    )]
    pub fn new() -> Self {
        let world = World::new();
        let c1 = world.container("c1");
        let pair = Pair::new(&world, &c1, IFNAME, 1);
        Self { world, c1, pair }
    }

    /// What a plugin may have changed on the host, qdiscs and filters too.
    pub fn look(&self) -> Look {
        Look::at(&self.world)
    }

    /// Nothing has changed since.
    #[track_caller]
    pub fn assert_unchanged(&self, before: &Look) {
        before.assert_unchanged(&self.look());
    }

    /// The qdiscs of a link of the host as `tc -j` tells them, but for what the kernel gives every
    /// link by itself.
    pub fn qdiscs(&self, link: &str) -> Vec<Value> {
        qdiscs(self.world.host(), link)
    }
}

/// A host with its qdiscs and filters.
#[derive(Debug, Clone)]
pub struct Look {
    rest: Snapshot,
    traffic_control: Vec<String>,
}

impl Look {
    /// As it is now, with the leases.
    pub fn at(world: &World) -> Self {
        Self {
            rest: world.snapshot().without("last_reserved_ip"),
            traffic_control: traffic_control(world.host()),
        }
    }

    /// Panics with the difference, if there is one.
    #[track_caller]
    pub fn assert_unchanged(&self, after: &Self) {
        assert_eq!(self.traffic_control, after.traffic_control);
        self.rest.assert_unchanged(&after.rest);
    }
}

/// The qdiscs and filters of all links.
fn traffic_control(netns: &Netns) -> Vec<String> {
    require("tc");
    let mut lines = Vec::new();
    for link in netns.link_names() {
        for words in [
            vec!["qdisc", "show", "dev", &link],
            vec!["filter", "show", "dev", &link, "ingress"],
        ] {
            let shown = netns.command("tc", &words);
            // What follows is counted.
            let lasting = |line: &str| line.split(" direct_packets_stat").next().map(str::to_owned);
            let shown = shown.lines().filter_map(lasting);
            lines.extend(shown.map(|line| format!("{link}: {line}")));
        }
    }
    lines
}

/// The qdiscs of a link as `tc -j` tells them, but for what the kernel gives every link by itself.
pub fn qdiscs(netns: &Netns, link: &str) -> Vec<Value> {
    require("tc");
    let shown = netns.command("tc", &["-j", "qdisc", "show", "dev", link]);
    let all: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let given = |qdisc: &Value| qdisc["kind"] != "noqueue" && qdisc["kind"] != "noop";
    all.into_iter().filter(given).collect()
}

/// The link that what another one receives is redirected to.
pub fn redirection(netns: &Netns, link: &str) -> Option<String> {
    require("tc");
    let shown = netns.command("tc", &["filter", "show", "dev", link, "ingress"]);
    let (_, rest) = shown.split_once("(Egress Redirect to device ")?;
    rest.split_once(')').map(|(name, _)| name.to_owned())
}

/// The names of all IFBs.
pub fn ifbs(netns: &Netns) -> Vec<String> {
    let links = netns.ip_json("link show type ifb");
    let name = |link: &Value| link["ifname"].as_str().map(str::to_owned);
    links.as_array().unwrap().iter().filter_map(name).collect()
}
