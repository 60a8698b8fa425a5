//! Every plugin through all of its commands, under whatever the test puts around it.

use cni_testkit::{Conf, Netns, Outcome, Runner, Suite, World, conf};
use serde_json::{Value, json};

/// The version that has all commands.
const VERSION: &str = "1.1.0";

/// One way to use a plugin.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The plugin.
    pub plugin: &'static str,
    /// In which way, to tell it from others.
    pub name: &'static str,
    /// The capabilities that it needs, as setpriv(1) writes them.
    pub capabilities: &'static [&'static str],
    keys: fn(&World) -> Value,
}

const ADMIN: &[&str] = &["net_admin"];
const INSIDE: &[&str] = &["net_admin", "sys_admin"];

/// All of them.
pub const WAYS: [Way; 11] = [
    way(
        "host-local",
        "leases",
        &[],
        |world| json!({"ipam": leases(world, &["10.88.0.0/24"])}),
    ),
    way("loopback", "up", INSIDE, |_| json!({})),
    way("bridge", "IPv4", INSIDE, |world| {
        json!({
            "bridge": "walk0", "isGateway": true, "ipMasq": true, "macspoofchk": true,
            "ipam": leases(world, &["10.88.0.0/24"]),
        })
    }),
    way(
        "bridge",
        "IPv6",
        &["net_admin", "sys_admin", "net_raw"],
        |world| {
            json!({
                "bridge": "walk0", "isDefaultGateway": true, "ipMasq": true,
                "ipam": leases(world, &["10.88.0.0/24", "fd88::/64"]),
            })
        },
    ),
    way(
        "bridge",
        "layer two",
        INSIDE,
        |_| json!({"bridge": "walk0", "mtu": 1400}),
    ),
    way("portmap", "nftables", ADMIN, |_| ports("nftables")),
    way("portmap", "iptables", ADMIN, |_| ports("iptables")),
    way(
        "firewall",
        "iptables",
        ADMIN,
        |_| json!({"ingressPolicy": "same-bridge"}),
    ),
    way("tuning", "link and sysctl", INSIDE, |_| {
        json!({
            "mac": "02:00:00:00:00:77", "mtu": 1400, "promisc": true, "allmulti": true,
            "sysctl": {"net.core.somaxconn": "500"},
        })
    }),
    way("bandwidth", "both ways", INSIDE, |_| {
        json!({
            "ingressRate": 8_000_000, "ingressBurst": 1_000_000,
            "egressRate": 8_000_000, "egressBurst": 1_000_000,
        })
    }),
    way("cnm-shim", "built-in drivers", INSIDE, |_| {
        json!({
            "subnet": "10.89.0.0/24", "sandboxKeyStyle": "docker", "removeNetworkWhenUnused": true,
            "ports": [{"hostPort": 8089, "containerPort": 80, "protocol": "tcp"}],
        })
    }),
];

const fn way(
    plugin: &'static str,
    name: &'static str,
    capabilities: &'static [&'static str],
    keys: fn(&World) -> Value,
) -> Way {
    Way {
        plugin,
        name,
        capabilities,
        keys,
    }
}

fn leases(world: &World, subnets: &[&str]) -> Value {
    conf::host_local(world, subnets)
}

fn ports(backend: &str) -> Value {
    json!({
        "backend": backend, "snat": true,
        "runtimeConfig": {"portMappings": [
            {"hostPort": 8088, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 8088, "containerPort": 53, "protocol": "udp"},
        ]},
    })
}

/// A container for a [`Way`], on a network where it needs one.
#[derive(Debug)]
pub struct Walk {
    /// The machine.
    pub world: World,
    /// The container.
    pub c1: Netns,
    way: Way,
    conf: Conf,
}

impl Walk {
    /// Where the way can be gone.
    pub fn new(way: Way) -> Self {
        let world = World::new();
        let c1 = world.container("c1");
        if way.plugin == "loopback" {
            c1.ip("link set lo down");
        }
        let own = conf::plugin(VERSION, way.plugin).with((way.keys)(&world));
        let mut walk = Self {
            world,
            c1,
            way,
            conf: own,
        };
        if ["portmap", "firewall", "tuning", "bandwidth"].contains(&way.plugin) {
            let before = conf::bridge(VERSION).ipam(leases(&walk.world, &["10.87.0.0/24"]));
            let add = Suite::ours().plugin("bridge").command("ADD").conf(&before);
            let result = add
                .attachment("c1", &walk.c1, "eth0")
                .run()
                .expect_ok()
                .json();
            walk.conf = walk.conf.prev_result(&result);
        }
        walk
    }

    /// What plugins get on stdin.
    pub fn conf(&self) -> &Conf {
        &self.conf
    }

    /// One command.
    pub fn call(&self, command: &str, through: &[&str]) -> Runner {
        let call = Suite::ours().plugin(self.way.plugin).command(command);
        let call = call.conf(&self.conf).through(through);
        match command {
            "GC" | "STATUS" => call,
            _ => call.attachment("c1", &self.c1, "eth0"),
        }
    }

    /// All commands, each of which has to succeed, and all that they made is gone in the end.
    #[track_caller]
    pub fn go(&self, through: &[&str]) -> usize {
        let gc = |valid: &[(&str, &str)]| {
            let conf = self
                .conf
                .clone()
                .without("prevResult")
                .valid_attachments(valid);
            self.call("GC", through).conf(&conf)
        };
        let added = |result: &Value, command: &str| {
            let conf = self.conf.clone().prev_result(result);
            self.call(command, through).conf(&conf)
        };
        self.succeeds(&self.call("STATUS", through));
        let result = self.succeeds(&self.call("ADD", through)).json();
        self.succeeds(&added(&result, "CHECK"));
        self.succeeds(&gc(&[("c1", "eth0")]));
        self.succeeds(&added(&result, "CHECK"));
        self.succeeds(&added(&result, "DEL"));
        self.succeeds(&added(&result, "DEL"));
        self.succeeds(&self.call("ADD", through));
        self.succeeds(&gc(&[]));
        9
    }

    #[track_caller]
    fn succeeds(&self, call: &Runner) -> Outcome {
        let outcome = call.run();
        let Way { plugin, name, .. } = self.way;
        assert_eq!(outcome.code, 0, "{plugin}, {name}: {outcome}");
        outcome
    }
}
