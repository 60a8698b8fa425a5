//! Ports that are published: containers on a bridge, somebody outside, and who hears whom.

use cni_testkit::{Conf, Netns, Suite, World, conf};
use serde_json::{Value, json};

use crate::network::{Attached, Network};
use crate::ports::Listener;

/// The version of all configurations here.
pub const VERSION: &str = "1.0.0";
/// The port that containers listen at.
pub const PORT: u16 = 5080;

const V4: &str = "10.84.0.0/24";
const V6: &str = "fd84::/64";

/// A host, a client outside, and a namespace that the client reaches by way of the host.
#[derive(Debug)]
pub struct Scene {
    /// The host.
    pub world: World,
    /// `192.0.2.2` and `2001:db8:2::2`; the host is `.1` and `::1`.
    pub client: Netns,
    /// `192.0.3.2` and `2001:db8:3::2`.
    pub beyond: Netns,
}

/// A container with a bridge's addresses.
#[derive(Debug)]
pub struct Pod {
    /// Its namespace.
    pub netns: Netns,
    /// Its id.
    pub id: String,
    /// What the bridge plugin answered.
    pub result: Value,
}

impl Scene {
    /// Without containers.
    #[expect(
        clippy::new_without_default,
        reason = "entering a world is not a default value"
    )]
    pub fn new() -> Self {
        let world = World::new();
        let [client, beyond] = ["client", "beyond"].map(|name| world.container(name));
        let host = world.host();
        for (at, netns, name) in [(2, &client, "client"), (3, &beyond, "beyond")] {
            host.ip(&format!(
                "link add up{at} type veth peer name eth0 netns {name}"
            ));
            host.ip(&format!("addr add 192.0.{at}.1/24 dev up{at}"));
            host.ip(&format!("addr add 2001:db8:{at}::1/64 dev up{at} nodad"));
            host.ip(&format!("link set up{at} up"));
            netns.ip(&format!("addr add 192.0.{at}.2/24 dev eth0"));
            netns.ip(&format!("addr add 2001:db8:{at}::2/64 dev eth0 nodad"));
            netns.ip("link set eth0 up");
            netns.ip(&format!("route add default via 192.0.{at}.1"));
            netns.ip(&format!("route add default via 2001:db8:{at}::1"));
        }
        // A gateway of both families is a router.
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            host.set_sysctl(key, "1");
        }
        Self {
            world,
            client,
            beyond,
        }
    }

    /// A container on the bridge `tenon0`, made by the suite's own bridge plugin.
    pub fn pod(&self, suite: &Suite, id: &str) -> Pod {
        let netns = self.world.container(id);
        self.pod_in(suite, id, netns)
    }

    /// The same in a namespace that is there already.
    pub fn pod_in(&self, suite: &Suite, id: &str, netns: Netns) -> Pod {
        let ipam = conf::host_local(&self.world, &[V4, V6]);
        let conf = conf::bridge(VERSION)
            .ipam(ipam)
            .with(json!({"hairpinMode": true}));
        let result = Network::new(suite, conf).add(id, &netns).result;
        Pod {
            netns,
            id: id.to_owned(),
            result,
        }
    }
}

impl Pod {
    /// The addresses of the result, without prefix lengths: IPv4 and IPv6.
    pub fn addresses(&self) -> Vec<String> {
        let cidrs = crate::network::cidrs(&self.result);
        cidrs
            .iter()
            .map(|cidr| crate::network::bare(cidr))
            .collect()
    }

    /// The portmap plugin's part of the container's network.
    pub fn portmap<'a>(&self, suite: &'a Suite, keys: &Value, mappings: &Value) -> Network<'a> {
        Network::new(suite, portmap(keys, mappings).prev_result(&self.result))
    }

    /// ADD of portmap, which has to succeed.
    #[track_caller]
    pub fn publish<'a>(&self, suite: &'a Suite, keys: &Value, mappings: &Value) -> Attached<'a> {
        self.portmap(suite, keys, mappings)
            .add(&self.id, &self.netns)
    }

    /// Something that listens at [`PORT`].
    pub fn listen(&self) -> Listener {
        Listener::new(&self.netns, PORT)
    }
}

/// A configuration of portmap, without `prevResult`.
pub fn portmap(keys: &Value, mappings: &Value) -> Conf {
    conf::plugin(VERSION, "portmap")
        .with(json!({"runtimeConfig": {"portMappings": mappings}}))
        .with(keys.clone())
}

/// A port of the host that leads to [`PORT`], for all its addresses.
pub fn port(host_port: u16, protocol: &str) -> Value {
    json!({"hostPort": host_port, "containerPort": PORT, "protocol": protocol})
}

/// The same for one address.
pub fn port_at(host_ip: &str, host_port: u16, protocol: &str) -> Value {
    json!({"hostIP": host_ip, "hostPort": host_port, "containerPort": PORT, "protocol": protocol})
}
